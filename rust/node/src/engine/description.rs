//! GetServerInfo: what the server is and what it guarantees.

use std::time::{Duration, Instant};

use invengine_ledger::command::{LINES_MAX, RESERVATION_LINES_MAX};
use invengine_wire::v1;
use prost::Message;

use super::{Decision, Shared};
use crate::methods::{
    ANSWER_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX, COMMAND_BYTES_MAX, SUBMIT_BYTES_MAX, SUBMIT_COMMANDS_MAX,
};
use crate::refusal::Refusal;
use crate::translate::shape::timestamp;

impl Shared {
    pub(super) fn server_info(&self, payload: &[u8], moment: Instant) -> Decision {
        if v1::GetServerInfoRequest::decode(payload).is_err() {
            return Refusal::malformed().into();
        }
        let now_ms = self.clock.at(moment);
        let core = self.core();
        let (sequence, window_ms) = (core.ledger.sequence(), core.ledger.effective_window_ms(now_ms));
        let offset_ms = core.ledger.clock_offset_ms();
        let refusal_window_ms = core.ledger.effective_refusal_window_ms(now_ms);
        let (refusal_bytes, refusal_bytes_max) = (core.ledger.refusal_bytes(), core.ledger.refusal_bytes_max());
        drop(core);
        let facts = &self.facts;
        let snapshots = self.snapshots.status();
        let reply = v1::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            ledger: facts.ledger.clone(),
            writer_epoch: facts.writer_epoch as i64,
            journal: facts.journal.into(),
            loss_window: facts.loss_window.clone(),
            sequence: sequence as i64,
            durable_sequence: self.ring.durable().sequence as i64,
            engine_time: Some(timestamp(now_ms)),
            time_scale: self.clock.scale(),
            effective_dedupe_window: Some(duration(Duration::from_millis(window_ms.max(0) as u64))),
            command_bytes_max: COMMAND_BYTES_MAX as i64,
            submit_bytes_max: SUBMIT_BYTES_MAX as i64,
            submit_commands_max: SUBMIT_COMMANDS_MAX as i32,
            lines_max: LINES_MAX as i32,
            recovery_time: Some(duration(facts.recovery)),
            recovered_events: facts.recovered_events as i64,
            door: "embedded".into(),
            snapshot_sequence: snapshots.sequence as i64,
            snapshot_time: (snapshots.sequence > 0).then(|| timestamp(snapshots.time_ms)),
            first_sequence: snapshots.first_sequence.max(1) as i64,
            lost_events: self.acknowledgements.lost_events as i64,
            clock_offset: Some(duration(Duration::from_millis(offset_ms as u64))),
            answer_bytes_max: ANSWER_BYTES_MAX as i64,
            command_answer_bytes_max: COMMAND_ANSWER_BYTES_MAX as i64,
            reservation_lines_max: RESERVATION_LINES_MAX as i32,
            effective_refusal_window: Some(duration(Duration::from_millis(refusal_window_ms.max(0) as u64))),
            refusal_bytes: refusal_bytes as i64,
            refusal_bytes_max: refusal_bytes_max as i64,
        };
        Decision { reply: Ok(reply.encode_to_vec()), depends_on: 0 }
    }
}

/// The answer to CreateSnapshot.
pub(super) fn create_snapshot_response(sequence: u64) -> Vec<u8> {
    v1::CreateSnapshotResponse { sequence: sequence as i64 }.encode_to_vec()
}

fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: time.subsec_nanos() as i32,
    }
}
