//! Explains a damage: what lies behind it, and what a start would make of the journal.

use invengine_ledger::LedgerOptions;

use super::DamageReport;
use crate::engine::Rebuild;
use crate::journal::JournalError;
use crate::journal::survey::{Damage, Survey};

/// The report of a damage behind a place up to which everything is whole.
pub(super) fn explain(
    survey: &mut dyn Survey,
    damage: Damage,
    (whole_sequence, whole_time_ms): (u64, i64),
) -> Result<DamageReport, JournalError> {
    let behind = survey.behind(&damage)?;
    let mut rebuild = Rebuild::quiet(LedgerOptions::new(survey.ledger()));
    let start = survey.start(&mut rebuild);
    Ok(DamageReport {
        file: damage.file,
        offset: damage.offset,
        entry: damage.entry,
        why: damage.why,
        whole_sequence,
        whole_time_ms,
        unreadable_bytes: behind.unreadable_bytes,
        frames_behind: behind.frames,
        first_sequence_behind: behind.first_sequence,
        last_sequence_behind: behind.last_sequence,
        start_sequence: start.is_ok().then(|| rebuild.ledger.sequence()),
        start_snapshot: start.as_ref().ok().and_then(|snapshot| *snapshot),
        start_refused: start.err().map(|error| error.to_string()),
    })
}
