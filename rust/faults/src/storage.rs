//! The storage of a file journal on the simulated disk: every call may fail, stop half way, or be the last one of its
//! process.

use std::any::Any;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use invengine_node::journal::JournalError;
use invengine_node::journal::storage::{Storage, StoredFile};

use crate::disk::{BitRot, Disk};
use crate::faults::{Class, Injector};
use crate::planted::Planted;

/// The fault injector of a run, shared.
pub type SharedFaults = Arc<Mutex<Injector>>;

/// Locks a mutex that only one thread uses at a time.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Inner {
    disk: Disk,
    fault_ppm: u64,
    sync_error_ppm: u64,
    full: bool,
    locked: bool,
    /// Calls left until the process ends inside one.
    calls_left: Option<u64>,
    ended: bool,
    planted: Option<Planted>,
}

/// The storage of one simulated disk; clones share it.
#[derive(Clone, Debug)]
pub struct SimulatedStorage {
    inner: Arc<Mutex<Inner>>,
    faults: SharedFaults,
}

/// The kind of a disk call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CallKind {
    Read,
    Write,
    Sync,
    Name,
}

impl SimulatedStorage {
    /// A storage with an empty disk.
    pub fn new(faults: SharedFaults, fault_ppm: u64, sync_error_ppm: u64, planted: Option<Planted>) -> Self {
        let disk = Disk::default();
        let inner = Inner {
            disk,
            fault_ppm,
            sync_error_ppm,
            full: false,
            locked: false,
            calls_left: None,
            ended: false,
            planted,
        };
        SimulatedStorage { inner: Arc::new(Mutex::new(inner)), faults }
    }

    /// Sets whether new space is refused.
    pub fn set_full(&self, full: bool) {
        lock(&self.inner).full = full;
    }

    /// Lets the process end inside the n-th disk call from now, given by `calls`.
    pub fn end_after_calls(&self, calls: Option<u64>) {
        lock(&self.inner).calls_left = calls;
    }

    /// Whether the process ended so.
    pub fn has_ended(&self) -> bool {
        lock(&self.inner).ended
    }

    /// Starts a new process on the disk as it is.
    pub fn restart(&self) {
        let mut inner = lock(&self.inner);
        (inner.ended, inner.locked, inner.calls_left) = (false, false, None);
    }

    /// Turns the power off and on again.
    pub fn lose_power(&self, lost_percent: u64) {
        lock(&self.inner).disk.lose_power(lost_percent, &mut lock(&self.faults));
    }

    /// Flips an old bit; returns what undoes it.
    pub fn rot(&self) -> Option<BitRot> {
        lock(&self.inner).disk.rot(&mut lock(&self.faults))
    }

    /// Flips a bit of a snapshot; returns what undoes it.
    pub fn rot_snapshot(&self) -> Option<BitRot> {
        lock(&self.inner).disk.rot_one_of(Class::SnapshotRot, "snapshot-", &mut lock(&self.faults))
    }

    /// Undoes a flipped bit.
    pub fn restore(&self, rot: BitRot) {
        rot.flip(&mut lock(&self.inner).disk);
    }

    /// Begins a call: it may fail, or be the last one of the process.
    fn call(&self, kind: CallKind) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = lock(&self.inner);
        if let Some(left) = &mut inner.calls_left {
            inner.ended |= *left == 0;
            if !inner.ended
                && let Some(left) = &mut inner.calls_left
            {
                *left -= 1;
            }
        }
        if inner.ended {
            return Err(io::Error::other("the process has ended"));
        }
        let ppm = inner.fault_ppm;
        let mut faults = lock(&self.faults);
        let failed = match kind {
            CallKind::Read => faults.hits(Class::ReadError, ppm / 20),
            CallKind::Write | CallKind::Name => faults.hits(Class::WriteError, ppm),
            CallKind::Sync => false,
        };
        if failed {
            return Err(io::Error::from_raw_os_error(5));
        }
        if matches!(kind, CallKind::Read | CallKind::Write) && faults.hits(Class::Interrupted, ppm) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        drop(faults);
        Ok(inner)
    }
}

struct SimulatedFile {
    storage: SimulatedStorage,
    file: usize,
}

impl Storage for SimulatedStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.call(CallKind::Name)?.disk.names())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let mut inner = self.call(CallKind::Name)?;
        if inner.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if inner.disk.find(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = inner.disk.create(name);
        Ok(Box::new(SimulatedFile { storage: self.clone(), file }))
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Box<dyn StoredFile>> {
        let file = self.call(CallKind::Read)?.disk.find(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimulatedFile { storage: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let renamed = self.call(CallKind::Name)?.disk.rename(from, to);
        renamed.then_some(()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.call(CallKind::Name)?.disk.remove(name);
        removed.then_some(()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.call(CallKind::Name)?.disk.sync_names();
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn Any + Send>, JournalError> {
        let mut inner = lock(&self.inner);
        if inner.locked {
            return Err(JournalError::Locked { directory: "simulated".into(), owner: "another process".into() });
        }
        inner.locked = true;
        Ok(Box::new(Unlock(self.clone())))
    }

    fn describe(&self, name: &str) -> String {
        name.into()
    }
}

struct Unlock(SimulatedStorage);

impl Drop for Unlock {
    fn drop(&mut self) {
        lock(&self.0.inner).locked = false;
    }
}

impl StoredFile for SimulatedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.storage.call(CallKind::Read)?;
        let rest = inner.disk.visible(self.file).get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.storage.call(CallKind::Write)?;
        let ppm = inner.fault_ppm;
        let short = bytes.len() > 1 && lock(&self.storage.faults).hits(Class::ShortWrite, ppm);
        let count = if short { bytes.len() / 2 } else { bytes.len() };
        inner.disk.write(self.file, &bytes[..count], offset as usize);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.storage.call(CallKind::Sync)?;
        let mut faults = lock(&self.storage.faults);
        if faults.hits(Class::SyncError, inner.sync_error_ppm) {
            inner.disk.fail_sync(self.file, &mut faults);
            return Err(io::Error::from_raw_os_error(5));
        }
        if inner.planted != Some(Planted::SyncWithoutSync) {
            inner.disk.sync(self.file);
        }
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.storage.call(CallKind::Write)?;
        if inner.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.disk.extend(self.file, bytes as usize);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.storage.call(CallKind::Read)?.disk.visible(self.file).len() as u64)
    }
}
