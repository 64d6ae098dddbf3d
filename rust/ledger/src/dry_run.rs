//! Whether a command would be accepted if some names existed. A caller that creates the names a command mentions needs this,
//! because a refused command must not create any.

use crate::command::Command;
use crate::entity::EntityKind;
use crate::ledger::Ledger;

impl Ledger {
    /// Whether the command would be executed now and accepted if these new names existed. Nothing changes.
    pub fn would_accept(&mut self, command: &Command<'_>, names: &[(EntityKind, &str)], now_ms: i64) -> bool {
        self.entities.iter_mut().for_each(|known| known.names_mut().make_room(names.len()));
        for (kind, name) in names {
            self.entities[*kind as usize].names_mut().add_tentatively(name);
        }
        let accepted = self.is_acceptable(command, now_ms.max(self.time_ms()));
        for (kind, _) in names.iter().rev() {
            self.entities[*kind as usize].names_mut().remove_last();
        }
        accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Body, Context, Line, Upsert};
    use crate::execute::Payload;
    use crate::ledger::LedgerOptions;
    use crate::outcome::Answer;

    #[test]
    fn a_dry_run_leaves_nothing_behind() {
        let mut ledger = Ledger::new(LedgerOptions::new("main"));
        let lines = vec![Line { sku: "mug", location: "wh", quantity: 1 }];
        let body = Body::Reserve { lines, ttl_ms: 60_000, allow_partial: false, replace_own: false };
        let reserve = Command { context: Context { key: "reserve", ..Context::default() }, body };
        for _ in 0..3 {
            let names = [(EntityKind::Items, "mug"), (EntityKind::Locations, "wh")];
            assert!(!ledger.would_accept(&reserve, &names, 1_000));
        }
        // Names that look like the one that was tried.
        let entries = ["MUG", "Mug"].map(|name| Upsert::labels(name, "", "")).to_vec();
        let body = Body::Upsert { kind: EntityKind::Items, entries };
        let upsert = Command { context: Context { key: "upsert", ..Context::default() }, body };
        let executed = ledger.execute(&upsert, 1_000, &mut Payload::default(), usize::MAX);
        assert!(matches!(executed.answer, Answer::Accepted { .. }), "{executed:?}");
        assert_eq!((ledger.items().look_alike("MUG"), ledger.items().look_alike("Mug")), (None, Some("MUG")));
    }
}
