//! Unary calls: dispatched to the part that answers them, under the lock where the ledger is needed, never with I/O.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Instant;

use invengine_ledger::{Ahead, Command, planted};
use invengine_wire::v1;
use prost::Message;

use super::core::Core;
use super::{Call, Decision, Shared};
use crate::incident;
use crate::methods::{self, Method, MethodKind};
use crate::refusal::Refusal;
use crate::translate::answer;
use crate::translate::command::CommandMethod;
use crate::translate::outcomes::Outcomes;
use crate::translate::read::View;
use crate::translate::with_submit;

impl From<Refusal> for Decision {
    fn from(refusal: Refusal) -> Self {
        Decision { reply: Err(refusal), depends_on: 0 }
    }
}

impl Shared {
    /// Decides a call. A panic poisons the engine, because the state that it leaves behind is unknown.
    pub(super) fn call(&self, call: &Call<'_>, moment: Instant) -> Decision {
        catch_unwind(AssertUnwindSafe(|| self.take(call, moment))).unwrap_or_else(|panic| {
            let refusal = incident::report(call.path, incident::cause(&*panic));
            self.poison("a command failed in a way that is a bug");
            refusal.into()
        })
    }

    fn take(&self, call: &Call<'_>, moment: Instant) -> Decision {
        let decision = match self.admit(call, moment) {
            Ok(method) => self.answer(&method, call, moment),
            Err(refusal) => return refusal.into(),
        };
        if self.ring.durable().poisoned {
            // Perhaps before this call saw the ledger: its answer may show half of a change.
            return self.poisoned_refusal(call.path).into();
        }
        decision
    }

    /// The method of a call that this engine may answer now; the message is not decoded yet.
    pub(super) fn admit(&self, call: &Call<'_>, moment: Instant) -> Result<Method, Refusal> {
        if self.ring.durable().poisoned {
            return Err(self.poisoned_refusal(call.path));
        }
        let uncertain = self.lease.as_ref().is_some_and(|lease| lease.is_uncertain(moment));
        if uncertain && !planted::is("lease_ignored") {
            return Err(Refusal::ownership_uncertain());
        }
        if !call.ledger.is_empty() && call.ledger != self.facts.ledger {
            return Err(Refusal::not_owner(call.ledger));
        }
        let method = methods::find(call.path).ok_or_else(|| Refusal::unimplemented("this method"))?;
        if call.payload.len() > method.bytes_max {
            return Err(Refusal::too_large(method.bytes_max));
        }
        if call.deadline.is_some_and(|deadline| deadline <= moment) {
            return Err(Refusal::deadline());
        }
        Ok(method)
    }

    fn answer(&self, method: &Method, call: &Call<'_>, moment: Instant) -> Decision {
        match method.kind {
            MethodKind::Command(method) => {
                let run = |command: &Command<'_>| match self.check_stored(command) {
                    Ok(()) => self.command(&method, command, moment),
                    Err(refusal) => refusal.into(),
                };
                method.with_command(call.payload, call.key, self.facts.tag, run).unwrap_or_else(Decision::from)
            }
            MethodKind::Submit => self.submit(call.payload, moment),
            MethodKind::RecordMessages => self.record_messages(call.payload, moment),
            MethodKind::Redrive => self.redrive(call.payload, moment),
            MethodKind::Read(method) => {
                let core = self.core();
                match method.read(call.payload, &core.ledger, self.view(&core, moment)) {
                    Ok(found) => Decision { reply: Ok(found.bytes), depends_on: found.depends_on },
                    Err(refusal) => refusal.into(),
                }
            }
            MethodKind::Digest => self.digest(call.payload),
            MethodKind::ServerInfo => self.server_info(call.payload, moment),
            MethodKind::CreateSnapshot | MethodKind::StateAt | MethodKind::InventoryHistory => {
                Refusal::unimplemented("this method as a call that does not wait").into()
            }
            MethodKind::BatchStream(_) | MethodKind::ReadEvents => {
                Refusal::unimplemented("a stream as a unary call").into()
            }
            MethodKind::Unimplemented => Refusal::unimplemented("this method").into(),
        }
    }

    /// An earlier holder of the lock may have read the clock later: time never goes back for a reader either.
    fn view(&self, core: &Core, moment: Instant) -> View<'_> {
        let now_ms = self.clock.at(moment).max(core.ledger.time_ms());
        let newest = self.epochs.newest(core.ledger.sequence());
        let durable_sequence = self.ring.durable().sequence;
        View { now_ms, durable_sequence, tag: self.facts.tag, epochs: &self.epochs, newest }
    }

    fn command(&self, method: &CommandMethod, command: &Command<'_>, moment: Instant) -> Decision {
        let mut core = self.core();
        let idle = core.payload.is_empty();
        let decision = match self.execute(&mut core, &Ahead::none(command), moment) {
            Ok(executed) => {
                let reply = answer::reply(method, &core.ledger, command, &executed);
                self.drain(&mut core, moment);
                Decision { reply, depends_on: executed.depends_on }
            }
            Err(refusal) => refusal.into(),
        };
        self.unlock(core, idle);
        decision
    }

    fn submit(&self, payload: &[u8], moment: Instant) -> Decision {
        // Locked at the first command: the batch is decoded before.
        let mut held = None;
        let mut idle = false;
        let mut outcomes = Outcomes::default();
        let mut depends_on = 0;
        let done = with_submit(payload, self.facts.tag, &mut |commands| {
            let core = held.get_or_insert_with(|| {
                let core = self.core();
                idle = core.payload.is_empty();
                core
            });
            let mut ahead = Vec::with_capacity(commands.len());
            core.ledger.look_ahead(commands.iter().flatten(), &mut ahead);
            let mut ahead = ahead.iter();
            for command in commands {
                let next = command.as_ref().map(|_| ahead.next().expect("Invariant: each command is looked ahead at"));
                depends_on = self.decide(core, next, &mut outcomes, moment).max(depends_on);
            }
        });
        if let Some(core) = held {
            self.unlock(core, idle);
        }
        match done {
            Ok(()) => {
                let durable = depends_on.max(self.ring.durable().sequence);
                Decision { reply: Ok(outcomes.into_response(durable)), depends_on }
            }
            Err(refusal) => refusal.into(),
        }
    }

    /// Executes one command of a batch, unless the answer has no room for its outcome, and returns the sequence that the
    /// outcome depends on.
    fn decide(
        &self,
        core: &mut Core,
        command: Result<&Ahead<'_, '_>, &Refusal>,
        outcomes: &mut Outcomes,
        moment: Instant,
    ) -> u64 {
        if outcomes.are_full() {
            // Whatever is done must be answered, so nothing more is executed, not even a repeat.
            outcomes.push_refused(&Refusal::answer_full());
            return 0;
        }
        let ahead = match command {
            Ok(ahead) => ahead,
            Err(refusal) => {
                outcomes.push_refused(refusal);
                return 0;
            }
        };
        match self.execute(core, ahead, moment) {
            Ok(executed) => {
                outcomes.push(&core.ledger, &executed, &ahead.command().context);
                self.drain(core, moment);
                executed.depends_on
            }
            Err(refusal) => {
                outcomes.push_refused(&refusal);
                0
            }
        }
    }

    pub(super) fn execute(
        &self,
        core: &mut Core,
        command: &Ahead<'_, '_>,
        moment: Instant,
    ) -> Result<invengine_ledger::Executed, Refusal> {
        self.admit_command(core)?;
        let waiting = core.decided_at.len();
        let executed = core.execute(command, self.clock.at(moment), moment)?;
        self.in_flight.fetch_add((core.decided_at.len() - waiting) as u32, AcqRel);
        Ok(executed)
    }

    /// Whether commands are taken.
    pub(super) fn admit_command(&self, core: &Core) -> Result<(), Refusal> {
        if core.draining {
            return Err(Refusal::draining());
        }
        if self.full.load(Acquire) {
            return Err(Refusal::journal_full());
        }
        if self.in_flight.load(Acquire) >= self.in_flight_max && !planted::is("in_flight_ignored") {
            return Err(Refusal::overloaded());
        }
        Ok(())
    }

    /// Unlocks, then wakes the commit thread if the frame has just received its first record; after a commit that
    /// thread checks the frame by itself. In this order, because a thread that wakes before the ledger is unlocked only
    /// goes back to sleep.
    pub(super) fn unlock(&self, core: MutexGuard<'_, Core>, was_empty: bool) {
        let wakes = was_empty && !core.payload.is_empty();
        drop(core);
        if wakes {
            self.ring.wake();
        }
    }

    fn digest(&self, payload: &[u8]) -> Decision {
        if v1::GetDigestRequest::decode(payload).is_err() {
            return Refusal::malformed().into();
        }
        let mut core = self.core();
        let sequence = core.ledger.sequence();
        let digest = core.ledger.digest().to_string();
        // The answer is sent only once the position that it names is durable.
        let reply = v1::GetDigestResponse { digest, sequence: sequence as i64 };
        Decision { reply: Ok(reply.encode_to_vec()), depends_on: sequence }
    }
}
