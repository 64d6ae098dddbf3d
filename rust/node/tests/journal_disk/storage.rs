//! The storage on a test disk: records every call and fails on demand.

use std::any::Any;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use invengine_node::journal::JournalError;
use invengine_node::journal::storage::{Storage, StoredFile};

use super::disk::{Call, Disk};

/// What goes wrong at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Eio,
    NoSpace,
    /// A write stores only its first half; the next call succeeds.
    Short,
    /// A write stores only its first half, and the next call fails.
    ShortThenEio,
    Interrupted,
    /// The file system became read-only.
    ReadOnly,
    /// The user may no longer write here.
    Denied,
}

#[derive(Default)]
struct Inner {
    disk: Disk,
    calls: Vec<Call>,
    count: usize,
    fault: Option<(usize, Fault)>,
    frozen: Option<(usize, Fault)>,
    full: bool,
    names_denied: bool,
    locked: bool,
}

/// A storage on a test disk; clones share it.
#[derive(Clone, Default)]
pub struct TestStorage {
    inner: Arc<Mutex<Inner>>,
}

impl TestStorage {
    pub fn on(disk: Disk) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { disk, ..Inner::default() })) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn shared(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    pub fn disk(&self) -> Disk {
        self.inner().disk.clone()
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.inner().calls.clone()
    }

    /// How many calls were made, failed ones included.
    pub fn count(&self) -> usize {
        self.inner().count
    }

    pub fn mark(&self, sequence: u64) {
        self.inner().calls.push(Call::Acknowledged(sequence));
    }

    pub fn fail_at(&self, call: usize, fault: Fault) {
        self.inner().fault = Some((call, fault));
    }

    /// From this call on every change fails, until it is thawed.
    pub fn freeze_at(&self, call: usize, fault: Fault) {
        self.inner().frozen = Some((call, fault));
    }

    pub fn thaw(&self) {
        self.inner().frozen = None;
    }

    /// Whether new space is refused.
    pub fn set_full(&self, full: bool) {
        self.inner().full = full;
    }

    /// Whether the directory refuses changes, though its files may be written.
    pub fn deny_names(&self, denied: bool) {
        self.inner().names_denied = denied;
    }

    fn call(&self, call: Call) -> io::Result<()> {
        let mut inner = self.inner();
        match inner.fault_now() {
            None => {}
            Some(fault) => {
                // A failed sync positions the pages clean: they stay visible and never reach the disk.
                if let Call::Sync(file) = call {
                    inner.disk.files[file].pending.clear();
                }
                return Err(error_of(fault));
            }
        }
        if inner.full && matches!(call, Call::Reserve(..) | Call::Create(_)) {
            return Err(error_of(Fault::NoSpace));
        }
        if inner.names_denied && matches!(call, Call::Create(_) | Call::Rename(..) | Call::Remove(_)) {
            return Err(error_of(Fault::Denied));
        }
        inner.make(call);
        Ok(())
    }

    fn write(&self, file: usize, offset: usize, data: &[u8]) -> io::Result<usize> {
        let mut inner = self.inner();
        let written = match inner.fault_now() {
            None => data.len(),
            Some(fault @ (Fault::Short | Fault::ShortThenEio)) if data.len() > 1 => {
                let next = inner.count;
                inner.fault = (fault == Fault::ShortThenEio).then_some((next, Fault::Eio));
                data.len() / 2
            }
            Some(fault) => return Err(error_of(fault)),
        };
        inner.make(Call::Write(file, offset, data[..written].into()));
        Ok(written)
    }
}

impl Inner {
    fn fault_now(&mut self) -> Option<Fault> {
        let now = self.count;
        self.count += 1;
        let frozen = self.frozen.filter(|(from, _)| *from <= now);
        self.fault.filter(|(at, _)| *at == now).or(frozen).map(|(_, fault)| fault)
    }

    fn make(&mut self, call: Call) {
        self.disk.apply(&call);
        self.calls.push(call);
    }
}

fn error_of(fault: Fault) -> io::Error {
    match fault {
        Fault::NoSpace => io::ErrorKind::StorageFull.into(),
        Fault::Interrupted => io::ErrorKind::Interrupted.into(),
        Fault::ReadOnly => io::Error::from_raw_os_error(30),
        Fault::Denied => io::Error::from_raw_os_error(13),
        _ => io::Error::from_raw_os_error(5),
    }
}

struct TestFile {
    storage: TestStorage,
    file: usize,
}

impl Storage for TestStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().disk.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        if self.inner().disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.call(Call::Create(name.into()))?;
        self.open(name, true)
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Box<dyn StoredFile>> {
        let file = *self.inner().disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(TestFile { storage: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(Call::Rename(from.into(), to.into()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.inner().disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.call(Call::Remove(name.into()))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.call(Call::SyncDirectory)
    }

    fn lock(&self) -> Result<Box<dyn Any + Send>, JournalError> {
        let mut inner = self.inner();
        if inner.locked {
            return Err(JournalError::Locked { directory: "test".into(), owner: "this test".into() });
        }
        inner.locked = true;
        Ok(Box::new(TestLock(self.clone())))
    }

    fn describe(&self, name: &str) -> String {
        name.into()
    }
}

struct TestLock(TestStorage);

impl Drop for TestLock {
    fn drop(&mut self) {
        self.0.inner().locked = false;
    }
}

impl StoredFile for TestFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.storage.inner();
        let visible = &inner.disk.files[self.file].visible;
        let rest = visible.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.storage.write(self.file, offset as usize, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.call(Call::Sync(self.file))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.storage.call(Call::Reserve(self.file, bytes as usize))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.storage.inner().disk.files[self.file].visible.len() as u64)
    }
}
