//! The file journal: preallocated files of one directory, one write and one sync for each frame.
//!
//! # File format, version 1
//!
//! All integers are little endian. A journal is a directory:
//!
//! | name | what it is |
//! |---|---|
//! | `LOCK` | locked by the one writer; holds its process id |
//! | `journal-<sequence>-<number>` | a journal file: first sequence (16 hex digits), file number from 0 (8) |
//! | `spare` | the next journal file while it is being prepared; removed at open, never read |
//!
//! Other names are left alone, except that a name starting with `journal-` which does not have this
//! form is refused: it may be a renamed part of the journal.
//!
//! A **journal file** is written full of zeros and synced before its name exists, so that an append
//! overwrites it and never extends it (measured: a sync then takes 0.2 ms rather than 4 ms). It starts
//! with a header of 4,096 bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `FE "IVJRNL" 0A` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | header length, 4096 |
//! | 16 | 8 | file number |
//! | 24 | 8 | first sequence |
//! | 32 | 8 | chain value at its start |
//! | 40 | 8 | ledger id: FNV-1a 64 of the ledger name |
//! | 48 | 8 | length of the whole file |
//! | 56 | 8 | writer epoch at its start |
//! | 64 | 8 | time of the last frame before it, ms |
//! | 72 | 2 + n | length of the ledger name, the name in UTF-8 (1 to 128 bytes) |
//! | 4092 | 4 | CRC32C of bytes 0 to 4091 |
//!
//! **Frames** follow, each starting at a multiple of 8 bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `FE "IVF"`; FE occurs in no UTF-8 text, so text in a payload never looks like a frame |
//! | 4 | 2 | format version, 1 |
//! | 6 | 2 | flags; bit 0: claim of a writer epoch, a frame without events |
//! | 8 | 4 | payload length |
//! | 12 | 4 | CRC32C of everything else in the frame, padding included |
//! | 16 | 8 | first sequence |
//! | 24 | 8 | last sequence; first - 1 in a claim |
//! | 32 | 8 | writer epoch |
//! | 40 | 8 | time, ms |
//! | 48 | 8 | ledger id |
//! | 56 | 8 | chain: a 64-bit value made of the chain and the CRC of the frame before it |
//! | 64 | n | payload, then zeros up to a multiple of 8 |
//!
//! A whole frame is at most 64 MiB. The chain starts as the ledger id. Sequences have no gaps;
//! epochs rise, and only in a claim. Magic, version, lengths and CRC keep their offsets in
//! every later version, so that a newer journal can be told from a damaged one.
//!
//! # Recovery
//!
//! Every frame is checked: CRC, ledger, sequence, epoch, chain. The first invalid frame ends the
//! journal only if it is in the last file and no valid frame of the same or a later epoch follows
//! in the rest of that file: then it is the torn tail of an append that was never acknowledged, and is
//! zeroed and synced before anything is appended. Anything else is `Corrupt`, with file and offset;
//! nothing is ever skipped. The last frame found is written again and synced before the journal
//! opens: an earlier process may have left it in the page cache after a failed sync, and it must be
//! durable before anything relies on it.
//!
//! The limits of this journal: bit rot inside the very last frame cannot be told from a torn write and
//! is cut like one. The disk is trusted to write a sector of 512 bytes whole or not at all, and to keep
//! what it confirmed.

mod aside;
pub(in crate::journal) mod files;
pub(in crate::journal) mod header;
pub(in crate::journal) mod inspect;
pub(in crate::journal) mod markers;
pub(in crate::journal) mod preallocate;
pub(crate) mod preflight;
pub(in crate::journal) mod reader;
pub(in crate::journal) mod recovery;
pub(in crate::journal) mod scan;
pub(in crate::journal) mod snapshot_store;
pub(in crate::journal) mod snapshots;
pub mod storage;
pub(in crate::journal) mod walk;
pub(in crate::journal) mod writer;

pub use self::inspect::{FileInspection, look_again};
pub use self::scan::{ScanSummary, scan, scan_on};
pub use self::writer::{FileJournal, FileOptions};
