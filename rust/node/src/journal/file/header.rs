//! The header and the name of one journal file.

use crate::journal::JournalError;
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::{FORMAT_VERSION, LEDGER_NAME_BYTES_MAX, at, ledger_id};

pub(in crate::journal) const FILE_HEADER_BYTES: usize = 4096;
/// A shorter file could not even hold a header and a frame.
pub(in crate::journal) const FILE_BYTES_MIN: u64 = 2 * FILE_HEADER_BYTES as u64;
/// Bounds what recovery writes because of a damaged header.
pub(in crate::journal) const FILE_BYTES_MAX: u64 = 16 << 30;
pub(in crate::journal) const NAME_PREFIX: &str = "journal-";

const FILE_MAGIC: [u8; 8] = [0xFE, b'I', b'V', b'J', b'R', b'N', b'L', b'\n'];
const LEDGER_AT: usize = 72;
const CRC_AT: usize = FILE_HEADER_BYTES - 4;

/// The name of a journal file; sorts in journal order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::journal) struct FileName {
    pub first_sequence: u64,
    pub number: u64,
}

impl FileName {
    /// The name as it is in the directory.
    pub fn text(self) -> String {
        format!("{NAME_PREFIX}{:016x}-{:08x}", self.first_sequence, self.number)
    }

    /// Parses a name; only the exact spelling is accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let (sequence, number) = text.strip_prefix(NAME_PREFIX)?.split_once('-')?;
        let name = Self {
            first_sequence: u64::from_str_radix(sequence, 16).ok()?,
            number: u64::from_str_radix(number, 16).ok()?,
        };
        (name.text() == text).then_some(name)
    }
}

/// What a journal file records about itself and about the journal before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::journal) struct FileHeader {
    pub name: FileName,
    pub chain: u64,
    pub ledger: String,
    pub file_bytes: u64,
    pub writer_epoch: u64,
    pub time_ms: i64,
}

impl FileHeader {
    /// The header as its 4,096 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FILE_HEADER_BYTES);
        out.extend_from_slice(&FILE_MAGIC);
        out.extend_from_slice(&u32::from(FORMAT_VERSION).to_le_bytes());
        out.extend_from_slice(&(FILE_HEADER_BYTES as u32).to_le_bytes());
        out.extend_from_slice(&self.name.number.to_le_bytes());
        out.extend_from_slice(&self.name.first_sequence.to_le_bytes());
        out.extend_from_slice(&self.chain.to_le_bytes());
        out.extend_from_slice(&ledger_id(&self.ledger).to_le_bytes());
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.extend_from_slice(&self.writer_epoch.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&(self.ledger.len() as u16).to_le_bytes());
        out.extend_from_slice(self.ledger.as_bytes());
        out.resize(CRC_AT, 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `file` names it in errors.
    pub fn decode(bytes: &[u8], file: &str) -> Result<Self, JournalError> {
        let corrupt = |why: &str| JournalError::Corrupt { file: file.into(), offset: 0, why: why.into() };
        if bytes.len() < FILE_HEADER_BYTES {
            return Err(corrupt("the file is shorter than its header"));
        }
        let bytes = &bytes[..FILE_HEADER_BYTES];
        if bytes[..8] != FILE_MAGIC {
            return Err(corrupt("not the start of a journal file"));
        }
        if crc32c::crc32c(&bytes[..CRC_AT]) != u32::from_le_bytes(at(bytes, CRC_AT)) {
            return Err(corrupt("the header's checksum does not match"));
        }
        let (found, known) = (u32::from_le_bytes(at(bytes, 8)), u32::from(FORMAT_VERSION));
        if found > known {
            return Err(JournalError::NewerFormat { file: file.into(), found, known });
        }
        Self::fields(bytes).map_err(corrupt)
    }

    fn fields(bytes: &[u8]) -> Result<Self, &'static str> {
        let ledger_bytes = usize::from(u16::from_le_bytes(at(bytes, LEDGER_AT)));
        if !(1..=LEDGER_NAME_BYTES_MAX).contains(&ledger_bytes) {
            return Err("the ledger name's length is out of range");
        }
        let name_at = LEDGER_AT + 2;
        let ledger =
            str::from_utf8(&bytes[name_at..name_at + ledger_bytes]).map_err(|_| "the ledger name is not UTF-8")?;
        let header = Self {
            name: FileName {
                number: u64::from_le_bytes(at(bytes, 16)),
                first_sequence: u64::from_le_bytes(at(bytes, 24)),
            },
            chain: u64::from_le_bytes(at(bytes, 32)),
            ledger: ledger.into(),
            file_bytes: u64::from_le_bytes(at(bytes, 48)),
            writer_epoch: u64::from_le_bytes(at(bytes, 56)),
            time_ms: i64::from_le_bytes(at(bytes, 64)),
        };
        if header.encode() != bytes {
            return Err("the header holds values that this version never writes");
        }
        if header.name.first_sequence == 0 {
            return Err("the first sequence in the header is 0");
        }
        if !(FILE_BYTES_MIN..=FILE_BYTES_MAX).contains(&header.file_bytes) {
            return Err("the file length in the header is out of range");
        }
        Ok(header)
    }
}

impl ChainTip {
    /// The state that a file continues from, according to its header.
    pub fn at_start_of(header: &FileHeader) -> Self {
        Self {
            ledger_id: ledger_id(&header.ledger),
            next_sequence: header.name.first_sequence,
            chain: header.chain,
            writer_epoch: header.writer_epoch,
            time_ms: header.time_ms,
        }
    }

    /// The header of a file that continues this tip.
    pub fn file_header(&self, number: u64, ledger: &str, file_bytes: u64) -> FileHeader {
        FileHeader {
            name: FileName { first_sequence: self.next_sequence, number },
            chain: self.chain,
            ledger: ledger.into(),
            file_bytes,
            writer_epoch: self.writer_epoch,
            time_ms: self.time_ms,
        }
    }
}
