//! Reads the snapshots of a directory. The bytes are not trusted.

use std::io;

use super::files::{ARCHIVE, list};
use super::storage::{Storage, StoredFile, read_full_at};
use crate::journal::frame::at;
use crate::journal::recovery::StoredSnapshots;
use crate::journal::snapshot::{
    HEADER_BYTES, MANIFEST_BYTES, PIECE_HEADER_BYTES, crc_of, file_name, header, parse_manifest, parse_name,
    piece_header, read_header,
};
use crate::journal::{JournalError, Manifest, PIECE_BYTES_MAX};

/// The snapshots of a directory, newest first, and the error of each that cannot be used.
pub(in crate::journal) fn stored(
    storage: &dyn Storage,
    ledger: &str,
) -> Result<StoredSnapshots<Manifest>, JournalError> {
    let mut names: Vec<String> = list(storage)?.into_iter().filter(|name| parse_name(name).is_some()).collect();
    names.sort_unstable_by_key(|name| std::cmp::Reverse(parse_name(name)));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for name in names {
        match read_manifest(storage, &name, Some(ledger)) {
            Ok(manifest) => good.push(manifest),
            Err(error) => bad.push(error),
        }
    }
    Ok((good, bad))
}

/// Calls `f` with every piece of a snapshot.
pub(in crate::journal) fn read(
    storage: &dyn Storage,
    ledger: &str,
    manifest: &Manifest,
    f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), JournalError> {
    read_pieces(storage, &file_name(&manifest.position), manifest, ledger, f)
}

/// The manifest of the snapshot of this name, archived or not, checked against its header; an error says why it cannot be used.
pub(in crate::journal) fn read_manifest(
    storage: &dyn Storage,
    name: &str,
    ledger: Option<&str>,
) -> Result<Manifest, JournalError> {
    let (file, full_name) = open(storage, name)?;
    let bad = |why: &str| JournalError::BadSnapshot { file: full_name.clone(), why: why.into() };
    let broken = |error: io::Error| bad(&error.to_string());
    let mut head = [0; HEADER_BYTES];
    if read_full_at(file.as_ref(), &mut head, 0).map_err(broken)? < HEADER_BYTES {
        return Err(bad("it is shorter than its header"));
    }
    let position = read_header(&head, &full_name, ledger)?;
    if file_name(&position) != name.strip_prefix(ARCHIVE).unwrap_or(name) {
        return Err(bad("its name does not match its header"));
    }
    let length = file.length().map_err(broken)?;
    let start = length.checked_sub(MANIFEST_BYTES as u64).filter(|start| *start >= HEADER_BYTES as u64);
    let start = start.ok_or_else(|| bad("it is cut short"))?;
    let mut tail = [0; MANIFEST_BYTES];
    read_full_at(file.as_ref(), &mut tail, start).map_err(broken)?;
    let (pieces, bytes, digest) = parse_manifest(&tail, crc_of(&head)).ok_or_else(|| bad("it has no manifest"))?;
    let body = pieces.checked_mul(PIECE_HEADER_BYTES as u64).and_then(|headers| headers.checked_add(bytes));
    if body.and_then(|body| body.checked_add(HEADER_BYTES as u64)) != Some(start) {
        return Err(bad("its length does not match its pieces"));
    }
    Ok(Manifest { position, digest, pieces, bytes })
}

/// Calls `f` with every piece of the snapshot of this name, archived or not.
pub(in crate::journal) fn read_pieces(
    storage: &dyn Storage,
    name: &str,
    manifest: &Manifest,
    ledger: &str,
    f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), JournalError> {
    let (file, full_name) = open(storage, name)?;
    let bad = |why: String| JournalError::BadSnapshot { file: full_name.clone(), why };
    let header_crc = crc_of(&header(ledger, &manifest.position));
    let mut offset = HEADER_BYTES as u64;
    let mut bytes_left = manifest.bytes;
    let mut piece = Vec::new();
    for number in 0..manifest.pieces {
        let mut head = [0; PIECE_HEADER_BYTES];
        read_full_at(file.as_ref(), &mut head, offset).map_err(|error| bad(error.to_string()))?;
        let length = u64::from(u32::from_le_bytes(at(&head, 0)));
        if length > bytes_left.min(PIECE_BYTES_MAX as u64) {
            return Err(bad(format!("piece {number} has an impossible length")));
        }
        piece.resize(length as usize, 0);
        offset += PIECE_HEADER_BYTES as u64;
        let got = read_full_at(file.as_ref(), &mut piece, offset).map_err(|error| bad(error.to_string()))?;
        if got < piece.len() || piece_header(header_crc, number as u32, &piece) != head {
            return Err(bad(format!("piece {number} is damaged")));
        }
        offset += length;
        bytes_left -= length;
        f(&piece).map_err(bad)?;
    }
    if bytes_left == 0 { Ok(()) } else { Err(bad("its pieces are shorter than its manifest says".into())) }
}

fn open(storage: &dyn Storage, name: &str) -> Result<(Box<dyn StoredFile>, String), JournalError> {
    let full_name = storage.describe(name);
    let opened = match storage.open(name, false) {
        // Snapshots move to the archive and never back.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !name.starts_with(ARCHIVE) => {
            storage.open(&format!("{ARCHIVE}{name}"), false)
        }
        other => other,
    };
    Ok((opened.map_err(JournalError::io("open", full_name.clone()))?, full_name))
}
