//! ReadEvents: durable events from a position on, and with `follow` those to come.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use invengine_wire::v1;
use prost::Message;
use tokio::task::spawn_blocking;

use super::answer::{Answers, Gone};
use super::census::UnderWay;
use super::gather::{Gathering, Trouble};
use super::message::framed;
use super::station::Station;
use super::terms::Terms;
use crate::incident;
use crate::refusal::Refusal;

const EVENTS_A_MESSAGE: u64 = 500;
/// Clients accept 4 MiB by default.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

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

/// What is left to read.
struct Wanted {
    next: u64,
    left: u64,
    follow: bool,
}

impl Wanted {
    fn of(payload: &[u8]) -> Result<Self, Refusal> {
        let request = v1::ReadEventsRequest::decode(payload).map_err(|_| Refusal::malformed())?;
        let bad = |field: &str, rule: &str| Refusal::invalid(vec![(field.to_owned(), rule.to_owned())]);
        let next = u64::try_from(request.from_sequence)
            .map_err(|_| bad("from_sequence", "must be 0 or more; 0 means from the first event"))?;
        let left = match u64::try_from(request.limit) {
            Ok(0) => u64::MAX,
            Ok(limit) => limit,
            Err(_) => return Err(bad("limit", "must be 0 or more; 0 means no limit")),
        };
        Ok(Wanted { next: next.max(1), left, follow: request.follow })
    }
}

async fn run(station: &Station, terms: &Terms, gathering: Gathering, answers: &mut Answers) -> Result<(), Trouble> {
    let mut wanted = Wanted::of(&gathering.whole(station, terms).await?)?;
    terms.call(terms.path(), &[])?;
    let _reading = station.census.reader()?;
    // Without `follow` the stream ends at what was durable when it began, however fast the journal grows.
    let end = if wanted.follow { u64::MAX } else { station.desk.durable().sequence };
    while wanted.left > 0 && wanted.next <= end {
        tokio::select! {
            biased;
            () = station.draining() => return Err(Refusal::draining().into()),
            known = station.durable(wanted.next) => known?,
            () = answers.gone() => return Err(Trouble::Gone),
        }
        let most = wanted.left.min(EVENTS_A_MESSAGE).min(end - wanted.next + 1);
        let read = read(station, wanted.next, most, terms.path()).await?;
        let count = read.iter().map(|message| message.events.len() as u64).sum::<u64>();
        if count == 0 {
            // Cannot happen with a journal that has what it says; a loop without progress would be worse than an end.
            return Err(incident::report(terms.path(), "the journal has no event that is durable").into());
        }
        for message in read {
            send(answers, &message).await?;
        }
        (wanted.next, wanted.left) = (wanted.next + count, wanted.left - count);
    }
    Ok(())
}

async fn send(answers: &mut Answers, message: &v1::ReadEventsResponse) -> Result<(), Gone> {
    answers.message(framed(&message.encode_to_vec())).await
}

/// Up to `most` events, in messages that every client accepts.
async fn read(station: &Station, from: u64, most: u64, path: &str) -> Result<Vec<v1::ReadEventsResponse>, Refusal> {
    let desk = Arc::clone(&station.desk);
    let reading = spawn_blocking(move || desk.read_events(from, most as usize));
    let answer = match reading.await {
        Ok(answer) => answer?,
        Err(ended) => {
            let panic = ended.try_into_panic();
            let cause = panic.as_ref().map_or("the reader was ended", |panic| incident::cause(&**panic));
            return Err(incident::report(path, cause));
        }
    };
    let answer =
        v1::ReadEventsResponse::decode(&answer[..]).map_err(|error| incident::report(path, &error.to_string()))?;
    let mut messages = Vec::new();
    cut(answer, &mut messages);
    Ok(messages)
}

/// Halves an answer until every part is short enough.
fn cut(mut answer: v1::ReadEventsResponse, messages: &mut Vec<v1::ReadEventsResponse>) {
    if answer.events.len() < 2 || answer.encoded_len() <= MESSAGE_BYTES_MAX {
        messages.push(answer);
        return;
    }
    let rest = answer.events.split_off(answer.events.len() / 2);
    let durable_sequence = answer.durable_sequence;
    cut(answer, messages);
    cut(v1::ReadEventsResponse { events: rest, durable_sequence }, messages);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_cut_and_keeps_its_order() {
        let event = |sequence| v1::Event {
            sequence,
            fact: Some(v1::event::Fact::ItemUpserted(v1::ItemUpserted {
                sku: "x".repeat(300_000),
                ..Default::default()
            })),
            ..Default::default()
        };
        let answer = v1::ReadEventsResponse { events: (1..=20).map(event).collect(), durable_sequence: 20 };
        let mut messages = Vec::new();
        cut(answer, &mut messages);
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|message| message.encoded_len() <= MESSAGE_BYTES_MAX));
        assert!(messages.iter().all(|message| message.durable_sequence == 20));
        let sequences: Vec<i64> =
            messages.iter().flat_map(|message| &message.events).map(|event| event.sequence).collect();
        assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
    }
}
