//! Loads every snapshot of a journal, and compares it with the fold of the journal where that passes its position.

use invengine_ledger::{Ledger, LedgerOptions};

use super::SnapshotReport;
use super::fold::Fold;
use crate::engine::Rebuild;
use crate::journal::inspect::{Inspection, StoredSnapshot};
use crate::journal::{JournalError, JournalPosition, Manifest, Replay};

/// The report and the digest of a snapshot that was loaded; its state is dropped.
pub(super) struct Loaded {
    pub report: SnapshotReport,
    digest: String,
}

/// The state that a journal without its beginning is folded from.
pub(super) struct Base {
    pub position: JournalPosition,
    pub ledger: Ledger,
}

/// Loads all snapshots, one after the other; keeps the state of the oldest good one if the journal lacks its beginning.
pub(super) fn load_all(inspection: &mut dyn Inspection) -> Result<(Vec<Loaded>, Option<Base>), JournalError> {
    let (mut all, mut base) = (Vec::new(), None);
    for stored in inspection.snapshots()? {
        let loaded = stored.manifest.clone().and_then(|manifest| {
            let ledger = load(inspection, &stored, &manifest)?;
            Ok((manifest, ledger))
        });
        if loaded.is_err() && inspection.is_gone(&stored.name) {
            continue;
        }
        all.push(Loaded::of(&stored, loaded.as_ref().map(|(manifest, _)| manifest).map_err(Clone::clone)));
        if let Ok((manifest, ledger)) = loaded
            && base.is_none()
            && !inspection.has_head()
            && manifest.position.sequence() + 1 >= inspection.first_sequence()
        {
            base = Some(Base { position: manifest.position, ledger });
        }
    }
    Ok((all, base))
}

/// The state of a snapshot, if it is the one that its manifest describes.
fn load(inspection: &mut dyn Inspection, stored: &StoredSnapshot, manifest: &Manifest) -> Result<Ledger, String> {
    let mut rebuild = Rebuild::quiet(LedgerOptions::new(inspection.ledger()));
    rebuild.begin(manifest);
    inspection.read(&stored.name, manifest, &mut |piece| rebuild.piece(piece)).map_err(|error| error.to_string())?;
    rebuild.end(manifest)?;
    Ok(rebuild.ledger)
}

impl Loaded {
    fn of(stored: &StoredSnapshot, loaded: Result<&Manifest, String>) -> Self {
        let known = stored.manifest.as_ref().ok();
        let report = SnapshotReport {
            name: stored.name.clone(),
            sequence: known.map_or(0, |manifest| manifest.position.sequence()),
            bytes: known.map_or(0, |manifest| manifest.bytes),
            compared: false,
            bad: loaded.err(),
        };
        Loaded { report, digest: known.map_or_else(String::new, |manifest| manifest.digest.clone()) }
    }

    /// Compares the digest with that of the fold at the same position.
    pub fn compare(&mut self, fold: &Fold) {
        let Some(folded) = fold.digest_at(self.report.sequence).filter(|_| self.report.bad.is_none()) else { return };
        self.report.compared = true;
        if folded != self.digest {
            let why = format!("its digest is {}, that of the journal at its position {folded}", self.digest);
            self.report.bad = Some(why);
        }
    }
}
