//! Positions: which writer wrote which event. A sequence alone identifies an event only until a restore. Writer epochs
//! only rise, and a restore claims one above every epoch that the lost original can have reached, so writer epoch and
//! sequence together identify one event of one history for ever.
//!
//! What a start has seen of its journal is enough to classify most positions without reading it again.

/// The position of an event in the history of its ledger.
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

/// Whether a position belongs to a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionStatus {
    /// It is one of the history's events.
    InHistory,
    /// It is not. The value is the newest event that is certainly in both histories.
    Diverged(EventPosition),
    /// It is older than anything that this start has seen.
    TooOld,
}

/// The last event of each writer, as far back as a start has seen them.
#[derive(Clone, Debug, Default)]
pub struct EventEpochs {
    /// Oldest first; epochs and sequences both rise.
    last: Vec<EventPosition>,
    /// The first of them comes from a snapshot: nothing before it is known.
    is_cut: bool,
    /// The writer epoch of this start, which writes all further events.
    writer_epoch: u64,
}

impl EventEpochs {
    /// Begins with a snapshot whose last event this is.
    pub fn behind(event: EventPosition) -> Self {
        let is_cut = event.sequence > 0;
        EventEpochs { last: if is_cut { vec![event] } else { Vec::new() }, is_cut, writer_epoch: 0 }
    }

    /// Adds the last event of the next frame.
    pub fn push(&mut self, event: EventPosition) {
        match self.last.last_mut() {
            Some(last) if last.writer_epoch == event.writer_epoch => *last = event,
            _ => self.last.push(event),
        }
    }

    /// Ends with the claim of this start, which writes all further events.
    pub fn claimed(self, writer_epoch: u64) -> Self {
        EventEpochs { writer_epoch, ..self }
    }

    /// The position of the event with this sequence, which must be the newest event or the newest durable one.
    pub fn newest(&self, sequence: u64) -> EventPosition {
        match self.last.last() {
            Some(last) if sequence <= last.sequence => *last,
            None if sequence == 0 => EventPosition::START,
            _ => EventPosition { writer_epoch: self.writer_epoch, sequence },
        }
    }

    /// Classifies a position against the history that ends with `newest`.
    ///
    /// Histories diverge where one of them gets a writer that the other does not have. The newer history is the one
    /// with the higher epochs, so everything that an older epoch wrote in it came before the divergence: the last event
    /// of the newest writer here that is not newer than the position's writer is in both. If the position's writer is
    /// newer than any here, or an older writer wrote the event with that sequence here, then it is this history that
    /// was abandoned, at an unknown point: only the start is certainly common.
    pub fn classify(&self, position: EventPosition, newest: EventPosition) -> PositionStatus {
        if position == EventPosition::START {
            return PositionStatus::InHistory;
        }
        if position.writer_epoch > self.writer_epoch {
            return PositionStatus::Diverged(EventPosition::START);
        }
        let goes_on = self.last.last().is_none_or(|last| last.sequence < newest.sequence);
        let all = self.last.iter().copied().chain(goes_on.then_some(newest));
        let (mut before, mut found) = (EventPosition::START, None);
        for last in all.take_while(|last| last.writer_epoch <= position.writer_epoch) {
            before = found.replace(last).unwrap_or_default();
        }
        match found {
            None if self.is_cut => PositionStatus::TooOld,
            Some(last) if position.sequence > last.sequence => PositionStatus::Diverged(last),
            Some(last) if position.writer_epoch == last.writer_epoch && position.sequence > before.sequence => {
                PositionStatus::InHistory
            }
            _ => PositionStatus::Diverged(EventPosition::START),
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
    fn classified(epochs: EventEpochs, position: EventPosition) -> PositionStatus {
        let epochs = epochs.claimed(9);
        epochs.classify(position, epochs.newest(25))
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
    fn a_position_is_classified_by_who_wrote_what() {
        use PositionStatus::{Diverged, InHistory, TooOld};
        let start = EventPosition::START;
        for (position, expected, if_cut) in [
            (start, InHistory, InHistory),
            (at(2, 1), InHistory, InHistory),
            (at(2, 10), InHistory, InHistory),
            (at(5, 11), InHistory, InHistory),
            (at(9, 25), InHistory, InHistory),
            // The reader's history continued where this one was restored, or lost its end.
            (at(2, 11), Diverged(at(2, 10)), Diverged(at(2, 10))),
            (at(3, 31), Diverged(at(2, 10)), Diverged(at(2, 10))),
            (at(7, 22), Diverged(at(5, 20)), Diverged(at(5, 20))),
            (at(9, 26), Diverged(at(9, 25)), Diverged(at(9, 25))),
            // Older than all writers that are known after a snapshot.
            (at(1, 3), Diverged(start), TooOld),
            // An older writer wrote that event here.
            (at(5, 10), Diverged(start), Diverged(start)),
            (at(7, 15), Diverged(start), Diverged(start)),
            (at(9, 20), Diverged(start), Diverged(start)),
            // A newer writer than any that was here.
            (at(11, 40), Diverged(start), Diverged(start)),
        ] {
            assert_eq!(classified(whole(), position), expected, "{position:?}");
            assert_eq!(classified(cut(), position), if_cut, "{position:?} after a snapshot");
        }
    }

    #[test]
    fn the_newest_position_is_that_of_an_event_and_not_of_a_claim() {
        let nothing = EventEpochs::behind(EventPosition::START).claimed(4);
        assert_eq!(nothing.newest(0), EventPosition::START);
        assert_eq!(nothing.newest(3), at(4, 3));
        assert_eq!(nothing.classify(at(1, 1), at(4, 3)), PositionStatus::Diverged(EventPosition::START));
        assert_eq!(whole().claimed(9).newest(20), at(5, 20));
        assert_eq!(whole().claimed(9).newest(21), at(9, 21));
    }
}
