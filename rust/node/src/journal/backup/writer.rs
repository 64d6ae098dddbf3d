//! Writes a journal that is read from another store as a snapshot and journal files, while its state is rebuilt.

use super::BackupFile;
use super::copy::FileWriter;
use super::create::Content;
use crate::journal::chain_tip::ChainTip;
use crate::journal::file::files::remove;
use crate::journal::file::header::{FILE_HEADER_BYTES, FileName};
use crate::journal::file::storage::Storage;
use crate::journal::frame::DecodedFrame;
use crate::journal::snapshot::{SnapshotDraft, file_name};
use crate::journal::{Frame, JournalError, Manifest, Replay};

/// Passes everything on to a replay, and writes what the replay accepted.
pub(in crate::journal) struct BackupWriter<'s> {
    target: &'s dyn Storage,
    ledger: &'s str,
    /// Length of its journal files.
    file_bytes: u64,
    replay: &'s mut dyn Replay,
    draft: Option<Draft<'s>>,
    snapshot: Option<(Manifest, BackupFile)>,
    journal: Option<JournalFiles<'s>>,
    /// Why nothing more can be written. The text of a replay's error does not say that it was the disk.
    failed: Option<JournalError>,
}

struct Draft<'s> {
    writing: FileWriter<'s>,
    content: SnapshotDraft,
}

struct JournalFiles<'s> {
    tip: ChainTip,
    writing: FileWriter<'s>,
    names: Vec<FileName>,
    files: Vec<BackupFile>,
}

impl<'s> BackupWriter<'s> {
    /// Writes into an empty directory.
    pub fn new(target: &'s dyn Storage, ledger: &'s str, file_bytes: u64, replay: &'s mut dyn Replay) -> Self {
        Self { target, ledger, file_bytes, replay, draft: None, snapshot: None, journal: None, failed: None }
    }

    /// The error that ended writing, rather than `error`, which followed from it.
    pub fn explain(&mut self, error: JournalError) -> JournalError {
        self.failed.take().unwrap_or(error)
    }

    /// Begins the journal files: the next frame continues this tip.
    pub fn begin_frames(&mut self, tip: ChainTip) -> Result<(), JournalError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        // Only a file that begins with the first frame of all may be called number 0.
        let number = u64::from(tip != ChainTip::start(self.ledger));
        let (name, writing) = self.journal_file(&tip, number)?;
        self.journal = Some(JournalFiles { tip, writing, names: vec![name], files: Vec::new() });
        Ok(())
    }

    fn journal_file(&self, tip: &ChainTip, number: u64) -> Result<(FileName, FileWriter<'s>), JournalError> {
        let header = tip.file_header(number, self.ledger, self.file_bytes);
        let mut writing = FileWriter::begin(self.target, &header.name.text())?;
        writing.write(&header.encode())?;
        Ok((header.name, writing))
    }

    /// Writes a frame that was checked.
    pub fn write_frame(&mut self, frame: &DecodedFrame<'_>) -> Result<(), JournalError> {
        let (length, bytes_max) = (frame.bytes.len() as u64, self.file_bytes - FILE_HEADER_BYTES as u64);
        if length > bytes_max {
            return Err(JournalError::FrameTooLarge { bytes: length, bytes_max });
        }
        let Some(mut journal) = self.journal.take() else { return Ok(()) };
        let left = self.file_bytes.saturating_sub(journal.writing.bytes());
        if length > left {
            // Only the last file may be shorter than its header says.
            journal.writing.write_zeros(left)?;
            let (name, writing) =
                self.journal_file(&journal.tip, journal.names.last().map_or(0, |last| last.number + 1))?;
            journal.files.push(std::mem::replace(&mut journal.writing, writing).finish()?);
            journal.names.push(name);
        }
        journal.writing.write(frame.bytes)?;
        journal.tip.advance(&frame.header, frame.crc);
        self.journal = Some(journal);
        Ok(())
    }

    /// Makes everything durable; returns what was written, and its files.
    pub fn finish(self) -> Result<(Content, Vec<BackupFile>), JournalError> {
        let missing = || JournalError::NoSnapshot { why: "its frames were not read".into() };
        let JournalFiles { tip, writing, names, mut files } = self.journal.ok_or_else(missing)?;
        files.push(writing.finish()?);
        let (snapshot, file) = self.snapshot.unzip();
        files.splice(0..0, file);
        Ok((Content { ledger: self.ledger.to_owned(), snapshot, names, tip }, files))
    }

    /// Runs `act` on the draft, and remembers its error.
    fn draft(&mut self, act: impl FnOnce(&mut Draft<'s>) -> Result<(), JournalError>) -> Result<(), String> {
        let Some(draft) = &mut self.draft else { return Err("a piece came before its snapshot".into()) };
        act(draft).map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: JournalError) -> String {
        let why = error.to_string();
        self.failed.get_or_insert(error);
        why
    }

    /// Begins the file of a snapshot, replacing one that turned out bad.
    fn begin_snapshot(&mut self, snapshot: &Manifest) -> Result<(), JournalError> {
        self.drop_draft()?;
        let (content, header) = SnapshotDraft::begin(self.ledger, &snapshot.position);
        let mut writing = FileWriter::begin(self.target, &file_name(&snapshot.position))?;
        writing.write(&header)?;
        self.draft = Some(Draft { writing, content });
        Ok(())
    }

    fn drop_draft(&mut self) -> Result<(), JournalError> {
        self.snapshot = None;
        self.draft.take().map_or(Ok(()), |draft| remove(self.target, draft.writing.name()))
    }

    fn end_snapshot(&mut self, snapshot: &Manifest) -> Result<(), JournalError> {
        let Some(Draft { mut writing, content }) = self.draft.take() else { return Ok(()) };
        let (manifest, end) = content.end(&snapshot.digest)?;
        writing.write(&end)?;
        self.snapshot = Some((manifest, writing.finish()?));
        Ok(())
    }
}

impl Replay for BackupWriter<'_> {
    fn begin(&mut self, snapshot: &Manifest) -> bool {
        if self.failed.is_some() || !self.replay.begin(snapshot) {
            return false;
        }
        // An error is reported at the first piece, or at the end.
        let begun = self.begin_snapshot(snapshot);
        begun.map_err(|error| self.fail(error)).is_ok()
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.replay.piece(bytes)?;
        self.draft(|draft| {
            draft.writing.write(&draft.content.piece(bytes)?)?;
            draft.writing.write(bytes)
        })
    }

    fn end(&mut self, snapshot: &Manifest) -> Result<(), String> {
        self.replay.end(snapshot)?;
        self.end_snapshot(snapshot).map_err(|error| self.fail(error))
    }

    fn begin_empty(&mut self) {
        let dropped = self.drop_draft();
        let _ = dropped.map_err(|error| self.fail(error));
        self.replay.begin_empty();
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        match &self.failed {
            Some(failed) => Err(failed.to_string()),
            None => self.replay.frame(frame),
        }
    }

    fn note(&mut self, note: &str) {
        self.replay.note(note);
    }

    fn progress(&mut self, done_bytes: u64, of_bytes: u64) {
        self.replay.progress(done_bytes, of_bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::file::storage::Directory;
    use crate::journal::file::walk::walk;
    use crate::journal::frame::{decode, encode};
    use crate::journal::{EveryFrame, JournalPosition};

    #[test]
    fn files_are_contiguous_for_any_frame_length() {
        for (file_bytes, payload_bytes, files) in [(8_192, 100, 5), (8_192, 4_032, 101), (1 << 20, 1_000, 1)] {
            let directory = tempfile::tempdir().unwrap();
            let storage: Arc<dyn Storage> = Arc::new(Directory::existing(directory.path()));
            let mut every = |_: Frame<'_>| Ok(());
            let mut replay = EveryFrame(&mut every);
            let mut writer = BackupWriter::new(storage.as_ref(), "main", file_bytes, &mut replay);
            let mut tip = ChainTip::start("main");
            writer.begin_frames(tip).unwrap();
            for number in 0..=100 {
                let header = if number == 0 { tip.claim_header(1) } else { tip.frame_header(number, number as i64) };
                let mut bytes = Vec::new();
                encode(&mut bytes, &header, &vec![7; if number == 0 { 0 } else { payload_bytes }]);
                let decoded = decode(&bytes).unwrap();
                writer.write_frame(&decoded).unwrap();
                tip.accept(&decoded).unwrap();
            }
            let (written, _) = writer.finish().unwrap();
            assert_eq!((written.tip, written.names.len()), (tip, files), "{payload_bytes}");
            let walked = walk(&storage, Some("main"), None, &mut |_| Ok(true)).unwrap().unwrap();
            assert_eq!(walked.walk.position(), JournalPosition { tip, frames: 101 });
        }
    }
}
