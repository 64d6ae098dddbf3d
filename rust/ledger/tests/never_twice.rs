//! What was done is never done again: under a flood of keys, by clocks that are ahead, after a crash, after a year of silence.

mod desk;

use invengine_ledger::command::SourcePosition;
use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Command, DEDUPE_WINDOW_MS, ISSUE_LEAD_MAX_MS, ImageLoader, Ledger, LedgerOptions, Reason};

use desk::asks::{allocate, by_key, register, release, reserve, stock, upsert, whole};
use desk::told::{Did, Told};
use desk::{Desk, fold};

const MUG: [(&str, &str, i64); 1] = [("mug", "wh-1", 1)];
const WINDOW_MS: i64 = 10_000;

/// One mug more, from a channel that says when it asked.
fn one_more<'a>(key: &'a str, channel: &'a str, issue_time_ms: i64) -> Command<'a> {
    let mut command = stock(key, Received, "mug", "wh-1", 1);
    (command.context.channel, command.context.issue_time_ms) = (channel, Some(issue_time_ms));
    command
}

fn numbered(mut command: Command<'_>, sequence: u64) -> Command<'_> {
    command.context.source = Some(SourcePosition { id: "erp", epoch: 1, sequence });
    command
}

fn on_hand(desk: &Desk) -> i64 {
    desk.level("mug", "wh-1").0
}

/// The same ledger, by way of its image.
fn reloaded(ledger: &mut Ledger, options: LedgerOptions) -> Ledger {
    let (mut loader, mut piece) = (ImageLoader::new(options), Vec::new());
    let mut image = ledger.image();
    while image.next(&mut piece) {
        loader.piece(&piece).expect("an image of its own");
    }
    loader.finish().expect("an image of its own")
}

// case: A11
#[test]
fn a_flood_of_keys_shrinks_the_window_and_does_nothing_twice() {
    // 2 GiB for 10 million keys of the greatest length, a thousandth of it.
    const KEYS: usize = 10_000;
    let budget = (2 << 30) / 1_000;
    let mut desk = Desk::new(LedgerOptions { key_bytes_max: budget, ..LedgerOptions::new("main") }).opened();
    let keys: Vec<String> = (0..KEYS).map(|number| format!("{number:0>128}")).collect();
    let mut issued = Vec::new();
    let (mut turns, mut replayed, mut refused) = (0, 0, 0);
    for (number, key) in keys.iter().enumerate() {
        desk.wait(1);
        issued.push(desk.now_ms);
        desk.ask(&one_more(key, "app", desk.now_ms)).did();
        turns += u32::from(desk.forget());
        assert!(desk.ledger.key_bytes() <= budget + 1_000, "{}", desk.ledger.key_bytes());
        let earlier = (number * 7_919) % (number + 1);
        let told = desk.ask(&one_more(&keys[earlier], "app", issued[earlier]));
        assert!(told.replayed() || told.reason() == Some(Reason::DedupeWindowExpired), "{told:?}");
        *(if told.replayed() { &mut replayed } else { &mut refused }) += 1;
    }
    assert_eq!(on_hand(&desk), KEYS as i64, "each once");
    assert!(turns >= 2 && replayed > 100 && refused > 100, "{turns} turns, {replayed} replayed, {refused} refused");
    assert!(desk.ledger.effective_window_ms(desk.now_ms) < KEYS as i64, "the window says so");
    assert!(desk.ask(&one_more(&keys[0], "app", issued[0])).fact("window").is_some());
    let live = desk.digest();
    assert_eq!(desk.refold().digest(), live);
}

// case: A06, A11
#[test]
fn a_writer_ahead_of_time_does_nothing_twice() {
    for lead_ms in [0, 1, WINDOW_MS / 2, 3 * WINDOW_MS, ISSUE_LEAD_MAX_MS] {
        let options = LedgerOptions { dedupe_window_ms: WINDOW_MS, ..LedgerOptions::new("main") };
        let mut desk = Desk::new(options.clone()).opened();
        desk.wait(WINDOW_MS / 2);
        let command = one_more("k", "app", desk.now_ms + lead_ms);
        desk.ask(&command).did();
        // The windows turn in the same millisecond, and again and again.
        for turn in 0..12 {
            let told = desk.ask(&command);
            assert!(
                told.replayed() || told.reason() == Some(Reason::DedupeWindowExpired),
                "{lead_ms}, {turn}: {told:?}"
            );
            desk.forget();
            match turn % 3 {
                0 => desk.restart(),
                1 => desk.ledger = reloaded(&mut desk.ledger, options.clone()),
                _ => {}
            }
            desk.wait(WINDOW_MS / 2);
        }
        assert_eq!(on_hand(&desk), 1, "{lead_ms}");
        assert!(!desk.ask(&one_more("other", "web", desk.now_ms)).replayed(), "nobody else is refused");
    }
}

// case: A06
#[test]
fn a_key_of_the_millisecond_in_which_the_windows_turn_is_not_done_twice() {
    let mut desk = Desk::with_window(WINDOW_MS).opened();
    desk.wait(WINDOW_MS);
    let command = one_more("k", "", desk.now_ms);
    desk.ask(&command).did();
    assert!(desk.forget());
    desk.ledger.forget_keys(desk.now_ms, &mut invengine_ledger::Payload::default(), desk::ROOMY);
    for _ in 0..3 {
        desk.wait(WINDOW_MS);
        assert!(desk.forget());
        let told = desk.ask(&command);
        assert!(told.replayed() || told.reason() == Some(Reason::DedupeWindowExpired), "{told:?}");
    }
    assert_eq!(on_hand(&desk), 1);
}

// case: A08
#[test]
fn an_issue_time_that_cannot_be_is_refused_and_uses_up_nothing() {
    let mut desk = Desk::default().opened();
    let before = desk.digest();
    let told = desk.ask(&one_more("k", "", desk.now_ms + ISSUE_LEAD_MAX_MS + 1));
    assert_eq!((told.reason(), told.fact("field")), (Some(Reason::InvalidField), Some("context.issue_time")));
    assert_eq!(desk.digest(), before);
    assert!(!desk.ask(&one_more("k", "", desk.now_ms)).replayed(), "corrected, it is taken");
}

// case: A13
#[test]
fn one_key_twice_in_one_frame() {
    let mut desk = Desk::with_mugs(5);
    desk.cut();
    let first = desk.ask(&reserve("k", &MUG));
    let Told::Yes { sequence, did, .. } = first else { panic!("{first:?}") };
    assert_eq!(desk.ask(&reserve("k", &MUG)), Told::Yes { sequence, replayed: true, did });
    assert_eq!(desk.ask(&reserve("k", &[("mug", "wh-1", 2)])).reason(), Some(Reason::IdempotencyKeyReused));
    assert_eq!((desk.ledger.sequence(), desk.level("mug", "wh-1").1), (sequence, 1));
    desk.cut();
    let live = desk.digest();
    assert_eq!(desk.refold().digest(), live);
}

/// A day in a shop, one command a frame.
fn day() -> Vec<Command<'static>> {
    vec![
        stock("in", Received, "mug", "wh-1", 4),
        register("reg", "erp"),
        reserve("h1", &[("mug", "wh-1", 2)]),
        numbered(stock("", Received, "mug", "wh-1", 3), 1),
        allocate("a1", by_key("h1")),
        release("never", by_key("not-seen")),
        numbered(reserve("", &[("mug", "wh-1", 900)]), 2),
        reserve("h2", &[("mug", "wh-1", 1)]),
        release("r2", by_key("h2")),
    ]
}

// case: A09, A14, A15
#[test]
fn a_crash_before_the_journal_leaves_no_trace_and_after_it_the_answer() {
    let options = LedgerOptions::new("main");
    let mut desk = Desk::default().opened();
    desk.cut();
    for (number, command) in day().iter().enumerate() {
        let before = desk.digest();
        let first = desk.ask(command);
        // The frame was not written yet: nobody was answered.
        let lost = fold(&options, &desk.frames).expect("its own frames");
        let mut again = Desk::new(options.clone());
        again.ledger = lost;
        again.now_ms = desk.now_ms;
        again.ledger.set_epoch(1);
        assert_eq!(again.digest(), before, "{number}: no trace");
        assert_eq!(again.ask(command), first, "{number}: it is executed once");
        assert_eq!(again.digest(), desk.digest(), "{number}");
        // The frame was written, the answer was lost.
        desk.restart();
        match (first, desk.ask(command)) {
            (Told::Yes { sequence, did, .. }, again) => assert_eq!(again, Told::Yes { sequence, replayed: true, did }),
            (no, again) => assert_eq!(again, no, "{number}"),
        }
        desk.ledger.set_epoch(1);
    }
    assert_eq!(desk.level("mug", "wh-1"), (7, 0, 2, 5, 0));
}

// case: B09
#[test]
fn numbers_at_the_edge_wrap_nothing() {
    let mut desk = Desk::with_mugs(1);
    desk.ask(&register("reg", "erp")).did();
    let more = |number| numbered(stock("", Received, "mug", "wh-1", 1), number);
    desk.ask(&more(1)).did();
    let before = desk.digest();
    for number in [1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX] {
        assert_eq!(desk.ask(&more(number)).reason(), Some(Reason::SequenceGap), "{number}");
    }
    assert_eq!(desk.ask(&more(0)).reason(), Some(Reason::SequenceConsumed));
    assert_eq!(desk.digest(), before);
    desk.ask(&more(2)).did();
}

// case: B10
#[test]
fn a_source_that_was_silent_for_a_year_goes_on() {
    let mut desk = Desk::with_mugs(1);
    desk.ask(&register("reg", "erp")).did();
    let more = |number| numbered(stock("", Received, "mug", "wh-1", 1), number);
    for number in 1..=3 {
        desk.ask(&more(number)).did();
    }
    for day in 0..365 {
        desk.wait(DEDUPE_WINDOW_MS);
        assert!(desk.forget(), "day {day}");
    }
    assert_eq!(desk.ledger.key_count(), 0, "all keys are forgotten");
    desk.restart();
    desk.ledger = reloaded(&mut desk.ledger, LedgerOptions::new("main"));
    assert!(desk.ask(&more(3)).replayed());
    assert_eq!(desk.ask(&more(5)).fact("expected"), Some("4"));
    assert!(!desk.ask(&more(4)).replayed());
    assert_eq!(on_hand(&desk), 5);
}

// case: C09
#[test]
fn a_compensation_twice_and_before_its_reserve_leaks_nothing() {
    let mut desk = Desk::with_mugs(3);
    assert_eq!(desk.ask(&release("undo", by_key("saga"))).did(), Did::KeyCancelled);
    for _ in 0..2 {
        assert_eq!(desk.ask(&reserve("saga", &MUG)).reason(), Some(Reason::KeyCancelled));
        assert!(desk.ask(&release("undo", by_key("saga"))).replayed());
        desk.restart();
    }
    let id = desk.ask(&reserve("other", &MUG)).hold().id;
    desk.ask(&release("undo-2", by_key("other"))).did();
    assert_eq!(desk.ask(&release("undo-3", whole(id))).reason(), Some(Reason::AlreadyReleased));
    assert_eq!(desk.level("mug", "wh-1"), (3, 0, 0, 3, 0));
}

// case: C16
#[test]
fn an_unknown_name_stays_unknown_for_its_key() {
    let mut desk = Desk::with_mugs(3);
    let no = desk.ask(&reserve("k", &[("pot", "wh-1", 1)]));
    assert_eq!(no.reason(), Some(Reason::UnknownSku));
    desk.ask(&upsert("pots", invengine_ledger::command::Catalogue::Items, &["pot"])).did();
    desk.ask(&stock("in", Received, "pot", "wh-1", 1)).did();
    assert_eq!(desk.ask(&reserve("k", &[("pot", "wh-1", 1)])), no, "the same no");
    desk.ask(&reserve("k2", &[("pot", "wh-1", 1)])).did();
}
