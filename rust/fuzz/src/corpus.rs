//! The committed inputs: a line of hexadecimal digits each, a file a target.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the corpus of a target lies.
pub fn file(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.txt"))
}

/// All inputs of a target's corpus.
///
/// # Errors
/// The file cannot be read, or a line of it is no hexadecimal text.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let path = file(target);
    let bad = |line: &str| io::Error::other(format!("{}: not hexadecimal: {line}", path.display()));
    let text = fs::read_to_string(&path)?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| bytes(line).ok_or_else(|| bad(line))).collect()
}

/// Replaces the corpus of a target.
///
/// # Errors
/// The file cannot be written.
pub fn write(target: &str, inputs: &[Vec<u8>]) -> io::Result<()> {
    let mut out = fs::File::create(file(target))?;
    writeln!(out, "# One input a line. `cargo run -p invengine-fuzz -- {target} --grow` writes this file.")?;
    inputs.iter().try_for_each(|input| writeln!(out, "{}", hex(input)))
}

/// Bytes as they stand in a corpus.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a line.
pub fn bytes(line: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        line.trim().chars().map(|digit| digit.to_digit(16).map(|four| four as u8)).collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| Some(pair.first()? << 4 | pair.get(1)?)).collect()
}
