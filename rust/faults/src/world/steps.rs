//! Steps of the engines: when they are due, what comes of them, and when their answers leave.

use super::*;

impl World {
    pub(super) fn plan_step(&mut self, number: usize, after_us: u64) {
        let server = &mut self.servers[number];
        let at_us = (self.now_us + after_us).max(server.busy_until_us);
        let planned = server.step_at_us.is_some_and(|planned| planned <= at_us);
        if server.engine.is_none() || server.is_doing() || planned {
            return;
        }
        server.step_at_us = Some(at_us);
        let life = server.incarnation;
        self.push(at_us - self.now_us, Event::Step(number, life));
    }

    pub(super) fn step(&mut self, number: usize) {
        let server = &mut self.servers[number];
        if server.is_doing() || server.step_at_us.is_none_or(|planned| planned > self.now_us) {
            return;
        }
        server.step_at_us = None;
        let ends = self.arm(number, 500);
        let came = self.servers[number].step(self.now_us, ends);
        self.came(number, came);
    }

    pub(super) fn go_on(&mut self, number: usize) {
        let came = self.servers[number].go_on(self.now_us);
        self.came(number, came);
    }

    /// Takes what came of a server's work.
    pub(super) fn came(&mut self, number: usize, came: Came) {
        self.settle_losses();
        match came {
            Came::Later(time_us) => {
                self.report.marks.meet(Mark::WorkSuspended);
                let life = self.servers[number].incarnation;
                self.push(time_us, Event::GoOn(number, life));
            }
            Came::Stepped(step, took_us) => self.stepped(number, step, took_us),
            Came::Opened(opened) => self.opened(number, opened),
            Came::Nothing => {}
        }
    }

    fn stepped(&mut self, number: usize, step: Step, took_us: Option<u64>) {
        if let Some(machine) = self.servers[number].machine() {
            if machine.has_ended() {
                return self.power_off(number);
            }
            machine.end_in(None);
        }
        match step {
            Step::Committed => self.committed(number, took_us),
            Step::Idle(time) | Step::Full(time) => {
                // While a step took its time, calls have come that it knew nothing of.
                let quiet = took_us != Some(0) && matches!(step, Step::Idle(_));
                if quiet && self.servers[number].check_after_step {
                    self.check(number);
                }
                self.plan_step(number, time.as_micros() as u64);
            }
            Step::Ended => self.fail(number),
        }
    }

    fn committed(&mut self, number: usize, took_us: Option<u64>) {
        let latency_us = took_us.unwrap_or_else(|| {
            let slow = lock(&self.faults).hits(Class::SlowDisk, 1_000);
            if slow { 500_000 } else { self.chance.between(100, 2_000) }
        });
        let server = &mut self.servers[number];
        server.steps += 1;
        server.busy_until_us = self.now_us + latency_us;
        let due = server.steps.is_multiple_of(STEPS_BETWEEN_CHECKS) || server.check_after_step;
        let life = server.incarnation;
        self.push(latency_us, Event::Release(number, life));
        self.plan_step(number, 0);
        if due && took_us != Some(0) {
            self.check(number);
        }
    }

    /// The process may end inside one of its next calls on the disk, or while it waits for Redis: then this is true.
    pub(super) fn arm(&mut self, number: usize, ppm: u64) -> bool {
        let mut faults = lock(&self.faults);
        if !faults.hits(Class::CrashInCall, ppm) {
            return false;
        }
        let calls = faults.stream(Class::CrashInCall).below(4);
        drop(faults);
        let server = &self.servers[number];
        match server.machine() {
            Some(machine) => machine.end_in(Some(calls)),
            None => {
                let life = server.incarnation;
                self.push(calls * 300, Event::Kill(number, life));
            }
        }
        true
    }

    fn check(&mut self, number: usize) {
        self.servers[number].check_after_step = false;
        let deposed = self.deposed_since(number).is_some();
        let mut follower = lock(&self.follower);
        if deposed || follower.is_endangered() {
            return;
        }
        let result = checker::compare(&self.servers[number], &mut follower, self.now_us);
        follower.note(result);
        self.report.checks += 1;
    }

    pub(super) fn release(&mut self, number: usize) {
        for waiting in self.servers[number].ready() {
            self.leave(waiting.intent, number, waiting.taken.reply);
        }
    }
}
