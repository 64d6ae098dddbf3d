//! What a request brings beside its message, and whether it is gRPC at all.

use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};

use crate::engine::Call;
use crate::refusal::Refusal;

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LEDGER: HeaderName = HeaderName::from_static("invengine-ledger");

/// The HTTP status of a request that is not gRPC.
pub(super) fn foreign(parts: &Parts) -> Option<StatusCode> {
    if parts.method != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let is_grpc = match kind.strip_prefix(b"application/grpc") {
        Some(rest) => rest.is_empty() || rest.starts_with(b";") || rest.starts_with(b"+proto"),
        None => false,
    };
    (!is_grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// The head of a call with its deadline.
pub(super) struct Terms {
    parts: Parts,
    deadline: Option<Instant>,
}

impl Terms {
    /// Reads them. A time to wait counts from now.
    pub(super) fn new(parts: Parts) -> Result<Self, Refusal> {
        let deadline = match parts.headers.get(TIMEOUT) {
            None => None,
            Some(timeout) => match timeout_of(timeout.as_bytes()) {
                // More than the clock can hold is no deadline.
                Some(timeout) => Instant::now().checked_add(timeout),
                None => return Err(bad("grpc-timeout", "must be 1 to 8 digits and one of H, M, S, m, u, n")),
            },
        };
        Ok(Terms { parts, deadline })
    }

    /// The head as it came.
    pub(super) fn into_parts(self) -> Parts {
        self.parts
    }

    /// Path of the method.
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// When the caller stops waiting.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The call with this message, to be decided now. Refuses what came too late.
    pub(super) fn call<'a>(&'a self, path: &'a str, payload: &'a [u8]) -> Result<Call<'a>, Refusal> {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Refusal::deadline());
        }
        let (key, ledger) = (self.text(&KEY)?, self.text(&LEDGER)?);
        Ok(Call { path, payload, key, ledger, deadline: self.deadline })
    }

    fn text(&self, name: &HeaderName) -> Result<&str, Refusal> {
        let Some(value) = self.parts.headers.get(name) else { return Ok("") };
        value.to_str().map_err(|_| bad(name.as_str(), "must be printable ASCII"))
    }
}

fn bad(field: &str, rule: &str) -> Refusal {
    Refusal::invalid(vec![(field.to_owned(), rule.to_owned())])
}

fn timeout_of(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if !(1..=8).contains(&digits.len()) {
        return None;
    }
    let mut count = 0;
    for digit in digits {
        count = count * 10 + u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    match unit {
        b'H' => Some(Duration::from_secs(count * 3_600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let rows: [(&[u8], Option<Duration>); 12] = [
            (b"1n", Some(Duration::from_nanos(1))),
            (b"250u", Some(Duration::from_micros(250))),
            (b"99999999m", Some(Duration::from_millis(99_999_999))),
            (b"3S", Some(Duration::from_secs(3))),
            (b"2M", Some(Duration::from_secs(120))),
            (b"99999999H", Some(Duration::from_secs(359_999_996_400))),
            (b"", None),
            (b"S", None),
            (b"1", None),
            (b"1s", None),
            (b"-1S", None),
            (b"123456789S", None),
        ];
        for (text, expected) in rows {
            assert_eq!(timeout_of(text), expected, "{}", text.escape_ascii());
        }
    }
}
