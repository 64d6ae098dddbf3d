//! Positions: which writer wrote which event. A sequence alone names an event only until a restore; writer epochs only rise, and
//! a restore claims one above all that the lost original can have reached, so that writer epoch and sequence together name one
//! event of one history for ever.
//!
//! What a start has seen of its journal is enough to judge most of them without reading it again.

/// The place of an event in the history of its ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventPosition {
    /// Epoch of the writer that wrote it.
    pub writer_epoch: u64,
    /// Its sequence.
    pub sequence: u64,
}

impl EventPosition {
    /// Before the first event.
    pub const START: Self = EventPosition { writer_epoch: 0, sequence: 0 };
}

/// What a history says of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is one of its events.
    Here,
    /// It is not. This is the newest event that is certainly in both histories.
    Elsewhere(EventPosition),
    /// It is older than what this start has seen.
    TooOld,
}

/// The last event of each writer, as far as a start has seen them.
#[derive(Clone, Debug, Default)]
pub struct EventEpochs {
    /// Oldest first; both numbers rise.
    last: Vec<EventPosition>,
    /// The first of them is that of a snapshot: nothing before it is known.
    is_cut: bool,
    /// The writer of this start, which writes whatever comes.
    writer_epoch: u64,
}

impl EventEpochs {
    /// Begins with the state of a snapshot whose last event this is.
    pub fn behind(event: EventPosition) -> Self {
        let is_cut = event.sequence > 0;
        EventEpochs { last: if is_cut { vec![event] } else { Vec::new() }, is_cut, writer_epoch: 0 }
    }

    /// Takes the last event of the next frame.
    pub fn push(&mut self, event: EventPosition) {
        match self.last.last_mut() {
            Some(last) if last.writer_epoch == event.writer_epoch => *last = event,
            _ => self.last.push(event),
        }
    }

    /// Ends with the claim of this start: its writer writes whatever comes.
    pub fn claimed(self, writer_epoch: u64) -> Self {
        EventEpochs { writer_epoch, ..self }
    }

    /// The position of the event with this sequence, the newest one or the newest that is durable.
    pub fn newest(&self, sequence: u64) -> EventPosition {
        match self.last.last() {
            Some(last) if sequence <= last.sequence => *last,
            None if sequence == 0 => EventPosition::START,
            _ => EventPosition { writer_epoch: self.writer_epoch, sequence },
        }
    }

    /// Judges a position of a history that ends with `newest`.
    ///
    /// Histories part where one of them gets a writer that the other one has not. The newer history is the one with the higher
    /// epochs, so all that an older epoch wrote in it came before the parting: the last event of the newest writer here that is
    /// not newer than the position's is in both. Where the position's writer is newer than any here, or an older writer wrote the
    /// event of that number here, it is this history that was left, nobody knows when: only the beginning is certain.
    pub fn judge(&self, position: EventPosition, newest: EventPosition) -> Known {
        if position == EventPosition::START {
            return Known::Here;
        }
        if position.writer_epoch > self.writer_epoch {
            return Known::Elsewhere(EventPosition::START);
        }
        let goes_on = self.last.last().is_none_or(|last| last.sequence < newest.sequence);
        let all = self.last.iter().copied().chain(goes_on.then_some(newest));
        let (mut before, mut found) = (EventPosition::START, None);
        for last in all.take_while(|last| last.writer_epoch <= position.writer_epoch) {
            before = found.replace(last).unwrap_or_default();
        }
        match found {
            None if self.is_cut => Known::TooOld,
            Some(last) if position.sequence > last.sequence => Known::Elsewhere(last),
            Some(last) if position.writer_epoch == last.writer_epoch && position.sequence > before.sequence => {
                Known::Here
            }
            _ => Known::Elsewhere(EventPosition::START),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(writer_epoch: u64, sequence: u64) -> EventPosition {
        EventPosition { writer_epoch, sequence }
    }

    /// Writers 2 and 5 wrote up to 10 and 20, the writer of this start, 9, up to 25.
    fn judged(epochs: EventEpochs, position: EventPosition) -> Known {
        let epochs = epochs.claimed(9);
        epochs.judge(position, epochs.newest(25))
    }

    fn whole() -> EventEpochs {
        let mut epochs = EventEpochs::default();
        [at(2, 4), at(2, 10), at(5, 11), at(5, 20)].into_iter().for_each(|event| epochs.push(event));
        epochs
    }

    fn cut() -> EventEpochs {
        let mut epochs = EventEpochs::behind(at(2, 10));
        epochs.push(at(5, 20));
        epochs
    }

    #[test]
    fn a_position_is_judged_by_who_wrote_what() {
        use Known::{Elsewhere, Here, TooOld};
        let start = EventPosition::START;
        for (position, expected, if_cut) in [
            (start, Here, Here),
            (at(2, 1), Here, Here),
            (at(2, 10), Here, Here),
            (at(5, 11), Here, Here),
            (at(9, 25), Here, Here),
            // The reader's history went on where this one was restored, or lost its end.
            (at(2, 11), Elsewhere(at(2, 10)), Elsewhere(at(2, 10))),
            (at(3, 31), Elsewhere(at(2, 10)), Elsewhere(at(2, 10))),
            (at(7, 22), Elsewhere(at(5, 20)), Elsewhere(at(5, 20))),
            (at(9, 26), Elsewhere(at(9, 25)), Elsewhere(at(9, 25))),
            // Older than all writers that a snapshot has left.
            (at(1, 3), Elsewhere(start), TooOld),
            // An older writer wrote that event here.
            (at(5, 10), Elsewhere(start), Elsewhere(start)),
            (at(7, 15), Elsewhere(start), Elsewhere(start)),
            (at(9, 20), Elsewhere(start), Elsewhere(start)),
            // A newer writer than any that was here.
            (at(11, 40), Elsewhere(start), Elsewhere(start)),
        ] {
            assert_eq!(judged(whole(), position), expected, "{position:?}");
            assert_eq!(judged(cut(), position), if_cut, "{position:?} behind a snapshot");
        }
    }

    #[test]
    fn the_newest_position_is_that_of_an_event_and_not_of_a_claim() {
        let nothing = EventEpochs::behind(EventPosition::START).claimed(4);
        assert_eq!(nothing.newest(0), EventPosition::START);
        assert_eq!(nothing.newest(3), at(4, 3));
        assert_eq!(nothing.judge(at(1, 1), at(4, 3)), Known::Elsewhere(EventPosition::START));
        assert_eq!(whole().claimed(9).newest(20), at(5, 20));
        assert_eq!(whole().claimed(9).newest(21), at(9, 21));
    }
}
