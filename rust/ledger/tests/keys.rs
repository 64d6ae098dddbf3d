//! What a key remembers, for how long, and what is refused so that nothing is ever done twice by being forgotten.

mod desk;

use std::collections::HashSet;

use invengine_ledger::command::{Line, Target, TargetBy};
use invengine_ledger::event::StockKind;
use invengine_ledger::{Command, Effect, LedgerOptions, Reason, ReservationId, Scope};

use desk::asks::{allocate, by_key, release, reserve, stock, whole};
use desk::told::{Did, Told};
use desk::{Desk, ROOMY};

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

#[test]
fn the_same_key_is_the_same_answer_and_one_effect() {
    let mut desk = Desk::with_mugs(100);
    let first = desk.ask(&reserve("k", &MUG));
    let Told::Yes { sequence, did, .. } = first else { panic!("{first:?}") };
    desk.cut();
    let frames = desk.frames.len();
    for _ in 0..1_000 {
        desk.wait(7);
        let again = desk.ask(&reserve("k", &MUG));
        assert_eq!(again, Told::Yes { sequence, replayed: true, did: did.clone() });
    }
    desk.cut();
    assert_eq!((desk.frames.len(), desk.level("mug", "wh-1").1), (frames, 1), "nothing was written");
    desk.restart();
    assert_eq!(desk.ask(&reserve("k", &MUG)), Told::Yes { sequence, replayed: true, did });
}

#[test]
fn what_is_the_same_body() {
    type Change = fn(&mut Command<'_>);
    let rows: [(&str, bool, Change); 11] = [
        ("unchanged", true, |_| {}),
        ("issue_time", true, |command| command.context.issue_time_ms = desk::START_MS - 5),
        ("causation", true, |command| command.context.causation = "message-9"),
        ("event_time", false, |command| command.context.event_time_ms = 5),
        ("order_ref", false, |command| command.context.order_ref = "order-1"),
        ("holder", false, |command| command.context.holder = "ann"),
        ("actor", false, |command| command.context.actor = "ann"),
        ("reason_code", false, |command| command.context.reason_code = "gift"),
        ("reference", false, |command| command.context.reference = "note-1"),
        ("quantity", false, |command| command.body = reserve("", &[("mug", "wh-1", 2)]).body),
        ("command", false, |command| command.body = release("", by_key("k")).body),
    ];
    for (name, same, change) in rows {
        let mut desk = Desk::with_mugs(5);
        let first = desk.ask(&reserve("k", &MUG));
        let mut command = reserve("k", &MUG);
        change(&mut command);
        let before = desk.digest();
        let told = desk.ask(&command);
        if same {
            assert!(told.replayed(), "{name}");
        } else {
            let Told::Yes { sequence, .. } = first else { panic!("{first:?}") };
            assert_eq!(told.reason(), Some(Reason::IdempotencyKeyReused), "{name}");
            assert_eq!(told.fact("sequence"), Some(sequence.to_string().as_str()), "{name}");
        }
        assert_eq!(desk.digest(), before, "{name}");
    }
}

#[test]
fn what_is_the_same_target() {
    type Change = fn(&mut Target<'_>, ReservationId);
    let rows: [(&str, bool, Change); 7] = [
        ("unchanged", true, |_, _| {}),
        ("expected_version", false, |target, _| target.expected_version = 1),
        ("a line", false, |target, _| target.lines.push(Line { sku: "mug", location: "wh-1", quantity: 1 })),
        ("by key", false, |target, _| target.by = TargetBy::Key("hold")),
        ("by order", false, |target, _| target.by = TargetBy::Order("hold")),
        ("by a token that is none", false, |target, _| target.by = TargetBy::UnknownToken("hold")),
        ("by another id", false, |target, id| target.by = TargetBy::Id(ReservationId { epoch: id.epoch + 1, ..id })),
    ];
    for (name, same, change) in rows {
        let mut desk = Desk::with_mugs(5);
        let id = desk.ask(&reserve("hold", &MUG)).hold().id;
        desk.ask(&release("k", whole(id))).did();
        let mut target = whole(id);
        change(&mut target, id);
        let told = desk.ask(&release("k", target));
        assert_eq!(told.replayed(), same, "{name}");
        assert_eq!(told.reason().is_none(), same, "{name}");
    }
}

#[test]
fn keys_are_scoped_by_writer() {
    let mut desk = Desk::with_mugs(5);
    for (number, channel) in ["", "app", "web"].into_iter().enumerate() {
        let mut command = reserve("k", &MUG);
        command.context.channel = channel;
        assert!(!desk.ask(&command).replayed(), "{channel}");
        assert!(desk.ask(&command).replayed(), "{channel}");
        assert_eq!(desk.level("mug", "wh-1").1, number as i64 + 1);
    }
    let mut command = release("r", by_key("k"));
    command.context.channel = "web";
    desk.ask(&command).did();
    let app = desk.ledger.scope("app", "").unwrap();
    let Some(Effect::Reserved(hold)) = desk.ledger.key(app, "k").map(|entry| &entry.effect) else { panic!() };
    assert_eq!(desk.ledger.reservation(hold.id).unwrap().lines[0].reserved, 1, "another writer's hold is untouched");
    let mut unknown = reserve("k", &MUG);
    unknown.context.channel = "nowhere";
    assert_eq!(desk.ask(&unknown).reason(), Some(Reason::UnknownChannel));
    assert_eq!((desk.ledger.scope("nowhere", ""), desk.ledger.scope("", "nobody")), (None, None));
}

#[test]
fn a_cancelled_key_is_refused_for_ever() {
    let mut desk = Desk::with_mugs(5);
    assert_eq!(desk.ask(&release("r", by_key("late"))).did(), Did::KeyCancelled);
    assert_eq!(desk.ask(&reserve("late", &MUG)).reason(), Some(Reason::KeyCancelled));
    assert!(desk.ask(&release("r", by_key("late"))).replayed());
    let keys = desk.ledger.key_count();
    assert_eq!(desk.ask(&release("r2", by_key("late"))).did(), Did::KeyCancelled, "whoever makes sure again");
    assert_eq!(desk.ledger.key_count(), keys + 1, "leaves no second tombstone");
    desk.restart();
    assert_eq!(desk.ask(&reserve("late", &MUG)).reason(), Some(Reason::KeyCancelled));
    assert_eq!(desk.ask(&allocate("a", by_key("late"))).reason(), Some(Reason::ReservationNotFound));
    assert_eq!(desk.level("mug", "wh-1"), (5, 0, 0, 5, 0));
}

#[test]
fn a_release_that_names_its_own_key_uses_it() {
    let mut desk = Desk::with_mugs(5);
    let release_itself = release("k", by_key("k"));
    assert_eq!(desk.ask(&release_itself).did(), Did::KeyCancelled);
    assert!(desk.ask(&release_itself).replayed());
    assert_eq!(desk.ask(&reserve("k", &MUG)).reason(), Some(Reason::IdempotencyKeyReused));
    desk.restart();
    assert!(desk.ask(&release_itself).replayed());
}

#[test]
fn a_key_that_is_not_that_of_a_reserve_names_no_hold() {
    let mut desk = Desk::with_mugs(5);
    assert_eq!(desk.ask(&release("r", by_key("open-stock"))).reason(), Some(Reason::ReservationNotFound));
    assert_eq!(desk.ask(&allocate("a", by_key("never"))).fact("key"), Some("never"));
}

#[test]
fn a_late_duplicate_of_a_release_leaves_the_next_hold_alone() {
    let mut desk = Desk::with_mugs(1);
    desk.ask(&reserve("k1", &MUG)).did();
    let give_back = release("r", by_key("k1"));
    let first = desk.ask(&give_back);
    desk.ask(&reserve("k2", &MUG)).did();
    let again = desk.ask(&give_back);
    assert!(again.replayed());
    assert_eq!(again.did(), first.did());
    assert_eq!(desk.level("mug", "wh-1"), (1, 1, 0, 0, 0));
}

#[test]
fn a_no_is_remembered_in_memory_only() {
    let mut desk = Desk::with_mugs(1);
    let too_many = reserve("k", &[("mug", "wh-1", 2)]);
    let before = desk.digest();
    let no = desk.ask(&too_many);
    assert_eq!(no.fact("available"), Some("1"));
    assert_eq!(desk.digest(), before, "outside the digest");
    desk.ask(&stock("more", StockKind::Received, "mug", "wh-1", 5)).did();
    assert_eq!(desk.ask(&too_many), no, "the same no, even though there is enough now");
    assert_eq!(desk.ask(&reserve("k", &MUG)).reason(), Some(Reason::IdempotencyKeyReused));
    assert_eq!(desk.ledger.refused_key(Scope::Operator, "k").map(|no| no.reason), Some(Reason::InsufficientStock));
    desk.ask(&reserve("new", &[("mug", "wh-1", 2)])).did();
    desk.restart();
    assert!(desk.ask(&too_many).reason().is_none(), "a restart forgets a no");
}

#[test]
fn every_kind_of_no_is_remembered_but_bad_fields() {
    let mut desk = Desk::with_mugs(5);
    let id = desk.ask(&reserve("hold", &MUG)).hold().id;
    desk.ask(&release("done", whole(id))).did();
    let no = desk.ask(&allocate("a", whole(id)));
    assert_eq!(no.reason(), Some(Reason::AlreadyReleased));
    assert_eq!(desk.ask(&allocate("a", whole(id))), no);
    assert_eq!(desk.ask(&release("a", whole(id))).reason(), Some(Reason::IdempotencyKeyReused));
    let huge = stock("b", StockKind::Received, "mug", "wh-1", invengine_ledger::command::QUANTITY_MAX);
    assert_eq!(desk.ask(&huge).reason(), Some(Reason::InvalidField));
    desk.ask(&stock("b", StockKind::Received, "mug", "wh-1", 1)).did();
}

#[test]
fn what_is_older_than_the_window_is_refused() {
    // (ms since the command was issued, whether it is taken)
    for (age_ms, taken) in [(0, true), (WINDOW_MS, true), (WINDOW_MS + 1, false), (10 * WINDOW_MS, false)] {
        let mut desk = forgetful();
        desk.wait(20 * WINDOW_MS);
        let mut command = reserve("k", &MUG);
        command.context.issue_time_ms = desk.now_ms - age_ms;
        let told = desk.ask(&command);
        assert_eq!(told.reason(), if taken { None } else { Some(Reason::DedupeWindowExpired) }, "{age_ms}");
        if !taken {
            assert_eq!(told.fact("window"), Some(WINDOW_MS.to_string().as_str()));
            command.context.issue_time_ms = 0;
            desk.ask(&command).did();
        }
    }
}

#[test]
fn nothing_is_done_twice_by_being_forgotten() {
    let mut desk = forgetful();
    let mut command = one_more("k");
    command.context.issue_time_ms = desk.now_ms;
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

#[test]
fn keys_give_way_to_a_budget_and_the_window_says_so() {
    let options = LedgerOptions { key_bytes_max: 200_000, ..LedgerOptions::new("main") };
    let mut desk = Desk::new(options).opened();
    desk.ask(&stock("stock", StockKind::Received, "mug", "wh-1", 1_000_000)).did();
    let mut first = reserve("first", &MUG);
    first.context.issue_time_ms = desk.now_ms;
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

#[test]
fn a_command_that_does_not_fit_leaves_no_trace() {
    let mut desk = Desk::with_mugs(5);
    let id = desk.ask(&reserve("hold", &MUG)).hold().id;
    desk.bytes_max = desk.open_bytes() + 20;
    let commands = [
        reserve("big", &MUG),
        allocate("big", whole(id)),
        release("big", by_key("never-seen")),
        stock("big", StockKind::Received, "mug", "wh-2", 1),
    ];
    let (before, sequence, bytes) = (desk.digest(), desk.ledger.sequence(), desk.open_bytes());
    for command in &commands {
        assert_eq!(desk.ask(command).reason(), Some(Reason::TooLarge), "{command:?}");
        let after = (desk.digest(), desk.ledger.sequence(), desk.open_bytes());
        assert_eq!(after, (before, sequence, bytes), "{command:?}");
        assert!(desk.ledger.refused_key(Scope::Operator, "big").is_none());
    }
    desk.bytes_max = ROOMY;
    desk.ask(&commands[0]).did();
}
