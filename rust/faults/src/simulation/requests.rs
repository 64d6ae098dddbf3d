//! The requests of the clients and their answers.

use super::*;

impl Simulation {
    pub(super) fn wake(&mut self, number: usize) {
        if self.healed {
            return;
        }
        let think_us = self.clients[number].think_us(&self.swarm);
        self.push(think_us, Event::Wake(number));
        if self.clients[number].down_until_us > self.now_us {
            return;
        }
        if lock(&self.faults).hits(Class::ClientCrash, self.swarm.client_crash_ppm / 20) {
            self.clients[number].down_until_us = self.now_us + self.random.between(1, 10) * SECOND_US;
            self.clients[number].forget_epoch();
            return;
        }
        if self.clients[number].in_flight >= IN_FLIGHT_MAX {
            return;
        }
        let reuse = lock(&self.faults).hits(Class::KeyReuse, 5_000);
        let (index, wall_ms) = (self.intents.len(), self.client_ms());
        if let Some(mut intent) = self.clients[number].next(&self.swarm, index, wall_ms, reuse) {
            intent.after_sequence = self.acknowledged;
            intent.issued_ms = wall_ms;
            self.report.commands += if let Operation::Batch(keys) = &intent.operation { keys.len() as u64 } else { 1 };
            self.clients[number].in_flight += 1;
            self.intents.push(intent);
            self.send(index);
        }
    }

    pub(super) fn send(&mut self, index: usize) {
        let intent = &mut self.intents[index];
        intent.attempts += 1;
        let (client, attempts) = (intent.client, intent.attempts);
        let server = self.clients[client].server;
        let now_us = self.now_us;
        let arrivals = self.network.arrivals(client, Direction::Request, now_us, &self.swarm, &mut lock(&self.faults));
        for at_us in arrivals {
            self.push(at_us - now_us, Event::Request(index, server));
        }
        if lock(&self.faults).hits(Class::LateDuplicate, self.swarm.late_ppm) {
            let window_us = self.swarm.window_ms as u64 * 1_000;
            let late_us = window_us + lock(&self.faults).stream(Class::LateDuplicate).below(window_us);
            self.push(late_us, Event::Request(index, server));
        }
        let timeout_us = self.random.between(200_000, 1_000_000);
        self.push(timeout_us, Event::Retry(index, attempts));
    }

    pub(super) fn retry(&mut self, index: usize, attempt: u64) {
        let intent = &self.intents[index];
        if intent.settled || intent.attempts != attempt {
            return;
        }
        let client = intent.client;
        let down_until_us = self.clients[client].down_until_us;
        if down_until_us > self.now_us {
            self.push(down_until_us - self.now_us, Event::Retry(index, attempt));
            return;
        }
        self.clients[client].server = self.random.below(self.servers.len() as u64) as usize;
        self.send(index);
    }

    pub(super) fn request(&mut self, index: usize, number: usize) {
        let (path, payload) = (self.intents[index].path, self.intents[index].payload.clone());
        let Some(taken) = self.servers[number].call(path, &payload, self.now_us) else { return };
        self.report.calls += 1;
        let reason = taken.reply.as_ref().err().map(|refusal| refusal.reason);
        if let Some(mark) = reason.and_then(Mark::of_reason) {
            self.report.marks.hit(mark);
        }
        if !reason.is_some_and(is_transient) {
            self.record(self.check_silent_when_deposed(number, path));
        }
        if let (Ok(bytes), Operation::Availability(sku, location)) = (&taken.reply, &self.intents[index].operation) {
            self.record(self.read(number, bytes, sku, location));
        }
        self.record(self.check_not_executed_late(index, number, &taken.reply));
        let early = self.planted == Some(Planted::EarlyAnswer);
        if early || taken.depends_on <= self.servers[number].durable() {
            self.leave(index, number, taken.reply);
        } else {
            self.servers[number].waiting.push(PendingAnswer { intent: index, taken });
        }
        self.plan_step(number, 0);
    }

    /// Since when a process does not own its journal; `None` if it still does or never did.
    pub(super) fn deposed_since(&self, number: usize) -> Option<u64> {
        let process = self.servers[number].process_id();
        self.redis.as_ref().and_then(|redis| lock(redis).deposed_since(process))
    }

    /// Checks that an engine whose journal belongs to another process answers nothing after the grace period.
    fn check_silent_when_deposed(&self, number: usize, path: &str) -> Result<(), Violation> {
        match self.deposed_since(number) {
            Some(since_us) if self.now_us > since_us + GRACE_US => {
                let found = format!("{path} was answered {} us after another process claimed", self.now_us - since_us);
                Violation::err("fenced owners are silent", found)
            }
            _ => Ok(()),
        }
    }

    /// Checks that a command older than the window is never executed: it gets its outcome, or that the outcome is forgotten.
    fn check_not_executed_late(&self, index: usize, number: usize, reply: &Reply) -> Result<(), Violation> {
        let intent = &self.intents[index];
        let age_ms = self.servers[number].engine_ms(self.now_us) - intent.issued_ms;
        let numbered = intent.number.is_some() || matches!(intent.operation, Operation::Batch(_));
        let (Ok(bytes), false) = (reply, intent.is_read() || numbered || age_ms <= self.swarm.window_ms) else {
            return Ok(());
        };
        match ReceiptOnly::decode(&bytes[..]).unwrap_or_default().receipt {
            Some(receipt) if !receipt.replayed => {
                Violation::err("what is forgotten is not executed again", format!("{} after {age_ms} ms", intent.key))
            }
            _ => Ok(()),
        }
    }

    /// Compares the availability that an owner reports with its journal.
    fn read(&self, number: usize, bytes: &[u8], sku: &str, location: &str) -> Result<(), Violation> {
        let answer = v1::GetAvailabilityResponse::decode(bytes).unwrap_or_default();
        let Some(found) = answer.availabilities.first() else { return Ok(()) };
        let deposed = self.deposed_since(number).is_some();
        let mut checker = lock(&self.checker);
        if deposed || checker.has_frames_at_risk() {
            return Ok(());
        }
        let server = &self.servers[number];
        let read = Read {
            writer_epoch: server.epoch,
            sequence: answer.sequence as u64,
            now_ms: server.engine_ms(self.now_us).max(checker.model.time_ms),
            sku: sku.into(),
            location: location.into(),
            available: found.available,
        };
        let checker = &mut *checker;
        checker.reads.take(read, &checker.model)
    }

    /// Lets an answer leave the server, after checking it.
    pub(super) fn leave(&mut self, index: usize, number: usize, reply: Reply) {
        let (deposed, epoch) = (self.deposed_since(number).is_some(), self.servers[number].epoch);
        let of = if let Operation::Outcome(of) = self.intents[index].operation { Some(of) } else { None };
        let others: Vec<Vec<Option<u64>>> = of.map(|of| self.intents[of].accepted.clone()).into_iter().collect();
        let intent = &mut self.intents[index];
        let client = intent.client;
        let source = &self.clients[client].source;
        let mut checker = lock(&self.checker);
        // A process that was deposed a moment ago may not know yet what others have acknowledged; nor may an owner that a
        // failover restored.
        let overtaken = deposed || checker.may_have_lost_owners_after(epoch);
        if !(overtaken && intent.is_read()) {
            match answer_checker::answered(intent, &others, source, &reply, &mut checker, overtaken) {
                Ok(sequence) => self.acknowledged = self.acknowledged.max(sequence),
                Err(violation) => checker.record(Err(violation)),
            }
        }
        drop(checker);
        let now_us = self.now_us;
        let arrivals = self.network.arrivals(client, Direction::Reply, now_us, &self.swarm, &mut lock(&self.faults));
        for at_us in arrivals {
            let reply = match &reply {
                Ok(bytes) => Ok(bytes.clone()),
                Err(refusal) => Err(refusal.reason),
            };
            self.push(at_us - now_us, Event::Answer(index, reply));
        }
    }

    pub(super) fn answer(&mut self, index: usize, reply: Result<Vec<u8>, &'static str>) {
        let intent = &mut self.intents[index];
        let number = intent.client;
        if intent.settled || self.clients[number].down_until_us > self.now_us {
            return;
        }
        let is_final = match &reply {
            Ok(bytes) => !matches!(intent.operation, Operation::Batch(_)) || answer_checker::is_final(bytes),
            Err(reason) => !is_transient(reason),
        };
        if !is_final {
            return;
        }
        intent.settled = true;
        let client = &mut self.clients[number];
        client.in_flight -= 1;
        if client.registering == Some(index) {
            client.registering = None;
            if let Ok(bytes) = &reply {
                client.epoch = v1::RegisterSourceResponse::decode(&bytes[..]).unwrap_or_default().epoch as u64;
            }
        }
        if reply == Err("STALE_EPOCH") && intent.number.is_some_and(|(epoch, _)| epoch == client.epoch) {
            client.forget_epoch();
        }
    }
}
