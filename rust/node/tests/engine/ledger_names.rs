//! Callers name their ledger in metadata. So a new ledger has a name that metadata can carry; an older one is served whatever
//! its name is.

use std::path::Path;

use crate::engine_harness::{digest, receive, settings};
use invengine_node::engine::{Engine, EngineSettings, JournalKind};
use invengine_node::journal::{EveryFrame, FileJournal, FileOptions};
use invengine_node::preflight::preflight;

const UNFIT: [(&str, &str); 5] = [
    ("main ", "\"main \": it ends with a space"),
    (" main", "\" main\": it begins with a space"),
    ("ma\u{200b}in", "\"ma<U+200B>in\": character 3 is U+200B"),
    ("\u{e4}", "\"\u{e4}\": character 1 is U+00E4"),
    ("a\u{a0}b", "\"a<U+00A0>b\": character 2 is U+00A0"),
];

fn named(ledger: &str, directory: &Path) -> EngineSettings {
    EngineSettings { ledger: ledger.into(), ..settings(directory) }
}

fn refusal(settings: &EngineSettings) -> String {
    Engine::open(settings).map(drop).unwrap_err().to_string()
}

#[test]
fn a_new_ledger_has_a_name_that_metadata_can_carry() {
    let directory = tempfile::tempdir().unwrap();
    for (ledger, words) in UNFIT {
        for journal in [JournalKind::File, JournalKind::Memory] {
            for force_empty in [false, true] {
                let force_empty = force_empty && journal == JournalKind::File;
                let unfit = EngineSettings { journal, force_empty, ..named(ledger, directory.path()) };
                let told = refusal(&unfit);
                assert!(told.starts_with(&format!("a new ledger cannot be called {words}; choose ")), "{told}");
                assert_eq!(preflight(&unfit).ledger_refused, Some(told));
            }
        }
    }
    for ledger in ["main", "a b", "~!{}%", &"x".repeat(128)] {
        let fit = EngineSettings { journal: JournalKind::Memory, ..named(ledger, directory.path()) };
        assert_eq!(preflight(&fit).ledger_refused, None);
        drop(Engine::open(&fit).unwrap());
    }
    drop(Engine::open(&named("main", directory.path())).unwrap());
}

#[test]
fn an_older_ledger_is_served_whatever_its_name_is() {
    for (ledger, _) in UNFIT {
        let directory = tempfile::tempdir().unwrap();
        // As a version without the rule began it.
        let options = FileOptions::new(directory.path(), ledger);
        drop(FileJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).unwrap());
        let old = named(ledger, directory.path());
        assert_eq!(preflight(&old).ledger_refused, None);
        for number in 1..=2 {
            let engine = Engine::open(&old).unwrap();
            receive(&engine, &format!("r{number}"), 5);
        }
        let (_, sequence) = digest(&Engine::open(&old).unwrap());
        assert!(sequence > 0);
        // Set aside, it is still the same ledger.
        let emptied = Engine::open(&EngineSettings { force_empty: true, ..old }).unwrap();
        assert_eq!(digest(&emptied).1, 0);
    }
}
