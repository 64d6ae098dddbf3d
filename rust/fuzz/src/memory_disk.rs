//! An in-memory directory for the file journal: simple, fast, and its bytes can be damaged.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use invengine_node::journal::JournalError;
use invengine_node::journal::storage::{Storage, StoredFile};

type Bytes = Arc<Mutex<Vec<u8>>>;
/// Names and contents.
pub type Contents = BTreeMap<String, Vec<u8>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longest file. A forged header may demand 16 GiB: the disk refuses that without allocating memory for it.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A directory; clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl MemoryDisk {
    /// A directory with these files.
    pub fn with(contents: &Contents) -> Self {
        let files = contents.iter().map(|(name, bytes)| (name.clone(), Arc::new(Mutex::new(bytes.clone()))));
        MemoryDisk(Arc::new(Mutex::new(files.collect())))
    }

    /// All files as they are now.
    pub fn contents(&self) -> Contents {
        lock(&self.0).iter().map(|(name, bytes)| (name.clone(), lock(bytes).clone())).collect()
    }

    /// The directory as the storage of a journal.
    pub fn shared(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    fn file(&self, name: &str) -> io::Result<Bytes> {
        lock(&self.0).get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let file = Bytes::default();
        lock(&self.0).insert(name.into(), Arc::clone(&file));
        Ok(Box::new(MemoryFile(file)))
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(MemoryFile(self.file(name)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.file(from)?;
        let mut files = lock(&self.0);
        files.remove(from);
        files.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.0).remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn Any + Send>, JournalError> {
        Ok(Box::new(()))
    }

    fn describe(&self, name: &str) -> String {
        name.into()
    }
}

struct MemoryFile(Bytes);

impl StoredFile for MemoryFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = lock(&self.0);
        let from = file.get(offset as usize..).unwrap_or_default();
        let count = from.len().min(bytes.len());
        bytes[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut file = lock(&self.0);
        let end = offset as usize + bytes.len();
        if end > FILE_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }
}
