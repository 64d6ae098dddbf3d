//! The life of a hold, case by case: one row per case, in the words of docs/holds.md.

mod harness;

use invengine_ledger::EntityKind;
use invengine_ledger::command::{Body, QUANTITY_MAX};
use invengine_ledger::event::StockKind;
use invengine_ledger::reservation::LineState::{Allocated, Fulfilled, Released, Reserved};
use invengine_ledger::{Command, Reason, ReservationId};

use harness::Harness;
use harness::answers::Outcome;
use harness::commands::{
    allocate, amend, by_key, by_order, extend, fulfill, part, release, reserve, stock, transfer, upsert, whole,
};

const MUG: (&str, &str) = ("mug", "wh-1");

/// A ledger with this many mugs and a hold on some of them.
fn held(on_hand: i64, units: i64) -> (Harness, ReservationId) {
    let mut harness = Harness::with_mugs(on_hand);
    let id = harness.ask(&reserve("hold", &[(MUG.0, MUG.1, units)])).hold().id;
    (harness, id)
}

/// The five commands of the table of holds, on one hold.
fn commands(id: ReservationId) -> [Command<'static>; 5] {
    [
        extend("extend", whole(id)),
        allocate("allocate", whole(id)),
        release("release", whole(id)),
        fulfill("fulfill", whole(id)),
        transfer("transfer", whole(id), "wh-2"),
    ]
}

// case: C04, C05
#[test]
fn the_table_of_holds() {
    use Reason::{AlreadyAllocated, AlreadyFulfilled, AlreadyReleased, ReservationExpired};
    type Prepare = fn(&mut Harness, ReservationId);
    let rows: [(&str, Prepare, [Option<Reason>; 5]); 6] = [
        ("reserved", |_, _| {}, [None; 5]),
        (
            "expired, not swept",
            |harness, _| harness.wait(60_100),
            [
                Some(ReservationExpired),
                None,
                Some(ReservationExpired),
                Some(ReservationExpired),
                Some(ReservationExpired),
            ],
        ),
        (
            "expired",
            |harness, _| {
                harness.wait(60_100);
                assert_eq!(harness.sweep(), 1);
            },
            [
                Some(ReservationExpired),
                None,
                Some(ReservationExpired),
                Some(ReservationExpired),
                Some(ReservationExpired),
            ],
        ),
        (
            "allocated",
            |harness, id| drop(harness.ask(&allocate("a", whole(id))).hold()),
            [Some(AlreadyAllocated), Some(AlreadyAllocated), None, None, None],
        ),
        ("released", |harness, id| drop(harness.ask(&release("r", whole(id))).hold()), [Some(AlreadyReleased); 5]),
        ("fulfilled", |harness, id| drop(harness.ask(&fulfill("f", whole(id))).hold()), [Some(AlreadyFulfilled); 5]),
    ];
    for (name, prepare, answers) in rows {
        for (at, reason) in answers.into_iter().enumerate() {
            let (mut harness, id) = held(5, 3);
            harness.ask(&stock("room", StockKind::Received, "mug", "wh-2", 5)).accepted();
            prepare(&mut harness, id);
            let command = &commands(id)[at];
            let before = harness.digest();
            let reply = harness.ask(command);
            assert_eq!(reply.reason(), reason, "{name}: {}", command.body.name());
            assert_eq!(harness.digest() == before, reason.is_some(), "{name}: {}", command.body.name());
            harness.check();
        }
    }
}

// case: D01
#[test]
fn a_hold_expires_at_its_expire_time_to_the_millisecond() {
    for (after_ms, reacquired) in [(-1, false), (0, true), (1, true)] {
        for swept in [false, true] {
            let (mut harness, id) = held(5, 3);
            let expire_ms = harness.ledger.reservation(id).unwrap().expire_ms;
            assert_eq!(expire_ms, harness::START_MS + 60_097, "rounded up to a tick");
            harness.now_ms = expire_ms + after_ms;
            assert_eq!(harness.level("mug", "wh-1"), if reacquired { (5, 0, 0, 5, 0) } else { (5, 3, 0, 2, 0) });
            if swept {
                assert_eq!(harness.sweep(), usize::from(reacquired));
            }
            let hold = harness.ask(&allocate("a", whole(id))).hold();
            assert_eq!((hold.reacquired, hold.version), (reacquired, if reacquired { 3 } else { 2 }));
            assert_eq!(harness.level("mug", "wh-1"), (5, 0, 3, 2, 0));
            assert_eq!(harness.ledger.open_reservations(), 1);
            assert_eq!(harness.sweep(), 0, "nothing is left to expire");
        }
    }
}

// case: D01
#[test]
fn a_late_payment_takes_only_what_is_still_available() {
    // (units that others took meanwhile, units that the late allocate asks for, its result)
    for (taken, asked, answer) in [(2, 3, Ok(3)), (3, 3, Err(("3", "2"))), (3, 2, Ok(2)), (5, 1, Err(("1", "0")))] {
        let (mut harness, id) = held(5, 3);
        harness.wait(60_100);
        harness.ask(&reserve("other", &[("mug", "wh-1", taken)])).accepted();
        let reply = harness.ask(&allocate("late", part(id, &[("mug", "wh-1", asked)])));
        match answer {
            Ok(units) => {
                let hold = reply.hold();
                assert!(hold.reacquired);
                assert_eq!((hold.lines[0].quantity, hold.lines[0].outstanding), (units, units));
                let rest = harness.ask(&allocate("more", part(id, &[("mug", "wh-1", 4)])));
                let left = if units == 3 { "0" } else { "1" };
                assert_eq!(rest.fact("outstanding").unwrap_or("0"), left);
            }
            Err((requested, available)) => {
                assert_eq!(reply.reason(), Some(Reason::InsufficientStock));
                assert_eq!((reply.fact("requested"), reply.fact("available")), (Some(requested), Some(available)));
            }
        }
        harness.check();
    }
}

#[test]
fn the_rest_of_an_expired_hold_can_be_taken_later() {
    let (mut harness, id) = held(5, 3);
    harness.wait(60_100);
    assert_eq!(harness.ask(&allocate("1", part(id, &[("mug", "wh-1", 1)]))).line(), (Allocated, 1, 1));
    assert_eq!(harness.ask(&release("no", part(id, &[("mug", "wh-1", 2)]))).fact("outstanding"), Some("1"));
    assert_eq!(harness.ask(&allocate("2", whole(id))).line(), (Allocated, 2, 3));
    assert_eq!(harness.ask(&fulfill("3", whole(id))).line(), (Fulfilled, 3, 0));
    assert_eq!(harness.ask(&allocate("4", whole(id))).reason(), Some(Reason::AlreadyFulfilled));
    assert_eq!(harness.level("mug", "wh-1"), (2, 0, 0, 2, 0));
}

// case: C10, C12
#[test]
fn parts_leave_the_rest_as_it_was() {
    let (mut harness, id) = held(10, 9);
    let of = |units| part(id, &[(MUG.0, MUG.1, units)]);
    assert_eq!(harness.ask(&allocate("1", of(4))).line(), (Allocated, 4, 9));
    assert_eq!(harness.level("mug", "wh-1"), (10, 5, 4, 1, 0));
    // Release takes reserved units before allocated ones, Fulfill the other way round.
    assert_eq!(harness.ask(&release("2", of(2))).line(), (Released, 2, 7));
    assert_eq!(harness.level("mug", "wh-1"), (10, 3, 4, 3, 0));
    assert_eq!(harness.ask(&fulfill("3", of(5))).line(), (Fulfilled, 5, 2));
    assert_eq!(harness.level("mug", "wh-1"), (5, 2, 0, 3, 0));
    assert_eq!(harness.ask(&release("4", of(3))).fact("outstanding"), Some("2"));
    assert_eq!(harness.ask(&release("5", of(0))).line(), (Released, 2, 0));
    let line = harness.ledger.reservation(id).unwrap().lines[0];
    assert_eq!((line.quantity(), line.released, line.fulfilled), (9, 4, 5));
    assert_eq!(harness.ask(&release("6", whole(id))).reason(), Some(Reason::AlreadyReleased));
}

#[test]
fn named_lines_must_be_actionable_and_a_whole_hold_takes_what_is() {
    let mut harness = Harness::with_mugs(5);
    harness.ask(&stock("cups", StockKind::Received, "cup", "wh-1", 5)).accepted();
    let id = harness.ask(&reserve("hold", &[("cup", "wh-1", 2), ("mug", "wh-1", 2)])).hold().id;
    harness.ask(&release("cups-back", part(id, &[("cup", "wh-1", 0)]))).accepted();
    let rows = [
        (part(id, &[("cup", "wh-1", 1), ("mug", "wh-1", 1)]), Some(Reason::AlreadyReleased)),
        (part(id, &[("mug", "wh-2", 1)]), Some(Reason::ExceedsOutstanding)),
        (part(id, &[("mug", "wh-1", 3)]), Some(Reason::ExceedsOutstanding)),
        (part(id, &[("pot", "wh-1", 1)]), Some(Reason::UnknownSku)),
        (part(id, &[("mug", "mars", 1)]), Some(Reason::UnknownLocation)),
        (whole(id), None),
    ];
    let keys = ["1", "2", "3", "4", "5", "6"];
    for ((target, reason), key) in rows.into_iter().zip(keys) {
        let reply = harness.ask(&allocate(key, target.clone()));
        assert_eq!(reply.reason(), reason, "{target:?}");
        if reason.is_none() {
            assert_eq!(reply.line(), (Allocated, 2, 2), "only the line that is left");
        }
    }
}

#[test]
fn extend_moves_the_expiry_both_ways_and_never_revives() {
    let (mut harness, id) = held(5, 3);
    harness.wait(59_000);
    let hold = harness.ask(&extend("1", whole(id))).hold();
    assert_eq!((hold.version, hold.expire_ms), (2, (harness.now_ms + 60_000 + 99) / 100 * 100));
    harness.wait(30_000);
    assert_eq!((harness.sweep(), harness.level("mug", "wh-1")), (0, (5, 3, 0, 2, 0)), "across the first end");
    let mut sooner = extend("2", whole(id));
    if let Body::Extend { ttl_ms, .. } = &mut sooner.body {
        *ttl_ms = 1_000;
    }
    let expire_ms = harness.ask(&sooner).hold().expire_ms;
    assert_eq!(expire_ms, harness.now_ms + 1_097);
    harness.now_ms = expire_ms;
    assert_eq!(harness.level("mug", "wh-1"), (5, 0, 0, 5, 0));
    assert_eq!(harness.ask(&extend("3", whole(id))).reason(), Some(Reason::ReservationExpired));
    assert_eq!((harness.sweep(), harness.ledger.next_expiry_ms().is_some()), (1, true), "later hints are only hints");
    harness.wait(100_000);
    assert_eq!((harness.sweep(), harness.ledger.next_expiry_ms()), (0, None));
}

#[test]
fn amend_sets_what_is_reserved() {
    let (mut harness, id) = held(10, 3);
    harness.ask(&stock("cups", StockKind::Received, "cup", "wh-1", 2)).accepted();
    type Row = (&'static str, (&'static str, &'static str, i64), Result<i64, Reason>);
    let rows: [Row; 10] = [
        ("up", ("mug", "wh-1", 10), Ok(10)),
        ("over what is there", ("mug", "wh-1", 11), Err(Reason::InsufficientStock)),
        ("down", ("mug", "wh-1", 4), Ok(4)),
        ("the same", ("mug", "wh-1", 4), Ok(4)),
        ("a new line", ("cup", "wh-1", 2), Ok(2)),
        ("over what is there of it", ("cup", "wh-1", 3), Err(Reason::InsufficientStock)),
        ("where nothing ever was", ("cup", "wh-3", 1), Err(Reason::InsufficientStock)),
        ("a line taken out", ("cup", "wh-1", 0), Ok(0)),
        ("and not put in again", ("cup", "wh-1", 1), Err(Reason::AlreadyReleased)),
        ("an unknown item", ("pot", "wh-1", 1), Err(Reason::UnknownSku)),
    ];
    for (number, (name, line, answer)) in rows.into_iter().enumerate() {
        let key = format!("amend-{number}");
        let reply = harness.ask(&amend(&key, whole(id), &[line]));
        assert_eq!(reply.reason(), answer.err(), "{name}");
        if answer == Ok(4) && name == "the same" {
            let hold = reply.hold();
            assert_eq!((hold.lines.len(), hold.version), (0, 3), "{name}");
        } else if let Ok(units) = answer {
            assert_eq!(reply.line(), (Reserved, units, units), "{name}");
        }
        harness.check();
    }
    assert_eq!(harness.level("mug", "wh-1"), (10, 4, 0, 6, 0));
    harness.ask(&allocate("a", whole(id))).accepted();
    let reply = harness.ask(&amend("late", whole(id), &[("mug", "wh-1", 5)]));
    assert_eq!(
        reply.reason(),
        Some(Reason::AlreadyAllocated),
        "nothing is reserved: the mugs are allocated, the cup is gone"
    );
}

#[test]
fn amend_to_nothing_ends_the_hold() {
    let (mut harness, id) = held(10, 3);
    assert_eq!(harness.ask(&amend("0", whole(id), &[("mug", "wh-1", 0)])).line(), (Reserved, 0, 0));
    assert_eq!((harness.ledger.open_reservations(), harness.level("mug", "wh-1")), (0, (10, 0, 0, 10, 0)));
    assert_eq!(harness.ask(&allocate("a", whole(id))).reason(), Some(Reason::AlreadyReleased));
    assert_eq!(harness.ask(&amend("1", whole(id), &[("mug", "wh-1", 1)])).reason(), Some(Reason::AlreadyReleased));
}

// case: C15
#[test]
fn a_line_never_grows_beyond_what_can_be_counted() {
    let mut harness = Harness::with_mugs(QUANTITY_MAX);
    let id = harness.ask(&reserve("hold", &[("mug", "wh-1", QUANTITY_MAX)])).hold().id;
    harness.ask(&amend("down", whole(id), &[("mug", "wh-1", 1)])).accepted();
    harness.ask(&amend("same", whole(id), &[("mug", "wh-1", 1)])).accepted();
    let reply = harness.ask(&amend("up", whole(id), &[("mug", "wh-1", 2)]));
    assert_eq!(reply.reason(), Some(Reason::InvalidField), "what it gave back is part of its quantity");
    assert_eq!(harness.ledger.reservation(id).unwrap().lines[0].quantity(), QUANTITY_MAX);
}

#[test]
fn transfer_merges_into_an_existing_line() {
    let mut harness = Harness::with_mugs(5);
    harness.ask(&stock("2", StockKind::Received, "mug", "wh-2", 5)).accepted();
    harness.ask(&stock("3", StockKind::Received, "mug", "wh-3", 9)).accepted();
    let id = harness.ask(&reserve("hold", &[("mug", "wh-1", 2), ("mug", "wh-2", 3)])).hold().id;
    harness.ask(&allocate("a", part(id, &[("mug", "wh-2", 1)]))).accepted();
    // Part of one line, to a location where the hold already has a line.
    let hold = harness.ask(&transfer("t1", part(id, &[("mug", "wh-1", 1)]), "wh-2")).hold();
    let lines: Vec<_> = hold.lines.iter().map(|line| (line.location.as_str(), line.state, line.quantity)).collect();
    assert_eq!((lines, hold.lines[0].outstanding), (vec![("wh-2", Reserved, 1)], 4));
    assert_eq!(harness.level("mug", "wh-1"), (5, 1, 0, 4, 0));
    assert_eq!(harness.level("mug", "wh-2"), (5, 3, 1, 1, 0));
    // Everything, to a new location: one entry per state, with the units outstanding after the whole transfer.
    let hold = harness.ask(&transfer("t2", whole(id), "wh-3")).hold();
    let lines: Vec<_> = hold.lines.iter().map(|line| (line.state, line.quantity, line.outstanding)).collect();
    assert_eq!(lines, vec![(Reserved, 4, 5), (Allocated, 1, 5)]);
    assert_eq!(harness.ledger.reservation(id).unwrap().lines.len(), 1, "lines with nothing left and no past are gone");
    assert_eq!(harness.level("mug", "wh-3"), (9, 4, 1, 4, 0));
    // To its current location: nothing moves, the version stays.
    let hold = harness.ask(&transfer("t3", whole(id), "wh-3")).hold();
    assert_eq!((hold.lines.len(), hold.version), (0, 4));
    harness.check();
}

#[test]
fn transfer_needs_free_stock_and_keeps_the_expiry() {
    let (mut harness, id) = held(5, 3);
    harness.ask(&stock("room", StockKind::Received, "mug", "wh-2", 2)).accepted();
    let rows =
        [("mars", Reason::UnknownLocation), ("wh-2", Reason::InsufficientStock), ("wh-3", Reason::InsufficientStock)];
    for (key, (to, reason)) in ["1", "2", "3"].into_iter().zip(rows) {
        assert_eq!(harness.ask(&transfer(key, whole(id), to)).reason(), Some(reason), "{to}");
    }
    let before = harness.ledger.reservation(id).unwrap().expire_ms;
    harness.ask(&transfer("4", part(id, &[("mug", "wh-1", 2)]), "wh-2")).accepted();
    assert_eq!(harness.level("mug", "wh-2"), (2, 2, 0, 0, 0));
    harness.now_ms = before;
    assert_eq!(harness.level("mug", "wh-2"), (2, 0, 0, 2, 0), "transferred units expire at the same time");
    assert_eq!(harness.sweep(), 1);
    harness.check();
}

#[test]
fn an_order_is_bound_when_it_is_allocated() {
    let (mut harness, id) = held(9, 3);
    let mut bind = allocate("a", part(id, &[("mug", "wh-1", 1)]));
    bind.context.order_ref = "order-1";
    harness.ask(&bind).accepted();
    assert_eq!(harness.ledger.reservations_of_order("order-1").count(), 1);
    let mut again = allocate("b", by_order("order-1"));
    again.context.order_ref = "order-2";
    harness.ask(&again).accepted();
    assert_eq!(harness.ledger.reservations_of_order("order-1").count(), 0);
    assert_eq!(harness.ledger.reservations_of_order("order-2").map(|found| found.id).collect::<Vec<_>>(), [id]);
    assert_eq!(harness.ask(&release("c", by_order("order-1"))).reason(), Some(Reason::ReservationNotFound));
}

#[test]
fn an_order_is_one_step_and_skips_what_is_done() {
    let mut harness = Harness::with_mugs(9);
    let keys = ["h1", "h2", "h3"];
    let ids = keys.map(|key| {
        let mut command = reserve(key, &[("mug", "wh-1", 2)]);
        command.context.order_ref = "order-1";
        harness.ask(&command).hold().id
    });
    harness.ask(&release("r", whole(ids[1]))).accepted();
    let changed = |outcome: Outcome| match outcome {
        Outcome::Holds(holds) => holds.iter().map(|hold| hold.id).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(changed(harness.ask(&allocate("a", by_order("order-1"))).accepted()), [ids[0], ids[2]]);
    assert_eq!(changed(harness.ask(&fulfill("f", by_order("order-1"))).accepted()), [ids[0], ids[2]]);
    let reply = harness.ask(&fulfill("g", by_order("order-1")));
    assert_eq!(reply.reason(), Some(Reason::AlreadyFulfilled), "the newest hold says why");
    assert_eq!(reply.fact("reservation"), Some(format!("{:?}", ids[2]).as_str()));
}

#[test]
fn an_order_is_taken_back_whole_or_not_at_all() {
    let mut harness = Harness::with_mugs(4);
    for key in ["h1", "h2"] {
        let mut command = reserve(key, &[("mug", "wh-1", 2)]);
        command.context.order_ref = "order-1";
        harness.ask(&command).accepted();
    }
    harness.wait(60_100);
    harness.ask(&reserve("other", &[("mug", "wh-1", 1)])).accepted();
    let before = harness.digest();
    let reply = harness.ask(&allocate("a", by_order("order-1")));
    assert_eq!((reply.fact("requested"), reply.fact("available")), (Some("4"), Some("3")));
    assert_eq!(harness.digest(), before);
}

// case: C13
#[test]
fn a_version_that_is_not_the_expected_one_is_refused() {
    let (mut harness, id) = held(5, 3);
    for (key, version, answer) in
        [("1", 2, Some(Reason::StaleVersion)), ("2", 1, None), ("3", 1, Some(Reason::StaleVersion))]
    {
        let mut target = part(id, &[("mug", "wh-1", 1)]);
        target.expected_version = version;
        assert_eq!(harness.ask(&release(key, target)).reason(), answer, "{key}");
    }
    let mut by_its_key = by_key("hold");
    by_its_key.expected_version = 2;
    assert_eq!(harness.ask(&release("4", by_its_key)).line(), (Released, 2, 0));
}

// case: C16
#[test]
fn names_are_created_before_they_are_used() {
    let mut harness = Harness::with_mugs(5);
    let rows = [
        (("pot", "wh-1"), Reason::UnknownSku),
        (("mug", "mars"), Reason::UnknownLocation),
        (("cup", "wh-1"), Reason::InsufficientStock),
    ];
    for (place, reason) in rows {
        assert_eq!(harness.ask(&reserve(place.0, &[(place.0, place.1, 1)])).reason(), Some(reason), "{place:?}");
    }
    harness.ask(&upsert("pots", EntityKind::Items, &["pot"])).accepted();
    assert_eq!(harness.ask(&reserve("pot", &[("pot", "wh-1", 1)])).reason(), Some(Reason::UnknownSku), "remembered");
    assert_eq!(harness.ask(&reserve("new", &[("pot", "wh-1", 1)])).reason(), Some(Reason::InsufficientStock));
}
