//! Looking ahead: what the next commands need is read before the first of them is executed, so that their cache misses
//! overlap. A command by itself waits for one miss after the other: the bucket of its key, the bucket of its level's name, the
//! level, the item. Nothing read here affects the result.

use std::hint::black_box;

use crate::command::{Body, Command, TargetBy};
use crate::execute::Payload;
use crate::keys::KeyHash;
use crate::ledger::Ledger;
use crate::outcome::Executed;
use crate::reservation::Reservation;
use crate::scope::Scope;

/// Commands that are looked ahead at together; more do not help, since their data would leave the cache again.
pub const COMMANDS_AHEAD: usize = 32;
/// Lines of these commands that are looked ahead at.
const LINES_AHEAD: usize = 64;

/// A command whose data is probably in the cache.
#[derive(Clone, Copy)]
pub struct Ahead<'c, 'a> {
    pub(crate) command: &'c Command<'a>,
    /// The hash of its key, with the scope that it was computed for.
    pub(crate) key: Option<(Scope, KeyHash)>,
}

impl<'c, 'a> Ahead<'c, 'a> {
    /// A command by itself.
    pub fn none(command: &'c Command<'a>) -> Self {
        Ahead { command, key: None }
    }

    /// The command.
    pub fn command(&self) -> &'c Command<'a> {
        self.command
    }
}

impl Ledger {
    /// Executes commands in order, as [`Ledger::execute`] does one by one, and calls `each` with the outcome of each, as soon
    /// as it is known. `each` may read what the command did.
    #[inline(never)]
    pub fn execute_all(
        &mut self,
        commands: &[Command<'_>],
        now_ms: i64,
        payload: &mut Payload,
        bytes_max: usize,
        each: &mut dyn FnMut(&Ledger, Executed),
    ) {
        let mut ahead = Vec::with_capacity(COMMANDS_AHEAD);
        for commands in commands.chunks(COMMANDS_AHEAD) {
            self.look_ahead(commands.iter(), &mut ahead);
            for command in &ahead {
                let executed = self.execute_ahead(command, now_ms, payload, bytes_max);
                each(self, executed);
            }
        }
    }

    /// Reads what these commands need, and replaces `ahead` by them, for [`Ledger::execute_ahead`]. At most
    /// [`COMMANDS_AHEAD`] are worth it.
    pub fn look_ahead<'c, 'a>(&self, commands: impl Iterator<Item = &'c Command<'a>>, ahead: &mut Vec<Ahead<'c, 'a>>) {
        ahead.clear();
        let mut named = [None; LINES_AHEAD];
        let mut unused = named.iter_mut();
        let mut read = 0;
        for command in commands {
            let key = self.key_ahead(command);
            ahead.push(Ahead { command, key });
            read ^= key.map_or(0, |(_, hash)| self.keys.touch(hash)) ^ self.touch_hold(command);
            if let Body::Reserve { lines, .. } = &command.body {
                for (line, tag) in lines.iter().zip(&mut unused) {
                    *tag = Some(self.levels.tag_of_names(line.sku, line.location));
                }
            }
        }
        let mut levels = [None; LINES_AHEAD];
        let of_names = named.iter().map_while(|tag| tag.map(|tag| self.levels.guess(tag)));
        let of_holds = ahead.iter().filter_map(|ahead| self.hold_ahead(ahead.command));
        let of_holds = of_holds.flat_map(|hold| hold.lines.iter().map(|line| Some(line.level)));
        levels.iter_mut().zip(of_names.chain(of_holds)).for_each(|(level, found)| *level = found);
        let found = || levels.iter().flatten().copied();
        read ^= found().fold(0, |read, level| read ^ self.levels.touch(level));
        read ^=
            found().fold(0, |read, level| read ^ self.levels.get(level).map_or(0, |it| self.items().touch(it.item)));
        black_box(read);
    }

    /// The hold that a command names by its id.
    fn hold_ahead(&self, command: &Command<'_>) -> Option<&Reservation> {
        let (Body::Allocate(target) | Body::Release(target) | Body::Fulfill(target)) = &command.body else {
            return None;
        };
        let TargetBy::Id(id) = target.by else { return None };
        self.slab.find(id)
    }

    fn touch_hold(&self, command: &Command<'_>) -> i64 {
        self.hold_ahead(command).map_or(0, |hold| hold.sequence as i64)
    }

    /// The hash of a command's key, if its writer exists.
    fn key_ahead(&self, command: &Command<'_>) -> Option<(Scope, KeyHash)> {
        let context = &command.context;
        if context.key.is_empty() {
            return None;
        }
        let scope = self.scope(context.channel, context.source.map_or("", |position| position.id))?;
        Some((scope, self.keys.hash_of(scope, context.key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Context, Line, SourcePosition, StockLine, Target, Upsert};
    use crate::entity::EntityKind;
    use crate::event::StockKind;
    use crate::ids::ReservationId;
    use crate::ledger::LedgerOptions;
    use crate::outcome::Answer;
    use crate::states::StockState;

    const ROOMY: usize = 1 << 24;

    /// Commands of every kind that is looked ahead at, on few names and keys, with channels, items and sources that only come
    /// into being among them.
    fn commands(texts: &[String]) -> Vec<Command<'_>> {
        let mut random = 7_u64;
        let mut below = move |end: usize| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (random >> 33) as usize % end
        };
        let upsert = |catalogue, name| {
            let entries = vec![Upsert::labels(name, "", "")];
            Body::Upsert { kind: catalogue, entries }
        };
        let mut commands = Vec::new();
        for _ in 0..3_000 {
            let (sku, location, key) =
                (&*texts[below(5)], &*texts[5 + below(3)], &*texts[10 + below(texts.len() - 10)]);
            let id = ReservationId { slot: below(60) as u32, generation: 0, epoch: 0 };
            let by = if below(3) == 0 { TargetBy::Key(key) } else { TargetBy::Id(id) };
            let target = Target { by, lines: Vec::new(), expected_version: 0 };
            let line = Line { sku, location, quantity: 1 + below(3) as i64 };
            let stock = StockLine { sku, location, quantity: 9, state: StockState::OnHand, expected: None };
            let body = match below(20) {
                0 => upsert(EntityKind::Items, sku),
                1 => upsert(EntityKind::Locations, location),
                2 => upsert(EntityKind::Channels, "web"),
                3 => Body::RegisterSource { source: "erp" },
                4 | 5 => Body::Stock { kind: StockKind::Received, lines: vec![stock] },
                6 => Body::Release(target),
                7 => Body::Fulfill(target),
                8..12 => Body::Allocate(target),
                _ => Body::Reserve { lines: vec![line], ttl_ms: 60_000, allow_partial: false, replace_own: false },
            };
            let channel = if below(4) == 0 { "web" } else { "" };
            let source = SourcePosition { id: "erp", epoch: 1, sequence: 1 + below(9) as u64 };
            let source = (below(8) == 0).then_some(source);
            commands.push(Command { context: Context { key, channel, source, ..Context::default() }, body });
        }
        commands
    }

    #[test]
    fn commands_together_do_what_each_does_alone() {
        let texts: Vec<String> = (0..900).map(|number| format!("text-{number}")).collect();
        let commands = commands(&texts);
        let [mut alone, mut together] = [(); 2].map(|()| Ledger::new(LedgerOptions::new("main")));
        let [mut one, mut all] = [(); 2].map(|()| Payload::default());
        let outcomes: Vec<_> = commands.iter().map(|command| alone.execute(command, 1_000, &mut one, ROOMY)).collect();
        let accepted = |executed: &&Executed| matches!(executed.answer, Answer::Accepted { replayed: false, .. });
        assert!(outcomes.iter().filter(accepted).count() > 500);
        let mut expected = outcomes.iter();
        together.execute_all(&commands, 1_000, &mut all, ROOMY, &mut |_, executed| {
            assert_eq!(Some(&executed), expected.next());
        });
        assert_eq!((expected.next(), one.bytes()), (None, all.bytes()));
        assert_eq!(alone.digest(), together.digest());
    }
}
