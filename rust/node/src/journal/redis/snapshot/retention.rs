//! How much history before the older snapshot the stream keeps: there is no archive, and the stream takes memory of the server,
//! so it is always bounded. Trimming goes to milestones, the positions of earlier snapshots, which are stored in the state.

use crate::journal::redis::connection::keys::EntryId;
use crate::journal::snapshot_store::Retention;

/// The bytes that are kept if the retention says 0.
const BYTES_MAX: u64 = 256 << 20;
/// Milestones beyond this are thinned out.
const MILESTONES_MAX: usize = 512;

/// A position between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone {
    /// The latest id before it.
    pub id: EntryId,
    /// Time of the last frame before it, ms.
    pub time_ms: i64,
    /// Bytes of all frames before it, trimmed ones included.
    pub bytes: u64,
}

/// The milestones stored in the state, in order; the first is where the kept history begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Milestones(Vec<Milestone>);

impl Milestones {
    /// Parses what `text` wrote; anything else is treated as empty, so that rather too much is kept.
    pub fn read(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let id = EntryId::parse(words.next()?)?;
            Some(Milestone { id, time_ms: words.next()?.parse().ok()?, bytes: words.next()?.parse().ok()? })
        };
        let read: Option<Vec<Milestone>> = text.lines().map(line).collect();
        let start = Milestone { id: EntryId::default(), time_ms: 0, bytes: 0 };
        Self(read.filter(|milestones| !milestones.is_empty()).unwrap_or_else(|| vec![start]))
    }

    /// One line for each.
    pub fn text(&self) -> String {
        let line = |milestone: &Milestone| format!("{} {} {}\n", milestone.id, milestone.time_ms, milestone.bytes);
        self.0.iter().map(line).collect()
    }

    /// Where the kept history begins; `None` if that is the very first frame.
    pub fn first_kept(&self) -> Option<EntryId> {
        let begin = self.0.first()?;
        (begin.bytes > 0).then(|| begin.id.next())
    }

    /// Adds the position of the older snapshot and drops what the retention no longer covers; returns the bytes of that.
    pub fn advance(&mut self, older: Milestone, retention: Retention, now_ms: i64) -> u64 {
        let begin = self.0[0];
        self.0.retain(|milestone| milestone.id < older.id || milestone.id == begin.id);
        if begin.id < older.id {
            self.0.push(older);
        }
        let kept = self.0.len() - 1;
        let age_ms = |milestone: &Milestone| u64::try_from(now_ms.saturating_sub(milestone.time_ms)).unwrap_or(0);
        let is_old = |milestone: &Milestone| retention.archive_ms > 0 && age_ms(milestone) > retention.archive_ms;
        let old = self.0[1..].iter().take_while(|milestone| is_old(milestone)).count();
        let bytes_max = if retention.archive_bytes_max == 0 { BYTES_MAX } else { retention.archive_bytes_max };
        let fits = |milestone: &Milestone| older.bytes.saturating_sub(milestone.bytes) <= bytes_max;
        let large = self.0.iter().position(fits).unwrap_or(kept);
        self.0.drain(..large.max(old).min(kept));
        self.thin();
        self.0[0].bytes.saturating_sub(begin.bytes)
    }

    /// Drops every second one once there are too many: trimming then proceeds in larger steps.
    fn thin(&mut self) {
        if self.0.len() > MILESTONES_MAX {
            let last = self.0.len() - 1;
            let mut index = 0;
            self.0.retain(|_| {
                index += 1;
                index % 2 == 1 || index > last
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milestone(sequence: u64) -> Milestone {
        let id = EntryId { sequence, claim: 1 };
        Milestone { id, time_ms: sequence as i64 * 10, bytes: sequence * 100 }
    }

    fn after(sequences: std::ops::RangeInclusive<u64>, retention: Retention, now_ms: i64) -> (Milestones, u64) {
        let mut milestones = Milestones::read("");
        let removed = sequences.map(|sequence| milestones.advance(milestone(sequence), retention, now_ms)).sum();
        assert_eq!(Milestones::read(&milestones.text()), milestones);
        (milestones, removed)
    }

    #[test]
    fn what_is_neither_old_nor_too_much_is_kept() {
        // Age, bytes, now; where the kept history begins.
        for (archive_ms, archive_bytes_max, now_ms, begin) in [
            (0, 0, 1_000_000, 0),
            (1_000, 0, 1_010, 0),
            (1_000, 0, 1_061, 6),
            (1_000, 0, 1_000_000, 10),
            (0, 1_000, 0, 0),
            (0, 999, 0, 1),
            (0, 300, 0, 7),
            (0, 1, 0, 10),
            (1_000, 300, 1_085, 8),
            (1_000, 300, 1_061, 7),
        ] {
            let retention = Retention { archive_ms, archive_bytes_max };
            let (milestones, removed) = after(1..=10, retention, now_ms);
            let expected = (begin > 0).then(|| milestone(begin).id.next());
            assert_eq!((milestones.first_kept(), removed), (expected, begin * 100), "{retention:?} at {now_ms}");
        }
    }

    #[test]
    fn the_same_snapshot_again_changes_nothing_and_damage_keeps_everything() {
        let retention = Retention { archive_ms: 0, archive_bytes_max: 300 };
        let (mut milestones, _) = after(1..=10, retention, 0);
        let before = milestones.text();
        assert_eq!(milestones.advance(milestone(10), retention, 0), 0);
        assert_eq!(milestones.text(), before);
        assert_eq!(
            milestones.advance(milestone(9), retention, 0),
            0,
            "an older one that became the older of two again"
        );
        assert_eq!(Milestones::read("7-1 x 3\n").first_kept(), None);
    }

    #[test]
    fn their_number_is_bounded() {
        let (milestones, _) = after(1..=5_000, Retention { archive_ms: 0, archive_bytes_max: u64::MAX }, 0);
        assert!(milestones.0.len() <= MILESTONES_MAX + 1);
        assert_eq!((milestones.0[0].bytes, milestones.0.last().copied()), (0, Some(milestone(5_000))));
    }
}
