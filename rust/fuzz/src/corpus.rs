//! The committed inputs: one line of hexadecimal digits per input, one file per target.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file with the corpus of a target.
pub fn file(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.txt"))
}

/// All inputs of a target's corpus.
///
/// # Errors
/// The file cannot be read, or one of its lines is not hexadecimal.
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

/// Bytes in the form of a corpus line.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a corpus line; `None` if it is not hexadecimal.
pub fn bytes(line: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        line.trim().chars().map(|digit| digit.to_digit(16).map(|four| four as u8)).collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| Some(pair.first()? << 4 | pair.get(1)?)).collect()
}
