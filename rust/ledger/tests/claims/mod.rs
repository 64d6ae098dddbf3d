//! Numbers that are only claims, counts that come too late, and messages that pass on what was applied already.

use invengine_ledger::authority::PlaceDraft;
use invengine_ledger::authority::Right::{Adjust, Promise, Report, Set};
use invengine_ledger::command::Body;
use invengine_ledger::event::StockKind::{Adjusted, Counted, Received, Returned, Set as SetTo};
use invengine_ledger::stock_transfer::Remainder;
use invengine_ledger::{ClaimReason, Command, EntityKind, LedgerOptions, Reason};

use super::{DAMAGED, EVERYWHERE, ON_HAND, OPERATOR, both_ways, loaded, mugs, opened, opened_with, put};
use crate::harness::START_MS;
use crate::harness::answers::{Outcome, Reply};
use crate::harness::authority::{as_of, claims, from, passes_on, source};
use crate::harness::commands::{
    arrive, by_key, close, delete, fulfill, move_quantity, register, reserve, ship, stock, stock_lines, upsert,
};

#[test]
fn a_number_from_another_is_a_claim_without_effect() {
    for (kind, number) in [(SetTo, 1), (Counted, 2)] {
        let mut harness = opened();
        put(&mut harness, "wms", source("wms"), &[Set], EVERYWHERE);
        let before = harness.level("mug", "wh-1");
        for quantity in [7, 8] {
            let claim =
                as_of(START_MS - 5, stock(if quantity == 7 { "x" } else { "y" }, kind, "mug", "wh-1", quantity));
            assert!(
                matches!(harness.ask(&claim).accepted(), Outcome::Claimed(levels, lines) if levels.len() == 1 && lines == [0])
            );
        }
        assert_eq!(harness.level("mug", "wh-1"), before, "{number}");
        let all = claims(&harness.ledger);
        assert_eq!(all.len(), 1, "the newest number replaces the one before");
        let (source, _, location, state, quantity, reason, sequence, event_time_ms) = all[0].clone();
        assert_eq!((source, &*location, state, quantity), (None, "wh-1", ON_HAND, 8));
        assert_eq!((reason, sequence), (ClaimReason::NotOwner, harness.ledger.sequence()));
        assert_eq!(event_time_ms, Some(START_MS - 5));
        // Another writer, another state and another level are other claims.
        harness.ask(&from("erp", 1, stock("", kind, "mug", "wh-1", 8))).accepted();
        harness.ask(&stock_lines("z", kind, &[("mug", "wh-1", 1, DAMAGED), ("cup", "wh-3", 1, ON_HAND)])).accepted();
        assert_eq!((claims(&harness.ledger).len(), harness.ledger.claim_count(None)), (4, 3));
        assert_eq!(
            harness.ledger.claim_count(
                harness.ledger.sources().iter().position(|found| &*found.name == "erp").map(|at| at as u32)
            ),
            1
        );
        assert_eq!(harness.level("cup", "wh-3").0, 0);
        both_ways(harness);
    }
}

#[test]
fn lines_are_claims_one_by_one() {
    let mut harness = opened();
    put(&mut harness, "wms", source("wms"), &[Set], PlaceDraft::Location("wh-1"));
    put(&mut harness, "own", OPERATOR, &[Set], EVERYWHERE);
    let mut command = stock_lines(
        "mixed",
        SetTo,
        &[
            ("mug", "wh-1", 77, ON_HAND),
            ("mug", "wh-2", 5, ON_HAND),
            ("mug", "wh-1", 3, DAMAGED),
            ("mug", "wh-2", 2, DAMAGED),
        ],
    );
    // What a claim expects is not compared.
    let Body::Stock { lines, .. } = &mut command.body else { unreachable!() };
    lines[0].expected = Some(1_000);
    let Outcome::Claimed(levels, lines) = harness.ask(&command).accepted() else { panic!("no claims") };
    assert_eq!((lines, levels.len()), (vec![0, 2], 4));
    assert_eq!(levels[0], levels[2], "each line has its level as it is after the command");
    assert_eq!((mugs(&harness), harness.level("mug", "wh-2").0), (9, 5));
    assert_eq!(claims(&harness.ledger).iter().map(|claim| claim.4).collect::<Vec<_>>(), [77, 3]);
    // A claim does not hide a fault of another line, and a refused command claims nothing.
    let digest = harness.digest();
    let mut stale = stock_lines("stale", SetTo, &[("mug", "wh-1", 1, ON_HAND), ("mug", "wh-2", 6, ON_HAND)]);
    let Body::Stock { lines, .. } = &mut stale.body else { unreachable!() };
    lines[1].expected = Some(1_000);
    assert_eq!(harness.ask(&stale).reason(), Some(Reason::QuantityStale));
    assert_eq!(harness.digest(), digest);
    assert_eq!(harness.ask(&command), repeated(harness.ask(&command)));
    both_ways(harness);
}

#[test]
fn a_claim_ends_when_a_number_of_its_writer_takes_effect() {
    let mut harness = opened();
    put(&mut harness, "rule", source("wms"), &[Set], EVERYWHERE);
    harness.ask(&stock_lines("claims", SetTo, &[("mug", "wh-1", 7, ON_HAND), ("mug", "wh-1", 1, DAMAGED)])).accepted();
    harness.ask(&from("erp", 1, stock("", SetTo, "mug", "wh-1", 6))).accepted();
    harness.ask(&from("wms", 1, stock("", SetTo, "mug", "wh-1", 5))).accepted();
    assert_eq!(claims(&harness.ledger).len(), 3, "the owner's number settles nobody else's claim");
    put(&mut harness, "rule", OPERATOR, &[Set, Adjust, Report], EVERYWHERE);
    harness.ask(&stock("more", Received, "mug", "wh-1", 1)).accepted();
    harness.ask(&stock("less", Adjusted, "mug", "wh-1", -1)).accepted();
    assert_eq!(claims(&harness.ledger).len(), 3, "a difference states no number");
    harness.ask(&stock("number", Counted, "mug", "wh-1", 5)).accepted();
    let left: Vec<_> = claims(&harness.ledger).into_iter().map(|claim| (claim.0, claim.3)).collect();
    assert_eq!(left, [(None, DAMAGED), (Some("erp".to_owned()), ON_HAND)], "found as stated is a number too");
    both_ways(harness);
}

#[test]
fn a_count_from_before_the_last_movement_is_a_claim_while_rules_are_in_force() {
    let mut harness = opened();
    let count = |key, ms, quantity| as_of(START_MS + ms, stock(key, Counted, "mug", "wh-1", quantity));
    harness.wait(10_000);
    harness.ask(&stock("before", Adjusted, "mug", "wh-1", 1)).accepted();
    put(&mut harness, "own", OPERATOR, &[Set, Adjust, Report], EVERYWHERE);
    harness.ask(&count("unknown", 5_000, 20)).accepted();
    assert_eq!((mugs(&harness), claims(&harness.ledger).len()), (20, 0), "what was before the rules is not known");
    // (key, event time, quantity, whether it takes effect); each that does is itself a change at its time.
    let rows =
        [("same", 5_000, 21, true), ("older", 4_999, 22, false), ("newer", 5_001, 23, true), ("old", 5_000, 24, false)];
    for (key, ms, quantity, takes_effect) in rows {
        let reply = harness.ask(&count(key, ms, quantity)).accepted();
        assert_eq!(matches!(reply, Outcome::Levels(_)), takes_effect, "{key}");
        assert_eq!(mugs(&harness) == quantity, takes_effect, "{key}");
        assert_eq!(
            claims(&harness.ledger).first().map(|claim| claim.5),
            (!takes_effect).then_some(ClaimReason::AsOfStale)
        );
    }
    // Without a time of its own a command is as of now, and a count without one is never late.
    harness.wait(1_000);
    harness.ask(&stock("arrival", Received, "mug", "wh-1", 1)).accepted();
    harness.ask(&count("late", 9_000, 25)).accepted();
    assert_eq!((mugs(&harness), claims(&harness.ledger).len()), (24, 1));
    harness.ask(&stock("now", Counted, "mug", "wh-1", 26)).accepted();
    assert_eq!((mugs(&harness), claims(&harness.ledger).len()), (26, 0));
    harness.ask(&as_of(START_MS, stock("set", SetTo, "mug", "wh-1", 27))).accepted();
    assert_eq!(mugs(&harness), 27, "only counts have an age");
    // What was noted is in the image; it says nothing once the rules are gone, whatever other rules there are.
    let (mut other, digest) = loaded(&mut harness);
    assert_eq!(other.digest(), harness.digest());
    assert_eq!(digest, harness.digest());
    put(&mut harness, "promises", OPERATOR, &[Promise], EVERYWHERE);
    harness.ask(&delete("gone", EntityKind::AuthorityRules, "own")).accepted();
    harness.ask(&count("free", 1, 28)).accepted();
    assert_eq!((mugs(&harness), claims(&harness.ledger).len()), (28, 0));
    both_ways(harness);
}

#[test]
fn what_moves_goods_makes_counts_late() {
    let moves: [(Command<'static>, &str); 8] = [
        (stock("receive", Received, "mug", "wh-1", 1), "wh-1"),
        (stock("return", Returned, "mug", "wh-1", 1), "wh-1"),
        (move_quantity("move", ("mug", "wh-1"), 1, [ON_HAND, DAMAGED]), "wh-1"),
        (fulfill("fulfill", by_key("hold")), "wh-1"),
        (ship("ship", "tr-2", ["wh-1", "wh-3"], &[("mug", 1)]), "wh-1"),
        (arrive("arrive", "tr-1", &[]), "wh-2"),
        (close("back", "tr-1", Remainder::SentBack), "wh-1"),
        (close("lost", "tr-1", Remainder::Lost), ""),
    ];
    for (command, moved) in moves {
        let mut harness = opened();
        put(&mut harness, "own", OPERATOR, &[Set, Adjust, Report], EVERYWHERE);
        harness.ask(&command).accepted();
        for location in ["wh-1", "wh-2", "wh-3"] {
            let key = format!("count-{location}");
            let reply = harness.ask(&as_of(START_MS - 1, stock(&key, Counted, "mug", location, 3))).accepted();
            assert_eq!(
                matches!(reply, Outcome::Claimed(..)),
                location == moved,
                "{} at {location}",
                command.body.name()
            );
        }
        both_ways(harness);
    }
    // Promises move nothing, and neither do claims and refusals.
    let mut harness = opened();
    put(&mut harness, "own", source("wms"), &[Set, Adjust, Report], EVERYWHERE);
    harness.ask(&reserve("promise", &[("mug", "wh-1", 1)])).accepted();
    harness.ask(&stock("claim", SetTo, "mug", "wh-1", 1)).accepted();
    harness.ask(&stock("refused", Received, "mug", "wh-1", 1));
    harness.ask(&from("wms", 1, as_of(START_MS - 1, stock("", Counted, "mug", "wh-1", 4)))).accepted();
    assert_eq!(mugs(&harness), 4);
}

#[test]
fn a_writer_has_so_many_claims_and_no_more() {
    let mut harness = opened_with(LedgerOptions { claims_max: 2, ..LedgerOptions::new("main") });
    put(&mut harness, "wms", source("wms"), &[Set], EVERYWHERE);
    let both = [("mug", "wh-1", 1, ON_HAND), ("mug", "wh-2", 1, ON_HAND)];
    let third = [("mug", "wh-1", 2, ON_HAND), ("cup", "wh-1", 1, ON_HAND)];
    harness.ask(&from("erp", 1, stock_lines("", SetTo, &both))).accepted();
    let digest = harness.digest();
    let mut over = from("erp", 2, stock_lines("over", SetTo, &third));
    over.context.remember_refusal = true;
    for _ in 0..2 {
        let reply = harness.ask(&over);
        assert_eq!(
            (reply.reason(), reply.fact("source"), reply.fact("limit")),
            (Some(Reason::Overloaded), Some("erp"), Some("claims"))
        );
        assert_eq!(harness.digest(), digest, "neither the key nor the number is used");
    }
    harness.ask(&from("erp", 2, stock_lines("again", SetTo, &both))).accepted();
    harness.ask(&stock_lines("operator", SetTo, &both)).accepted();
    put(&mut harness, "wms", source("erp"), &[Set], EVERYWHERE);
    over.context.source.as_mut().expect("numbered").sequence = 3;
    assert_eq!(harness.ask(&over).accepted(), harness.ask(&over).accepted(), "nothing is remembered: it is done now");
    assert_eq!(harness.ledger.claim_count(None), 2);
    harness.check();
}

#[test]
fn what_was_applied_already_is_an_echo() {
    // (epoch, number, outcome); the source's second epoch has applied two messages.
    let rows = [
        (1, 1, Ok(true)),
        (1, 99, Ok(true)),
        (2, 1, Ok(true)),
        (2, 2, Ok(true)),
        (2, 3, Ok(false)),
        (3, 1, Err(Reason::InvalidField)),
    ];
    for (epoch, number, expected) in rows {
        let mut harness = opened();
        harness.ask(&register("second", "wms")).accepted();
        for sequence in 1..=2 {
            let mut message = from("wms", sequence, stock("", Received, "mug", "wh-1", 1));
            message.context.source.as_mut().expect("numbered").epoch = 2;
            harness.ask(&message).accepted();
        }
        let before = mugs(&harness);
        for command in [stock("e", Received, "mug", "wh-1", 5), from("erp", 1, stock("", Received, "mug", "wh-1", 5))] {
            let echo = passes_on(("wms", epoch, number), command);
            let reply = harness.ask(&echo);
            let is_echo = matches!(reply, Reply::Accepted { outcome: Outcome::Echo, .. });
            assert_eq!(reply.reason().map_or(Ok(is_echo), Err), expected, "{epoch}/{number}");
            if expected.is_ok() {
                harness.restart();
                let again = harness.ask(&echo);
                assert!(again.replayed() && again.accepted() == reply.accepted(), "{epoch}/{number}");
            }
        }
        assert_eq!(mugs(&harness) == before, expected != Ok(false));
        both_ways(harness);
    }
}

#[test]
fn an_echo_is_found_before_names_rights_and_stock_and_after_the_key() {
    let mut harness = opened();
    harness.ask(&from("wms", 1, stock("", Received, "mug", "wh-1", 1))).accepted();
    put(&mut harness, "erp", source("erp"), &[Set, Adjust, Report, Promise], EVERYWHERE);
    for command in [
        stock("name", Received, "no-such-item", "wh-1", 1),
        stock("right", Adjusted, "mug", "wh-1", 1),
        stock("number", SetTo, "mug", "wh-1", 1),
        reserve("stock", &[("mug", "wh-1", 1_000)]),
        upsert("entity", EntityKind::Items, &["bowl"]),
    ] {
        assert_eq!(harness.ask(&passes_on(("wms", 1, 1), command)).accepted(), Outcome::Echo);
    }
    assert!(harness.ledger.items().find("bowl").is_none() && claims(&harness.ledger).is_empty());
    let nobody = harness.ask(&passes_on(("nobody", 1, 1), stock("nobody", Received, "mug", "wh-1", 1)));
    assert_eq!((nobody.reason(), nobody.fact("source")), (Some(Reason::UnknownSource), Some("nobody")));
    // The message that is passed on is part of what a key means.
    let reused = harness.ask(&passes_on(("wms", 1, 2), stock("right", Adjusted, "mug", "wh-1", 1)));
    assert_eq!(reused.reason(), Some(Reason::IdempotencyKeyReused));
    assert_eq!(harness.ask(&stock("right", Adjusted, "mug", "wh-1", 1)).reason(), Some(Reason::IdempotencyKeyReused));
    // The names of an echo are not created for it.
    let names = [(EntityKind::Items, "bowl")];
    let echo = passes_on(("wms", 1, 1), stock("create", Received, "bowl", "wh-1", 1));
    assert!(!harness.own(|ledger, now_ms, _, _| ledger.would_accept(&echo, &names, now_ms)));
    let mut claim = stock("create", SetTo, "bowl", "wh-1", 1);
    claim.context.origin = None;
    assert!(harness.own(|ledger, now_ms, _, _| ledger.would_accept(&claim, &names, now_ms)), "a claim needs its names");
    let refused = stock("create", Received, "bowl", "wh-1", 1);
    assert!(!harness.own(|ledger, now_ms, _, _| ledger.would_accept(&refused, &names, now_ms)));
    both_ways(harness);
}

/// The reply, which is that of a repeat.
fn repeated(reply: Reply) -> Reply {
    assert!(reply.replayed(), "{reply:?}");
    reply
}
