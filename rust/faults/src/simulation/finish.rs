//! The faults of every second, the consequences of a loss for the clients, and the end of a run.

use super::*;

impl Simulation {
    pub(super) fn tick(&mut self) {
        self.push(SECOND_US, Event::Tick);
        let mut faults = lock(&self.faults);
        self.network.tick(self.now_us, &self.swarm, &mut faults);
        if self.redis.is_none() && faults.hits(Class::NoSpace, 5_000) {
            self.full_until_us = self.now_us + faults.stream(Class::NoSpace).below(30 * SECOND_US);
        }
        if faults.hits(Class::ClockJump, 1_000_000_000 / self.swarm.clock_jump_every_ms) {
            self.skew_ms = faults.stream(Class::ClockJump).between(0, 7_200_000) as i64 - 3_600_000;
        }
        for server in &mut self.servers {
            if faults.hits(Class::Pause, 2_000) {
                let pause_us = faults.stream(Class::Pause).below(self.swarm.pause_ms_max * 1_000);
                server.paused_until_us = self.now_us + pause_us;
            }
        }
        drop(faults);
        if let Some(storage) = self.servers[0].storage() {
            storage.set_full(self.now_us < self.full_until_us);
        }
        if let Some(redis) = &self.redis {
            lock(redis).tick(self.now_us);
        }
        // The simulated Redis has no snapshot functions: its journals are never trimmed.
        if self.redis.is_none() && !self.healed && self.random.chance(self.swarm.snapshot_ppm) {
            self.snapshot(0);
        }
        self.start_one_if_all_down();
    }

    pub(super) fn heal(&mut self) {
        self.healed = true;
        lock(&self.faults).heal();
        self.network.heal();
        self.full_until_us = 0;
        for server in &mut self.servers {
            server.paused_until_us = 0;
            if let Some(storage) = server.storage() {
                storage.set_full(false);
                storage.end_after_calls(None);
            }
        }
        if let Some(redis) = &self.redis {
            lock(redis).heal(self.now_us);
        }
        self.clients.iter_mut().for_each(|client| client.down_until_us = 0);
    }

    /// Forgets what Redis lost by design: to its clients it was never acknowledged.
    pub(super) fn settle_losses(&mut self) {
        let Some(from) = lock(&self.checker).take_lost() else { return };
        self.acknowledged = self.acknowledged.min(from - 1);
        for intent in &mut self.intents {
            intent.forget_from(from);
            let gives_up = intent.number.is_some() && !intent.settled;
            if gives_up {
                intent.settled = true;
                self.clients[intent.client].in_flight -= 1;
            }
        }
        self.clients.iter_mut().filter(|client| client.is_feed()).for_each(Client::forget_epoch);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.intents.iter().rev().all(|intent| intent.settled || intent.number.is_some())
            && self.servers.iter().any(|server| server.engine.is_some())
    }

    /// Checks liveness, then everything that holds only at the end.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        if !self.is_settled() {
            let open = self.intents.iter().find(|intent| !intent.settled && intent.number.is_none());
            return Violation::err("after healing every command gets its answer", format!("{open:?}"));
        }
        let ttl_us = (self.swarm.ttl_s_max + 2) * SECOND_US + 4_000 * SECOND_US;
        let until_us = self.now_us + ttl_us;
        while self.now_us < until_us && !self.is_broken() && self.next() {}
        let owner = (0..self.servers.len()).find(|number| self.is_owner(*number));
        let mut checker = lock(&self.checker);
        if checker.model.levels.iter().any(|level| level.reserved > 0) {
            return Violation::err("every hold expires", format!("{:?}", checker.model.levels));
        }
        let Some(owner) = owner else { return Violation::err("somebody owns the journal", "nobody does") };
        answer_checker::compare(&self.servers[owner], &mut checker, self.now_us)?;
        let sources = self.intents.iter().map(|intent| (intent, &*self.clients[intent.client].source));
        answer_checker::all_acknowledged(sources, &checker)
    }

    fn is_owner(&self, number: usize) -> bool {
        let server = &self.servers[number];
        let owner = self.redis.as_ref().map_or(Some(server.process_id()), |redis| lock(redis).owner());
        server.engine.is_some() && owner == Some(server.process_id())
    }
}
