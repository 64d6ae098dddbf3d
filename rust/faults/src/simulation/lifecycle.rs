//! The lifecycle of the servers: how they fail, go down, restart, and take the journal over from each other.

use invengine_node::journal::Ack;

use super::*;

/// A journal retries for longer than this.
const RETRY_US: u64 = 25 * SECOND_US;

impl Simulation {
    /// The journal failed: the process reports it to all waiting callers and ends.
    pub(super) fn fail(&mut self, number: usize) {
        self.report.failures += 1;
        self.record(self.gave_up_too_early(number));
        for waiting in std::mem::take(&mut self.servers[number].waiting) {
            self.report.marks.hit(Mark::AnsweredUnknown);
            self.leave(waiting.intent, number, Err(invengine_node::refusal::Refusal::outcome_unknown()));
        }
        let deposed = self.deposed_since(number).is_some();
        self.go_down(number, !deposed);
        if deposed {
            self.report.marks.hit(Mark::OwnerDeposed);
        }
    }

    /// An owner that survives a failover rewrites what the new primary lacks: it must not end before its retries time out.
    fn gave_up_too_early(&self, number: usize) -> Result<(), Violation> {
        let server = &self.servers[number];
        let Some(redis) = &self.redis else { return Ok(()) };
        let owns = lock(redis).owner() == Some(server.process_id());
        let retrying = self.now_us < server.step_began_us + RETRY_US && self.swarm.ack != Ack::Memory;
        if owns && retrying && lock(&self.checker).has_frames_at_risk() {
            return Violation::err("a running engine loses nothing", format!("server {number} gave up its journal"));
        }
        Ok(())
    }

    /// Ends the process. It is restarted soon, unless another one has taken over.
    pub(super) fn go_down(&mut self, number: usize, restarts: bool) {
        self.servers[number].end();
        if restarts {
            let after_us = self.random.between(50_000, 500_000);
            self.plan_start(number, after_us);
        }
    }

    pub(super) fn plan_start(&mut self, number: usize, after_us: u64) {
        if !self.servers[number].restarts {
            self.servers[number].restarts = true;
            self.push(after_us, Event::Start(number));
        }
    }

    pub(super) fn power_off(&mut self, number: usize) {
        self.report.crashes += 1;
        self.go_down(number, true);
        if let Some(storage) = self.servers[number].storage() {
            storage.lose_power(self.swarm.sectors_lost_percent);
        }
    }

    pub(super) fn plan_crash(&mut self, number: usize) {
        let after_us = self.random.exponential(self.swarm.crash_every_ms * 1_000);
        self.push(after_us.max(1), Event::Crash(number));
    }

    pub(super) fn crash(&mut self, number: usize) {
        if self.healed {
            return;
        }
        self.plan_crash(number);
        if !self.servers[number].is_up() {
            return;
        }
        let mut faults = lock(&self.faults);
        let killed = faults.has(Class::Killed) && self.random.chance(400_000) && faults.happens(Class::Killed);
        let power = !killed && faults.happens(Class::PowerLoss);
        drop(faults);
        if power {
            self.power_off(number);
        } else if killed {
            self.kill(number);
        }
    }

    pub(super) fn kill(&mut self, number: usize) {
        self.report.crashes += 1;
        self.go_down(number, true);
    }

    pub(super) fn start(&mut self, number: usize) {
        self.servers[number].restarts = false;
        if self.servers[number].is_up() {
            return;
        }
        let mut faults = lock(&self.faults);
        let ends_early = faults.hits(Class::CrashInRecovery, 100_000);
        let calls = ends_early.then(|| faults.stream(Class::CrashInRecovery).below(20));
        drop(faults);
        self.losses_at_start[number] = self.losses();
        self.replica_at_start[number] = self.has_replica();
        (self.rot, self.snapshot_rot) = (self.rot_at_start(number), self.snapshot_rot_at_start(number));
        let (now_us, wall_ms) = (self.now_us, self.wall_ms());
        let outcome = self.servers[number].start(calls, now_us, wall_ms);
        if let (Some(calls), Some(_)) = (calls, &self.redis) {
            let incarnation = self.servers[number].incarnation;
            self.push(calls * 300, Event::Kill(number, incarnation));
        }
        self.handle_outcome(number, outcome);
    }

    fn rot_at_start(&mut self, number: usize) -> Option<BitRot> {
        let server = &self.servers[number];
        let storage = server.storage().filter(|_| server.incarnation > 0)?;
        let rotten = lock(&self.faults).hits(Class::FlippedOld, 20_000);
        rotten.then(|| storage.rot()).flatten()
    }

    fn snapshot_rot_at_start(&self, number: usize) -> Option<BitRot> {
        let storage = self.servers[number].storage().filter(|_| self.rot.is_none())?;
        let rotten = lock(&self.faults).hits(Class::SnapshotRot, 100_000);
        rotten.then(|| storage.rot_snapshot()).flatten()
    }

    /// Takes a snapshot, on request or on schedule. The process may end while writing it.
    pub(super) fn snapshot(&mut self, number: usize) {
        let Some(engine) = self.servers[number].engine.clone() else { return };
        self.arm(number, 50_000);
        let written = engine.create_snapshot(self.servers[number].moment(self.now_us)).is_ok();
        drop(engine);
        self.report.marks.hit(if written { Mark::SnapshotWritten } else { Mark::SnapshotFailed });
        if let Some(storage) = self.servers[number].storage() {
            if storage.has_ended() {
                return self.power_off(number);
            }
            storage.end_after_calls(None);
        }
    }

    /// How often Redis has lost something or may have lost something.
    fn losses(&self) -> u64 {
        self.redis.as_ref().map_or(0, |redis| lock(redis).losses)
    }

    pub(super) fn opened(&mut self, number: usize, opened: Result<(), OpenError>) {
        let rot = self.rot.take();
        let snapshot_rot = self.snapshot_rot.take();
        self.undo(number, snapshot_rot, false);
        if let Some(storage) = self.servers[number].storage() {
            let ended = storage.has_ended();
            storage.end_after_calls(None);
            if ended {
                self.undo(number, rot, false);
                return self.power_off(number);
            }
        }
        match opened {
            Ok(()) => {
                // What a snapshot covers need not be read.
                if rot.is_some() && self.swarm.snapshot_ppm == 0 {
                    self.record(Violation::err("damage is detected", "a flipped bit was not"));
                }
                self.undo(number, rot, false);
                self.recovered(number);
            }
            Err(error) => self.open_failed(number, &error, rot),
        }
    }

    fn undo(&mut self, number: usize, rot: Option<BitRot>, detected: bool) {
        if let (Some(rot), Some(storage)) = (rot, self.servers[number].storage()) {
            storage.restore(rot);
            if detected {
                self.report.marks.hit(Mark::DamageDetected);
            }
        }
    }

    fn recovered(&mut self, number: usize) {
        self.report.recoveries += u64::from(self.report.started);
        self.report.started = true;
        let result = {
            let checker = lock(&self.checker);
            let sources = self.intents.iter().map(|intent| (intent, &*self.clients[intent.client].source));
            answer_checker::all_acknowledged(sources, &checker)
        };
        self.record(result);
        // Holds that expired while it was down are swept at the start: its first step makes that durable.
        self.servers[number].check_after_step = true;
        self.plan_step(number, 0);
    }

    fn open_failed(&mut self, number: usize, error: &OpenError, rot: Option<BitRot>) {
        self.report.marks.hit(Mark::OpenFailed);
        let corrupt = matches!(error, OpenError::Journal(JournalError::Corrupt { .. }));
        let expected = match self.redis {
            None => self.may_fail_on_files(error) || (corrupt && rot.is_some()),
            Some(_) => self.may_fail_on_redis(number, error),
        };
        if !expected {
            let found = format!("{error} (healthy disk: {})", rot.is_none());
            self.record(Violation::err("a healthy journal opens", found));
        }
        self.undo(number, rot, corrupt);
        self.go_down(number, true);
    }

    fn may_fail_on_files(&self, error: &OpenError) -> bool {
        matches!(error, OpenError::Journal(JournalError::Io { .. } | JournalError::Full { .. }))
    }

    /// A Redis that is unreachable, refuses, or changed in the meantime.
    fn may_fail_on_redis(&self, number: usize, error: &OpenError) -> bool {
        let OpenError::Journal(error) = error else { return false };
        let changed = self.losses() != self.losses_at_start[number];
        match error {
            JournalError::Unreachable { .. } | JournalError::Refused { .. } | JournalError::Full { .. } => true,
            // Another process claims at the same time.
            JournalError::Locked { .. } | JournalError::Fenced { .. } => true,
            // The replica disappears only with a loss, but may have reconnected since the server was started.
            JournalError::BadOption { option: "redis_ack", .. } => changed || !self.replica_at_start[number],
            JournalError::CorruptEntry { .. }
            | JournalError::Lost { .. }
            | JournalError::Foreign { .. }
            | JournalError::FunctionVersion { .. } => changed,
            _ => false,
        }
    }

    fn has_replica(&self) -> bool {
        self.redis.as_ref().is_some_and(|redis| lock(redis).has_replica())
    }

    pub(super) fn plan_second_owner(&mut self) {
        let after_us = self.random.exponential(self.swarm.second_owner_every_ms * 1_000);
        self.push(after_us.max(1), Event::SecondOwner);
    }

    /// Starts another server of the same ledger, even if one is running.
    pub(super) fn second_owner(&mut self) {
        if self.healed {
            return;
        }
        self.plan_second_owner();
        if !lock(&self.faults).happens(Class::SecondOwner) {
            return;
        }
        if self.redis.is_none() {
            if self.servers[0].engine.is_some() {
                self.report.marks.hit(Mark::LockedOut);
                self.record(self.servers[0].check_locked_for_others());
            }
            return;
        }
        if let Some(number) = (0..self.servers.len()).find(|number| !self.servers[*number].is_up()) {
            self.plan_start(number, 0);
        }
    }

    /// Starts a server if all are down.
    pub(super) fn start_one_if_all_down(&mut self) {
        if self.servers.iter().all(|server| !server.is_up() && !server.restarts) {
            let number = self.random.below(self.servers.len() as u64) as usize;
            self.plan_start(number, 0);
        }
    }
}
