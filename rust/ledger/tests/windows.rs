//! How long keys and ended holds are remembered, and what is refused so that nothing is ever done twice by being forgotten.

mod desk;

use std::collections::HashSet;

use invengine_ledger::event::StockKind;
use invengine_ledger::{Command, LedgerOptions, Reason, Scope};

use desk::Desk;
use desk::asks::{allocate, by_key, release, reserve, stock, whole};
use desk::told::Did;

const MUG: [(&str, &str, i64); 1] = [("mug", "wh-1", 1)];

/// Short enough to be outlived.
const WINDOW_MS: i64 = 10_000;

fn forgetful() -> Desk {
    let mut desk = Desk::with_window(WINDOW_MS).opened();
    desk.ask(&stock("stock", StockKind::Received, "mug", "wh-1", 100)).did();
    desk
}

/// A command that makes no hold: its key is forgotten with its window.
fn one_more(key: &str) -> Command<'_> {
    stock(key, StockKind::Received, "mug", "wh-1", 1)
}

/// Lets the two windows of keys take turns once.
fn turn(desk: &mut Desk) {
    desk.wait(WINDOW_MS);
    assert!(desk.forget());
}

// case: A06
#[test]
fn what_is_older_than_the_window_is_refused() {
    // (ms since the command was issued, whether it is taken)
    for (age_ms, taken) in [(0, true), (WINDOW_MS, true), (WINDOW_MS + 1, false), (10 * WINDOW_MS, false)] {
        let mut desk = forgetful();
        desk.wait(20 * WINDOW_MS);
        let mut command = reserve("k", &MUG);
        command.context.issue_time_ms = Some(desk.now_ms - age_ms);
        let told = desk.ask(&command);
        assert_eq!(told.reason(), if taken { None } else { Some(Reason::DedupeWindowExpired) }, "{age_ms}");
        if !taken {
            assert_eq!(told.fact("window"), Some(WINDOW_MS.to_string().as_str()));
            command.context.issue_time_ms = None;
            desk.ask(&command).did();
        }
    }
}

// case: A06
#[test]
fn nothing_is_done_twice_by_being_forgotten() {
    let mut desk = forgetful();
    let mut command = one_more("k");
    command.context.issue_time_ms = Some(desk.now_ms);
    desk.ask(&command).did();
    let mut refused = 0;
    for _ in 0..40 {
        desk.wait(WINDOW_MS / 8);
        desk.forget();
        let told = desk.ask(&command);
        assert!(told.replayed() || told.reason() == Some(Reason::DedupeWindowExpired), "{told:?}");
        refused += u32::from(!told.replayed());
    }
    assert!((24..=32).contains(&refused), "kept for one to two windows: {refused} of 40 refused");
    assert!(desk.ledger.key(Scope::Operator, "k").is_none());
    assert_eq!(desk.level("mug", "wh-1").0, 101, "done once");
}

#[test]
fn a_key_is_kept_for_the_whole_window() {
    let mut desk = forgetful();
    turn(&mut desk);
    desk.ask(&one_more("k")).did();
    turn(&mut desk);
    assert_eq!(desk.ledger.effective_window_ms(desk.now_ms), WINDOW_MS);
    assert!(desk.ask(&one_more("k")).replayed());
    desk.wait(WINDOW_MS - 1);
    assert!(!desk.forget(), "the younger window is not old enough");
    assert!(desk.ask(&one_more("k")).replayed());
    desk.wait(1);
    assert!(desk.forget());
    assert!(desk.ledger.key(Scope::Operator, "k").is_none());
    let live = desk.digest();
    assert_eq!(desk.refold().digest(), live);
}

// case: A11
#[test]
fn keys_give_way_to_a_budget_and_the_window_says_so() {
    let options = LedgerOptions { key_bytes_max: 200_000, ..LedgerOptions::new("main") };
    let mut desk = Desk::new(options).opened();
    desk.ask(&stock("stock", StockKind::Received, "mug", "wh-1", 1_000_000)).did();
    let mut first = reserve("first", &MUG);
    first.context.issue_time_ms = Some(desk.now_ms);
    desk.ask(&first).did();
    desk.ask(&release("give-back", by_key("first"))).did();
    let keys: Vec<String> = (0..20_000).map(|number| format!("k-{number}")).collect();
    let mut turns = 0;
    for key in &keys {
        desk.wait(1);
        desk.ask(&one_more(key)).did();
        turns += u32::from(desk.forget());
        assert!(desk.ledger.key_bytes() <= 201_000, "{}", desk.ledger.key_bytes());
    }
    assert!(turns > 10, "{turns}");
    let window_ms = desk.ledger.effective_window_ms(desk.now_ms);
    assert!((100..5_000).contains(&window_ms), "{window_ms}");
    let told = desk.ask(&first);
    assert_eq!(told.reason(), Some(Reason::DedupeWindowExpired));
    assert_eq!(told.fact("window"), Some(window_ms.to_string().as_str()));
    assert!(desk.ask(&one_more(&keys[19_999])).replayed());
}

#[test]
fn a_hold_can_be_named_by_its_key_as_long_as_it_is_known() {
    let mut desk = forgetful();
    let first = desk.ask(&reserve("k", &MUG));
    desk.ask(&allocate("a", by_key("k"))).did();
    for turns in 0..10 {
        turn(&mut desk);
        assert!(desk.ask(&reserve("k", &MUG)).replayed(), "after {turns} turns");
        assert!(!desk.ask(&allocate(&format!("a{turns}"), by_key("k"))).replayed());
    }
    assert!(desk.ledger.key(Scope::Operator, "a").is_none(), "other keys are forgotten");
    // Not a tombstone, which would leave the units held for ever.
    assert_eq!(desk.ask(&release("r", by_key("k"))).hold().id, first.hold().id);
    assert_eq!(desk.level("mug", "wh-1"), (100, 0, 0, 100, 0));
    let live = desk.digest();
    assert_eq!(desk.refold().digest(), live);
    for _ in 0..3 {
        turn(&mut desk);
    }
    assert!(desk.ledger.key(Scope::Operator, "k").is_none(), "forgotten with its hold");
    assert_eq!(desk.ask(&release("s", by_key("k"))).did(), Did::KeyCancelled);
}

#[test]
fn keys_of_open_holds_do_not_make_the_windows_turn() {
    let options = LedgerOptions { key_bytes_max: 20_000, ..LedgerOptions::new("main") };
    let mut desk = Desk::new(options).opened();
    desk.ask(&stock("stock", StockKind::Received, "mug", "wh-1", 1_000)).did();
    let keys: Vec<String> = (0..500).map(|number| format!("k-{number}")).collect();
    for key in &keys {
        desk.ask(&reserve(key, &MUG)).did();
        desk.forget();
    }
    assert!(desk.ledger.key_bytes() > 40_000, "all of them are still known");
    let turns = (0..100).filter(|_| desk.forget()).count();
    assert!(turns <= 1, "{turns}");
    assert!(keys.iter().all(|key| desk.ask(&reserve(key, &MUG)).replayed()));
}

#[test]
fn ended_holds_are_forgotten_with_their_window_and_open_ones_never() {
    let mut desk = forgetful();
    let open = desk.ask(&reserve("open", &MUG)).hold().id;
    desk.ask(&allocate("bind", whole(open))).did();
    let ended = desk.ask(&reserve("ended", &MUG)).hold().id;
    desk.ask(&release("end", whole(ended))).did();
    let revived = desk.ask(&reserve("revived", &MUG)).hold().id;
    desk.wait(60_100);
    assert_eq!(desk.sweep(), 1);
    assert!(desk.forget());
    desk.ask(&allocate("late", whole(revived))).hold();
    turn(&mut desk);
    assert!(desk.ledger.reservation(ended).is_none(), "ended before the last two turns");
    assert_eq!(desk.ask(&release("x", whole(ended))).reason(), Some(Reason::ReservationNotFound));
    assert!(desk.ledger.reservation(revived).is_some(), "ended once, but lives again");
    desk.ask(&release("y", whole(revived))).did();
    turn(&mut desk);
    assert_eq!(desk.ask(&release("z", whole(revived))).reason(), Some(Reason::AlreadyReleased), "still in the window");
    turn(&mut desk);
    assert!(desk.ledger.reservation(revived).is_none());
    for _ in 0..5 {
        turn(&mut desk);
    }
    assert_eq!(desk.ledger.reservation(open).unwrap().lines[0].allocated, 1);
    assert_eq!((desk.ledger.reservation_count(), desk.ledger.open_reservations()), (1, 1));
    assert_eq!(desk.level("mug", "wh-1"), (100, 0, 1, 99, 0));
    desk.restart();
    assert_eq!(desk.ledger.reservation_count(), 1);
}

#[test]
fn no_id_is_ever_given_twice() {
    let mut desk = forgetful();
    let mut tokens = HashSet::new();
    let mut reused = 0;
    for round in 0..30 {
        for number in 0..10 {
            let key = format!("{round}-{number}");
            let id = desk.ask(&reserve(&key, &MUG)).hold().id;
            assert!(tokens.insert(desk.ledger.token(id)), "{id:?}");
            reused += u32::from(id.generation > 0);
            desk.ask(&release(&format!("r{key}"), whole(id))).did();
        }
        turn(&mut desk);
        if round % 7 == 6 {
            desk.restart();
        }
    }
    assert!(reused > 200, "slots are used again: {reused}");
    assert!(desk.ledger.reservation_count() < 40);
}
