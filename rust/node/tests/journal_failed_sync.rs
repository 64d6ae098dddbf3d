//! A sync that fails on a real file: nothing is acknowledged after it, everything before it survives a restart.

use std::path::Path;
use std::process::Command;

use invengine_node::journal::{EveryFrame, FileJournal, FileOptions, Journal};

const DIRECTORY: &str = "INVENGINE_TEST_FAILED_SYNC";
const APPENDS: u64 = 20;

fn open(directory: &Path) -> FileJournal {
    let mut options = FileOptions::new(directory, "main");
    options.journal_file_bytes = 1 << 20;
    options.preallocate = false;
    FileJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).unwrap()
}

/// The child under strace: appends whatever happens, and prints each result. Does nothing in a run that is not that child.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut journal = open(Path::new(&directory));
    for sequence in 1..=APPENDS {
        match journal.append(sequence, sequence, 0, b"x") {
            Ok(()) => println!("acknowledged {sequence}"),
            Err(error) => println!("refused {sequence}: {error}"),
        }
    }
}

// case: E06
#[test]
fn a_failed_sync_of_a_real_file_latches_and_loses_nothing_acknowledged() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let mut latched = 0;
    for when in 2..12 {
        let directory = tempfile::tempdir().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject=fdatasync:error=EIO:when={when}")]);
        strace.arg(std::env::current_exe().unwrap()).args(["--exact", "child", "--nocapture"]);
        let output = strace.env(DIRECTORY, directory.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line_of = |word: &str| text.lines().position(|line| line.contains(word));
        let acknowledged = text.matches("acknowledged ").count() as u64;
        if let Some(refused) = line_of("refused ") {
            latched += 1;
            assert!(!text.lines().skip(refused).any(|line| line.contains("acknowledged ")), "{text}");
        }
        let after = open(directory.path()).durable_sequence();
        assert!((acknowledged..=acknowledged + 1).contains(&after), "call {when}: {acknowledged} then {after}\n{text}");
    }
    assert!(latched > 3, "{latched} runs had the failed sync in an append");
}
