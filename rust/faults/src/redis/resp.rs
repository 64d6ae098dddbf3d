//! Commands as a client packs them: RESP arrays of bulk strings.

/// The commands in these bytes, each a list of words. The list ends at the first incomplete or malformed command.
pub fn commands(mut packed: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all = Vec::new();
    while let Some((words, rest)) = command(packed) {
        all.push(words);
        packed = rest;
    }
    all
}

fn command(packed: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (count, mut rest) = number(packed, b'*')?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, after) = number(rest, b'$')?;
        words.push(after.get(..length)?);
        rest = after.get(length + 2..)?;
    }
    Some((words, rest))
}

/// The number behind a type byte, up to the end of its line.
fn number(bytes: &[u8], mark: u8) -> Option<(usize, &[u8])> {
    let line = bytes.strip_prefix(&[mark])?;
    let end = line.iter().position(|byte| *byte == b'\r')?;
    let text = std::str::from_utf8(&line[..end]).ok()?;
    Some((text.parse().ok()?, line.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_packs_is_read_word_by_word() {
        let mut packed = redis::cmd("HSET").arg("key").arg(&[0_u8, 13, 10, 255]).get_packed_command();
        packed.extend(redis::cmd("PING").get_packed_command());
        let expected: Vec<Vec<&[u8]>> = vec![vec![b"HSET", b"key", &[0, 13, 10, 255]], vec![b"PING"]];
        assert_eq!(commands(&packed), expected);
        assert!(commands(b"*1\r\n$9\r\nshort\r\n").is_empty());
    }
}
