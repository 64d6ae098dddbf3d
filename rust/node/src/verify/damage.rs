//! Explains damage: what follows it, and what a start would do with the journal.

use invengine_ledger::LedgerOptions;

use super::DamageReport;
use crate::engine::Rebuild;
use crate::journal::JournalError;
use crate::journal::inspect::{Damage, Inspection};

/// The report of damage after a position up to which everything is intact.
pub(super) fn explain(
    inspection: &mut dyn Inspection,
    damage: Damage,
    (whole_sequence, whole_time_ms): (u64, i64),
) -> Result<DamageReport, JournalError> {
    let after = inspection.after_damage(&damage)?;
    let mut rebuild = Rebuild::quiet(LedgerOptions::new(inspection.ledger()));
    let start = inspection.start(&mut rebuild);
    Ok(DamageReport {
        file: damage.file,
        offset: damage.offset,
        entry: damage.entry,
        why: damage.why,
        whole_sequence,
        whole_time_ms,
        unreadable_bytes: after.unreadable_bytes,
        frames_behind: after.frames,
        first_sequence_behind: after.first_sequence,
        last_sequence_behind: after.last_sequence,
        start_sequence: start.is_ok().then(|| rebuild.ledger.sequence()),
        start_snapshot: start.as_ref().ok().and_then(|snapshot| *snapshot),
        start_refused: start.err().map(|error| error.to_string()),
    })
}
