//! Backups in directories, of a journal in files or in Redis: created while a server runs, restored above every epoch that the
//! lost original may have reached, with a report for the sources that must resend what the original had received since.

use std::path::Path;
use std::sync::Arc;

use invengine_ledger::{Ledger, LedgerOptions, Source};
use serde::Serialize;

use crate::engine::{EngineSettings, JournalKind, Rebuild, redis_options, wall_ms};
pub use crate::journal::backup::BackupFacts;
use crate::journal::backup::{
    BackupManifest, BackupPlan, FileRestore, check, check_backup_target, check_restore_target, copy_redis,
    install_in_redis, ledger_of, other_state, read_manifest, rebuild_backup,
};
use crate::journal::redis::environment::{RedisEnvironment, SystemEnvironment};
use crate::journal::redis::{RedisSource, RedisTarget};
use crate::journal::storage::{Directory, Storage};
use crate::journal::{FileOptions, JournalError, RedisOptions, look_again};

/// Number of epochs beyond that of the backup that starts and set-asides of the lost original may have used.
const EPOCHS_UNSEEN: u64 = 1 << 17;
/// Epochs are part of reservation ids, as 32 bits; some are left for restarts.
const EPOCH_MAX: u64 = u32::MAX as u64 - EPOCHS_UNSEEN;

/// Describes a backup.
#[derive(Debug, Serialize)]
pub struct BackupReport {
    /// The facts of the manifest.
    #[serde(flatten)]
    pub manifest: BackupFacts,
    /// Number of files.
    pub files: usize,
    /// Snapshots that could not be used, as text.
    pub notes: Vec<String>,
}

impl BackupReport {
    fn of(manifest: BackupManifest, notes: Vec<String>) -> Self {
        BackupReport { manifest: manifest.facts, files: manifest.files.len(), notes }
    }
}

/// The result of a restore, and what each source must send next.
#[derive(Debug, Serialize)]
pub struct RestoreReport {
    /// The facts of the backup.
    #[serde(flatten)]
    pub backup: BackupFacts,
    /// Number of its files.
    pub files: usize,
    /// The writer epoch that it is raised to; the next server claims a higher one.
    pub restored_epoch: u64,
    /// Where every source continues.
    pub sources: Vec<SourcePosition>,
    /// Notes for the operator, as text.
    pub notes: Vec<String>,
}

/// The position of a source after a restore.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct SourcePosition {
    /// Its name.
    pub source: String,
    /// Its epoch in force.
    pub epoch: u64,
    /// The last message applied.
    pub last_sequence: u64,
    /// The message to send next.
    pub expected_sequence: u64,
}

impl SourcePosition {
    fn of(source: &Source) -> Self {
        let (epoch, last_sequence) = (source.epoch, source.last);
        SourcePosition { source: source.name.to_string(), epoch, last_sequence, expected_sequence: last_sequence + 1 }
    }
}

impl RestoreReport {
    fn of(manifest: BackupManifest, restored_epoch: u64, rebuild: Rebuild) -> Self {
        let sources = source_positions(&rebuild.ledger);
        let (backup, files) = (manifest.facts, manifest.files.len());
        RestoreReport { backup, files, restored_epoch, sources, notes: rebuild.notes }
    }
}

/// Backs up the journal of these settings.
///
/// # Errors
/// As for `create` and `create_from_redis`; a journal in memory is not kept.
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
/// As for `restore` and `restore_into_redis`; a journal in memory is not kept.
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

/// The error for a journal that is lost with its process.
pub(crate) fn not_kept() -> JournalError {
    JournalError::BadOption { option: "journal", why: "must be file or redis: nothing else is kept".into() }
}

/// Copies what is durable in `directory` into `backup`, a new or empty directory; with `archive` all older journal files too.
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
    let plan = BackupPlan::prepare(source, archive, &mut rebuild)?;
    let digest = rebuild.ledger.digest().to_string();
    let target = create_directory(backup)?;
    let manifest = plan.write(&target, &digest, wall_ms())?;
    Ok(BackupReport::of(manifest, rebuild.notes))
}

/// Writes the journal of these options into `backup`, a new or empty directory, as a file journal; with `archive` including all
/// older frames that Redis still has.
///
/// # Errors
/// There is no journal or it is damaged, Redis is unreachable or denies access, or the copy cannot be written.
pub fn create_from_redis(options: &RedisOptions, backup: &Path, archive: bool) -> Result<BackupReport, JournalError> {
    let mut source = RedisSource::connect(options)?;
    // Checked before a directory is created in vain.
    source.stored()?;
    if backup.is_dir() {
        check_backup_target(&Directory::existing(backup))?;
    }
    source.look_again(Result::is_err, |source| {
        let mut rebuild = rebuild_of(options.ledger.clone());
        let target = create_directory(backup)?;
        let copied = copy_redis(source, archive, &target, &mut rebuild)?;
        let digest = rebuild.ledger.digest().to_string();
        let manifest = copied.finish(&target, &digest, wall_ms())?;
        Ok(BackupReport::of(manifest, rebuild.notes))
    })
}

/// Restores `backup` into `directory`, a new or empty one, under a writer epoch of at least `writer_epoch_min`; 0 chooses one
/// that is safe.
///
/// # Errors
/// The backup is incomplete, the epoch is not above that of the backup, the directory is not empty, or the disk failed.
pub fn restore(backup: &Path, directory: &Path, writer_epoch_min: u64) -> Result<RestoreReport, JournalError> {
    let source = Directory::existing(backup);
    let manifest = read_manifest(&source)?;
    let epoch = epoch_for(manifest.facts.writer_epoch, writer_epoch_min, wall_ms())?;
    check(&source, &manifest)?;
    if directory.is_dir() {
        check_restore_target(&Directory::existing(directory))?;
    }
    let target = create_directory(directory)?;
    let mut options = FileOptions::new(directory, &manifest.facts.ledger);
    options.writer_epoch_min = epoch;
    options.preallocate = false;
    let mut rebuild = rebuild_of(manifest.facts.ledger.clone());
    let restore = FileRestore::install(&source, &manifest, &target, &options, &mut rebuild)?;
    let digest = rebuild.ledger.digest().to_string();
    let restored_epoch = restore.finish(&digest)?;
    Ok(RestoreReport::of(manifest, restored_epoch, rebuild))
}

/// Restores `backup` into the ledger of these options, which must have no journal in Redis, under a writer epoch of at least
/// `writer_epoch_min`; 0 chooses one that is safe.
///
/// # Errors
/// The backup is incomplete or of another ledger, the epoch is not above that of the backup, the ledger is not empty, or Redis
/// rejects it. What a crash leaves behind is refused by every server, and the next restore begins again.
pub fn restore_into_redis(
    backup: &Path,
    options: &RedisOptions,
    writer_epoch_min: u64,
) -> Result<RestoreReport, JournalError> {
    restore_into_redis_on(backup, options, writer_epoch_min, Arc::new(SystemEnvironment))
}

/// The same in another environment.
///
/// # Errors
/// As for `restore_into_redis`.
pub fn restore_into_redis_on(
    backup: &Path,
    options: &RedisOptions,
    writer_epoch_min: u64,
    environment: Arc<dyn RedisEnvironment>,
) -> Result<RestoreReport, JournalError> {
    let source: Arc<dyn Storage> = Arc::new(Directory::existing(backup));
    let manifest = read_manifest(source.as_ref())?;
    if manifest.facts.ledger != options.ledger {
        let (file, found) = (backup.display().to_string(), manifest.facts.ledger);
        return Err(JournalError::OtherLedger { file, found, wanted: options.ledger.clone() });
    }
    let epoch = epoch_for(manifest.facts.writer_epoch, writer_epoch_min, wall_ms())?;
    let mut target = RedisTarget::connect(options, environment.clone())?;
    target.check_empty()?;
    check(source.as_ref(), &manifest)?;
    let mut rebuild = rebuild_of(manifest.facts.ledger.clone());
    rebuild_backup(&source, &manifest, &mut rebuild)?;
    if rebuild.ledger.digest().to_string() != manifest.facts.digest {
        return Err(other_state(source.as_ref()));
    }
    // A connection of its own: reading a large backup may have plan longer than a server keeps an idle one.
    let target = RedisTarget::connect(options, environment)?;
    let restored_epoch = install_in_redis(&source, &manifest, target)?.finish(epoch)?;
    Ok(RestoreReport::of(manifest, restored_epoch, rebuild))
}

/// Where every source of a ledger continues.
pub fn source_positions(ledger: &Ledger) -> Vec<SourcePosition> {
    ledger.sources().iter().map(SourcePosition::of).collect()
}

/// The writer epoch that a restore claims: the requested one, or one that neither the lost original nor an earlier restore of
/// the same backup can have reached.
///
/// It is unknown how often the original was started after the backup, and whether the backup was restored before. The time of
/// the restore in seconds is above all these epochs, as long as servers start less than once a second and clocks are roughly
/// right.
///
/// # Errors
/// The requested epoch is not above the backup's, or exceeds what ids can hold.
pub fn epoch_for(backup_epoch: u64, requested: u64, now_ms: i64) -> Result<u64, JournalError> {
    let seconds = u64::try_from(now_ms / 1_000).unwrap_or(0);
    let epoch = if requested == 0 { seconds.max(backup_epoch.saturating_add(EPOCHS_UNSEEN)) } else { requested };
    if epoch > backup_epoch && epoch <= EPOCH_MAX {
        return Ok(epoch);
    }
    let why = format!("must be above the backup's {backup_epoch} and at most {EPOCH_MAX}, not {epoch}");
    Err(JournalError::BadOption { option: "writer_epoch_min", why })
}

fn rebuild_of(ledger: String) -> Rebuild {
    Rebuild::quiet(LedgerOptions::new(ledger))
}

fn create_directory(directory: &Path) -> Result<Arc<dyn Storage>, JournalError> {
    let failed = JournalError::io("create directory", directory.display().to_string());
    Ok(Arc::new(Directory::create(directory).map_err(failed)?))
}
