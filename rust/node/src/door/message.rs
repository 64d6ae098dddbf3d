//! Messages as gRPC frames them: one byte that says whether the message is compressed, four for its length, the
//! message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::limits::UnsentAnswer;
use crate::refusal::Refusal;

const PREFIX_BYTES: usize = 5;

/// The message after its prefix.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Like `framed`, counted until its last byte is sent or dropped.
pub(super) fn counted(message: &[u8], unsent: UnsentAnswer) -> Bytes {
    struct Counted(Bytes, #[expect(dead_code, reason = "counts until it is dropped")] UnsentAnswer);
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Counted(framed(message), unsent))
}

/// Splits the bytes of a body into messages. A message that arrived in one piece is not copied.
pub(super) struct MessageDecoder {
    limit: usize,
    whole: Bytes,
    part: BytesMut,
}

impl MessageDecoder {
    /// Accepts messages of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        MessageDecoder { limit, whole: Bytes::new(), part: BytesMut::new() }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        if self.is_empty() {
            self.whole = data;
            return;
        }
        if !self.whole.is_empty() {
            self.part.extend_from_slice(&std::mem::take(&mut self.whole));
        }
        self.part.extend_from_slice(&data);
    }

    fn held(&self) -> &[u8] {
        if self.whole.is_empty() { &self.part } else { &self.whole }
    }

    /// True if there are no bytes beyond the messages that were returned.
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.part.is_empty()
    }

    /// The next message, if all of it has arrived. An oversized one is refused before it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some((prefix, rest)) = self.held().split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = length_of(*prefix, self.limit)?;
        if rest.len() < length {
            return Ok(None);
        }
        if self.whole.is_empty() {
            self.part.advance(PREFIX_BYTES);
            return Ok(Some(self.part.split_to(length).freeze()));
        }
        self.whole.advance(PREFIX_BYTES);
        Ok(Some(self.whole.split_to(length)))
    }

    /// Refuses a body that can no longer be the single message of a unary call, before all of it has arrived.
    pub(super) fn check_only(&self) -> Result<(), Refusal> {
        let Some((prefix, rest)) = self.held().split_first_chunk::<PREFIX_BYTES>() else { return Ok(()) };
        let length = length_of(*prefix, self.limit)?;
        if rest.len() > length { Err(Refusal::malformed()) } else { Ok(()) }
    }

    /// The only message of a body that has ended.
    pub(super) fn only(&mut self) -> Result<Bytes, Refusal> {
        let message = self.next()?.ok_or_else(Refusal::malformed)?;
        if self.is_empty() { Ok(message) } else { Err(Refusal::malformed()) }
    }
}

fn length_of(prefix: [u8; PREFIX_BYTES], limit: usize) -> Result<usize, Refusal> {
    let [compressed, length @ ..] = prefix;
    match compressed {
        0 => {}
        1 => return Err(Refusal::unimplemented("compression of messages")),
        _ => return Err(Refusal::malformed()),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > limit { Err(Refusal::too_large(limit)) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(data: &[u8], size: usize) -> Vec<Vec<u8>> {
        let mut messages = MessageDecoder::new(8);
        let mut found = Vec::new();
        for piece in data.chunks(size) {
            messages.push(Bytes::copy_from_slice(piece));
            while let Some(message) = messages.next().expect("well formed") {
                found.push(message.to_vec());
            }
        }
        assert!(messages.is_empty());
        found
    }

    #[test]
    fn messages_are_found_however_the_data_is_cut() {
        let data = [framed(b"ab"), framed(b""), framed(b"12345678"), framed(b"z")].concat();
        for size in 1..=data.len() {
            assert_eq!(cut(&data, size), [&b"ab"[..], b"", b"12345678", b"z"], "pieces of {size}");
        }
    }

    #[test]
    fn an_oversized_message_is_refused_by_its_prefix() {
        let mut messages = MessageDecoder::new(8);
        messages.push(Bytes::from_static(&[0, 0, 0, 0, 9]));
        assert_eq!(messages.next(), Err(Refusal::too_large(8)));
    }

    #[test]
    fn a_compressed_message_and_an_invalid_prefix_are_refused() {
        let reason = |prefix: &'static [u8]| {
            let mut messages = MessageDecoder::new(8);
            messages.push(Bytes::from_static(prefix));
            messages.next().expect_err("refused").reason
        };
        assert_eq!(reason(&[1, 0, 0, 0, 0]), "UNIMPLEMENTED");
        assert_eq!(reason(&[2, 0, 0, 0, 0]), "INVALID_FIELD");
    }

    #[test]
    fn a_unary_body_is_one_message() {
        for body in [&b""[..], &framed(b"ab")[..6], &[framed(b"a"), framed(b"b")].concat()] {
            let mut messages = MessageDecoder::new(8);
            messages.push(Bytes::copy_from_slice(body));
            assert_eq!(messages.only(), Err(Refusal::malformed()), "{body:?}");
        }
    }
}
