//! The few file operations that a journal relies on, so that tests can put a failing or crashing disk
//! beneath it.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::files::ARCHIVE;
use crate::journal::JournalError;

/// Locked by the one writer.
pub(in crate::journal) const LOCK_FILE: &str = "LOCK";

/// One directory of files, with a subdirectory for the archive.
pub trait Storage: Send + Sync {
    /// The names of all files, in any order; those of the archive start with `archive/`.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates a new, empty file; fails if the name exists.
    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>>;
    /// Opens a file for reading, and for writing if `write` is set.
    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn StoredFile>>;
    /// Renames a file.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes created, renamed and removed names durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Takes the writer's lock, which is held until the returned value is dropped.
    fn lock(&self) -> Result<Box<dyn Any + Send>, JournalError>;
    /// A file's full name, for messages.
    fn describe(&self, name: &str) -> String;
}

/// One open file.
pub trait StoredFile: Send + Sync {
    /// Reads at an offset; fewer bytes than requested are not an error, 0 is the end of the file.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at an offset, perhaps only the first bytes; durable after `sync`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes all writes durable; after an error the state of each of them is unknown.
    fn sync(&self) -> io::Result<()>;
    /// Reserves space for a file that will have this length, so that lack of space shows at once.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// The file's length.
    fn length(&self) -> io::Result<u64>;
}

/// Writes all bytes: continues after a short write or an interruption, and stops at the first error.
pub(in crate::journal) fn write_all_at(file: &dyn StoredFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; returns the number of bytes read.
pub(in crate::journal) fn read_full_at(file: &dyn StoredFile, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < bytes.len() {
        match file.read_at(&mut bytes[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// A real directory.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`, created if it is missing, with its name durable.
    pub fn create(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            let path = path.canonicalize()?;
            if let Some(parent) = path.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { path: path.into() })
    }

    /// The directory at `path`, which must exist.
    pub fn existing(path: &Path) -> Self {
        Self { path: path.into() }
    }
}

impl Storage for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = |path: &Path| -> io::Result<Vec<String>> {
            fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        let mut all = names(&self.path)?;
        match names(&self.path.join(ARCHIVE)) {
            Ok(archived) => all.extend(archived.iter().map(|name| format!("{ARCHIVE}{name}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(all)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn StoredFile>> {
        let file = OpenOptions::new().read(true).write(write).open(self.path.join(name))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if let Some((directory, _)) = to.rsplit_once('/') {
            fs::create_dir_all(self.path.join(directory))?;
        }
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        // The archive first: a file that moved is durable there before it is gone here.
        match File::open(self.path.join(ARCHIVE)) {
            Ok(archive) => rustix::fs::fsync(archive)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(rustix::fs::fsync(File::open(&self.path)?)?)
    }

    fn lock(&self) -> Result<Box<dyn Any + Send>, JournalError> {
        let path = self.path.join(LOCK_FILE);
        let failed = || JournalError::io("lock", self.describe(LOCK_FILE));
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let directory = self.path.display().to_string();
                return Err(JournalError::Locked { directory, owner: lock_owner(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        write_lock_owner(&mut file).map_err(failed())?;
        Ok(Box::new(file))
    }

    fn describe(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

/// The process whose id a lock file holds, as text.
pub(in crate::journal) fn lock_owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => format!("process {pid}"),
        _ => "another process".into(),
    }
}

fn write_lock_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

impl StoredFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    /// Called directly, because the standard library retries when interrupted.
    #[cfg(not(target_vendor = "apple"))]
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(self)?)
    }

    #[cfg(target_vendor = "apple")]
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
