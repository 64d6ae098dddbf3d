//! What a key remembers, and whose key it is.

mod desk;

use invengine_ledger::command::{Body, Line, Target, TargetBy};
use invengine_ledger::event::StockKind;
use invengine_ledger::{Command, Effect, Reason, ReservationId, Scope};

use desk::asks::{allocate, by_key, release, reserve, stock, whole};
use desk::told::{Did, Told};
use desk::{Desk, ROOMY};

const MUG: [(&str, &str, i64); 1] = [("mug", "wh-1", 1)];

// case: A01, A15
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

// case: A03, A04
#[test]
fn what_is_the_same_body() {
    type Change = fn(&mut Command<'_>);
    // What differs is named where the ledger still knows it.
    let named = [
        ("order_ref", "context.order_ref"),
        ("holder", "context.holder"),
        ("quantity", "lines.quantity"),
        ("a line more", "lines"),
        ("ttl", "ttl"),
        ("command", "command"),
    ];
    let rows: [(&str, bool, Change); 13] = [
        ("unchanged", true, |_| {}),
        ("issue_time", true, |command| command.context.issue_time_ms = Some(desk::START_MS - 5)),
        ("causation", true, |command| command.context.causation = "message-9"),
        ("event_time", false, |command| command.context.event_time_ms = Some(5)),
        ("order_ref", false, |command| command.context.order_ref = "order-1"),
        ("holder", false, |command| command.context.holder = "ann"),
        ("actor", false, |command| command.context.actor = "ann"),
        ("reason_code", false, |command| command.context.reason_code = "gift"),
        ("reference", false, |command| command.context.reference = "note-1"),
        ("quantity", false, |command| command.body = reserve("", &[("mug", "wh-1", 2)]).body),
        ("a line more", false, |command| {
            command.body = reserve("", &[("mug", "wh-1", 1), ("mug", "wh-2", 1)]).body;
        }),
        ("ttl", false, |command| {
            if let Body::Reserve { ttl_ms, .. } = &mut command.body {
                *ttl_ms += 1_000;
            }
        }),
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
            let field = named.iter().find(|row| row.0 == name).map(|row| row.1);
            assert_eq!(told.fact("field"), field, "{name}");
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

// case: A05
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

// case: C09
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

// case: A10
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

// case: A07
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

// case: A08
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
