//! Names that break the rule for new ones, and names that people may mistake for one another.

use invengine_ledger::EntityKind;
use invengine_ledger::{Ledger, name_fault, visible};

use super::NameReport;

/// Most findings that a report lists one by one.
const LISTED_MAX: usize = 1_000;

/// The findings about a ledger's names.
#[derive(Default)]
pub(super) struct Findings {
    pub against_the_rule: u64,
    pub look_alikes: u64,
    pub first: Vec<NameReport>,
}

impl Findings {
    pub fn of(ledger: &Ledger) -> Self {
        let mut found = Findings::default();
        for kind in EntityKind::ALL {
            let names = ledger.entities(kind).names();
            for name in (0..names.len() as u32).map(|handle| names.name(handle)) {
                found.check(kind.name(), name, names.look_alike(name));
            }
        }
        for source in ledger.sources() {
            found.check("source", &source.name, ledger.source_look_alike(&source.name));
        }
        found
    }

    fn check(&mut self, kind: &'static str, name: &str, older: Option<&str>) {
        if let Some(fault) = name_fault(name) {
            self.against_the_rule += 1;
            self.list(kind, name, fault);
        }
        if let Some(older) = older {
            self.look_alikes += 1;
            self.list(kind, name, format!("{} looks like the older {}", visible(name), visible(older)));
        }
    }

    fn list(&mut self, kind: &'static str, name: &str, finding: String) {
        if self.first.len() < LISTED_MAX {
            self.first.push(NameReport { kind, name: name.to_owned(), finding });
        }
    }
}
