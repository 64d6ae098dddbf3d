//! The life of the server under test: how it fails, goes down, and comes back from its disk.

use super::*;

impl World {
    /// The journal failed: the process says so to everybody and ends.
    pub(super) fn fail(&mut self) {
        self.report.failures += 1;
        for waiting in std::mem::take(&mut self.server.waiting) {
            self.leave(waiting.intent, Err(invengine_node::refusal::Refusal::outcome_unknown()));
        }
        self.go_down();
    }

    pub(super) fn go_down(&mut self) {
        self.server.end();
        if !self.down {
            self.down = true;
            let after_us = self.chance.between(50_000, 500_000);
            self.push(after_us, Event::Start);
        }
    }

    pub(super) fn power_off(&mut self) {
        self.report.crashes += 1;
        self.go_down();
        self.server.machine.lose_power(self.swarm.sectors_lost_percent);
    }

    pub(super) fn plan_crash(&mut self) {
        let after_us = self.chance.exponential(self.swarm.crash_every_ms * 1_000);
        self.push(after_us.max(1), Event::Crash);
    }

    pub(super) fn crash(&mut self) {
        if self.healed {
            return;
        }
        self.plan_crash();
        if self.server.engine.is_none() {
            return;
        }
        let mut faults = lock(&self.faults);
        let killed = faults.has(Class::Killed) && self.chance.chance(400_000) && faults.happens(Class::Killed);
        let power = !killed && faults.happens(Class::PowerLoss);
        drop(faults);
        if power {
            self.power_off();
        } else if killed {
            self.report.crashes += 1;
            self.go_down();
        }
    }

    pub(super) fn start(&mut self) {
        self.down = false;
        let rot = {
            let rotten = self.server.incarnation > 0 && lock(&self.faults).hits(Class::FlippedOld, 20_000);
            rotten.then(|| self.server.machine.rot()).flatten()
        };
        let mut faults = lock(&self.faults);
        let ends_early = faults.hits(Class::CrashInRecovery, 100_000);
        let calls = ends_early.then(|| faults.stream(Class::CrashInRecovery).below(20));
        drop(faults);
        let wall_ms = self.wall_ms();
        let started = self.server.start_ending_in(calls, self.now_us, wall_ms);
        if self.server.machine.has_ended() {
            self.undo(rot, false);
            return self.power_off();
        }
        self.server.machine.end_in(None);
        match started {
            Ok(()) => {
                if rot.is_some() {
                    lock(&self.follower).note(Breach::err("damage is detected", "a flipped bit was not"));
                }
                self.recovered();
            }
            Err(error) => self.not_started(&error, rot),
        }
    }

    pub(super) fn undo(&mut self, rot: Option<crate::disk::Rot>, detected: bool) {
        if let Some(rot) = rot {
            self.server.machine.restore(rot);
            self.report.detected += u64::from(detected);
        }
    }

    pub(super) fn recovered(&mut self) {
        self.report.recoveries += u64::from(self.report.started);
        self.report.started = true;
        let result = {
            let follower = lock(&self.follower);
            let sources = self.intents.iter().map(|intent| (intent, &*self.clients[intent.client].source));
            checker::all_acknowledged(sources, &follower)
        };
        lock(&self.follower).note(result);
        // What was over while it was down is swept at the start: its first step makes that durable.
        self.check_after_step = true;
        self.plan_step(0);
    }

    pub(super) fn not_started(&mut self, error: &OpenError, rot: Option<crate::disk::Rot>) {
        let corrupt = matches!(error, OpenError::Journal(JournalError::Corrupt { .. }));
        let passing = matches!(error, OpenError::Journal(JournalError::Io { .. } | JournalError::Full { .. }));
        let expected = passing || (corrupt && rot.is_some());
        if !expected {
            let found = format!("{error} (healthy disk: {})", rot.is_none());
            lock(&self.follower).note(Breach::err("a healthy journal opens", found));
        }
        self.undo(rot, corrupt);
        self.go_down();
    }
}
