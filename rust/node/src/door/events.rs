//! ReadEvents: durable events from a position on, and with `follow` those to come.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use invengine_wire::v1;
use prost::Message;
use tokio::task::spawn_blocking;

use super::answer::Answers;
use super::census::UnderWay;
use super::desk::Desk;
use super::gather::{Gathering, Trouble};
use super::message::framed;
use super::station::Station;
use super::terms::Terms;
use crate::engine::{Call, Wanted};
use crate::incident;
use crate::refusal::Refusal;

const EVENTS_A_MESSAGE: u64 = 500;

/// Answers the call in a task of its own.
pub(super) fn spawn(
    station: Arc<Station>,
    terms: Terms,
    gathering: Gathering,
    respond: SendResponse<Bytes>,
    under_way: UnderWay,
) {
    tokio::spawn(async move {
        let _under_way = under_way;
        let mut answers = Answers::new(respond, station.patience(&terms));
        match run(&station, &terms, gathering, &mut answers).await {
            Ok(()) => answers.end(Ok(())),
            Err(Trouble::Refused(refusal)) => answers.end(Err(refusal)),
            Err(Trouble::Gone) => {}
        }
    });
}

async fn run(station: &Station, terms: &Terms, gathering: Gathering, answers: &mut Answers) -> Result<(), Trouble> {
    let payload = gathering.whole(station, terms).await?;
    let _reading = station.census.reader()?;
    let mut wanted = begin(station, terms, payload).await?;
    // Without `follow` the stream ends at what was durable when it began, however fast the journal grows.
    let end = if wanted.follow { u64::MAX } else { station.desk.durable().sequence };
    while wanted.limit > 0 && wanted.next <= end {
        tokio::select! {
            biased;
            () = station.draining() => return Err(Refusal::draining().into()),
            known = station.durable(wanted.next) => known?,
            () = answers.gone() => return Err(Trouble::Gone),
        }
        let most = wanted.limit.min(EVENTS_A_MESSAGE).min(end - wanted.next + 1);
        let (message, count) = read(station, wanted.next, most, terms.path()).await?;
        if count == 0 {
            // Cannot happen with a journal that has what it says; a loop without progress would be worse than an end.
            return Err(incident::report(terms.path(), "the journal has no event that is durable").into());
        }
        answers.message(framed(&message)).await?;
        (wanted.next, wanted.limit) = (wanted.next + count, wanted.limit - count);
    }
    Ok(())
}

/// Where the reading begins; may wait for a disk.
async fn begin(station: &Station, terms: &Terms, payload: Bytes) -> Result<Wanted, Refusal> {
    let Call { key, ledger, deadline, .. } = terms.call(terms.path(), &payload)?;
    let (path, key, ledger) = (terms.path().to_owned(), key.to_owned(), ledger.to_owned());
    aside(station, terms.path(), move |desk| {
        desk.begin_events(&Call { path: &path, payload: &payload, key: &key, ledger: &ledger, deadline })
    })
    .await
}

/// Has something done that may wait for a disk.
async fn aside<T: Send + 'static>(
    station: &Station,
    path: &str,
    work: impl FnOnce(&dyn Desk) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let desk = Arc::clone(&station.desk);
    match spawn_blocking(move || work(&*desk)).await {
        Ok(done) => done,
        Err(ended) => {
            let panic = ended.try_into_panic();
            let cause = panic.as_ref().map_or("the reader was ended", |panic| incident::cause(&**panic));
            Err(incident::report(path, cause))
        }
    }
}

/// A message of up to `most` events, and how many they are.
async fn read(station: &Station, from: u64, most: u64, path: &str) -> Result<(Vec<u8>, u64), Refusal> {
    let answer = aside(station, path, move |desk| desk.read_events(from, most as usize)).await?;
    let read =
        v1::ReadEventsResponse::decode(&answer[..]).map_err(|error| incident::report(path, &error.to_string()))?;
    Ok((answer, read.events.len() as u64))
}
