//! Coverage marks: rare branches that a long run must have hit.

macro_rules! marks {
    ($($mark:ident $name:literal)*) => {
        /// A rare branch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each has its name below")]
        pub enum Mark { $($mark),* }

        impl Mark {
            /// All marks.
            pub const ALL: &[Mark] = &[$(Mark::$mark),*];

            /// Its name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Mark::$mark => $name),* }
            }
        }
    };
}

marks! {
    AnsweredFenced "answered_fenced"
    AnsweredJournalFull "answered_journal_full"
    AnsweredUnknown "answered_outcome_unknown"
    AnsweredGap "answered_sequence_gap"
    AnsweredExpired "answered_dedupe_window_expired"
    AnsweredConsumed "answered_sequence_consumed"
    AnsweredStaleEpoch "answered_stale_epoch"
    AnsweredKeyReused "answered_key_reused"
    AnsweredNotAuthoritative "answered_not_authoritative"
    Claimed "number_claimed"
    CountedLate "late_count_claimed"
    Echoed "echo_recorded"
    FoundUnacknowledged "frame_found_that_nobody_was_told_of"
    OwnerDeposed "owner_deposed"
    LockedOut "second_owner_locked_out"
    WorkSuspended "work_took_time"
    TailRestored "tail_appended_again"
    LostByDesign "loss_that_the_mode_allows"
    OpenFailed "open_failed"
    DamageDetected "damage_detected"
    SnapshotWritten "snapshot_written"
    SnapshotFailed "snapshot_failed"
    SnapshotLoaded "recovered_from_a_snapshot"
    OlderSnapshot "recovered_past_a_bad_snapshot"
}

/// Number of marks.
pub const MARKS: usize = Mark::ALL.len();

impl Mark {
    /// The mark of a refusal's reason.
    pub fn of_reason(reason: &str) -> Option<Self> {
        Some(match reason {
            "FENCED" => Mark::AnsweredFenced,
            "JOURNAL_FULL" => Mark::AnsweredJournalFull,
            "OUTCOME_UNKNOWN" => Mark::AnsweredUnknown,
            "SEQUENCE_GAP" => Mark::AnsweredGap,
            "DEDUPE_WINDOW_EXPIRED" => Mark::AnsweredExpired,
            "SEQUENCE_CONSUMED" => Mark::AnsweredConsumed,
            "STALE_EPOCH" => Mark::AnsweredStaleEpoch,
            "IDEMPOTENCY_KEY_REUSED" => Mark::AnsweredKeyReused,
            "NOT_AUTHORITATIVE" => Mark::AnsweredNotAuthoritative,
            _ => return None,
        })
    }
}

/// How often each mark was hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks([u64; MARKS]);

impl Marks {
    /// Counts a hit.
    pub fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// How often a mark was hit.
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Marks) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}
