//! The size limit of the answer to a command. A command on holds whose full answer could be longer is refused before it is
//! executed, unless its caller accepts the short form: every outcome can be reported, now and to every repeat.

use crate::event::Event;
use crate::ids::{LevelIndex, ReservationId};
use crate::ledger::Ledger;
use crate::outcome::Effect;

/// Most bytes of the full answer to one command; a longer answer is given in its short form only.
pub const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Upper bounds: of a line without its names, a hold without its lines, an answer without its holds.
const LINE_BYTES: usize = 40;
const HOLD_BYTES: usize = 96;
const RECEIPT_BYTES: usize = 128;
/// This many holds and lines always fit: names have at most 512 bytes.
const FEW_ENTRIES: usize = 1_000;

/// The size of an answer, added up hold by hold.
struct AnswerSize<'l> {
    ledger: &'l Ledger,
    bytes: usize,
}

impl AnswerSize<'_> {
    fn hold(&mut self, levels: impl Iterator<Item = LevelIndex>) {
        self.bytes += HOLD_BYTES;
        for level in levels {
            let (sku, location) = self.ledger.level_names(level);
            self.bytes += LINE_BYTES + sku.len() + location.len();
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            // Expired units are not part of the answer.
            Event::Expired { .. } => {}
            Event::Extended { id, .. } => self.reserved_lines(*id),
            Event::Transferred { to_location, lines, .. } => {
                let target = self.ledger.locations().name(*to_location).len();
                self.hold(std::iter::empty());
                for line in lines.iter() {
                    // Reserved units and allocated units are separate lines.
                    let states = usize::from(line.reserved > 0) + usize::from(line.allocated > 0);
                    self.bytes += states * (LINE_BYTES + self.ledger.level_names(line.level).0.len() + target);
                }
            }
            // No other kind of event can occur many times in an answer.
            _ => {
                if let Some((_, lines)) = event.hold() {
                    self.hold(lines.units().map(|line| line.level));
                }
            }
        }
    }

    fn reserved_lines(&mut self, id: ReservationId) {
        let lines = self.ledger.reservation(id).map_or(&[][..], |reservation| &reservation.lines);
        self.hold(lines.iter().filter(|line| line.reserved > 0).map(|line| line.level));
    }

    fn fits(&self) -> bool {
        self.bytes <= ANSWER_BYTES_MAX
    }
}

impl Ledger {
    /// True if an answer that names every hold and line that a command changed takes at most [`ANSWER_BYTES_MAX`]. The same
    /// effect always gives the same result, because names never change.
    pub fn fits_in_full_answer(&self, effect: &Effect) -> bool {
        let Effect::Holds(holds) = effect else { return true };
        if is_few(holds.len(), holds.iter().map(|hold| hold.lines.len())) {
            return true;
        }
        let mut size = self.size_of_receipt();
        for hold in holds.iter() {
            size.hold(hold.lines.iter().map(|line| line.level));
        }
        size.fits()
    }

    /// True if the effect of these events, which are decided but not applied, is certain to fit in a full answer.
    pub(crate) fn will_fit_in_full_answer(&self, events: &[Event]) -> bool {
        if matches!(events.last(), Some(Event::Reserved { .. })) {
            // Holds that the new one replaces are not part of its answer, and the lines of a command are limited.
            return true;
        }
        let lines = |event: &Event| match event {
            Event::Extended { id, .. } => self.reservation(*id).map_or(0, |reservation| reservation.lines.len()),
            Event::Transferred { lines, .. } => 2 * lines.len(),
            event => event.lines().len(),
        };
        if is_few(events.len(), events.iter().map(lines)) {
            return true;
        }
        let mut size = self.size_of_receipt();
        events.iter().for_each(|event| size.event(event));
        size.fits()
    }

    fn size_of_receipt(&self) -> AnswerSize<'_> {
        AnswerSize { ledger: self, bytes: RECEIPT_BYTES }
    }
}

#[inline]
fn is_few(holds: usize, lines: impl Iterator<Item = usize>) -> bool {
    holds <= FEW_ENTRIES && holds + lines.sum::<usize>() <= FEW_ENTRIES
}
