//! What changed a level, newest first. The journal is read part by part, the last one first, each forwards and longer than the
//! one before; only the changes of the level that a page has room for are kept. The quantities before a change follow from those after it, beginning
//! with the present ones, so nothing has to be folded.
//!
//! One kind of event does not say by how much it changed the reserved units: an amendment has the new units of its hold. What the
//! hold had before follows from its earlier events, which are looked for in the same way.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use invengine_ledger::{
    Event, LevelChange, LevelFigures, LevelPlace, OneOrMany, Record, RecordReader, ReservationId, ReservedChange,
};
use invengine_wire::v1;
use prost::Message;

use super::ReadLimit;
use crate::engine::events::{unreadable, unreadable_journal};
use crate::engine::{Call, Shared};
use crate::journal::{Frame, JournalError, JournalReader};
use crate::positions::EventPosition;
use crate::refusal::Refusal;
use crate::translate::history::{FoundChange, HistoryPlace, HistoryQuestion};

/// How long a call searches before it answers what it has found.
const SEARCH_TIME: Duration = Duration::from_secs(10);
/// Events of the first part of a search: a level that changes often has a page of changes among them.
const PART_FIRST: u64 = 16_384;
/// Each further part has so many times more.
const PART_GROWTH: u64 = 8;
/// Most events of a part: to begin in the middle of a file costs reading what is before.
const PART_MAX: u64 = 1 << 20;

/// A change as it is found: its reserved units may not be known yet.
struct Change {
    at: EventPosition,
    time_ms: i64,
    payload: Vec<u8>,
    change: LevelChange,
    hold: Option<ReservationId>,
    /// By how much the reserved units changed, once that is known.
    reserved: Option<i64>,
}

/// An event of the journal with its place.
struct PlacedEvent<'e> {
    at: EventPosition,
    record: &'e Record<'e>,
    event: &'e Event,
}

/// The search for the changes of one level.
struct LevelSearch<'s> {
    place: LevelPlace,
    reader: Box<dyn JournalReader>,
    limit: ReadLimit<'s>,
    /// The sequence up to which the journal is still to be searched.
    end: u64,
    /// Whether what comes before is no longer kept.
    is_trimmed: bool,
}

/// The lengths of the parts of a search, from the newest events back.
struct PartLengths(u64);

impl PartLengths {
    fn new() -> Self {
        PartLengths(PART_FIRST)
    }

    /// The first sequence of the next part, which ends with this one.
    fn start(&mut self, end: u64) -> u64 {
        let events = self.0;
        self.0 = (events * PART_GROWTH).min(PART_MAX);
        end.saturating_sub(events - 1).max(1)
    }
}

impl Shared {
    /// Answers a ListInventoryHistory.
    ///
    /// # Errors
    /// A field is invalid, a name is unknown, or it takes too long.
    pub(in crate::engine) fn inventory_history(&self, call: &Call<'_>, moment: Instant) -> Result<Vec<u8>, Refusal> {
        let request = v1::ListInventoryHistoryRequest::decode(call.payload).map_err(|_| Refusal::malformed())?;
        let question = HistoryQuestion::of(request, self.durable_view())?;
        let limit = ReadLimit::of(self, call, moment);
        let search_until = moment + SEARCH_TIME.min(limit.until.saturating_duration_since(moment) / 4 * 3);
        let (ledger, core) = (&*self.facts.ledger, self.core());
        let level = question.level(&core.ledger)?;
        let Some((place, level)) = level.and_then(|level| Some((core.ledger.place_of(level)?, level))) else {
            return Ok(question.answer(Vec::new(), None, (ledger, 1)).encode_to_vec());
        };
        let sequence = core.ledger.sequence();
        // By events alone: what has expired by now counts as reserved until its event.
        let figures = core.ledger.figures(level, i64::MIN);
        drop(core);
        let now = HistoryPlace { before: sequence + 1, figures: Some(figures) };
        let begin = question.place(level).unwrap_or(now);
        let _turn = self.history.turn(limit.until)?;
        limit.durable(begin.before - 1, call.path)?;
        let reader = self.journal().reader().map_err(unreadable)?;
        let mut search = LevelSearch { place, reader, limit, end: begin.before.saturating_sub(1), is_trimmed: false };
        let changes = search.find(question.size(), search_until)?;
        let (lines, figures) = told(changes, begin.figures);
        let next = search.next(&lines, question.size(), figures);
        let shaped = lines.into_iter().map(|line| Ok((self.shaped(&line)?, line)));
        let lines = shaped.map(|each| each.map(|(shaped, line)| (line, shaped))).collect::<Result<_, Refusal>>()?;
        let answer = question.answer(lines, next, (ledger, search.first_sequence()));
        self.still_ours(call.path, answer.encode_to_vec())
    }

    /// A line with its names. The ledger is locked for one line at a time.
    fn shaped(&self, line: &FoundChange) -> Result<v1::InventoryHistoryLine, Refusal> {
        line.shaped(&self.core().ledger).ok_or_else(|| unreadable("a change of a level"))
    }
}

/// The changes with the quantities before and after each, and those before the last one.
fn told(changes: Vec<Change>, now: Option<LevelFigures>) -> (Vec<FoundChange>, Option<LevelFigures>) {
    let mut figures = now;
    let mut line = |found: Change| {
        let after = figures;
        figures = after.zip(found.reserved).map(|(after, reserved)| after.before(&found.change, reserved));
        FoundChange { at: found.at, time_ms: found.time_ms, payload: found.payload, before: figures, after }
    };
    let lines = changes.into_iter().map(&mut line).collect();
    (lines, figures)
}

impl LevelSearch<'_> {
    /// The newest changes up to `end`, newest first, at most `count`; fewer if the time ends.
    fn find(&mut self, count: usize, until: Instant) -> Result<Vec<Change>, Refusal> {
        let (mut changes, mut lengths) = (Vec::new(), PartLengths::new());
        while changes.len() < count && self.end > 0 && !self.is_trimmed && Instant::now() < until {
            let wanted = count - changes.len();
            // The last ones of the part are the newest.
            let mut newest: VecDeque<Change> = VecDeque::new();
            let place = self.place.clone();
            let start = self.read_part(lengths.start(self.end), self.end, &mut |placed| {
                if let Some(change) = placed.event.change_at(&place) {
                    if newest.len() == wanted {
                        newest.pop_front();
                    }
                    newest.push_back(Change::of(placed, change, &place));
                }
            })?;
            changes.extend(newest.into_iter().rev());
            self.note_part(start);
        }
        self.resolve(&mut changes)?;
        Ok(changes)
    }

    fn note_part(&mut self, start: Option<u64>) {
        match start {
            Some(start) => self.end = start - 1,
            None => self.is_trimmed = true,
        }
    }

    /// Where the next page begins; `None` if there is nothing before these changes.
    fn next(&self, lines: &[FoundChange], count: usize, figures: Option<LevelFigures>) -> Option<HistoryPlace> {
        match lines.last() {
            Some(last) if lines.len() == count && last.at.sequence > 1 => {
                Some(HistoryPlace { before: last.at.sequence, figures })
            }
            _ if lines.len() == count || self.end == 0 || self.is_trimmed => None,
            _ => Some(HistoryPlace { before: self.end + 1, figures }),
        }
    }

    /// The first sequence that is kept, if the search has come so far.
    fn first_sequence(&self) -> u64 {
        if self.is_trimmed { self.end + 1 } else { 1 }
    }

    /// Finds out by how much amendments changed the reserved units: from the earlier events of their holds, back to one that
    /// says how many these had. What is no longer kept stays unknown.
    fn resolve(&mut self, changes: &mut [Change]) -> Result<(), Refusal> {
        // By hold and sequence: which change it is. `open` has those whose hold is followed back into earlier parts.
        let mut amended: HashMap<(ReservationId, u64), usize> = HashMap::new();
        for (index, change) in changes.iter().enumerate() {
            if let (ReservedChange::To(_), Some(hold)) = (change.change.reserved, change.hold) {
                amended.insert((hold, change.at.sequence), index);
            }
        }
        let mut open: Vec<(usize, ReservationId, i64)> = Vec::new();
        let mut end = amended.keys().map(|(_, sequence)| *sequence).max().unwrap_or(0);
        let (place, mut lengths) = (self.place.clone(), PartLengths::new());
        while end > 0 && !(amended.is_empty() && open.is_empty()) {
            let holds = amended.keys().map(|(hold, _)| *hold).chain(open.iter().map(|(_, hold, _)| *hold));
            let mut held: HashMap<_, _> = holds.map(|hold| (hold, HeldUnits::default())).collect();
            let mut opened = Vec::new();
            let start = self.read_part(lengths.start(end), end, &mut |placed| {
                let Some((id, _)) = placed.event.hold() else { return };
                let Some(held) = held.get_mut(&id) else { return };
                if let Some(index) = amended.remove(&(id, placed.at.sequence)) {
                    match held.known() {
                        Some(before) => changes[index].note_before(before),
                        None => opened.push((index, id, held.changed)),
                    }
                }
                held.apply(placed.event, &place);
            })?;
            open.retain_mut(|(index, hold, changed)| {
                let held = held.get(hold).copied().unwrap_or_default();
                *changed += held.changed;
                let known = held.is_known;
                if known {
                    changes[*index].note_before(*changed);
                }
                !known
            });
            open.extend(opened);
            match start {
                Some(start) => end = start - 1,
                None => break,
            }
        }
        Ok(())
    }

    /// Passes the events of a part to `visit`, in order, and returns the first sequence that is kept of it; `None` if nothing is.
    fn read_part(
        &mut self,
        mut start: u64,
        end: u64,
        visit: &mut dyn FnMut(&PlacedEvent<'_>),
    ) -> Result<Option<u64>, Refusal> {
        loop {
            let (limit, mut failed, mut began) = (self.limit, None, false);
            let read = self.reader.read_from(start, &mut |frame| {
                if frame.first_sequence > end {
                    return false;
                }
                began = true;
                let read = limit.check().and_then(|()| each_event(&frame, start..=end, &mut *visit));
                failed = read.err();
                failed.is_none() && frame.last_sequence < end
            });
            if let Some(refusal) = failed {
                return Err(refusal);
            }
            match read {
                Ok(()) => return Ok(Some(start)),
                Err(JournalError::Trimmed { first_sequence, .. }) if first_sequence > end && !began => return Ok(None),
                // The part begins before what is kept.
                Err(JournalError::Trimmed { first_sequence, .. }) if first_sequence > start && !began => {
                    start = first_sequence;
                }
                Err(error) => return Err(unreadable_journal(error)),
            }
        }
    }
}

/// Calls `visit` with every event of a frame whose sequence is in a range.
fn each_event(
    frame: &Frame<'_>,
    wanted: std::ops::RangeInclusive<u64>,
    visit: &mut dyn FnMut(&PlacedEvent<'_>),
) -> Result<(), Refusal> {
    if frame.is_claim() {
        return Ok(());
    }
    let mut records = RecordReader::new(frame.payload, frame.time_ms).map_err(unreadable)?;
    let (mut sequence, mut record) = (frame.first_sequence, Record::default());
    while records.read(&mut record).map_err(unreadable)? {
        for event in record.events.iter() {
            if wanted.contains(&sequence) {
                let at = EventPosition { writer_epoch: frame.writer_epoch, sequence };
                visit(&PlacedEvent { at, record: &record, event });
            }
            sequence += 1;
        }
    }
    Ok(())
}

impl Change {
    fn of(placed: &PlacedEvent<'_>, change: LevelChange, place: &LevelPlace) -> Self {
        let Record { time_ms, origin, .. } = *placed.record;
        let alone = Record { time_ms, origin, events: OneOrMany::One(placed.event.only_at(place)) };
        let reserved = match change.reserved {
            ReservedChange::By(units) => Some(units),
            ReservedChange::To(_) => None,
        };
        let hold = placed.event.hold().map(|(id, _)| id);
        Change { at: placed.at, time_ms, payload: alone.payload(time_ms), change, hold, reserved }
    }

    /// Notes how many units its hold had reserved before it.
    fn note_before(&mut self, before: i64) {
        if let ReservedChange::To(units) = self.change.reserved {
            self.reserved = Some(units - before);
        }
    }
}

/// What a hold has reserved on the level, as far as the events of a part tell.
#[derive(Clone, Copy, Default)]
struct HeldUnits {
    /// Whether an event of the part said how many; else `changed` is the change since its beginning.
    is_known: bool,
    changed: i64,
}

impl HeldUnits {
    fn known(self) -> Option<i64> {
        self.is_known.then_some(self.changed)
    }

    fn apply(&mut self, event: &Event, place: &LevelPlace) {
        let change = event.change_at(place).map(|change| change.reserved);
        match change {
            // Before it was made, a hold had nothing anywhere.
            _ if matches!(event, Event::Reserved { .. }) => {
                let units = change.map_or(0, |change| match change {
                    ReservedChange::By(units) | ReservedChange::To(units) => units,
                });
                *self = HeldUnits { is_known: true, changed: units };
            }
            Some(ReservedChange::To(units)) => *self = HeldUnits { is_known: true, changed: units },
            Some(ReservedChange::By(units)) => self.changed += units,
            None => {}
        }
    }
}
