//! Reads of what sources are known for: their numbers, their claims, and what they own.

use invengine_ledger::authority::Right;
use invengine_ledger::inbox::Inbox;
use invengine_ledger::{Claim, ClaimKey, CountsAs, Handle, Ledger, StockState};
use invengine_wire::v1;

use super::entities::source_profile;
use super::messages::kept;
use super::page::{ListKind, ListQuery, PageRequest};
use super::read::{ReadAnswer, ReadRequest, View, checked, item, location, source};
use super::shape::timestamp;
use super::states::state_name;
use crate::refusal::Refusal;

/// Most claims that are looked at for one page: the ledger is locked for that long.
const CLAIMS_LOOKED_AT_MAX: usize = 20_000;
/// More than there are states: the place of an owner in its list is that of its location, times this, and its state.
const STATES_MAX: u64 = 1 << 8;

impl ReadRequest for v1::ListSourcesRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        let query = ListQuery::new(ListKind::Sources);
        let page = checked(|found| PageRequest::new(query, self.page_size, &self.page_token, view, found))?;
        let first = usize::try_from(page.start()).unwrap_or(usize::MAX);
        let sources = ledger.sources().iter().enumerate().skip(first);
        let (sources, next_page_token) = page.fill(sources.map(|(place, source)| {
            let inbox = ledger.inbox(place as Handle);
            let count = |count: fn(&Inbox) -> usize| inbox.map_or(0, |inbox| count(inbox) as i64);
            let message = v1::Source {
                source_id: source.name.to_string(),
                epoch: source.epoch as i64,
                sequence: source.last as i64,
                profile: source_profile(ledger, &source.name),
                claims: ledger.claim_count(Some(place as Handle)) as i64,
                parked: count(Inbox::parked_count),
                parked_since: inbox.and_then(Inbox::parked_since_ms).map(timestamp),
                waiting: count(Inbox::waiting_count),
                waiting_since: inbox.and_then(Inbox::waiting_since_ms).map(timestamp),
                dead_letters: count(Inbox::letter_count),
            };
            (place as u64, message)
        }));
        Ok(ReadAnswer::dependent_on(ledger.sequence(), &v1::ListSourcesResponse { sources, next_page_token }))
    }
}

impl ReadRequest for v1::ListClaimsRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        let page = checked(|found| {
            found.text(&self.source_id, format_args!("source_id"));
            found.text(&self.sku, format_args!("sku"));
            found.text(&self.location, format_args!("location"));
            let query = ListQuery::new(ListKind::Claims).text(&self.source_id).text(&self.sku).text(&self.location);
            PageRequest::new(query, self.page_size, &self.page_token, view, found)
        })?;
        let named = |name: &str, of: fn(&Ledger, &str) -> Result<Handle, Refusal>| {
            if name.is_empty() { Ok(None) } else { of(ledger, name).map(Some) }
        };
        let wanted = Wanted {
            source: named(&self.source_id, source)?,
            item: named(&self.sku, item)?,
            location: named(&self.location, location)?,
        };
        let (claims, next_page_token) = claims(ledger, &wanted, &page, view.now_ms);
        Ok(ReadAnswer::dependent_on(ledger.sequence(), &v1::ListClaimsResponse { claims, next_page_token }))
    }
}

/// The claims that a caller wants.
struct Wanted {
    source: Option<Handle>,
    item: Option<Handle>,
    location: Option<Handle>,
}

impl Wanted {
    fn has(&self, ledger: &Ledger, key: &ClaimKey) -> bool {
        let Some(level) = ledger.level(key.level) else { return false };
        self.item.is_none_or(|item| item == level.item) && self.location.is_none_or(|place| place == level.location)
    }
}

/// A page of claims and the token of the next one. A page of which few are wanted may be short, or empty, without being the
/// last.
fn claims(ledger: &Ledger, wanted: &Wanted, page: &PageRequest, now_ms: i64) -> (Vec<v1::Claim>, String) {
    let begin = wanted.source.and_then(|source| ledger.last_claim_before(source));
    let last = page.last.and_then(|place| key_of(place, page.carried.first().copied()?)).or(begin);
    let of_source = |key: &ClaimKey| wanted.source.is_none_or(|source| key.source == Some(source));
    let mut reached = None;
    let looked_at = ledger.claims_after(last).take_while(|(key, _)| of_source(key)).take(CLAIMS_LOOKED_AT_MAX);
    let found = looked_at.inspect(|(key, _)| reached = Some(**key)).filter(|(key, _)| wanted.has(ledger, key));
    let mut keys = Vec::new();
    let entries = found.zip(0u64..).map(|((key, claim), number)| {
        keys.push(*key);
        (number, message(ledger, key, claim, now_ms))
    });
    let (claims, more_after) = page.take(entries);
    let next = match more_after {
        Some(number) => keys.get(number as usize).copied(),
        None => reached.filter(|key| ledger.claims_after(Some(*key)).next().is_some_and(|(next, _)| of_source(next))),
    };
    (claims, next.map_or_else(String::new, |key| page.token(place_of(&key), vec![writer_of(&key)])))
}

/// Level and state of a claim as one number, and its writer as another.
fn place_of(key: &ClaimKey) -> u64 {
    u64::from(key.level) << 8 | key.state as u64
}

fn writer_of(key: &ClaimKey) -> u64 {
    key.source.map_or(0, |source| u64::from(source) + 1)
}

fn key_of(place: u64, writer: u64) -> Option<ClaimKey> {
    let state = StockState::all().find(|state| *state as u64 == place & 0xff)?;
    let source = match writer {
        0 => None,
        source => Some(Handle::try_from(source - 1).ok()?),
    };
    Some(ClaimKey { source, level: u32::try_from(place >> 8).ok()?, state })
}

fn message(ledger: &Ledger, key: &ClaimKey, claim: &Claim, now_ms: i64) -> v1::Claim {
    let (sku, location) = ledger.level_names(key.level);
    v1::Claim {
        source_id: key.source.map_or("", |source| ledger.source_name(source)).to_owned(),
        sku: sku.to_owned(),
        location: location.to_owned(),
        state: state_name(key.state) as i32,
        quantity: claim.quantity,
        ledger_quantity: ledger.figures(key.level, now_ms).stock.of(key.state),
        reason: claim.reason as i32,
        sequence: claim.sequence as i64,
        time: Some(timestamp(claim.time_ms)),
        event_time: claim.event_time_ms.map(timestamp),
    }
}

impl ReadRequest for v1::ListOwnersRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        let page = checked(|found| {
            found.text(&self.location, format_args!("location"));
            let query = ListQuery::new(ListKind::Owners).text(&self.location).number(self.unowned_only.into());
            PageRequest::new(query, self.page_size, &self.page_token, view, found)
        })?;
        let only = if self.location.is_empty() { None } else { Some(location(ledger, &self.location)?) };
        let all = 0..if ledger.is_governed(Right::Set) { ledger.locations().len() as Handle } else { 0 };
        let first = Handle::try_from(page.start() / STATES_MAX).unwrap_or(Handle::MAX);
        let places = all
            .skip(first as usize)
            .filter(|place| ledger.locations().exists(*place) && only.is_none_or(|only| only == *place));
        let owners = places.flat_map(|place| {
            let state = move |owner: &v1::Owner| u64::from(place) * STATES_MAX + owner.state as u64;
            owners_at(ledger, place, self.unowned_only).map(move |owner| (state(&owner), owner))
        });
        let (owners, next_page_token) = page.fill(owners.skip_while(|(place, _)| *place < page.start()));
        Ok(ReadAnswer::dependent_on(ledger.sequence(), &v1::ListOwnersResponse { owners, next_page_token }))
    }
}

/// Who owns each state that commands can name, at one location.
fn owners_at(ledger: &Ledger, place: Handle, unowned_only: bool) -> impl Iterator<Item = v1::Owner> {
    let states = StockState::all().filter(|state| state.counts_as() != CountsAs::Outside);
    let owners = states.map(move |state| v1::Owner {
        location: ledger.locations().name(place).to_owned(),
        state: state_name(state) as i32,
        owner: ledger.holders_of(Right::Set, state, place).first().map_or("", |holder| holder.name()).to_owned(),
    });
    owners.filter(move |owner| !unowned_only || owner.owner.is_empty())
}

/// Declares a list of kept messages of one source: its request and answer, and where they are, behind a place.
macro_rules! kept_messages {
    ($($page:ident -> $listed:ident { $list:ident } by $kind:ident: |$inbox:ident, $ledger:ident, $last:ident| $entries:expr;)*) => {
        $(impl ReadRequest for v1::$page {
            fn read(&self, $ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
                let page = checked(|found| {
                    found.name(&self.source_id, format_args!("source_id"));
                    let query = ListQuery::new(ListKind::$kind).text(&self.source_id);
                    PageRequest::new(query, self.page_size, &self.page_token, view, found)
                })?;
                let ($last, inbox) = (page.last.unwrap_or(0), $ledger.inbox(source($ledger, &self.source_id)?));
                let ($list, next_page_token) = inbox.map_or_else(Default::default, |$inbox| page.fill($entries));
                Ok(ReadAnswer::dependent_on($ledger.sequence(), &v1::$listed { $list, next_page_token }))
            }
        })*
    };
}

kept_messages! {
    ListParkedRequest -> ListParkedResponse { parked } by Parked: |inbox, ledger, last| {
        inbox.parked_after(last).map(|held| (held.number, kept(ledger, held)))
    };
    ListWaitingRequest -> ListWaitingResponse { waiting } by Waiting: |inbox, ledger, last| {
        inbox.waiting_after(last).map(|waiting| {
            let waits_for =
                v1::AwaitedEntity { kind: waiting.kind.name().to_owned(), name: waiting.name.to_string() };
            (waiting.held.sequence, v1::KeptMessage { waits_for: Some(waits_for), ..kept(ledger, &waiting.held) })
        })
    };
    ListDeadLettersRequest -> ListDeadLettersResponse { dead_letters } by DeadLetters: |inbox, ledger, last| {
        inbox.letters_after(last).map(|letter| {
            let rejection = Some(Refusal::from(&letter.rejection).to_rejection());
            (letter.held.sequence, v1::KeptMessage { rejection, ..kept(ledger, &letter.held) })
        })
    };
}
