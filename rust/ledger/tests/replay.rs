//! A long journal: its fold equals the live ledger, and so does an image from its middle followed by the rest.

mod harness;

use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Audit, ImageLoader, Ledger, LedgerOptions};

use harness::commands::{allocate, by_key, fulfill, release, reserve, stock};
use harness::{Frame, Harness};

const COMMANDS: u64 = 330_000;
const WINDOW_MS: i64 = 100_000;

fn options() -> LedgerOptions {
    LedgerOptions { dedupe_window_ms: WINDOW_MS, ..LedgerOptions::new("main") }
}

/// Holds that are allocated, fulfilled, released or left to expire, with stock that is received; a frame every 500 commands.
fn played() -> Harness {
    let mut harness = Harness::new(options()).opened();
    let skus = ["mug", "cup"];
    let places = ["wh-1", "wh-2", "wh-3"];
    for number in 0..COMMANDS {
        let key = format!("k-{number}");
        let line = (skus[number as usize % 2], places[number as usize % 3]);
        let hold = format!("k-{}", number.saturating_sub(number % 8));
        let command = match number % 8 {
            0 => {
                let mut command = reserve(&key, &[(line.0, line.1, 2)]);
                command.context.issue_time_ms = Some(harness.now_ms + 3);
                command
            }
            1 if number % 3 == 0 => release(&key, by_key(&hold)),
            2 if number % 5 != 0 => allocate(&key, by_key(&hold)),
            3 if number % 5 != 1 => fulfill(&key, by_key(&hold)),
            _ => stock(&key, Received, line.0, line.1, 1),
        };
        harness.execute(&command);
        if number % 500 == 499 {
            harness.wait(350);
            harness.sweep();
            harness.forget();
            harness.cut();
        }
    }
    harness.cut();
    harness
}

fn fold(ledger: &mut Ledger, frames: &[Frame]) {
    for frame in frames {
        ledger.fold(&frame.payload, frame.time_ms, frame.writer_epoch).expect("a frame of its own");
    }
}

// case: E17
#[test]
fn a_long_journal_folds_to_the_live_ledger() {
    let mut harness = played();
    let live = harness.digest();
    let (records, expired) = (harness.ledger.sequence(), harness.ledger.expired_reservations());
    assert!(records > 300_000 && expired > 1_000, "{records} {expired}");
    let mut first = Ledger::new(options());
    let middle = harness.frames.len() / 2;
    fold(&mut first, &harness.frames[..middle]);
    let (mut loader, mut piece) = (ImageLoader::new(options()), Vec::new());
    let mut image = first.image();
    while image.next(&mut piece) {
        loader.piece(&piece).expect("an image of its own");
    }
    let mut loaded = loader.finish().expect("an image of its own");
    for ledger in [&mut first, &mut loaded] {
        fold(ledger, &harness.frames[middle..]);
        assert_eq!(ledger.digest(), live);
        assert_eq!(ledger.sequence(), harness.ledger.sequence());
        assert_eq!(Audit::check(ledger), Vec::new());
    }
}
