//! The simulated Redis as its clients see it: a primary with its append-only file, a replica, connections that break, and
//! all the faults of these.

use std::sync::Arc;

use invengine_node::journal::Ack;
use redis::Value;

use super::dataset::{Bytes, Dataset, StreamId, Write};
use super::instance::{Instance, InstanceConfig};
use super::lagging_copy::LaggingCopy;
use crate::faults::Class;
use crate::journal::SharedChecker;
use crate::model::Violation;
use crate::storage::{SharedFaults, lock};
use crate::swarm::Swarm;

const SECOND_US: u64 = 1_000_000;
/// A connected replica that is not waited for lags by less than this.
const LAG_US_MAX: u64 = 5 * SECOND_US;
/// The most that `appendfsync everysec` may lose.
const UNSYNCED_US_MAX: u64 = 2 * SECOND_US;
/// The most that a server without an append-only file may lose: it saves its dataset now and then.
const UNSAVED_US_MAX: u64 = 60 * SECOND_US;
const STATE_KEY: &[u8] = b"invengine:{main}:state";
const FRAMES_KEY: &[u8] = b"invengine:{main}:frames";
/// Offset of the writer epoch in a frame.
const EPOCH_AT: usize = 32;

/// A process that uses this Redis: the number of its server and its incarnation.
pub type ProcessId = (usize, u64);

/// The outcome of one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExchangeOutcome {
    /// The reply arrives.
    #[default]
    Success,
    /// The connection is lost before the server received the request.
    RequestLost,
    /// The connection is lost after the server executed the request.
    ReplyLost,
    /// The reply takes this many microseconds.
    Delayed(u64),
}

/// The Redis configuration of a seed.
fn config(ack: Ack, draw: u64) -> InstanceConfig {
    let replicas = u32::from(ack == Ack::Replicated || draw.is_multiple_of(2));
    let (version, has_file) = match (ack, draw % 4) {
        (Ack::Memory, _) => ((7, 0), false),
        (Ack::Replicated, 0 | 1) => ((7, 0), false),
        _ => ((9, 1), true),
    };
    InstanceConfig { version, has_file, syncs_always: ack == Ack::Fsync, replicas }
}

/// The Redis of a run.
pub struct SimulatedRedis {
    pub ack: Ack,
    pub primary: Instance,
    /// The part of the append-only file that survives a crash of the host; `None` if that is all of it.
    file: Option<LaggingCopy>,
    replica: Option<LaggingCopy>,
    replica_back_us: Option<u64>,
    replica_cut_until_us: u64,
    /// Connections of an earlier generation are broken.
    pub generation: u64,
    pub down_until_us: u64,
    cut_until_us: Vec<u64>,
    /// The process of each owner token.
    tokens: Vec<(Bytes, ProcessId)>,
    owner: Option<ProcessId>,
    /// Former owners of the journal, and since when they do not own it.
    deposed: Vec<(ProcessId, u64)>,
    /// How often something was lost or may have been lost.
    pub losses: u64,
    healed: bool,
    faults: SharedFaults,
    checker: SharedChecker,
    swarm: Swarm,
}

impl SimulatedRedis {
    /// An empty Redis for this many processes.
    pub fn new(swarm: &Swarm, processes: usize, faults: SharedFaults, checker: SharedChecker) -> Self {
        let config = config(swarm.ack, swarm.redis_draw);
        let primary = Instance::new(config, Dataset::default());
        SimulatedRedis {
            ack: swarm.ack,
            file: (!config.syncs_always).then(|| LaggingCopy::new(&primary.data)),
            replica: (config.replicas > 0).then(|| LaggingCopy::new(&primary.data)),
            primary,
            replica_back_us: None,
            replica_cut_until_us: 0,
            generation: 0,
            down_until_us: 0,
            cut_until_us: vec![0; processes],
            tokens: Vec::new(),
            owner: None,
            deposed: Vec::new(),
            losses: 0,
            healed: false,
            faults,
            checker,
            swarm: swarm.clone(),
        }
    }

    /// The process that owns the journal.
    pub fn owner(&self) -> Option<ProcessId> {
        self.owner
    }

    /// Since when a former owner does not own the journal.
    pub fn deposed_since(&self, process: ProcessId) -> Option<u64> {
        self.deposed.iter().find(|(known, _)| *known == process).map(|(_, since_us)| *since_us)
    }

    /// Whether there is a connected replica.
    pub fn has_replica(&self) -> bool {
        self.replica.is_some()
    }

    /// Whether a process reaches the server.
    pub fn reaches(&self, process: usize, now_us: u64) -> bool {
        self.down_until_us <= now_us && self.cut_until_us[process] <= now_us
    }

    /// Whether the next exchange of this process meets no known disturbance.
    pub fn is_undisturbed(&self, process: usize, generation: u64, now_us: u64) -> bool {
        let waits = self.ack == Ack::Replicated && (self.replica.is_none() || self.replica_cut_until_us > now_us);
        self.reaches(process, now_us)
            && self.generation == generation
            && self.primary.degradation.is_clear(now_us)
            && !waits
    }

    /// Draws the outcome of the next exchange.
    pub fn exchange_outcome(&self) -> ExchangeOutcome {
        let ppm = self.swarm.redis_ppm;
        let mut faults = lock(&self.faults);
        if faults.hits(Class::RedisRequestLost, ppm) {
            ExchangeOutcome::RequestLost
        } else if faults.hits(Class::RedisReplyLost, ppm) {
            ExchangeOutcome::ReplyLost
        } else if faults.hits(Class::RedisReplyDelayed, ppm) {
            ExchangeOutcome::Delayed(
                faults.stream(Class::RedisReplyDelayed).below(self.swarm.redis_late_ms_max * 1_000),
            )
        } else {
            ExchangeOutcome::Success
        }
    }

    /// Executes one command of a process.
    pub fn execute(&mut self, process: ProcessId, words: &[&[u8]], now_us: u64) -> Value {
        self.catch_up_copies(now_us);
        let (value, writes) = self.primary.execute(words, now_us);
        if writes.is_empty() {
            return value;
        }
        if let [b"FCALL", b"invengine_claim" | b"invengine_seal", _, _, _, _, token, ..] = words {
            self.tokens.push(((*token).into(), process));
        }
        let writes: Arc<[Write]> = writes.into();
        let copies = [&mut self.file, &mut self.replica];
        copies.into_iter().flatten().for_each(|copy| copy.record(now_us, &writes));
        self.check_writes(&writes);
        self.update_owner(now_us);
        value
    }

    /// Advances the copies to within their lag, and reconnects a replica that is due.
    fn catch_up_copies(&mut self, now_us: u64) {
        if let Some(file) = &mut self.file {
            let kept_us = if self.primary.config.has_file { UNSYNCED_US_MAX } else { UNSAVED_US_MAX };
            file.catch_up(now_us.saturating_sub(kept_us));
        }
        if let (Some(replica), true) = (&mut self.replica, self.replica_cut_until_us <= now_us) {
            replica.catch_up(now_us.saturating_sub(LAG_US_MAX));
        }
        if self.replica_back_us.is_some_and(|back_us| back_us <= now_us && self.down_until_us <= now_us) {
            (self.replica, self.replica_back_us) = (Some(LaggingCopy::new(&self.primary.data)), None);
            self.primary.config.replicas = 1;
        }
    }

    /// Checks that no frame of an older writer follows a newer claim, and reports stored frames, which may have been at
    /// risk.
    fn check_writes(&mut self, writes: &[Write]) {
        for write in writes {
            let Write::Add { frame, .. } = write else { continue };
            let mut checker = lock(&self.checker);
            let epoch =
                frame.get(EPOCH_AT..EPOCH_AT + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
            let known = self.primary.data.field(STATE_KEY, "epoch").ok().flatten();
            let known = known.and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
            if epoch != known {
                let found = format!("a frame of {epoch:?} while {known:?} owns the journal");
                checker.record(Violation::err("one writer", found));
            }
            checker.stored(frame);
        }
    }

    /// Records who owns the journal from now on.
    fn update_owner(&mut self, now_us: u64) {
        let token = self.primary.data.field(STATE_KEY, "owner").ok().flatten();
        let known =
            |token: &Bytes| self.tokens.iter().rev().find(|(known, _)| known == token).map(|(_, process)| *process);
        let owner = token.and_then(known);
        if owner == self.owner {
            return;
        }
        if let Some(before) = std::mem::replace(&mut self.owner, owner) {
            self.deposed.push((before, now_us));
        }
        self.deposed.retain(|(process, _)| Some(*process) != self.owner);
    }

    /// Waits for replicas until a time. Returns when the result is known, and how many replicas have everything written so
    /// far.
    pub fn confirmed(&mut self, now_us: u64, until_us: u64) -> (u64, i64) {
        let back_us = self.replica_cut_until_us.max(now_us);
        let Some(replica) = self.replica.as_mut().filter(|_| back_us < until_us) else { return (until_us, 0) };
        replica.catch_up(now_us);
        (back_us, 1)
    }

    /// Draws the faults of one second.
    pub fn tick(&mut self, now_us: u64) {
        self.catch_up_copies(now_us);
        if self.healed {
            return;
        }
        let (faults, swarm) = (self.faults.clone(), self.swarm.clone());
        let draw = |class: Class, ppm: u64, max_us: u64| {
            let mut faults = lock(&faults);
            faults.hits(class, ppm).then(|| now_us + faults.stream(class).below(max_us))
        };
        let degradation = &mut self.primary.degradation;
        for (until_us, class) in [
            (&mut degradation.busy_until_us, Class::RedisBusy),
            (&mut degradation.misconfigured_until_us, Class::RedisMisconf),
            (&mut degradation.few_replicas_until_us, Class::RedisNoReplicas),
            (&mut degradation.read_only_until_us, Class::RedisReadOnly),
        ] {
            if let Some(until) = draw(class, 3_000, 5 * SECOND_US) {
                *until_us = until;
            }
        }
        if let Some(from) = draw(Class::RedisOom, 3_000, 5 * SECOND_US) {
            (degradation.scarce_from_us, degradation.no_room_from_us, degradation.no_room_until_us) =
                (now_us, from, from + 5 * SECOND_US);
        }
        for cut in &mut self.cut_until_us {
            if let Some(until) = draw(Class::RedisCut, swarm.cut_ppm / 3, 8 * SECOND_US) {
                *cut = until;
            }
        }
        if self.replica.is_some()
            && let Some(until) = draw(Class::ReplicaCut, 20_000, 20 * SECOND_US)
        {
            self.replica_cut_until_us = until;
        }
        let failed = self.replica.is_some() && draw(Class::RedisFailover, swarm.failover_ppm, 1).is_some();
        let stopped = draw(Class::RedisRestart, swarm.failover_ppm, 1).is_some();
        let lost = draw(Class::RedisHostLost, swarm.failover_ppm, 1).is_some();
        self.fail(failed, stopped, lost, now_us);
    }

    fn fail(&mut self, failed: bool, stopped: bool, lost: bool, now_us: u64) {
        // With `replicated` the primary persists nothing itself: it is never restarted alone with what was acknowledged.
        let replicated = self.ack == Ack::Replicated;
        if failed || (replicated && (stopped || lost)) {
            self.fail_over(now_us);
        } else if stopped || lost {
            self.restart(lost, now_us);
        }
    }

    /// Promotes the replica with what it has.
    fn fail_over(&mut self, now_us: u64) {
        let Some(mut replica) = self.replica.take() else { return };
        let mut faults = lock(&self.faults);
        let stale = faults.stream(Class::StaleFailover).chance(500_000) && faults.happens(Class::StaleFailover);
        let behind_us = if stale { faults.stream(Class::StaleFailover).below(LAG_US_MAX) } else { 0 };
        let away_us = faults.stream(Class::RedisFailover).between(SECOND_US / 10, 3 * SECOND_US);
        if self.replica_cut_until_us <= now_us {
            replica.catch_up(now_us - behind_us.min(now_us));
        }
        drop(faults);
        let complete = replica.is_complete();
        self.primary = Instance::new(InstanceConfig { replicas: 0, ..self.primary.config }, replica.into_data());
        self.file = self.file.is_some().then(|| LaggingCopy::new(&self.primary.data));
        self.disconnect_all(now_us + away_us, complete, now_us);
    }

    /// Restarts the server with what its append-only file has.
    fn restart(&mut self, host_lost: bool, now_us: u64) {
        let away_us = lock(&self.faults).stream(Class::RedisRestart).between(SECOND_US / 10, 3 * SECOND_US);
        let mut complete = true;
        if let Some(mut file) = self.file.take() {
            let has_file = self.primary.config.has_file;
            if has_file && !host_lost {
                file.catch_up(now_us);
            } else {
                let kept_us = if has_file { UNSYNCED_US_MAX } else { UNSAVED_US_MAX };
                let behind_us = lock(&self.faults).stream(Class::RedisHostLost).below(kept_us);
                file.catch_up(now_us - behind_us.min(now_us));
            }
            complete = file.is_complete();
            self.primary.data = file.into_data();
            self.file = Some(LaggingCopy::new(&self.primary.data));
        }
        let had_replica = self.replica.take().is_some() || self.replica_back_us.is_some();
        self.disconnect_all(now_us + away_us, complete, now_us);
        let loads_us = lock(&self.faults).stream(Class::RedisRestart).below(2 * SECOND_US);
        if lock(&self.faults).happens(Class::RedisLoading) {
            self.primary.degradation.loading_until_us = self.down_until_us + loads_us;
        }
        self.replica_back_us = self.replica_back_us.filter(|_| had_replica);
    }

    /// Breaks every connection. What the new primary lacks is at risk, except for what a replica has confirmed.
    fn disconnect_all(&mut self, down_until_us: u64, complete: bool, now_us: u64) {
        self.generation += 1;
        self.losses += 1;
        self.down_until_us = down_until_us;
        self.primary.config.replicas = 0;
        let away_us = lock(&self.faults).stream(Class::ReplicaCut).between(SECOND_US, 10 * SECOND_US);
        self.replica_back_us = Some(down_until_us + away_us);
        if !complete {
            let newest = self.primary.data.stream(FRAMES_KEY).ok().flatten().and_then(|stream| stream.newest());
            let StreamId(last, _) = newest.map_or_else(StreamId::default, |entry| entry.0);
            lock(&self.checker).put_at_risk(last + 1, self.ack == Ack::Replicated);
        }
        self.update_owner(now_us);
    }

    /// Ends all faults.
    pub fn heal(&mut self, now_us: u64) {
        self.healed = true;
        self.down_until_us = self.down_until_us.min(now_us);
        self.primary.degradation = super::instance::Degradation::default();
        self.cut_until_us.fill(0);
        self.replica_cut_until_us = 0;
        self.replica_back_us = self.replica_back_us.map(|_| now_us);
        self.catch_up_copies(now_us);
    }
}
