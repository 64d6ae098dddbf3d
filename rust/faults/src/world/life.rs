//! The lives of the servers: how they fail, go down, come back, and take the journal from each other.

use invengine_node::journal::Ack;

use super::*;

/// A journal goes on trying for longer than this.
const PATIENCE_US: u64 = 25 * SECOND_US;

impl World {
    /// The journal failed: the process says so to everybody and ends.
    pub(super) fn fail(&mut self, number: usize) {
        self.report.failures += 1;
        self.note(self.has_given_up_in_vain(number));
        for waiting in std::mem::take(&mut self.servers[number].waiting) {
            self.report.marks.meet(Mark::AnsweredUnknown);
            self.leave(waiting.intent, number, Err(invengine_node::refusal::Refusal::outcome_unknown()));
        }
        let deposed = self.deposed_since(number).is_some();
        self.go_down(number, !deposed);
        if deposed {
            self.report.marks.meet(Mark::OwnerDeposed);
        }
    }

    /// An owner that lives through a failover writes again what the new primary lacks: while it has patience, it must not end.
    fn has_given_up_in_vain(&self, number: usize) -> Result<(), Breach> {
        let server = &self.servers[number];
        let Some(redis) = &self.redis else { return Ok(()) };
        let owns = lock(redis).owner() == Some(server.who());
        let patient = self.now_us < server.step_began_us + PATIENCE_US && self.swarm.ack != Ack::Memory;
        if owns && patient && lock(&self.follower).is_endangered() {
            return Breach::err("an engine that lives loses nothing", format!("server {number} gave its journal up"));
        }
        Ok(())
    }

    /// The process is gone; somebody starts it again soon, unless another one has taken its place.
    pub(super) fn go_down(&mut self, number: usize, restarts: bool) {
        self.servers[number].end();
        if restarts {
            let after_us = self.chance.between(50_000, 500_000);
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
        if let Some(machine) = self.servers[number].machine() {
            machine.lose_power(self.swarm.sectors_lost_percent);
        }
    }

    pub(super) fn plan_crash(&mut self, number: usize) {
        let after_us = self.chance.exponential(self.swarm.crash_every_ms * 1_000);
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
        let killed = faults.has(Class::Killed) && self.chance.chance(400_000) && faults.happens(Class::Killed);
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
        (self.rot, self.snapshot_rot) = (self.rot_before_start(number), self.snapshot_rot_before_start(number));
        let (now_us, wall_ms) = (self.now_us, self.wall_ms());
        let came = self.servers[number].start_ending_in(calls, now_us, wall_ms);
        if let (Some(calls), Some(_)) = (calls, &self.redis) {
            let life = self.servers[number].incarnation;
            self.push(calls * 300, Event::Kill(number, life));
        }
        self.came(number, came);
    }

    fn rot_before_start(&mut self, number: usize) -> Option<Rot> {
        let server = &self.servers[number];
        let machine = server.machine().filter(|_| server.incarnation > 0)?;
        let rotten = lock(&self.faults).hits(Class::FlippedOld, 20_000);
        rotten.then(|| machine.rot()).flatten()
    }

    fn snapshot_rot_before_start(&self, number: usize) -> Option<Rot> {
        let machine = self.servers[number].machine().filter(|_| self.rot.is_none())?;
        let rotten = lock(&self.faults).hits(Class::SnapshotRot, 100_000);
        rotten.then(|| machine.rot_snapshot()).flatten()
    }

    /// Somebody asks for a snapshot, or its time has come. The process may end inside.
    pub(super) fn snapshot(&mut self, number: usize) {
        let Some(engine) = self.servers[number].engine.clone() else { return };
        self.arm(number, 50_000);
        let written = engine.create_snapshot(self.servers[number].moment(self.now_us)).is_ok();
        drop(engine);
        self.report.marks.meet(if written { Mark::SnapshotWritten } else { Mark::SnapshotFailed });
        if let Some(machine) = self.servers[number].machine() {
            if machine.has_ended() {
                return self.power_off(number);
            }
            machine.end_in(None);
        }
    }

    /// How often Redis has lost something, or could have.
    fn losses(&self) -> u64 {
        self.redis.as_ref().map_or(0, |redis| lock(redis).losses)
    }

    pub(super) fn opened(&mut self, number: usize, opened: Result<(), OpenError>) {
        let rot = self.rot.take();
        let snapshot_rot = self.snapshot_rot.take();
        self.undo(number, snapshot_rot, false);
        if let Some(machine) = self.servers[number].machine() {
            let ended = machine.has_ended();
            machine.end_in(None);
            if ended {
                self.undo(number, rot, false);
                return self.power_off(number);
            }
        }
        match opened {
            Ok(()) => {
                // What a snapshot covers need not be read.
                if rot.is_some() && self.swarm.snapshot_ppm == 0 {
                    self.note(Breach::err("damage is detected", "a flipped bit was not"));
                }
                self.undo(number, rot, false);
                self.recovered(number);
            }
            Err(error) => self.not_opened(number, &error, rot),
        }
    }

    fn undo(&mut self, number: usize, rot: Option<Rot>, detected: bool) {
        if let (Some(rot), Some(machine)) = (rot, self.servers[number].machine()) {
            machine.restore(rot);
            if detected {
                self.report.marks.meet(Mark::DamageDetected);
            }
        }
    }

    fn recovered(&mut self, number: usize) {
        self.report.recoveries += u64::from(self.report.started);
        self.report.started = true;
        let result = {
            let follower = lock(&self.follower);
            let sources = self.intents.iter().map(|intent| (intent, &*self.clients[intent.client].source));
            checker::all_acknowledged(sources, &follower)
        };
        self.note(result);
        // What was over while it was down is swept at the start: its first step makes that durable.
        self.servers[number].check_after_step = true;
        self.plan_step(number, 0);
    }

    fn not_opened(&mut self, number: usize, error: &OpenError, rot: Option<Rot>) {
        self.report.marks.meet(Mark::OpenedInVain);
        let corrupt = matches!(error, OpenError::Journal(JournalError::Corrupt { .. }));
        let expected = match self.redis {
            None => self.may_refuse_on_files(error) || (corrupt && rot.is_some()),
            Some(_) => self.may_refuse_on_redis(number, error),
        };
        if !expected {
            let found = format!("{error} (healthy disk: {})", rot.is_none());
            self.note(Breach::err("a healthy journal opens", found));
        }
        self.undo(number, rot, corrupt);
        self.go_down(number, true);
    }

    fn may_refuse_on_files(&self, error: &OpenError) -> bool {
        matches!(error, OpenError::Journal(JournalError::Io { .. } | JournalError::Full { .. }))
    }

    /// A Redis that is not there, that says no, or that changed under our hands.
    fn may_refuse_on_redis(&self, number: usize, error: &OpenError) -> bool {
        let OpenError::Journal(error) = error else { return false };
        let changed = self.losses() != self.losses_at_start[number];
        match error {
            JournalError::Unreachable { .. } | JournalError::Refused { .. } | JournalError::Full { .. } => true,
            // Another process claims at the same time.
            JournalError::Locked { .. } | JournalError::Fenced { .. } => true,
            // It goes only with a loss, but may have come back since the server was asked.
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

    pub(super) fn plan_rival(&mut self) {
        let after_us = self.chance.exponential(self.swarm.rival_every_ms * 1_000);
        self.push(after_us.max(1), Event::Rival);
    }

    /// Somebody starts another server of the same ledger, although one is up perhaps.
    pub(super) fn rival(&mut self) {
        if self.healed {
            return;
        }
        self.plan_rival();
        if !lock(&self.faults).happens(Class::SecondOwner) {
            return;
        }
        if self.redis.is_none() {
            if self.servers[0].engine.is_some() {
                self.report.marks.meet(Mark::LockedOut);
                self.note(self.servers[0].is_locked_for_others());
            }
            return;
        }
        if let Some(number) = (0..self.servers.len()).find(|number| !self.servers[*number].is_up()) {
            self.plan_start(number, 0);
        }
    }

    /// Somebody has to be there.
    pub(super) fn wake_somebody(&mut self) {
        if self.servers.iter().all(|server| !server.is_up() && !server.restarts) {
            let number = self.chance.below(self.servers.len() as u64) as usize;
            self.plan_start(number, 0);
        }
    }
}
