//! Requests that are written once and then only patched: a call costs a copy and a few digits.

use std::ops::Range;

use invengine_wire::v1;
use prost::Message;

use crate::spec::Spec;

/// Placeholder for the number of the reserve, as hexadecimal digits of the same length.
const NUMBER: &str = "\u{1}NUMBER-MARK";
/// Placeholder for the digits of the item.
const ITEM: &str = "\u{1}ITEM\u{1}M";
const GRPC_PREFIX: usize = 5;

/// The bytes of one request and the positions that change.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    numbers: Vec<usize>,
    items: Vec<usize>,
    issue_time: Option<usize>,
}

impl Template {
    fn new(bytes: Vec<u8>, issue_second: i64) -> Self {
        let places = |mark: &[u8]| -> Vec<usize> {
            bytes.windows(mark.len()).enumerate().filter(|(_, part)| *part == mark).map(|(at, _)| at).collect()
        };
        let numbers = places(NUMBER.as_bytes());
        let items = places(ITEM.as_bytes());
        let issue_time = places(&seconds(issue_second)).first().copied();
        Self { bytes, numbers, items, issue_time }
    }

    /// Sets issue_time for all requests from now on.
    pub fn set_issue_time(&mut self, second: i64) {
        if let Some(at) = self.issue_time {
            let field = seconds(second);
            self.bytes[at..at + field.len()].copy_from_slice(&field);
        }
    }

    /// Appends the request of this reserve, with the item of each of its lines.
    pub fn write(&self, number: u64, items: impl Iterator<Item = u32>, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(&self.bytes);
        let written = &mut to[start..];
        for &at in &self.numbers {
            digits::<16>(number, &mut written[at..at + NUMBER.len()]);
        }
        for (at, item) in self.items.iter().copied().zip(items) {
            digits::<10>(u64::from(item), &mut written[at..at + ITEM.len()]);
        }
    }
}

fn digits<const BASE: u64>(mut number: u64, place: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in place.iter_mut().rev() {
        *digit = DIGITS[(number % BASE) as usize];
        number /= BASE;
    }
}

/// The field `seconds` of a Timestamp: five bytes of varint from 1978 to 3058.
fn seconds(second: i64) -> Vec<u8> {
    prost_types::Timestamp { seconds: second, nanos: 0 }.encode_to_vec()
}

/// The requests of one run.
#[derive(Debug)]
pub struct Templates {
    /// Unary Reserve, with the gRPC prefix.
    pub reserve: Template,
    /// Unary Allocate of the reserve's hold, with the gRPC prefix.
    pub allocate: Template,
    /// Unary Release of the reserve's hold, with the gRPC prefix.
    pub release: Template,
    /// One command of a batch.
    pub command: Template,
}

impl Templates {
    /// The templates of a run that starts in this second.
    pub fn new(spec: &Spec, second: i64) -> Self {
        let context = |kind: &str| {
            Some(v1::CommandContext {
                idempotency_key: format!("{}-{kind}-{NUMBER}", spec.key_prefix),
                issue_time: Some(prost_types::Timestamp { seconds: second, nanos: 0 }),
                ..Default::default()
            })
        };
        let target = || {
            let by = v1::hold_target::By::ReservationKey(format!("{}-r-{NUMBER}", spec.key_prefix));
            Some(v1::HoldTarget { by: Some(by), ..Default::default() })
        };
        let line = v1::LineRequest {
            sku: format!("{}-{ITEM}", spec.skus.prefix),
            location: spec.location.clone(),
            quantity: 1,
            ..Default::default()
        };
        let lines = vec![line; spec.skus.lines as usize];
        let ttl = (spec.ttl_ms > 0).then(|| prost_types::Duration {
            seconds: i64::from(spec.ttl_ms / 1_000),
            nanos: (spec.ttl_ms % 1_000 * 1_000_000).cast_signed(),
        });
        let reserve = v1::ReserveRequest { context: context("r"), lines, ttl, ..Default::default() };
        let allocate = v1::AllocateRequest { context: context("a"), target: target() };
        let release = v1::ReleaseRequest { context: context("l"), target: target() };
        let command = v1::SubmitRequest {
            commands: vec![v1::Command { command: Some(v1::command::Command::Reserve(reserve.clone())) }],
        };
        Self {
            reserve: Template::new(framed(&reserve.encode_to_vec()), second),
            allocate: Template::new(framed(&allocate.encode_to_vec()), second),
            release: Template::new(framed(&release.encode_to_vec()), second),
            command: Template::new(command.encode_to_vec(), second),
        }
    }

    /// Sets issue_time for all requests from now on.
    pub fn set_issue_time(&mut self, second: i64) {
        for template in [&mut self.reserve, &mut self.allocate, &mut self.release, &mut self.command] {
            template.set_issue_time(second);
        }
    }

    /// Appends a batch of the reserves with these numbers as one message. The entries of a repeated field are simply
    /// concatenated.
    pub fn write_batch<I: Iterator<Item = u32>>(
        &self,
        numbers: Range<u64>,
        items: impl Fn(u64) -> I,
        to: &mut Vec<u8>,
    ) {
        let start = to.len();
        to.extend_from_slice(&[0; GRPC_PREFIX]);
        for number in numbers {
            self.command.write(number, items(number), to);
        }
        let length = u32::try_from(to.len() - start - GRPC_PREFIX).unwrap_or(u32::MAX);
        to[start + 1..start + GRPC_PREFIX].copy_from_slice(&length.to_be_bytes());
    }

    /// The key of the reserve with this number.
    pub fn key(spec: &Spec, number: u64) -> String {
        let mut text = vec![0; NUMBER.len()];
        digits::<16>(number, &mut text);
        format!("{}-r-{}", spec.key_prefix, String::from_utf8_lossy(&text))
    }

    /// The name of the item with this number.
    pub fn sku(spec: &Spec, item: u32) -> String {
        format!("{}-{item:0width$}", spec.skus.prefix, width = ITEM.len())
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use invengine_wire::v1;
    use prost::Message;

    use super::Templates;
    use crate::spec::{Skus, Spec};

    fn skus_of(request: &v1::ReserveRequest) -> Vec<String> {
        request.lines.iter().map(|line| line.sku.clone()).collect()
    }

    #[test]
    fn a_patched_template_is_the_request_itself() {
        let skus = Skus { lines: 2, ..Skus::default() };
        let spec = Spec { key_prefix: "run7".to_owned(), skus, ..Spec::default() };
        let mut templates = Templates::new(&spec, 1_700_000_000);
        templates.set_issue_time(1_800_000_000);
        let mut bytes = Vec::new();
        templates.reserve.write(0xabc, [17, 4].into_iter(), &mut bytes);
        let request = v1::ReserveRequest::decode(&bytes[5..]).unwrap();
        let context = request.context.clone().unwrap();
        assert_eq!(context.idempotency_key, Templates::key(&spec, 0xabc));
        assert_eq!(context.issue_time.unwrap().seconds, 1_800_000_000);
        assert_eq!([17, 4].map(|item| Templates::sku(&spec, item)).as_slice(), skus_of(&request));
        assert_eq!(bytes[..5], [0, 0, 0, 0, u8::try_from(bytes.len() - 5).unwrap()]);
    }

    #[test]
    fn a_batch_holds_each_reserve_in_order() {
        let spec = Spec::default();
        let templates = Templates::new(&spec, 1_700_000_000);
        let mut bytes = Vec::new();
        templates.write_batch(5..8, |number| [number as u32 * 2].into_iter(), &mut bytes);
        let batch = v1::SubmitRequest::decode(&bytes[5..]).unwrap();
        let skus: Vec<String> = batch
            .commands
            .into_iter()
            .map(|command| match command.command {
                Some(v1::command::Command::Reserve(reserve)) => reserve.lines[0].sku.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(skus, [10, 12, 14].map(|item| Templates::sku(&spec, item)));
    }

    #[test]
    fn what_follows_a_reserve_names_its_key() {
        let spec = Spec::default();
        let templates = Templates::new(&spec, 1_700_000_000);
        let mut bytes = Vec::new();
        templates.allocate.write(9, [0].into_iter(), &mut bytes);
        let request = v1::AllocateRequest::decode(&bytes[5..]).unwrap();
        let by = request.target.unwrap().by.unwrap();
        assert_eq!(by, v1::hold_target::By::ReservationKey(Templates::key(&spec, 9)));
        assert_ne!(request.context.unwrap().idempotency_key, Templates::key(&spec, 9));
    }
}
