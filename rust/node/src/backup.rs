//! Backups on real directories, of a journal in files or in Redis: made beside a running server, restored above every epoch
//! that the lost original may have reached, with a report for those who must send again what it had seen since.

use std::path::Path;
use std::sync::Arc;

use invengine_ledger::{Ledger, LedgerOptions, Source};
use serde::Serialize;

use crate::engine::{EngineSettings, JournalKind, Rebuild, redis_options, wall_ms};
use crate::journal::backup::{
    BackupManifest, Restoring, Taken, check, check_backup_target, check_restore_target, copy_redis, install_in_redis,
    ledger_of, other_state, read_manifest, rebuild_backup,
};
use crate::journal::redis::ground::{Ground, Machine};
use crate::journal::redis::{RedisSource, RedisTarget};
use crate::journal::storage::{Directory, Storage};
use crate::journal::survey::look_again;
use crate::journal::{FileOptions, JournalError, RedisOptions};

/// Starts and set-asides that the lost original may have had beyond the epoch of the backup.
const EPOCHS_UNSEEN: u64 = 1 << 17;
/// Epochs are part of reservation ids, as 32 bits; some are left for restarts.
const EPOCH_MAX: u64 = u32::MAX as u64 - EPOCHS_UNSEEN;

/// What a backup holds.
#[derive(Debug, Serialize)]
pub struct BackupReport {
    /// The manifest's facts.
    #[serde(flatten)]
    pub manifest: BackupFacts,
    /// Snapshots that could not be used, in words.
    pub notes: Vec<String>,
}

/// A manifest without its list of files.
#[derive(Debug, Serialize)]
pub struct BackupFacts {
    /// The ledger.
    pub ledger: String,
    /// Sequence of the last event.
    pub sequence: u64,
    /// Writer epoch of the last frame.
    pub writer_epoch: u64,
    /// Engine time of the last frame, ms.
    pub time_ms: i64,
    /// Digest of the state at that sequence.
    pub digest: String,
    /// Where its snapshot stands, if it has one.
    pub snapshot_sequence: Option<u64>,
    /// When it was made, ms since 1970.
    pub created_ms: i64,
    /// Number of files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What a restore brought back, and who must hear of it.
#[derive(Debug, Serialize)]
pub struct RestoreReport {
    /// What the backup held.
    #[serde(flatten)]
    pub backup: BackupFacts,
    /// The writer epoch it is raised to; the next server has a higher one.
    pub restored_epoch: u64,
    /// Where every source goes on.
    pub sources: Vec<SourcePlace>,
    /// What people should hear of, in words.
    pub notes: Vec<String>,
}

/// Where a source stands after a restore.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct SourcePlace {
    /// Its name.
    pub source: String,
    /// Its epoch in force.
    pub epoch: u64,
    /// The last message applied.
    pub last_sequence: u64,
    /// The message to send next.
    pub expected_sequence: u64,
}

impl SourcePlace {
    fn of(source: &Source) -> Self {
        let (epoch, last_sequence) = (source.epoch, source.last);
        SourcePlace { source: source.name.to_string(), epoch, last_sequence, expected_sequence: last_sequence + 1 }
    }
}

impl From<&BackupManifest> for BackupFacts {
    fn from(manifest: &BackupManifest) -> Self {
        BackupFacts {
            ledger: manifest.ledger.clone(),
            sequence: manifest.sequence,
            writer_epoch: manifest.writer_epoch,
            time_ms: manifest.time_ms,
            digest: manifest.digest.clone(),
            snapshot_sequence: manifest.snapshot_sequence,
            created_ms: manifest.created_ms,
            files: manifest.files.len(),
            bytes: manifest.bytes,
        }
    }
}

/// Backs up the journal of these settings.
///
/// # Errors
/// As `create` and `create_from_redis`; there is none in memory.
pub fn create_for(settings: &EngineSettings, backup: &Path, archive: bool) -> Result<BackupReport, JournalError> {
    match settings.journal {
        JournalKind::File => create(&settings.directory, backup, archive),
        JournalKind::Redis => create_from_redis(&redis_options(settings), backup, archive),
        JournalKind::Memory => Err(not_kept()),
    }
}

/// Restores a backup where an engine with these settings will find it.
///
/// # Errors
/// As `restore` and `restore_into_redis`; not into memory.
pub fn restore_for(
    backup: &Path,
    settings: &EngineSettings,
    writer_epoch_min: u64,
) -> Result<RestoreReport, JournalError> {
    match settings.journal {
        JournalKind::File => restore(backup, &settings.directory, writer_epoch_min),
        JournalKind::Redis => restore_into_redis(backup, &redis_options(settings), writer_epoch_min),
        JournalKind::Memory => Err(not_kept()),
    }
}

/// The error for a journal that ends with its process.
pub(crate) fn not_kept() -> JournalError {
    JournalError::BadOption { option: "journal", why: "must be file or redis: nothing else is kept".into() }
}

/// Copies what is durable in `directory` into `backup`, a new or empty directory; with `archive` all older journal too.
///
/// # Errors
/// There is no journal or it is damaged, or the copy cannot be written.
pub fn create(directory: &Path, backup: &Path, archive: bool) -> Result<BackupReport, JournalError> {
    let source: Arc<dyn Storage> = Arc::new(Directory::existing(directory));
    if backup.is_dir() {
        check_backup_target(&Directory::existing(backup))?;
    }
    look_again(directory, Result::is_err, || create_once(&source, backup, archive))
}

fn create_once(source: &Arc<dyn Storage>, backup: &Path, archive: bool) -> Result<BackupReport, JournalError> {
    let mut rebuild = rebuild_of(ledger_of(source.as_ref())?);
    let taken = Taken::look(source, archive, &mut rebuild)?;
    let digest = rebuild.ledger.digest().to_string();
    let target = made(backup)?;
    let manifest = taken.write(&target, &digest, wall_ms())?;
    Ok(BackupReport { manifest: (&manifest).into(), notes: rebuild.notes })
}

/// Writes what the journal of these options holds into `backup`, a new or empty directory, as a file journal; with `archive`
/// all older frames that Redis still has too.
///
/// # Errors
/// There is no journal or it is damaged, Redis is not there or lets us not in, or the copy cannot be written.
pub fn create_from_redis(options: &RedisOptions, backup: &Path, archive: bool) -> Result<BackupReport, JournalError> {
    let mut source = RedisSource::connect(options)?;
    // Before a directory is made for nothing.
    source.stored()?;
    if backup.is_dir() {
        check_backup_target(&Directory::existing(backup))?;
    }
    source.look_again(Result::is_err, |source| {
        let mut rebuild = rebuild_of(options.ledger.clone());
        let target = made(backup)?;
        let copied = copy_redis(source, archive, &target, &mut rebuild)?;
        let digest = rebuild.ledger.digest().to_string();
        let manifest = copied.finish(&target, &digest, wall_ms())?;
        Ok(BackupReport { manifest: (&manifest).into(), notes: rebuild.notes })
    })
}

/// Restores `backup` into `directory`, a new or empty one, under a writer epoch of at least `writer_epoch_min`; 0 is one that
/// is safe by itself.
///
/// # Errors
/// The backup is not whole, the epoch not above that of the backup, the directory not empty, or the disk failed.
pub fn restore(backup: &Path, directory: &Path, writer_epoch_min: u64) -> Result<RestoreReport, JournalError> {
    let source = Directory::existing(backup);
    let manifest = read_manifest(&source)?;
    let epoch = epoch_for(manifest.writer_epoch, writer_epoch_min, wall_ms())?;
    check(&source, &manifest)?;
    if directory.is_dir() {
        check_restore_target(&Directory::existing(directory))?;
    }
    let target = made(directory)?;
    let mut options = FileOptions::new(directory, &manifest.ledger);
    options.writer_epoch_min = epoch;
    options.prepare_ahead = false;
    let mut rebuild = rebuild_of(manifest.ledger.clone());
    let restoring = Restoring::install(&source, &manifest, &target, &options, &mut rebuild)?;
    let digest = rebuild.ledger.digest().to_string();
    let restored_epoch = restoring.finish(&digest)?;
    let sources = places(&rebuild.ledger);
    Ok(RestoreReport { backup: (&manifest).into(), restored_epoch, sources, notes: rebuild.notes })
}

/// Restores `backup` into the ledger of these options, which must have no journal in Redis, under a writer epoch of at least
/// `writer_epoch_min`; 0 is one that is safe by itself.
///
/// # Errors
/// The backup is not whole or of another ledger, the epoch not above that of the backup, the ledger not empty, or Redis does
/// not take it. What a crash leaves is refused by every server, and the next restore begins again.
pub fn restore_into_redis(
    backup: &Path,
    options: &RedisOptions,
    writer_epoch_min: u64,
) -> Result<RestoreReport, JournalError> {
    restore_into_redis_on(backup, options, writer_epoch_min, Arc::new(Machine))
}

/// The same on another network.
///
/// # Errors
/// As there.
pub fn restore_into_redis_on(
    backup: &Path,
    options: &RedisOptions,
    writer_epoch_min: u64,
    ground: Arc<dyn Ground>,
) -> Result<RestoreReport, JournalError> {
    let source: Arc<dyn Storage> = Arc::new(Directory::existing(backup));
    let manifest = read_manifest(source.as_ref())?;
    if manifest.ledger != options.ledger {
        let (file, found) = (backup.display().to_string(), manifest.ledger);
        return Err(JournalError::OtherLedger { file, found, wanted: options.ledger.clone() });
    }
    let epoch = epoch_for(manifest.writer_epoch, writer_epoch_min, wall_ms())?;
    let mut target = RedisTarget::connect(options, ground.clone())?;
    target.check_empty()?;
    check(source.as_ref(), &manifest)?;
    let mut rebuild = rebuild_of(manifest.ledger.clone());
    rebuild_backup(&source, &manifest, &mut rebuild)?;
    if rebuild.ledger.digest().to_string() != manifest.digest {
        return Err(other_state(source.as_ref()));
    }
    // A connection of its own: reading a large backup may have taken longer than a server keeps an idle one.
    let target = RedisTarget::connect(options, ground)?;
    let restored_epoch = install_in_redis(&source, &manifest, target)?.finish(epoch)?;
    let sources = places(&rebuild.ledger);
    Ok(RestoreReport { backup: (&manifest).into(), restored_epoch, sources, notes: rebuild.notes })
}

/// Where every source of a ledger goes on.
pub fn places(ledger: &Ledger) -> Vec<SourcePlace> {
    ledger.sources().iter().map(SourcePlace::of).collect()
}

/// The writer epoch that a restore claims: the one asked for, or one that neither the lost original nor an earlier restore of
/// the same backup can have reached.
///
/// Nobody knows how often the original was started after the backup, or whether the backup was restored before. The moment of
/// the restore in seconds is above all of them, as long as servers start less than once a second and clocks are roughly right.
///
/// # Errors
/// The one asked for is not above the backup's, or beyond what ids can hold.
pub fn epoch_for(backup_epoch: u64, asked: u64, now_ms: i64) -> Result<u64, JournalError> {
    let seconds = u64::try_from(now_ms / 1_000).unwrap_or(0);
    let epoch = if asked == 0 { seconds.max(backup_epoch.saturating_add(EPOCHS_UNSEEN)) } else { asked };
    if epoch > backup_epoch && epoch <= EPOCH_MAX {
        return Ok(epoch);
    }
    let why = format!("must be above the backup's {backup_epoch} and at most {EPOCH_MAX}, not {epoch}");
    Err(JournalError::BadOption { option: "writer_epoch_min", why })
}

fn rebuild_of(ledger: String) -> Rebuild {
    Rebuild::quiet(LedgerOptions::new(ledger))
}

fn made(directory: &Path) -> Result<Arc<dyn Storage>, JournalError> {
    let full_name = directory.display().to_string();
    let made = Directory::create(directory).map_err(|source| JournalError::Io {
        operation: "make directory",
        file: full_name,
        source,
    })?;
    Ok(Arc::new(made))
}
