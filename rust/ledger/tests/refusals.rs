//! Refusals that their callers want remembered: as durable as a yes, with memory of their own.

mod desk;

use invengine_ledger::command::SourcePosition;
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Command, ImageLoader, LedgerOptions, Reason, Scope};

use desk::asks::{allocate, by_key, register, release, reserve, stock, whole};
use desk::told::{Did, Told};
use desk::{Desk, START_MS};

const TWO_MUGS: [(&str, &str, i64); 1] = [("mug", "wh-1", 2)];

fn remembered(mut command: Command<'_>) -> Command<'_> {
    command.context.remember_refusal = true;
    command
}

fn issued(mut command: Command<'_>, issue_time_ms: i64) -> Command<'_> {
    command.context.issue_time_ms = Some(issue_time_ms);
    command
}

fn numbered(mut command: Command<'_>, sequence: u64) -> Command<'_> {
    command.context.source = Some(SourcePosition { id: "erp", epoch: 1, sequence });
    command
}

fn reason(told: &Told) -> Option<Reason> {
    told.reason()
}

/// The ledger that an image of this one gives.
fn through_an_image(desk: &mut Desk, options: LedgerOptions) -> invengine_ledger::Ledger {
    let mut loader = ImageLoader::new(options);
    let mut image = desk.ledger.image();
    let mut piece = Vec::new();
    while image.next(&mut piece) {
        loader.piece(&piece).expect("a piece of an image");
    }
    loader.finish().expect("a whole image")
}

#[test]
fn a_refusal_that_was_to_be_remembered_is_given_again_over_a_crash_and_a_snapshot() {
    let mut desk = Desk::with_mugs(1);
    let ask = remembered(reserve("order-1", &TWO_MUGS));
    let digest = desk.digest();
    let executed = desk.execute(&ask);
    assert_eq!(executed.rests_on, desk.ledger.sequence(), "the answer waits for its event");
    let no = Told::new(&desk.ledger, &executed);
    assert_eq!(no.fact("available"), Some("1"));
    assert_ne!(desk.digest(), digest, "it is part of the state");
    desk.ask(&stock("more", Received, "mug", "wh-1", 5)).did();
    for how in ["at once", "after a crash", "after a snapshot"] {
        match how {
            "after a crash" => desk.restart(),
            "after a snapshot" => {
                let digest = desk.digest();
                desk.ledger = through_an_image(&mut desk, LedgerOptions::new("main"));
                assert_eq!(desk.digest(), digest);
            }
            _ => {}
        }
        let sequence = desk.ledger.sequence();
        assert_eq!(desk.ask(&ask), no, "{how}");
        assert_eq!(desk.ask(&reserve("order-1", &TWO_MUGS)), no, "{how}: whether or not it asks again");
        let other = desk.ask(&reserve("order-1", &[("mug", "wh-1", 1)]));
        assert_eq!(reason(&other), Some(Reason::IdempotencyKeyReused), "{how}");
        assert!(other.fact("sequence").is_some(), "{how}");
        assert_eq!(desk.level("mug", "wh-1").1, 0, "{how}: nothing was taken");
        assert_eq!(desk.ledger.sequence(), sequence, "{how}: nothing was written");
    }
}

#[test]
fn a_late_allocate_that_was_refused_stays_refused_after_a_restart() {
    let mut desk = Desk::with_mugs(1);
    let id = desk.ask(&reserve("hold", &[("mug", "wh-1", 1)])).hold().id;
    desk.wait(61_000);
    desk.ask(&reserve("another", &[("mug", "wh-1", 1)])).did();
    let pay = remembered(allocate("pay", whole(id)));
    let no = desk.ask(&pay);
    assert_eq!(reason(&no), Some(Reason::InsufficientStock));
    desk.ask(&stock("more", Received, "mug", "wh-1", 5)).did();
    desk.restart();
    assert_eq!(desk.ask(&pay), no, "the shop has refunded");
    assert_eq!(desk.level("mug", "wh-1").2, 0);
}

#[test]
fn every_refusal_of_the_ledger_is_remembered_but_a_bad_field_and_an_unknown_writer() {
    let mut desk = Desk::with_mugs(5);
    let id = desk.ask(&reserve("hold", &TWO_MUGS)).hold().id;
    desk.ask(&release("done", whole(id))).did();
    let rows = [
        (remembered(reserve("a", &[("pot", "wh-1", 1)])), Reason::UnknownSku),
        (remembered(reserve("b", &[("mug", "moon", 1)])), Reason::UnknownLocation),
        (remembered(allocate("c", whole(id))), Reason::AlreadyReleased),
        (remembered(allocate("d", by_key("nobody"))), Reason::ReservationNotFound),
        (remembered(reserve("e", &[("mug", "wh-1", 6)])), Reason::InsufficientStock),
    ];
    for (command, expected) in &rows {
        let sequence = desk.ledger.sequence();
        assert_eq!(reason(&desk.ask(command)), Some(*expected));
        assert_eq!(desk.ledger.sequence(), sequence + 1, "{expected:?}");
    }
    let sequence = desk.ledger.sequence();
    let huge = remembered(stock("f", Received, "mug", "wh-1", invengine_ledger::command::QUANTITY_MAX));
    assert_eq!(reason(&desk.ask(&huge)), Some(Reason::InvalidField));
    let mut nowhere = remembered(reserve("g", &TWO_MUGS));
    nowhere.context.channel = "nowhere";
    assert_eq!(reason(&desk.ask(&nowhere)), Some(Reason::UnknownChannel));
    let no_key = remembered(reserve("", &[("pot", "wh-1", 1)]));
    assert_eq!(reason(&desk.ask(&no_key)), Some(Reason::UnknownSku), "without a key there is nothing to remember by");
    assert_eq!(desk.ledger.sequence(), sequence, "none of these is an event");
}

#[test]
fn a_refusal_in_memory_is_remembered_once_somebody_asks_for_it() {
    let mut desk = Desk::with_mugs(1);
    let no = desk.ask(&reserve("k", &TWO_MUGS));
    desk.ask(&stock("more", Received, "mug", "wh-1", 5)).did();
    assert_eq!(desk.ask(&remembered(reserve("k", &TWO_MUGS))), no);
    desk.restart();
    assert_eq!(desk.ask(&reserve("k", &TWO_MUGS)), no);
}

#[test]
fn a_refused_key_under_a_new_number_gets_the_same_refusal_and_consumes_the_number() {
    let mut desk = Desk::with_mugs(1);
    desk.ask(&register("register", "erp")).did();
    let ask = remembered(reserve("k", &TWO_MUGS));
    let no = desk.ask(&numbered(ask.clone(), 1));
    assert_eq!(reason(&no), Some(Reason::InsufficientStock));
    desk.ask(&numbered(stock("", Received, "mug", "wh-1", 5), 2)).did();
    desk.restart();
    for number in [3, 4] {
        assert_eq!(desk.ask(&numbered(ask.clone(), number)), no);
        assert_eq!(desk.ledger.sources()[0].last, number);
        assert_eq!(desk.ask(&numbered(ask.clone(), number)), no, "the number has its own answer");
    }
    assert_eq!(desk.level("mug", "wh-1").1, 0);
    desk.ask(&numbered(stock("", Received, "mug", "wh-1", 1), 5)).did();
}

#[test]
fn releasing_the_key_of_a_refused_command_is_accepted_and_leaves_its_refusal() {
    let mut desk = Desk::with_mugs(1);
    let ask = remembered(reserve("k", &TWO_MUGS));
    let no = desk.ask(&ask);
    assert_eq!(desk.ask(&release("r", by_key("k"))).did(), Did::KeyCancelled);
    assert!(desk.ask(&release("r", by_key("k"))).replayed());
    desk.ask(&stock("more", Received, "mug", "wh-1", 5)).did();
    for _ in 0..2 {
        assert_eq!(desk.ask(&ask), no, "not KEY_CANCELLED");
        desk.restart();
    }
    assert_eq!(desk.level("mug", "wh-1").1, 0);
}

#[test]
fn refusals_are_forgotten_with_the_keys_and_a_repeat_is_then_too_old() {
    const WINDOW_MS: i64 = 1_000;
    let mut desk = Desk::with_window(WINDOW_MS).opened();
    let ask = remembered(issued(reserve("k", &TWO_MUGS), START_MS));
    let no = desk.ask(&ask);
    desk.wait(WINDOW_MS);
    assert!(desk.forget());
    assert_eq!(desk.ask(&ask), no, "found for the whole window");
    desk.wait(WINDOW_MS);
    assert!(desk.forget());
    assert_eq!((desk.ledger.refusal_count(), desk.ledger.refusal_bytes()), (0, 0));
    assert_eq!(reason(&desk.ask(&ask)), Some(Reason::DedupeWindowExpired));
    desk.restart();
    assert_eq!(reason(&desk.ask(&ask)), Some(Reason::DedupeWindowExpired));
}

/// A ledger whose memory for refusals has room for some dozens, and the first of them refused.
fn with_little_memory(lead_ms: i64) -> (Desk, LedgerOptions, Command<'static>) {
    let options = LedgerOptions { refusal_bytes_max: 20_000, ..LedgerOptions::new("main") };
    let mut desk = Desk::new(options.clone()).opened();
    let ask = remembered(issued(reserve("first", &TWO_MUGS), START_MS + lead_ms));
    assert_eq!(reason(&desk.ask(&ask)), Some(Reason::InsufficientStock));
    (desk, options, ask)
}

/// Refuses so many others, of another channel.
fn refuse_others(desk: &mut Desk, count: usize) {
    for number in 0..count {
        desk.wait(1);
        let key = format!("bot-{number}");
        let mut other = remembered(issued(reserve(&key, &[("mug", "wh-1", 99)]), desk.now_ms));
        other.context.channel = "web";
        let told = desk.ask(&other);
        assert_eq!(reason(&told), Some(Reason::InsufficientStock), "{told:?}");
        assert!(desk.ledger.refusal_bytes() <= 20_500, "{}", desk.ledger.refusal_bytes());
    }
}

#[test]
fn bots_that_fill_the_memory_of_refusals_shrink_nobodys_keys_and_nothing_forgotten_is_executed() {
    for lead_ms in [0, 3_600_000] {
        let (mut desk, options, ask) = with_little_memory(lead_ms);
        let yes = issued(stock("more", Received, "mug", "wh-1", 5), desk.now_ms);
        desk.ask(&yes).did();
        let before_ms = desk.now_ms;
        refuse_others(&mut desk, 500);
        assert!(desk.ledger.remembered_refusal(Scope::Operator, "first").is_none(), "it is forgotten");
        for how in ["at once", "after a crash", "after a snapshot"] {
            match how {
                "after a crash" => desk.restart(),
                "after a snapshot" => desk.ledger = through_an_image(&mut desk, options.clone()),
                _ => {}
            }
            let told = desk.ask(&ask);
            assert_eq!(reason(&told), Some(Reason::DedupeWindowExpired), "{how}, ahead by {lead_ms} ms");
            let window_ms: i64 = told.fact("window").unwrap().parse().unwrap();
            assert!((1..desk.now_ms - before_ms).contains(&window_ms), "it says how far back refusals are remembered");
            assert!(desk.ask(&yes).replayed(), "{how}: keys are remembered as long as before");
            assert_eq!(desk.level("mug", "wh-1").1, 0);
        }
        assert!(desk.ledger.effective_refusal_window_ms(desk.now_ms) < desk.ledger.effective_window_ms(desk.now_ms));
        let key = issued(reserve("old", &[("mug", "wh-1", 1)]), START_MS);
        desk.ask(&key).did();
        let young = remembered(issued(reserve("young", &[("mug", "wh-1", 1)]), desk.now_ms + lead_ms + 1));
        desk.ask(&young).did();
    }
}

#[test]
fn refusals_are_kept_as_long_as_keys_however_their_windows_fall() {
    const WINDOW_MS: i64 = 10_000;
    // Turned once by itself just before the keys turn: what is younger than the keys' older window must stay.
    let options =
        LedgerOptions { refusal_bytes_max: 20_000, dedupe_window_ms: WINDOW_MS, ..LedgerOptions::new("main") };
    let mut desk = Desk::new(options).opened();
    desk.wait(WINDOW_MS - 200);
    refuse_others(&mut desk, 100);
    assert_eq!(desk.ledger.refusal_count(), 100, "turned once, and none is forgotten");
    desk.wait(200);
    assert!(desk.forget());
    assert_eq!(desk.ledger.refusal_count(), 100, "all of them are younger than what keys remember");
    desk.restart();
    assert_eq!(desk.ledger.refusal_count(), 100);
    desk.wait(WINDOW_MS);
    assert!(desk.forget());
    let count = desk.ledger.refusal_count();
    assert!((1..100).contains(&count), "{count}: those before the turn are older than what keys remember");
    desk.wait(WINDOW_MS);
    assert!(desk.forget());
    assert_eq!(desk.ledger.refusal_count(), 0);
    desk.restart();
}

#[test]
fn a_refusal_that_does_not_fit_the_frame_leaves_no_trace() {
    let mut desk = Desk::with_mugs(1);
    desk.bytes_max = desk.open_bytes() + 20;
    let ask = remembered(reserve("k", &TWO_MUGS));
    let (before, sequence) = (desk.digest(), desk.ledger.sequence());
    assert_eq!(reason(&desk.ask(&ask)), Some(Reason::TooLarge));
    assert_eq!((desk.digest(), desk.ledger.sequence()), (before, sequence));
    desk.bytes_max = desk::ROOMY;
    assert_eq!(reason(&desk.ask(&ask)), Some(Reason::InsufficientStock));
}
