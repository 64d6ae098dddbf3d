//! Whether a command would be accepted if some names existed: for whoever creates names that are mentioned, and must not
//! create any by a command that is then refused.

use crate::command::{Catalogue, Command};
use crate::ledger::Ledger;
use crate::names::Entry;

impl Ledger {
    /// Whether the command would be executed now, and accepted, if these names existed, which are new. Nothing changes.
    pub fn would_accept(&mut self, command: &Command<'_>, names: &[(Catalogue, &str)], now_ms: i64) -> bool {
        self.catalogues.iter_mut().for_each(|known| known.make_room(names.len()));
        for (catalogue, name) in names {
            self.catalogues[*catalogue as usize].add(Entry { name, display_name: "", gs1: "" });
        }
        let accepted = self.is_acceptable(command, now_ms.max(self.time_ms()));
        for (catalogue, _) in names.iter().rev() {
            self.catalogues[*catalogue as usize].take_back();
        }
        accepted
    }
}
