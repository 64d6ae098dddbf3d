//! What the stream keeps of the history behind the older snapshot: no archive besides, but memory of the server, so it is
//! always bounded. Decided at milestones, the places of earlier snapshots, which the state remembers.

use super::keys::Id;

/// Bytes that are kept unless the settings say otherwise.
const BYTES_MAX: u64 = 256 << 20;
/// Milestones beyond this are thinned out.
const MILESTONES_MAX: usize = 512;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Frames older than this go, ms; 0 is any age.
    pub archive_ms: u64,
    /// And the oldest, while there are more bytes of frames behind the older snapshot; 0 is 256 MiB.
    pub archive_bytes_max: u64,
}

/// A place between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone {
    /// The latest id before it.
    pub id: Id,
    /// Time of the last frame before it, ms.
    pub time_ms: i64,
    /// Bytes of all frames before it, trimmed ones included.
    pub bytes: u64,
}

/// The milestones that a state remembers, in order; the first is where the kept history begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Milestones(Vec<Milestone>);

impl Milestones {
    /// Reads what `text` wrote; whatever else is there counts as nothing, so that rather too much is kept.
    pub fn read(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let id = Id::parse(words.next()?)?;
            Some(Milestone { id, time_ms: words.next()?.parse().ok()?, bytes: words.next()?.parse().ok()? })
        };
        let read: Option<Vec<Milestone>> = text.lines().map(line).collect();
        let start = Milestone { id: Id::default(), time_ms: 0, bytes: 0 };
        Self(read.filter(|milestones| !milestones.is_empty()).unwrap_or_else(|| vec![start]))
    }

    /// One line for each.
    pub fn text(&self) -> String {
        let line = |milestone: &Milestone| format!("{} {} {}\n", milestone.id, milestone.time_ms, milestone.bytes);
        self.0.iter().map(line).collect()
    }

    /// Where the kept history begins; nothing if that is the first frame of all.
    pub fn first_kept(&self) -> Option<Id> {
        let begin = self.0.first()?;
        (begin.bytes > 0).then(|| begin.id.next())
    }

    /// Takes the place of the older snapshot and gives up what the retention no longer covers; answers the bytes of that.
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

    /// Drops every second one once there are too many: what goes then goes in larger steps.
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
        let id = Id { sequence, claim: 1 };
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
    fn there_are_never_many() {
        let (milestones, _) = after(1..=5_000, Retention { archive_ms: 0, archive_bytes_max: u64::MAX }, 0);
        assert!(milestones.0.len() <= MILESTONES_MAX + 1);
        assert_eq!((milestones.0[0].bytes, milestones.0.last().copied()), (0, Some(milestone(5_000))));
    }
}
