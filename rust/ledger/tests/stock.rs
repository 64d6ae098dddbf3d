//! Stock and who gets it: Reserve, and the commands on physical stock. Holds never block a count.

mod harness;

use invengine_ledger::StockState::{self, Damaged, OnHand, QualityControl};
use invengine_ledger::command::{Body, LINES_MAX, Line, QUANTITY_MAX, canonical_lines};
use invengine_ledger::event::StockKind::{self, Adjusted, Counted, Received, Returned, Set};
use invengine_ledger::reservation::LineState::Reserved;
use invengine_ledger::{Command, Reason};

use harness::Harness;
use harness::answers::{Outcome, Reply};
use harness::commands::{allocate, fulfill, release, reserve, stock, stock_lines, whole};

fn partial<'a>(key: &'a str, lines: &[(&'a str, &'a str, i64)]) -> Command<'a> {
    let mut command = reserve(key, lines);
    if let Body::Reserve { allow_partial, .. } = &mut command.body {
        *allow_partial = true;
    }
    command
}

/// Reserve for a holder whose own reserved units are replaced.
fn instead<'a>(key: &'a str, holder: &'a str, lines: &[(&'a str, &'a str, i64)]) -> Command<'a> {
    let mut command = reserve(key, lines);
    command.context.holder = holder;
    if let Body::Reserve { replace_own, .. } = &mut command.body {
        *replace_own = true;
    }
    command
}

fn mugs_and_cups(mugs: i64, cups: i64) -> Harness {
    let mut harness = Harness::with_mugs(mugs);
    harness.ask(&stock("cups", Received, "cup", "wh-1", cups)).accepted();
    harness
}

// case: C06, C07
#[test]
fn all_lines_or_none() {
    let mut harness = mugs_and_cups(5, 2);
    let before = harness.digest();
    let reply = harness.ask(&reserve("1", &[("cup", "wh-1", 3), ("mug", "wh-1", 6)]));
    assert_eq!(reply.reason(), Some(Reason::InsufficientStock));
    let facts = ["sku", "location", "requested", "available"].map(|name| reply.fact(name).unwrap().to_owned());
    assert_eq!(facts, ["cup", "wh-1", "3", "2"], "the first line that is short");
    assert_eq!(harness.digest(), before, "nothing is held");
    harness.ask(&reserve("2", &[("cup", "wh-1", 2), ("mug", "wh-1", 5)])).accepted();
    assert_eq!((harness.level("cup", "wh-1").1, harness.level("mug", "wh-1").1), (2, 5));
}

#[test]
fn a_partial_reserve_takes_what_is_available_and_is_rejected_if_that_is_nothing() {
    let mut harness = mugs_and_cups(5, 0);
    let reply = harness.ask(&partial("1", &[("cup", "wh-1", 3), ("mug", "wh-1", 6)]));
    assert_eq!(reply.line(), (Reserved, 5, 5), "the line that got nothing is not part of the hold");
    let reply = harness.ask(&partial("2", &[("cup", "wh-1", 3), ("mug", "wh-1", 6)]));
    assert_eq!((reply.reason(), reply.fact("sku")), (Some(Reason::InsufficientStock), Some("cup")));
    assert_eq!(harness.ledger.reservation_count(), 1);
}

#[test]
fn a_holder_can_replace_their_own_reserved_units() {
    let mut harness = mugs_and_cups(5, 5);
    let first = harness.ask(&instead("1", "ann", &[("cup", "wh-1", 1), ("mug", "wh-1", 4)])).hold().id;
    let other = harness.ask(&instead("2", "bob", &[("mug", "wh-1", 1)])).hold().id;
    // All of ann's mugs are replaced, her cup stays; bob's mugs stay too.
    let reply = harness.ask(&instead("3", "ann", &[("mug", "wh-1", 4)]));
    let Reply::Accepted { sequence, outcome: Outcome::Reserved(hold), .. } = reply else { panic!("{reply:?}") };
    assert_eq!((hold.lines.len(), hold.lines[0].quantity), (1, 4), "the answer is the new hold");
    assert_eq!(sequence, harness.ledger.sequence());
    assert_eq!(harness.level("mug", "wh-1"), (5, 5, 0, 0, 0));
    assert_eq!(harness.ledger.reservation(first).unwrap().lines.iter().map(|line| line.reserved).sum::<i64>(), 1);
    assert_eq!(harness.ledger.reservation(other).unwrap().lines[0].reserved, 1);
    // If the units still do not suffice, the old hold stays; allocated units are not replaced.
    let before = harness.digest();
    assert_eq!(harness.ask(&instead("4", "ann", &[("mug", "wh-1", 5)])).fact("available"), Some("4"));
    assert_eq!(harness.digest(), before);
    harness.ask(&allocate("5", whole(hold.id))).accepted();
    assert_eq!(harness.ask(&instead("6", "ann", &[("mug", "wh-1", 1)])).fact("available"), Some("0"));
    assert_eq!(harness.ask(&instead("7", "", &[("cup", "wh-1", 5)])).fact("available"), Some("4"), "nobody has no own");
    harness.check();
}

#[test]
fn expired_units_of_the_same_holder_are_free_already() {
    let mut harness = Harness::with_mugs(5);
    harness.ask(&instead("1", "ann", &[("mug", "wh-1", 5)])).accepted();
    harness.wait(60_100);
    let reply = harness.ask(&instead("2", "ann", &[("mug", "wh-1", 5)]));
    assert_eq!(reply.line(), (Reserved, 5, 5));
    assert_eq!((harness.sweep(), harness.level("mug", "wh-1")), (1, (5, 5, 0, 0, 0)));
    harness.check();
}

// case: C14
#[test]
fn a_count_below_what_is_held_is_accepted() {
    let mut harness = Harness::with_mugs(10);
    let held = harness.ask(&reserve("r", &[("mug", "wh-1", 4)])).hold().id;
    let bound = harness.ask(&reserve("a", &[("mug", "wh-1", 5)])).hold().id;
    harness.ask(&allocate("b", whole(bound))).accepted();
    harness.ask(&stock("c", Counted, "mug", "wh-1", 3)).accepted();
    assert_eq!(harness.level("mug", "wh-1"), (3, 4, 5, 0, 6), "the shortage shows");
    assert_eq!(harness.ask(&reserve("d", &[("mug", "wh-1", 1)])).fact("available"), Some("0"));
    // Existing holds remain: only what is in stock can leave.
    let reply = harness.ask(&fulfill("e", whole(bound)));
    assert_eq!((reply.fact("requested"), reply.fact("available")), (Some("5"), Some("3")));
    harness.ask(&fulfill("f", harness::commands::part(bound, &[("mug", "wh-1", 3)]))).accepted();
    assert_eq!(harness.level("mug", "wh-1"), (0, 4, 2, 0, 6));
    harness.ask(&release("g", whole(held))).accepted();
    assert_eq!(harness.level("mug", "wh-1"), (0, 0, 2, 0, 2));
    harness.ask(&stock("h", Received, "mug", "wh-1", 3)).accepted();
    assert_eq!(harness.level("mug", "wh-1"), (3, 0, 2, 1, 0));
    harness.check();
}

#[test]
fn a_hold_on_missing_stock_can_still_be_allocated() {
    let mut harness = Harness::with_mugs(4);
    let id = harness.ask(&reserve("r", &[("mug", "wh-1", 4)])).hold().id;
    harness.ask(&stock("c", Set, "mug", "wh-1", 1)).accepted();
    let before = harness.digest();
    assert_eq!(harness.ask(&allocate("a", whole(id))).hold().lines[0].quantity, 4, "a hold stands, short or not");
    assert_ne!(harness.digest(), before);
    assert_eq!(harness.level("mug", "wh-1"), (1, 0, 4, 0, 3));
}

/// on_hand, damaged and quality_control of the first level of an answer.
fn parts(reply: &Reply) -> (i64, i64, i64) {
    match reply {
        Reply::Accepted { outcome: Outcome::Levels(levels), .. } => {
            (levels[0].stock[&OnHand], levels[0].stock[&Damaged], levels[0].stock[&QualityControl])
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_of_the_stock_change_the_whole_too() {
    type Row<'a> = (&'a str, StockKind, &'a [(i64, StockState)], Result<(i64, i64, i64), (&'a str, &'a str)>);
    // Each begins with 10 on hand, 2 of them damaged.
    let rows: [Row; 14] = [
        ("received", Received, &[(3, OnHand)], Ok((13, 2, 0))),
        ("received damaged", Received, &[(3, Damaged)], Ok((13, 5, 0))),
        ("returned for inspection", Returned, &[(1, QualityControl)], Ok((11, 2, 1))),
        ("several lines", Received, &[(1, OnHand), (1, OnHand), (1, Damaged)], Ok((13, 3, 0))),
        ("adjusted down", Adjusted, &[(-10, OnHand)], Ok((0, 2, 0))),
        ("below zero", Adjusted, &[(-11, OnHand)], Err(("11", "10"))),
        ("a part below zero", Adjusted, &[(-3, Damaged)], Err(("3", "2"))),
        ("below zero and back", Adjusted, &[(-11, OnHand), (2, OnHand)], Ok((1, 2, 0))),
        ("up and then below zero", Adjusted, &[(2, OnHand), (-13, OnHand)], Err(("11", "10"))),
        ("set", Set, &[(4, OnHand)], Ok((4, 2, 0))),
        ("a part set", Set, &[(5, Damaged)], Ok((13, 5, 0))),
        ("the whole and a part", Counted, &[(7, OnHand), (3, Damaged)], Ok((7, 3, 0))),
        ("a part and the whole", Counted, &[(3, Damaged), (7, OnHand)], Ok((7, 3, 0))),
        ("nothing at all", Counted, &[(0, Damaged), (0, OnHand)], Ok((0, 0, 0))),
    ];
    for (name, kind, lines, answer) in rows {
        let mut harness = Harness::default().opened();
        harness.ask(&stock_lines("1", Received, &[("mug", "wh-1", 8, OnHand), ("mug", "wh-1", 2, Damaged)])).accepted();
        let lines: Vec<_> = lines.iter().map(|(units, state)| ("mug", "wh-1", *units, *state)).collect();
        let reply = harness.ask(&stock_lines("2", kind, &lines));
        match answer {
            Ok(figures) => assert_eq!(parts(&reply), figures, "{name}"),
            Err((requested, available)) => {
                assert_eq!(reply.reason(), Some(Reason::InsufficientStock), "{name}");
                assert_eq!(
                    (reply.fact("requested"), reply.fact("available")),
                    (Some(requested), Some(available)),
                    "{name}"
                );
            }
        }
        if let Reply::Accepted { outcome: Outcome::Levels(levels), .. } = &reply {
            assert_eq!(levels.len(), lines.len(), "{name}: one entry a line");
            assert!(levels.iter().all(|level| *level == levels[0]), "{name}: each as it is after the command");
        }
        let live = harness.digest();
        assert_eq!(harness.refold().digest(), live, "{name}");
    }
}

#[test]
fn a_set_can_name_the_quantity_before() {
    let mut harness = Harness::default().opened();
    harness.ask(&stock_lines("1", Received, &[("mug", "wh-1", 8, OnHand), ("mug", "wh-1", 2, Damaged)])).accepted();
    type Row = (&'static [(i64, StockState, i64)], Option<(&'static str, &'static str)>);
    let rows: [Row; 5] = [
        (&[(5, OnHand, 9)], Some(("9", "10"))),
        (&[(5, OnHand, 10), (1, Damaged, 1)], Some(("1", "2"))),
        // The quantity before the command, whatever lines come first.
        (&[(3, Damaged, 2), (9, OnHand, 10)], None),
        (&[(9, OnHand, 9), (0, Damaged, 3)], None),
        (&[(0, Damaged, 0), (7, OnHand, 8)], Some(("8", "9"))),
    ];
    for ((lines, stale), key) in rows.into_iter().zip(["a", "b", "c", "d", "e"]) {
        let plain: Vec<_> = lines.iter().map(|(units, state, _)| ("mug", "wh-1", *units, *state)).collect();
        let mut command = stock_lines(key, Set, &plain);
        if let Body::Stock { lines: asked, .. } = &mut command.body {
            asked.iter_mut().zip(lines).for_each(|(line, (_, _, expected))| line.expected = Some(*expected));
        }
        let reply = harness.ask(&command);
        assert_eq!(reply.reason(), stale.map(|_| Reason::QuantityStale), "{key}");
        assert_eq!(reply.fact("expected").zip(reply.fact("actual")), stale, "{key}");
    }
}

// case: C15
#[test]
fn a_level_never_grows_beyond_what_can_be_counted() {
    let mut harness = Harness::with_mugs(QUANTITY_MAX - 1);
    let rows: [(&str, StockKind, i64, &str); 2] =
        [("1", Received, 2, "lines[0].quantity"), ("2", Adjusted, 2, "lines[0].delta")];
    for (key, kind, units, field) in rows {
        let reply = harness.ask(&stock(key, kind, "mug", "wh-1", units));
        assert_eq!((reply.reason(), reply.fact("field")), (Some(Reason::InvalidField), Some(field)));
    }
    let reply = harness.ask(&stock("1", Received, "mug", "wh-1", 1));
    assert_eq!(reply.reason(), None, "a bad field does not use up its key");
    // The sum of a thousand lines of the largest quantity does not overflow.
    let lines = vec![("mug", "wh-1", QUANTITY_MAX, OnHand); LINES_MAX];
    assert_eq!(harness.ask(&stock_lines("3", Received, &lines)).reason(), Some(Reason::InvalidField));
    let lines = vec![("mug", "wh-1", -QUANTITY_MAX, Damaged); LINES_MAX];
    assert_eq!(harness.ask(&stock_lines("4", Adjusted, &lines)).reason(), Some(Reason::InsufficientStock));
    assert_eq!(harness.level("mug", "wh-1").0, QUANTITY_MAX);
}

#[test]
fn lines_are_merged_and_sorted() {
    let line = |(sku, location, quantity)| Line { sku, location, quantity };
    let mut lines: Vec<Line<'_>> =
        [("mug", "wh-2", 1), ("cup", "wh-1", 2), ("mug", "wh-1", 3), ("mug", "wh-2", 4)].map(line).to_vec();
    assert_eq!(canonical_lines(&mut lines), Ok(()));
    assert_eq!(lines, [("cup", "wh-1", 2), ("mug", "wh-1", 3), ("mug", "wh-2", 5)].map(line));
    let mut lines: Vec<Line<'_>> =
        [("mug", "wh-1", QUANTITY_MAX), ("cup", "wh-1", 1), ("mug", "wh-1", 1)].map(line).to_vec();
    assert_eq!(canonical_lines(&mut lines), Err(1), "the sum is over the largest quantity");
    let mut one = vec![line(("mug", "wh-1", 1))];
    assert_eq!((canonical_lines(&mut one), one.len()), (Ok(()), 1));
}

#[test]
fn a_thousand_lines_are_one_hold() {
    let names: Vec<String> = (0..LINES_MAX).map(|number| format!("sku-{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut harness = Harness::default().opened();
    harness.ask(&harness::commands::upsert("items", invengine_ledger::EntityKind::Items, &names)).accepted();
    let lines: Vec<_> = names.iter().map(|name| (*name, "wh-1", 2, OnHand)).collect();
    harness.ask(&stock_lines("stock", Received, &lines)).accepted();
    let lines: Vec<_> = names.iter().map(|name| (*name, "wh-1", 2)).collect();
    let id = harness.ask(&reserve("all", &lines)).hold().id;
    harness.check();
    harness.wait(60_100);
    assert_eq!(harness.ask(&allocate("late", whole(id))).hold().lines.len(), LINES_MAX);
    assert_eq!(harness.ask(&fulfill("gone", whole(id))).hold().lines.len(), LINES_MAX);
    assert_eq!(harness.level(names[999], "wh-1"), (0, 0, 0, 0, 0));
    let live = harness.digest();
    assert_eq!(harness.refold().digest(), live);
}
