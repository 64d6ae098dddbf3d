//! Preallocates the next journal file, so that no append waits for megabytes of zeros.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::recovery::write_zeros;
use super::storage::{Storage, StoredFile};

pub(in crate::journal) const SPARE_FILE: &str = "spare";

/// Zeros are synced in chunks of this size: a longer sync would hold up the appends to the same
/// disk.
const PIECE_BYTES: u64 = 4 << 20;

type Prepared = io::Result<Box<dyn StoredFile>>;

/// The next journal file, perhaps still being written by a thread.
pub(in crate::journal) struct PreallocatedFile {
    storage: Arc<dyn Storage>,
    file_bytes: u64,
    /// Whether a thread prepares files ahead of need; otherwise the caller's thread does when they are needed.
    in_background: bool,
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<Prepared>>,
}

impl PreallocatedFile {
    pub fn new(storage: Arc<dyn Storage>, file_bytes: u64, in_background: bool) -> Self {
        Self { storage, file_bytes, in_background, stop: Arc::default(), running: None }
    }

    /// Length of the files it prepares.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Starts preparing, unless that has begun already.
    pub fn start(&mut self) {
        if !self.in_background || self.running.is_some() {
            return;
        }
        let (storage, file_bytes, stop) = (self.storage.clone(), self.file_bytes, self.stop.clone());
        let work = move || prepare(storage.as_ref(), file_bytes, &stop);
        // Without a thread the file is prepared when it is needed.
        self.running = thread::Builder::new().name("journal-spare".into()).spawn(work).ok();
    }

    /// The prepared file, still named `spare`; waits for the thread, or prepares it now.
    pub fn take(&mut self) -> Prepared {
        if let Some(Ok(Ok(file))) = self.running.take().map(JoinHandle::join) {
            return Ok(file);
        }
        // Whatever error the thread met, only another attempt shows whether it persists.
        prepare(self.storage.as_ref(), self.file_bytes, &self.stop)
    }

    /// Removes the file; a failure recurs, and is reported, when the next one is prepared.
    pub fn discard(&self) {
        let _ = self.storage.remove(SPARE_FILE);
    }

    /// Ends the thread and removes its file.
    pub fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            let _ = running.join();
            self.discard();
        }
    }
}

impl Drop for PreallocatedFile {
    fn drop(&mut self) {
        self.close();
    }
}

fn prepare(storage: &dyn Storage, file_bytes: u64, stop: &AtomicBool) -> Prepared {
    match storage.remove(SPARE_FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.create(SPARE_FILE)?;
    let filled = fill(file.as_ref(), file_bytes, stop);
    if let Err(error) = filled {
        // The unfinished file must not hold the space that is missing.
        let _ = storage.remove(SPARE_FILE);
        return Err(error);
    }
    Ok(file)
}

fn fill(file: &dyn StoredFile, file_bytes: u64, stop: &AtomicBool) -> io::Result<()> {
    file.reserve(file_bytes)?;
    let mut from = 0;
    while from < file_bytes {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the journal was closed"));
        }
        let to = (from + PIECE_BYTES).min(file_bytes);
        write_zeros(file, from, to)?;
        file.sync()?;
        from = to;
    }
    Ok(())
}
