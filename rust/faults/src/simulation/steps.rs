//! The steps of the engines: when they are due, their outcomes, and when their answers leave.

use super::*;

impl Simulation {
    pub(super) fn plan_step(&mut self, number: usize, after_us: u64) {
        let server = &mut self.servers[number];
        let at_us = (self.now_us + after_us).max(server.busy_until_us);
        let planned = server.step_at_us.is_some_and(|planned| planned <= at_us);
        if server.engine.is_none() || server.is_working() || planned {
            return;
        }
        server.step_at_us = Some(at_us);
        let incarnation = server.incarnation;
        self.push(at_us - self.now_us, Event::Step(number, incarnation));
    }

    pub(super) fn step(&mut self, number: usize) {
        let server = &mut self.servers[number];
        if server.is_working() || server.step_at_us.is_none_or(|planned| planned > self.now_us) {
            return;
        }
        server.step_at_us = None;
        let ends = self.arm(number, 500);
        let outcome = self.servers[number].step(self.now_us, ends);
        self.handle_outcome(number, outcome);
    }

    pub(super) fn resume(&mut self, number: usize) {
        let outcome = self.servers[number].resume(self.now_us);
        self.handle_outcome(number, outcome);
    }

    /// Handles the outcome of a server's work.
    pub(super) fn handle_outcome(&mut self, number: usize, outcome: WorkOutcome) {
        self.settle_losses();
        match outcome {
            WorkOutcome::Suspended(time_us) => {
                self.report.marks.hit(Mark::WorkSuspended);
                let incarnation = self.servers[number].incarnation;
                self.push(time_us, Event::Resume(number, incarnation));
            }
            WorkOutcome::Stepped(step, took_us) => self.stepped(number, step, took_us),
            WorkOutcome::Opened(opened) => self.opened(number, opened),
            WorkOutcome::Idle => {}
        }
    }

    fn stepped(&mut self, number: usize, step: Step, took_us: Option<u64>) {
        if let Some(storage) = self.servers[number].storage() {
            if storage.has_ended() {
                return self.power_off(number);
            }
            storage.end_after_calls(None);
        }
        match step {
            Step::Committed => self.committed(number, took_us),
            Step::Idle(time) | Step::Full(time) => {
                // While a step took its time, calls may have arrived that it does not cover.
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
            if slow { 500_000 } else { self.random.between(100, 2_000) }
        });
        let server = &mut self.servers[number];
        server.steps += 1;
        server.busy_until_us = self.now_us + latency_us;
        let due = server.steps.is_multiple_of(STEPS_BETWEEN_CHECKS) || server.check_after_step;
        let incarnation = server.incarnation;
        self.push(latency_us, Event::Release(number, incarnation));
        self.plan_step(number, 0);
        if due && took_us != Some(0) {
            self.check(number);
        }
    }

    /// Lets the process end inside one of its next disk calls, or while it waits for Redis, if that fault happens: then this
    /// returns true.
    pub(super) fn arm(&mut self, number: usize, ppm: u64) -> bool {
        let mut faults = lock(&self.faults);
        if !faults.hits(Class::CrashInCall, ppm) {
            return false;
        }
        let calls = faults.stream(Class::CrashInCall).below(4);
        drop(faults);
        let server = &self.servers[number];
        match server.storage() {
            Some(storage) => storage.end_after_calls(Some(calls)),
            None => {
                let incarnation = server.incarnation;
                self.push(calls * 300, Event::Kill(number, incarnation));
            }
        }
        true
    }

    fn check(&mut self, number: usize) {
        self.servers[number].check_after_step = false;
        let deposed = self.deposed_since(number).is_some();
        let mut checker = lock(&self.checker);
        if deposed || checker.has_frames_at_risk() {
            return;
        }
        let result = answer_checker::compare(&self.servers[number], &mut checker, self.now_us);
        checker.record(result);
        self.report.checks += 1;
    }

    pub(super) fn release(&mut self, number: usize) {
        for waiting in self.servers[number].ready() {
            self.leave(waiting.intent, number, waiting.taken.reply);
        }
    }
}
