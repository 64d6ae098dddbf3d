//! What a key remembers, and to which writer it belongs.

mod harness;

use invengine_ledger::EntityKind;
use invengine_ledger::command::{Body, Line, Target, TargetBy};
use invengine_ledger::event::StockKind;
use invengine_ledger::{Command, Effect, Reason, ReservationId, Scope};

use harness::answers::{Outcome, Reply};
use harness::commands::{allocate, by_key, fulfill, register, release, reserve, stock, transfer, upsert, whole};
use harness::{Harness, ROOMY};

const MUG: [(&str, &str, i64); 1] = [("mug", "wh-1", 1)];

// case: A01, A15
#[test]
fn the_same_key_is_the_same_answer_and_one_effect() {
    let mut harness = Harness::with_mugs(100);
    let first = harness.ask(&reserve("k", &MUG));
    let Reply::Accepted { sequence, outcome, .. } = first else { panic!("{first:?}") };
    harness.cut();
    let frames = harness.frames.len();
    for _ in 0..1_000 {
        harness.wait(7);
        let again = harness.ask(&reserve("k", &MUG));
        assert_eq!(again, Reply::Accepted { sequence, replayed: true, outcome: outcome.clone() });
    }
    harness.cut();
    assert_eq!((harness.frames.len(), harness.level("mug", "wh-1").1), (frames, 1), "nothing was written");
    harness.restart();
    assert_eq!(harness.ask(&reserve("k", &MUG)), Reply::Accepted { sequence, replayed: true, outcome });
}

// case: A03, A04
#[test]
fn which_bodies_count_as_the_same() {
    type Change = fn(&mut Command<'_>);
    let rows: [(&str, Option<&str>, Change); 15] = [
        ("unchanged", None, |_| {}),
        ("issue_time", None, |command| command.context.issue_time_ms = Some(harness::START_MS - 5)),
        ("causation", None, |command| command.context.causation = "message-9"),
        ("event_time", None, |command| command.context.event_time_ms = Some(5)),
        ("actor", None, |command| command.context.actor = "ann"),
        ("reason_code", None, |command| command.context.reason_code = "gift"),
        ("reference", None, |command| command.context.reference = "note-1"),
        ("remember_refusal", None, |command| command.context.remember_refusal = true),
        ("order_ref", Some("context.order_ref"), |command| command.context.order_ref = "order-1"),
        ("holder", Some("context.holder"), |command| command.context.holder = "ann"),
        ("quantity", Some("lines.quantity"), |command| command.body = reserve("", &[("mug", "wh-1", 2)]).body),
        ("a line more", Some("lines"), |command| {
            command.body = reserve("", &[("mug", "wh-1", 1), ("mug", "wh-2", 1)]).body;
        }),
        ("ttl", Some("ttl"), |command| {
            if let Body::Reserve { ttl_ms, .. } = &mut command.body {
                *ttl_ms += 1_000;
            }
        }),
        ("allow_partial", Some("allow_partial"), |command| {
            if let Body::Reserve { allow_partial, .. } = &mut command.body {
                *allow_partial = true;
            }
        }),
        ("command", Some("command"), |command| command.body = release("", by_key("k")).body),
    ];
    for (name, differs, change) in rows {
        let mut harness = Harness::with_mugs(5);
        let first = harness.ask(&reserve("k", &MUG));
        let mut command = reserve("k", &MUG);
        change(&mut command);
        let before = harness.digest();
        let reply = harness.ask(&command);
        if differs.is_none() {
            assert!(reply.replayed(), "{name}");
        } else {
            let Reply::Accepted { sequence, .. } = first else { panic!("{first:?}") };
            assert_eq!(reply.reason(), Some(Reason::IdempotencyKeyReused), "{name}");
            assert_eq!(reply.fact("sequence"), Some(sequence.to_string().as_str()), "{name}");
            assert_eq!(reply.fact("field"), differs, "{name}");
        }
        assert_eq!(harness.digest(), before, "{name}");
    }
}

#[test]
fn which_targets_count_as_the_same() {
    type Change = fn(&mut Target<'_>, ReservationId);
    let rows: [(&str, Option<&str>, Change); 7] = [
        ("unchanged", None, |_, _| {}),
        ("expected_version", Some("target.expected_version"), |target, _| target.expected_version = 1),
        ("a line", Some("target.lines"), |target, _| {
            target.lines.push(Line { sku: "mug", location: "wh-1", quantity: 1 });
        }),
        ("by key", Some("target"), |target, _| target.by = TargetBy::Key("hold")),
        ("by order", Some("target"), |target, _| target.by = TargetBy::Order("hold")),
        ("by a token that is none", Some("target"), |target, _| target.by = TargetBy::UnknownToken("hold")),
        ("by another id", Some("target"), |target, id| {
            target.by = TargetBy::Id(ReservationId { epoch: id.epoch + 1, ..id });
        }),
    ];
    for (name, differs, change) in rows {
        let mut harness = Harness::with_mugs(5);
        let id = harness.ask(&reserve("hold", &MUG)).hold().id;
        harness.ask(&release("k", whole(id))).accepted();
        let mut target = whole(id);
        change(&mut target, id);
        let reply = harness.ask(&release("k", target));
        assert_eq!((reply.replayed(), reply.fact("field")), (differs.is_none(), differs), "{name}");
        assert_eq!(reply.reason().is_none(), differs.is_none(), "{name}");
    }
}

#[test]
fn another_worker_goes_on_with_the_keys_of_the_first() {
    let mut harness = Harness::with_mugs(5);
    let by = |actor, mut command: Command<'static>| {
        command.context.actor = actor;
        command
    };
    harness.ask(&by("worker-a", reserve("order-7/1-reserve", &MUG))).accepted();
    harness.restart();
    assert!(harness.ask(&by("worker-b", reserve("order-7/1-reserve", &MUG))).replayed());
    harness.ask(&by("worker-b", allocate("order-7/2-allocate", by_key("order-7/1-reserve")))).accepted();
}

#[test]
fn the_differing_field_is_named_for_every_kind_of_command() {
    type Change = fn(&mut Command<'_>);
    let stocks: [(&str, Change); 7] = [
        ("context.reason_code", |command| command.context.reason_code = "broken"),
        ("context.reference", |command| command.context.reference = "note-1"),
        ("context.order_ref", |command| command.context.order_ref = "order-1"),
        ("context.holder", |command| command.context.holder = "ann"),
        ("lines.quantity", |command| command.body = stock("", StockKind::Counted, "mug", "wh-1", 6).body),
        ("lines", |command| command.body = stock("", StockKind::Counted, "cup", "wh-1", 5).body),
        ("command", |command| command.body = stock("", StockKind::Set, "mug", "wh-1", 5).body),
    ];
    let count = stock("k", StockKind::Counted, "mug", "wh-1", 5);
    let moves: [(&str, Change); 4] = [
        ("to_location", |command| command.body = transfer("", by_key("hold"), "wh-3").body),
        ("context.order_ref", |command| command.context.order_ref = "order-1"),
        ("target", |command| command.body = transfer("", by_key("other"), "wh-2").body),
        ("command", |command| command.body = fulfill("", by_key("hold")).body),
    ];
    let refused = transfer("k", by_key("hold"), "wh-2");
    let names: [(&str, Change); 2] = [
        ("channels", |command| command.body = upsert("", EntityKind::Channels, &["fax"]).body),
        ("command", |command| command.body = register("", "erp").body),
    ];
    let created = upsert("k", EntityKind::Channels, &["app"]);
    for (first, rows) in [(count, &stocks[..]), (refused, &moves[..]), (created, &names[..])] {
        for remember in [false, true] {
            for (field, change) in rows {
                let mut harness = Harness::with_mugs(5);
                let mut command = first.clone();
                command.context.remember_refusal = remember;
                harness.ask(&command);
                if remember {
                    harness.restart();
                }
                change(&mut command);
                let reply = harness.ask(&command);
                assert_eq!(reply.reason(), Some(Reason::IdempotencyKeyReused), "{field}");
                assert_eq!(reply.fact("field"), Some(*field), "{first:?}");
            }
        }
    }
}

// case: A05
#[test]
fn keys_are_scoped_by_writer() {
    let mut harness = Harness::with_mugs(5);
    for (number, channel) in ["", "app", "web"].into_iter().enumerate() {
        let mut command = reserve("k", &MUG);
        command.context.channel = channel;
        assert!(!harness.ask(&command).replayed(), "{channel}");
        assert!(harness.ask(&command).replayed(), "{channel}");
        assert_eq!(harness.level("mug", "wh-1").1, number as i64 + 1);
    }
    let mut command = release("r", by_key("k"));
    command.context.channel = "web";
    harness.ask(&command).accepted();
    let app = harness.ledger.scope("app", "").unwrap();
    let Some(Effect::Reserved(hold)) = harness.ledger.key(app, "k").map(|entry| &entry.effect) else { panic!() };
    assert_eq!(harness.ledger.reservation(hold.id).unwrap().lines[0].reserved, 1, "another writer's hold is untouched");
    let mut unknown = reserve("k", &MUG);
    unknown.context.channel = "nowhere";
    assert_eq!(harness.ask(&unknown).reason(), Some(Reason::UnknownChannel));
    assert_eq!((harness.ledger.scope("nowhere", ""), harness.ledger.scope("", "nobody")), (None, None));
}

// case: C09
#[test]
fn a_cancelled_key_is_refused_for_ever() {
    let mut harness = Harness::with_mugs(5);
    assert_eq!(harness.ask(&release("r", by_key("late"))).accepted(), Outcome::KeyCancelled);
    assert_eq!(harness.ask(&reserve("late", &MUG)).reason(), Some(Reason::KeyCancelled));
    assert!(harness.ask(&release("r", by_key("late"))).replayed());
    let keys = harness.ledger.key_count();
    assert_eq!(
        harness.ask(&release("r2", by_key("late"))).accepted(),
        Outcome::KeyCancelled,
        "whoever makes sure again"
    );
    assert_eq!(harness.ledger.key_count(), keys + 1, "leaves no second tombstone");
    harness.restart();
    assert_eq!(harness.ask(&reserve("late", &MUG)).reason(), Some(Reason::KeyCancelled));
    assert_eq!(harness.ask(&allocate("a", by_key("late"))).reason(), Some(Reason::ReservationNotFound));
    assert_eq!(harness.level("mug", "wh-1"), (5, 0, 0, 5, 0));
}

#[test]
fn a_release_that_names_its_own_key_uses_it() {
    let mut harness = Harness::with_mugs(5);
    let release_itself = release("k", by_key("k"));
    assert_eq!(harness.ask(&release_itself).accepted(), Outcome::KeyCancelled);
    assert!(harness.ask(&release_itself).replayed());
    assert_eq!(harness.ask(&reserve("k", &MUG)).reason(), Some(Reason::IdempotencyKeyReused));
    harness.restart();
    assert!(harness.ask(&release_itself).replayed());
}

#[test]
fn a_key_that_is_not_that_of_a_reserve_names_no_hold() {
    let mut harness = Harness::with_mugs(5);
    assert_eq!(harness.ask(&release("r", by_key("open-stock"))).reason(), Some(Reason::ReservationNotFound));
    assert_eq!(harness.ask(&allocate("a", by_key("never"))).fact("key"), Some("never"));
}

// case: A10
#[test]
fn a_late_duplicate_of_a_release_leaves_the_next_hold_alone() {
    let mut harness = Harness::with_mugs(1);
    harness.ask(&reserve("k1", &MUG)).accepted();
    let give_back = release("r", by_key("k1"));
    let first = harness.ask(&give_back);
    harness.ask(&reserve("k2", &MUG)).accepted();
    let again = harness.ask(&give_back);
    assert!(again.replayed());
    assert_eq!(again.accepted(), first.accepted());
    assert_eq!(harness.level("mug", "wh-1"), (1, 1, 0, 0, 0));
}

// case: A07
#[test]
fn a_rejection_is_remembered_in_memory_only() {
    let mut harness = Harness::with_mugs(1);
    let too_many = reserve("k", &[("mug", "wh-1", 2)]);
    let before = harness.digest();
    let refusal = harness.ask(&too_many);
    assert_eq!(refusal.fact("available"), Some("1"));
    assert_eq!(harness.digest(), before, "outside the digest");
    harness.ask(&stock("more", StockKind::Received, "mug", "wh-1", 5)).accepted();
    assert_eq!(harness.ask(&too_many), refusal, "the same rejection, even though there is enough now");
    assert_eq!(harness.ask(&reserve("k", &MUG)).reason(), Some(Reason::IdempotencyKeyReused));
    assert_eq!(
        harness.ledger.cached_rejection(Scope::Operator, "k").map(|refusal| refusal.reason),
        Some(Reason::InsufficientStock)
    );
    harness.ask(&reserve("new", &[("mug", "wh-1", 2)])).accepted();
    harness.restart();
    assert!(harness.ask(&too_many).reason().is_none(), "a restart forgets a rejection");
}

// case: A08
#[test]
fn every_kind_of_rejection_is_remembered_except_bad_fields() {
    let mut harness = Harness::with_mugs(5);
    let id = harness.ask(&reserve("hold", &MUG)).hold().id;
    harness.ask(&release("done", whole(id))).accepted();
    let refusal = harness.ask(&allocate("a", whole(id)));
    assert_eq!(refusal.reason(), Some(Reason::AlreadyReleased));
    assert_eq!(harness.ask(&allocate("a", whole(id))), refusal);
    assert_eq!(harness.ask(&release("a", whole(id))).reason(), Some(Reason::IdempotencyKeyReused));
    let huge = stock("b", StockKind::Received, "mug", "wh-1", invengine_ledger::command::QUANTITY_MAX);
    assert_eq!(harness.ask(&huge).reason(), Some(Reason::InvalidField));
    harness.ask(&stock("b", StockKind::Received, "mug", "wh-1", 1)).accepted();
}

#[test]
fn a_command_that_does_not_fit_leaves_no_trace() {
    let mut harness = Harness::with_mugs(5);
    let id = harness.ask(&reserve("hold", &MUG)).hold().id;
    harness.bytes_max = harness.open_bytes() + 20;
    let commands = [
        reserve("big", &MUG),
        allocate("big", whole(id)),
        release("big", by_key("never-seen")),
        stock("big", StockKind::Received, "mug", "wh-2", 1),
    ];
    let (before, sequence, bytes) = (harness.digest(), harness.ledger.sequence(), harness.open_bytes());
    for command in &commands {
        assert_eq!(harness.ask(command).reason(), Some(Reason::TooLarge), "{command:?}");
        let after = (harness.digest(), harness.ledger.sequence(), harness.open_bytes());
        assert_eq!(after, (before, sequence, bytes), "{command:?}");
        assert!(harness.ledger.cached_rejection(Scope::Operator, "big").is_none());
    }
    harness.bytes_max = ROOMY;
    harness.ask(&commands[0]).accepted();
}
