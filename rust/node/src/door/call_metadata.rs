//! What a request has besides its message, and whether it is gRPC at all.

use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};

use crate::engine::Call;
use crate::refusal::{ECHO_CHARS_MAX, Refusal};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LEDGER: HeaderName = HeaderName::from_static("invengine-ledger");

/// The HTTP status for a request that is not gRPC; `None` if it is.
pub(super) fn non_grpc_status(parts: &Parts) -> Option<StatusCode> {
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

/// Bytes of the metadata of a call, counted as HTTP/2 does.
pub(super) fn metadata_bytes(parts: &Parts) -> usize {
    const ENTRY_BYTES: usize = 32;
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ENTRY_BYTES);
    let place = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    fields.sum::<usize>() + place + path
}

/// The metadata of a call, as far as it is read.
pub(super) struct CallMetadata {
    path: &'static str,
    headers: HeaderMap,
    deadline: Option<Instant>,
}

impl CallMetadata {
    /// Reads the metadata. A timeout counts from now.
    pub(super) fn new(parts: Parts, path: &'static str) -> Result<Self, Refusal> {
        let deadline = match parts.headers.get(TIMEOUT) {
            None => None,
            Some(timeout) => match timeout_of(timeout.as_bytes()) {
                // A timeout that the clock cannot hold is no deadline.
                Some(timeout) => Instant::now().checked_add(timeout),
                None => return Err(bad("grpc-timeout", "must be 1 to 8 digits and one of H, M, S, m, u, n")),
            },
        };
        Ok(CallMetadata { path, headers: parts.headers, deadline })
    }

    /// Drops the headers that nobody reads, so that a waiting call does not hold their memory.
    pub(super) fn compact(self) -> Self {
        let copied = |name: HeaderName| {
            let value = HeaderValue::from_bytes(self.headers.get(&name)?.as_bytes()).ok()?;
            Some((name, value))
        };
        CallMetadata { headers: [KEY, LEDGER].into_iter().filter_map(copied).collect(), ..self }
    }

    /// The request for the service behind the door: it has the headers that the service reads, and nothing else from
    /// the caller.
    pub(super) fn forwarded(&self) -> Option<Request<()>> {
        let request = Request::post(format!("http://localhost{}", self.path));
        let mut request = request.header(CONTENT_TYPE, "application/grpc").header("te", "trailers").body(()).ok()?;
        for name in [KEY, LEDGER] {
            if let Some(value) = self.headers.get(&name) {
                let value = value.as_bytes();
                // The service sees that the text is too long and does not need all of it.
                let value = HeaderValue::from_bytes(&value[..value.len().min(ECHO_CHARS_MAX + 1)]).ok()?;
                request.headers_mut().insert(name, value);
            }
        }
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, 99_999_999);
            request.headers_mut().insert(TIMEOUT, HeaderValue::try_from(format!("{left}m")).ok()?);
        }
        Some(request)
    }

    /// Path of the method.
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// When the caller stops waiting.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The call with this message, to be decided now. Refused if its deadline has passed.
    pub(super) fn call<'a>(&'a self, path: &'a str, payload: &'a [u8]) -> Result<Call<'a>, Refusal> {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Refusal::deadline());
        }
        let (key, ledger) = (self.text(&KEY)?, self.text(&LEDGER)?);
        Ok(Call { path, payload, key, ledger, deadline: self.deadline })
    }

    fn text(&self, name: &HeaderName) -> Result<&str, Refusal> {
        let Some(value) = self.headers.get(name) else { return Ok("") };
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
