//! Whether a command would be accepted if some names existed. A caller that creates the names a command mentions needs this,
//! because a refused command must not create any.

use crate::command::{Catalogue, Command};
use crate::ledger::Ledger;
use crate::names::CatalogueEntry;

impl Ledger {
    /// Whether the command would be executed now and accepted if these new names existed. Nothing changes.
    pub fn would_accept(&mut self, command: &Command<'_>, names: &[(Catalogue, &str)], now_ms: i64) -> bool {
        self.catalogues.iter_mut().for_each(|known| known.make_room(names.len()));
        for (catalogue, name) in names {
            self.catalogues[*catalogue as usize].add_tentatively(CatalogueEntry { name, display_name: "", gs1: "" });
        }
        let accepted = self.is_acceptable(command, now_ms.max(self.time_ms()));
        for (catalogue, _) in names.iter().rev() {
            self.catalogues[*catalogue as usize].remove_last();
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
            let names = [(Catalogue::Items, "mug"), (Catalogue::Locations, "wh")];
            assert!(!ledger.would_accept(&reserve, &names, 1_000));
        }
        // Names that look like the one that was tried.
        let entries = ["MUG", "Mug"].map(|name| Upsert { name, display_name: "", gs1: "" }).to_vec();
        let body = Body::Upsert { catalogue: Catalogue::Items, entries };
        let upsert = Command { context: Context { key: "upsert", ..Context::default() }, body };
        let executed = ledger.execute(&upsert, 1_000, &mut Payload::default(), usize::MAX);
        assert!(matches!(executed.answer, Answer::Accepted { .. }), "{executed:?}");
        assert_eq!((ledger.items().look_alike("MUG"), ledger.items().look_alike("Mug")), (None, Some("MUG")));
    }
}
