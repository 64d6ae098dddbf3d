//! The state of a disk: what is visible, what is durable, and what survives a crash.

use std::collections::BTreeMap;
use std::ops::Range;

pub const SECTOR_BYTES: usize = 512;

/// One call that changes the disk, or a marker of the test between calls.
#[derive(Debug, Clone)]
pub enum Call {
    Create(String),
    Reserve(usize, usize),
    Write(usize, usize, Vec<u8>),
    Sync(usize),
    Rename(String, String),
    Remove(String),
    SyncDirectory,
    Acknowledged(u64),
}

/// Which of the unsynced writes and names survive a crash.
#[derive(Debug, Clone)]
pub enum Left {
    Nothing,
    Everything,
    /// Of the last write only these sectors, counted from its first; everything before it.
    Sectors(Range<usize>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) visible: Vec<u8>,
    durable: Vec<u8>,
    pub(super) pending: Vec<(usize, Vec<u8>)>,
}

/// The state of a disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub(super) files: Vec<Content>,
    pub(super) names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
}

fn write_into(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl Disk {
    pub fn apply(&mut self, call: &Call) {
        match call {
            Call::Create(name) => {
                self.names.insert(name.clone(), self.files.len());
                self.files.push(Content::default());
            }
            Call::Reserve(file, bytes) => {
                let visible = &mut self.files[*file].visible;
                visible.resize(visible.len().max(*bytes), 0);
            }
            Call::Write(file, offset, data) => {
                let content = &mut self.files[*file];
                write_into(&mut content.visible, *offset, data);
                content.pending.push((*offset, data.clone()));
            }
            Call::Sync(file) => {
                let content = &mut self.files[*file];
                for (offset, data) in content.pending.drain(..) {
                    write_into(&mut content.durable, offset, &data);
                }
            }
            Call::Rename(from, to) => {
                let file = self.names.remove(from).expect("renamed file exists");
                self.names.insert(to.clone(), file);
            }
            Call::Remove(name) => {
                self.names.remove(name);
            }
            Call::SyncDirectory => self.durable_names = self.names.clone(),
            Call::Acknowledged(_) => {}
        }
    }

    /// The disk as the next start finds it after a power failure at this point.
    pub fn after_crash(&self, left: &Left) -> Self {
        let mut after = self.clone();
        for content in &mut after.files {
            let pending = std::mem::take(&mut content.pending);
            let last = pending.len().saturating_sub(1);
            for (index, (offset, data)) in pending.iter().enumerate() {
                match left {
                    Left::Nothing => {}
                    Left::Sectors(sectors) if index == last => {
                        for (start, piece) in sector_pieces(*offset, data, sectors) {
                            write_into(&mut content.durable, start, piece);
                        }
                    }
                    Left::Everything | Left::Sectors(_) => write_into(&mut content.durable, *offset, data),
                }
            }
            content.visible = content.durable.clone();
        }
        match left {
            Left::Nothing => after.names = after.durable_names.clone(),
            _ => after.durable_names = after.names.clone(),
        }
        after
    }

    /// Replaces or adds a whole file, durably.
    pub fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let content = Content { visible: bytes.clone(), durable: bytes, pending: Vec::new() };
        match self.names.get(name) {
            Some(file) => self.files[*file] = content,
            None => {
                self.names.insert(name.into(), self.files.len());
                self.durable_names.insert(name.into(), self.files.len());
                self.files.push(content);
            }
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.names.remove(name);
        self.durable_names.remove(name);
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub fn bytes(&self, name: &str) -> &[u8] {
        &self.files[self.names[name]].visible
    }

    pub fn bytes_mut(&mut self, name: &str) -> &mut [u8] {
        &mut self.files[self.names[name]].visible
    }

    /// The names of the journal files, in order.
    pub fn journals(&self) -> Vec<String> {
        self.names_with("journal-")
    }

    /// The names with this prefix, in order.
    pub fn names_with(&self, start: &str) -> Vec<String> {
        self.names.keys().filter(|name| name.starts_with(start)).cloned().collect()
    }
}

fn sector_pieces<'d>(offset: usize, data: &'d [u8], sectors: &Range<usize>) -> Vec<(usize, &'d [u8])> {
    let first = offset / SECTOR_BYTES;
    let pieces = sectors.clone().filter_map(|index| {
        let start = ((first + index) * SECTOR_BYTES).max(offset);
        let end = ((first + index + 1) * SECTOR_BYTES).min(offset + data.len());
        (start < end).then(|| (start, &data[start - offset..end - offset]))
    });
    pieces.collect()
}

/// How many sectors a write touches.
pub fn sectors_of(offset: usize, data: &[u8]) -> usize {
    (offset + data.len()).div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES
}
