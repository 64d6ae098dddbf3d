//! A disk that forgets what was not synced: files made of sectors, directory entries, and what survives a power loss.

use std::collections::BTreeMap;

use crate::faults::{Class, Injector};

/// The unit that a disk writes atomically.
pub const SECTOR_BYTES: usize = 512;
/// Length of a journal file's header.
const HEADER_BYTES: usize = 4_096;
const FRAME_MAGIC: [u8; 4] = [0xFE, b'I', b'V', b'F'];

/// A change of the directory that may not be durable yet.
#[derive(Clone, Debug)]
enum Named {
    Created(String, usize),
    Renamed(String, String),
    Removed(String),
}

#[derive(Clone, Debug, Default)]
struct Content {
    visible: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync: offset and length.
    pending: Vec<(usize, usize)>,
}

/// The state of a disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    named: Vec<Named>,
}

fn sectors(writes: &[(usize, usize)]) -> Vec<usize> {
    let mut all: Vec<usize> = Vec::new();
    for (offset, length) in writes.iter().filter(|write| write.1 > 0) {
        all.extend(offset / SECTOR_BYTES..=(offset + length - 1) / SECTOR_BYTES);
    }
    all.sort_unstable();
    all.dedup();
    all
}

impl Content {
    fn copy_sector(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.visible.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        if start < end {
            self.durable[start..end].copy_from_slice(&self.visible[start..end]);
        }
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        if self.visible.len() < offset + bytes.len() {
            self.visible.resize(offset + bytes.len(), 0);
        }
        self.visible[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.pending.push((offset, bytes.len()));
    }

    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if self.durable.len() < self.visible.len() {
            self.durable.resize(self.visible.len(), 0);
        }
        for (offset, length) in pending {
            self.durable[offset..offset + length].copy_from_slice(&self.visible[offset..offset + length]);
        }
    }

    /// A failed sync persists a random part of the sectors; none of them is dirty any more.
    fn fail_sync(&mut self, faults: &mut Injector) {
        for sector in sectors(&std::mem::take(&mut self.pending)) {
            if faults.stream(Class::SyncError).chance(500_000) {
                self.copy_sector(sector);
            }
        }
    }

    fn lose(&mut self, lost_percent: u64, faults: &mut Injector) {
        let pending = std::mem::take(&mut self.pending);
        let dirty = sectors(&pending);
        // A disk keeps what it has confirmed: a bit may flip only in a region that was blank before, not in the last frame
        // of a journal, which recovery rewrites unchanged.
        let last = pending.last().copied().unwrap_or_default();
        let was_blank = self.durable.iter().skip(last.0).take(last.1).all(|byte| *byte == 0);
        let kept: Vec<usize> = dirty
            .iter()
            .copied()
            .filter(|_| {
                let lost = faults.stream(Class::LostSector).below(100) < lost_percent;
                !(lost && faults.happens(Class::LostSector))
            })
            .collect();
        if !kept.is_empty() && kept.len() < dirty.len() {
            faults.happens(Class::TornWrite);
        }
        kept.iter().for_each(|sector| self.copy_sector(*sector));
        let (offset, length) = last;
        if length > 0 && was_blank && faults.hits(Class::FlippedUnsynced, 200_000) {
            let at = offset + faults.stream(Class::FlippedUnsynced).below(length as u64) as usize;
            let bit = faults.stream(Class::FlippedUnsynced).below(8);
            if let Some(byte) = self.durable.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        self.visible.clone_from(&self.durable);
    }
}

impl Disk {
    /// All file names.
    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// The file of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Creates an empty file.
    pub fn create(&mut self, name: &str) -> usize {
        let file = self.files.len();
        self.files.push(Content::default());
        self.names.insert(name.into(), file);
        self.named.push(Named::Created(name.into(), file));
        file
    }

    /// Renames a file; false if it does not exist.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(file) = self.names.remove(from) else { return false };
        self.names.insert(to.into(), file);
        self.named.push(Named::Renamed(from.into(), to.into()));
        true
    }

    /// Removes a name; false if it does not exist.
    pub fn remove(&mut self, name: &str) -> bool {
        let found = self.names.remove(name).is_some();
        if found {
            self.named.push(Named::Removed(name.into()));
        }
        found
    }

    /// Makes the directory durable.
    pub fn sync_names(&mut self) {
        self.named.clear();
        self.durable_names.clone_from(&self.names);
    }

    /// The content of a file as readers see it.
    pub fn visible(&self, file: usize) -> &[u8] {
        &self.files[file].visible
    }

    /// Writes bytes; they are durable after `sync`.
    pub fn write(&mut self, file: usize, bytes: &[u8], offset: usize) {
        self.files[file].write(bytes, offset);
    }

    /// Extends a file to at least this length.
    pub fn extend(&mut self, file: usize, bytes: usize) {
        let visible = &mut self.files[file].visible;
        visible.resize(visible.len().max(bytes), 0);
    }

    /// Makes all writes to a file durable.
    pub fn sync(&mut self, file: usize) {
        self.files[file].sync();
    }

    /// Simulates a failed sync of a file.
    pub fn fail_sync(&mut self, file: usize, faults: &mut Injector) {
        self.files[file].fail_sync(faults);
    }

    /// Drops what is not durable, as a power loss does.
    pub fn lose_power(&mut self, lost_percent: u64, faults: &mut Injector) {
        for named in std::mem::take(&mut self.named) {
            if faults.hits(Class::LostName, 500_000) {
                break;
            }
            match named {
                Named::Created(name, file) => {
                    self.durable_names.insert(name, file);
                }
                Named::Renamed(from, to) => {
                    if let Some(file) = self.durable_names.remove(&from) {
                        self.durable_names.insert(to, file);
                    }
                }
                Named::Removed(name) => {
                    self.durable_names.remove(&name);
                }
            }
        }
        self.names.clone_from(&self.durable_names);
        for content in &mut self.files {
            if !content.pending.is_empty() || content.visible.len() != content.durable.len() {
                content.lose(lost_percent, faults);
            }
        }
        self.forget_nameless();
    }

    /// Frees the content of files that have no name any more.
    fn forget_nameless(&mut self) {
        let named: Vec<usize> = self.names.values().copied().collect();
        for (file, content) in self.files.iter_mut().enumerate() {
            if !named.contains(&file) {
                *content = Content::default();
            }
        }
    }

    /// Flips one bit of a random file of this name prefix. Returns what undoes it; `None` if there is no such file.
    pub fn rot_one_of(&mut self, class: Class, start: &str, faults: &mut Injector) -> Option<BitRot> {
        let stream = faults.stream(class);
        let files: Vec<usize> =
            self.names.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, file)| *file).collect();
        let file = *stream.pick(&files)?;
        let at = stream.below(self.files[file].durable.len() as u64) as usize;
        let rot = BitRot { file, at, bit: 1 << stream.below(8) };
        (at < self.files[file].durable.len() && at < self.files[file].visible.len()).then(|| {
            rot.flip(self);
            rot
        })
    }

    /// Flips one old bit: in a file's header or in a frame that at least two others follow in the same file, so that it
    /// cannot be taken for the end of the journal. Returns what undoes it; `None` if no file is that long.
    pub fn rot(&mut self, faults: &mut Injector) -> Option<BitRot> {
        let journals: Vec<usize> =
            self.names.iter().filter(|(name, _)| name.starts_with("journal-")).map(|(_, file)| *file).collect();
        let stream = faults.stream(Class::FlippedOld);
        let file = *stream.pick(&journals)?;
        let frames = frames_of(&self.files[file].durable);
        let end = *frames.get(frames.len().checked_sub(3)?)?;
        let at = stream.below(end as u64) as usize;
        let bit = 1 << stream.below(8);
        let rot = BitRot { file, at, bit };
        rot.flip(self);
        Some(rot)
    }
}

/// Offsets at which the frames of a file start.
fn frames_of(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while let Some(header) = bytes.get(at..at + 12) {
        if header[..4] != FRAME_MAGIC {
            break;
        }
        found.push(at);
        let payload = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        at += (64 + payload).next_multiple_of(8);
    }
    found
}

/// One flipped bit.
#[derive(Clone, Copy, Debug)]
pub struct BitRot {
    file: usize,
    at: usize,
    bit: u8,
}

impl BitRot {
    /// Flips the bit; a second call restores it.
    pub fn flip(&self, disk: &mut Disk) {
        let content = &mut disk.files[self.file];
        content.durable[self.at] ^= self.bit;
        content.visible[self.at] ^= self.bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Mask;

    fn with_faults(test: impl Fn(&mut Injector)) {
        (0..50).for_each(|seed| test(&mut Injector::new(seed, Mask::default())));
    }

    #[test]
    fn a_power_loss_leaves_what_was_synced_and_whole_sectors_of_the_rest() {
        with_faults(|faults| {
            faults.forbid(Class::FlippedUnsynced);
            let mut disk = Disk::default();
            let file = disk.create("a");
            disk.write(file, &[1; 4_096], 0);
            disk.sync(file);
            disk.sync_names();
            disk.write(file, &[2; 1_860], 700);
            disk.lose_power(80, faults);
            let bytes = disk.visible(file);
            assert!(bytes[..700].iter().all(|byte| *byte == 1));
            for sector in bytes.chunks(SECTOR_BYTES).skip(2) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is torn");
            }
        });
    }

    #[test]
    fn names_are_lost_from_the_last_one_back() {
        with_faults(|faults| {
            let mut disk = Disk::default();
            for name in ["a", "b", "c"] {
                disk.create(name);
            }
            disk.lose_power(100, faults);
            let names = disk.names();
            assert!(["a", "b", "c"].starts_with(&names.iter().map(String::as_str).collect::<Vec<_>>()), "{names:?}");
        });
    }
}
