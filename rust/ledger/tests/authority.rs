//! Who may assert which state where: refusals by right, claims line by line, late counts, echoes and the limits of profiles.

mod claims;
mod harness;

use invengine_ledger::authority::Right::{self, Adjust, Order, Promise, Report, Set};
use invengine_ledger::authority::{Holder, PlaceDraft, SourceKind};
use invengine_ledger::command::{Body, Upsert};
use invengine_ledger::entity::{Attributes, LocationType};
use invengine_ledger::event::StockKind::{Adjusted, Received, Returned, Set as SetTo};
use invengine_ledger::stock_transfer::Remainder;
use invengine_ledger::{
    Command, Context, Digest, EntityDraft, EntityKind, ImageLoader, Ledger, LedgerOptions, Reason, StockState,
};

use harness::Harness;
use harness::answers::{Outcome, Reply};
use harness::authority::{claims as claims_of, from, put_profile, put_rules, rule, source};
use harness::commands::{
    allocate, amend, arrive, by_key, by_order, close, delete, extend, fulfill, move_quantity, part, register, release,
    reserve, ship, stock, stock_lines, transfer, upsert, whole,
};

const EVERYWHERE: PlaceDraft<'static> = PlaceDraft::Everywhere;
const OPERATOR: Holder = Holder::Operator;
const DAMAGED: StockState = StockState::Damaged;
const ON_HAND: StockState = StockState::OnHand;

/// Ten mugs at wh-1 and wh-2, a hold of two at wh-1, a transfer on its way to wh-2, and the sources erp and wms.
fn opened() -> Harness {
    opened_with(LedgerOptions::new("main"))
}

fn opened_with(options: LedgerOptions) -> Harness {
    let mut harness = Harness::new(options).opened();
    for command in [
        stock("open-1", Received, "mug", "wh-1", 10),
        stock("open-2", Received, "mug", "wh-2", 10),
        reserve("hold", &[("mug", "wh-1", 2)]),
        ship("ship-1", "tr-1", ["wh-1", "wh-2"], &[("mug", 1)]),
        register("erp", "erp"),
        register("wms", "wms"),
    ] {
        harness.ask(&command).accepted();
    }
    harness
}

fn put(harness: &mut Harness, name: &'static str, holder: Holder, rights: &[Right], place: PlaceDraft<'static>) {
    let key = format!("put-{name}-{}", harness.ledger.sequence());
    harness.ask(&put_rules(&key, vec![(name, rule(holder, rights, place))])).accepted();
}

fn mugs(harness: &Harness) -> i64 {
    harness.level("mug", "wh-1").0
}

/// Each command, the right that it needs, and the location at which it needs it.
fn commands() -> Vec<(Command<'static>, Right, &'static str)> {
    let holds = [
        reserve("reserve", &[("mug", "wh-1", 1)]),
        extend("extend", by_key("hold")),
        amend("amend", by_key("hold"), &[("mug", "wh-1", 1)]),
        allocate("allocate", by_key("hold")),
        release("release", by_key("hold")),
        transfer("transfer", by_key("hold"), "wh-2"),
    ];
    let adjusts =
        [stock("adjust", Adjusted, "mug", "wh-1", -1), move_quantity("move", ("mug", "wh-1"), 1, [ON_HAND, DAMAGED])];
    let reports = [
        stock("receive", Received, "mug", "wh-1", 1),
        stock("return", Returned, "mug", "wh-1", 1),
        fulfill("fulfill", by_key("hold")),
        ship("ship", "tr-2", ["wh-1", "wh-2"], &[("mug", 1)]),
    ];
    let at_destination = [
        arrive("arrive", "tr-1", &[]),
        arrive("part", "tr-1", &[("mug", 1, DAMAGED)]),
        close("close", "tr-1", Remainder::Lost),
    ];
    let mut all: Vec<_> = holds.into_iter().map(|command| (command, Promise, "wh-1")).collect();
    all.extend(adjusts.into_iter().map(|command| (command, Adjust, "wh-1")));
    all.extend(reports.into_iter().map(|command| (command, Report, "wh-1")));
    all.extend(at_destination.into_iter().map(|command| (command, Report, "wh-2")));
    all.push((close("back", "tr-1", Remainder::SentBack), Report, "wh-1"));
    all
}

#[test]
fn each_command_needs_one_right_at_one_place() {
    for (command, right, location) in commands() {
        for granted in Right::ALL {
            // The WMS has one right everywhere; the operator, who asks, has none.
            let mut harness = opened();
            put(&mut harness, "wms", source("wms"), &[granted], EVERYWHERE);
            let of_stock = [Set, Adjust, Report];
            let is_governed = granted == right || (of_stock.contains(&granted) && of_stock.contains(&right));
            let reply = harness.ask(&command);
            let expected = is_governed.then_some(Reason::NotAuthoritative);
            assert_eq!(reply.reason(), expected, "{:?} while {granted:?} is governed: {reply:?}", command.body.name());
            if is_governed {
                assert_eq!(reply.fact("right"), Some(right.name()));
                assert_eq!((reply.fact("location"), reply.fact("source")), (Some(location), Some("operator")));
                let owner = (granted == Set || granted == right).then_some("wms");
                assert_eq!(reply.fact("owner"), owner, "{}", command.body.name());
                assert_eq!(reply.fact("state").is_some(), right != Promise);
            }
            // With the right, at that place alone, it is done.
            let mut harness = opened();
            put(
                &mut harness,
                "own",
                OPERATOR,
                &[right],
                PlaceDraft::Location(if location == "wh-1" { "wh-1" } else { "wh-2" }),
            );
            put(&mut harness, "other", source("wms"), &[right], EVERYWHERE);
            let reply = harness.ask(&command);
            let elsewhere = command.context.key == "transfer";
            assert_eq!(reply.reason().is_some(), elsewhere, "{}: {reply:?}", command.body.name());
            if elsewhere {
                assert_eq!(reply.fact("location"), Some("wh-2"), "a hold that moves needs both places");
            }
        }
    }
}

#[test]
fn what_a_right_needs_is_found_by_the_hold_however_it_is_named() {
    let mut harness = opened();
    let mut hold = reserve("ordered", &[("mug", "wh-2", 1)]);
    hold.context.order_ref = "order";
    let id = harness.ask(&hold).hold().id;
    put(&mut harness, "one", source("wms"), &[Promise], PlaceDraft::Location("wh-2"));
    put(&mut harness, "all", OPERATOR, &[Promise], EVERYWHERE);
    let targets = [by_key("ordered"), by_order("order"), whole(id), part(id, &[("mug", "wh-2", 1)])];
    for target in targets {
        let reply = harness.ask(&release("no", target));
        assert_eq!((reply.reason(), reply.fact("location")), (Some(Reason::NotAuthoritative), Some("wh-2")));
        harness.restart();
    }
    // What does not exist has no place, and is refused for that.
    assert_eq!(harness.ask(&extend("unknown", by_key("nothing"))).reason(), Some(Reason::ReservationNotFound));
    harness.ask(&release("whole", by_key("hold"))).accepted();
}

#[test]
fn holders_are_a_source_a_kind_or_the_operator() {
    // (holder, writer, whether it is that writer)
    let rows = [
        (OPERATOR, "", true),
        (OPERATOR, "wms", false),
        (source("wms"), "wms", true),
        (source("wms"), "erp", false),
        (source("wms"), "", false),
        (Holder::Kind(SourceKind::Wms), "wms", true),
        (Holder::Kind(SourceKind::Wms), "erp", false),
        (Holder::Kind(SourceKind::Wms), "", false),
        (Holder::Kind(SourceKind::Erp), "erp", false),
    ];
    for (holder, writer, is_it) in rows {
        let mut harness = opened();
        harness.ask(&put_profile("profile", "wms", SourceKind::Wms, [&[], &[]])).accepted();
        put(&mut harness, "rule", holder.clone(), &[Report], EVERYWHERE);
        let command = stock("", Received, "mug", "wh-1", 1);
        let command = if writer.is_empty() { stock("k", Received, "mug", "wh-1", 1) } else { from(writer, 1, command) };
        let reply = harness.ask(&command);
        assert_eq!(reply.reason().is_none(), is_it, "{holder:?} {writer}");
        assert!(is_it || reply.fact("source") == Some(if writer.is_empty() { "operator" } else { writer }));
    }
}

#[test]
fn the_most_specific_place_with_a_rule_decides() {
    const TYPE: PlaceDraft<'static> = PlaceDraft::Type(LocationType::Warehouse);
    const WH_1: PlaceDraft<'static> = PlaceDraft::Location("wh-1");
    const OTHER: PlaceDraft<'static> = PlaceDraft::Location("wh-2");
    // (places at which the operator has the right, places at which the WMS has it, whether the operator may)
    let rows: [(&[PlaceDraft<'static>], &[PlaceDraft<'static>], bool); 11] = [
        (&[EVERYWHERE], &[], true),
        (&[EVERYWHERE], &[TYPE], false),
        (&[EVERYWHERE], &[WH_1], false),
        (&[EVERYWHERE], &[OTHER], true),
        (&[TYPE], &[EVERYWHERE], true),
        (&[TYPE], &[WH_1], false),
        (&[WH_1], &[EVERYWHERE, TYPE], true),
        (&[WH_1], &[WH_1], true),
        (&[EVERYWHERE, TYPE], &[WH_1], false),
        (&[OTHER], &[], false),
        (&[EVERYWHERE], &[EVERYWHERE], true),
    ];
    for (right, command) in
        [(Report, stock("r", Received, "mug", "wh-1", 1)), (Promise, reserve("p", &[("mug", "wh-1", 1)]))]
    {
        for (own, others, may) in rows {
            let mut harness = opened();
            for (number, place) in own.iter().enumerate() {
                put(&mut harness, ["own-0", "own-1"][number], OPERATOR, &[right], *place);
            }
            for (number, place) in others.iter().enumerate() {
                put(&mut harness, ["wms-0", "wms-1"][number], source("wms"), &[right], *place);
            }
            let attributes = Attributes::Location(LocationType::Warehouse);
            let mut entry = Upsert::labels("wh-1", "", "");
            if let EntityDraft::Labels(labels) = &mut entry.value {
                labels.attributes = attributes;
            }
            let body = Body::Upsert { kind: EntityKind::Locations, entries: vec![entry] };
            let context = Context { key: "type", ..Default::default() };
            harness.ask(&Command { context, body }).accepted();
            assert_eq!(harness.ask(&command).reason().is_none(), may, "{right:?} {own:?} {others:?}");
            harness.restart();
        }
    }
}

#[test]
fn a_rule_is_about_some_states_or_all() {
    let mut harness = opened();
    let mut damaged = rule(source("wms"), &[Set, Report], EVERYWHERE);
    damaged.states = vec![DAMAGED];
    let rest = rule(OPERATOR, &[Set, Report], PlaceDraft::Location("wh-2"));
    harness.ask(&put_rules("rules", vec![("damaged", damaged), ("rest", rest)])).accepted();
    // (state, location, owner)
    let rows = [
        (DAMAGED, "wh-1", Some("wms")),
        (ON_HAND, "wh-1", None),
        (DAMAGED, "wh-2", Some("operator")),
        (ON_HAND, "wh-2", Some("operator")),
    ];
    for (number, (state, location, owner)) in (1..).zip(rows) {
        let reply = harness.ask(&from("erp", number, stock_lines("", Received, &[("mug", location, 1, state)])));
        assert_eq!((reply.fact("state"), reply.fact("owner")), (Some(state.name()), owner), "{location}");
    }
}

#[test]
fn a_part_without_rules_leaves_everything_as_before_and_the_last_rule_takes_its_part_along() {
    let mut harness = opened();
    put(&mut harness, "order", source("wms"), &[Order], EVERYWHERE);
    harness.ask(&reserve("a", &[("mug", "wh-1", 1)])).accepted();
    harness.ask(&stock("b", Adjusted, "mug", "wh-1", 1)).accepted();
    put(&mut harness, "promise", source("wms"), &[Promise], EVERYWHERE);
    assert_eq!(harness.ask(&reserve("c", &[("mug", "wh-1", 1)])).reason(), Some(Reason::NotAuthoritative));
    harness.ask(&stock("d", Adjusted, "mug", "wh-1", 1)).accepted();
    put(&mut harness, "order", source("wms"), &[Set], EVERYWHERE);
    assert_eq!(harness.ask(&stock("e", Adjusted, "mug", "wh-1", 1)).reason(), Some(Reason::NotAuthoritative));
    harness.ask(&delete("f", EntityKind::AuthorityRules, "promise")).accepted();
    harness.ask(&reserve("g", &[("mug", "wh-1", 1)])).accepted();
    harness.ask(&delete("h", EntityKind::AuthorityRules, "order")).accepted();
    harness.ask(&stock("i", Adjusted, "mug", "wh-1", 1)).accepted();
    assert!(Right::ALL.into_iter().all(|right| !harness.ledger.is_governed(right)));
    harness.restart();
}

/// The state is the same from the journal and from an image, and so are the claims; both answer a repeat alike.
fn both_ways(mut harness: Harness) {
    let (digest, all) = (harness.digest(), claims_of(&harness.ledger));
    harness.restart();
    assert_eq!((harness.digest(), claims_of(&harness.ledger)), (digest, all.clone()));
    let loaded = loaded(&mut harness);
    assert_eq!((loaded.1, claims_of(&loaded.0)), (digest, all));
    harness.check();
}

fn loaded(harness: &mut Harness) -> (Ledger, Digest) {
    let (mut bytes, mut piece) = (Vec::new(), Vec::new());
    let mut image = harness.ledger.image();
    while image.next(&mut piece) {
        bytes.extend_from_slice(&piece);
    }
    let mut loader = ImageLoader::new(LedgerOptions::new("main"));
    loader.piece(&bytes).expect("an image of its own");
    let mut ledger = loader.finish().expect("an image of its own");
    let digest = ledger.digest();
    (ledger, digest)
}

#[test]
fn limits_of_a_profile_hold_with_and_without_rules() {
    for has_rules in [false, true] {
        let mut harness = opened();
        if has_rules {
            put(&mut harness, "erp", source("erp"), &[Set, Adjust, Report, Promise], EVERYWHERE);
        }
        harness.ask(&put_profile("profile", "erp", SourceKind::Erp, [&["web"], &["wh-1"]])).accepted();
        let on = |channel, mut command: Command<'static>| {
            command.context.channel = channel;
            command
        };
        // (command, refusal, its location or channel)
        let rows = [
            (stock("", Received, "mug", "wh-1", 1), None, ""),
            (on("web", stock("", Received, "mug", "wh-1", 1)), None, ""),
            (on("app", stock("", Received, "mug", "wh-1", 1)), Some(Reason::NotAuthoritative), "app"),
            (on("app", upsert("", EntityKind::Items, &["bowl"])), Some(Reason::NotAuthoritative), "app"),
            (on("app", release("", by_key("not-yet-used"))), Some(Reason::NotAuthoritative), "app"),
            (on("app", stock("", Received, "no-such-item", "wh-1", 1)), Some(Reason::UnknownSku), ""),
            (stock("", Received, "mug", "wh-2", 1), Some(Reason::NotAuthoritative), "wh-2"),
            (reserve("", &[("mug", "wh-2", 1)]), Some(Reason::NotAuthoritative), "wh-2"),
            (ship("", "tr-9", ["wh-2", "wh-1"], &[("mug", 1)]), Some(Reason::NotAuthoritative), "wh-2"),
        ];
        for (sequence, (command, reason, fact)) in (1..).zip(rows) {
            let reply = harness.ask(&from("erp", sequence, command));
            assert_eq!(reply.reason(), reason, "{sequence}");
            let found = reply.fact("channel").or(reply.fact("location")).unwrap_or_default();
            assert_eq!(found, fact, "{sequence}");
        }
        let claim = stock_lines("", SetTo, &[("mug", "wh-1", 4, ON_HAND), ("mug", "wh-2", 4, ON_HAND)]);
        assert!(matches!(harness.ask(&from("erp", 10, claim)).accepted(), Outcome::Claimed(_, lines) if lines == [1]));
        // They are the source's alone, and gone with the profile.
        let others = harness.ask(&from("wms", 1, reserve("", &[("mug", "wh-2", 1)])));
        assert_eq!(others.reason(), has_rules.then_some(Reason::NotAuthoritative));
        harness.ask(&delete("gone", EntityKind::SourceProfiles, "erp")).accepted();
        harness.ask(&from("erp", 11, stock("", Received, "mug", "wh-2", 1))).accepted();
        both_ways(harness);
    }
}

#[test]
fn two_owners_of_one_state_at_one_place_are_refused() {
    let some = |states: &[StockState], place| {
        let mut rule = rule(source("wms"), &[Set], place);
        rule.states = states.to_vec();
        rule
    };
    const WH_1: PlaceDraft<'static> = PlaceDraft::Location("wh-1");
    let all: &[StockState] = &[];
    // (states and place of the second rule, the state in conflict)
    let rows = [
        (all, EVERYWHERE, Some("DAMAGED")),
        (&[DAMAGED], EVERYWHERE, Some("DAMAGED")),
        (&[ON_HAND], EVERYWHERE, None),
        (&[DAMAGED], WH_1, None),
        (&[DAMAGED], PlaceDraft::Type(LocationType::Warehouse), None),
    ];
    for (states, place, conflict) in rows {
        for together in [false, true] {
            let mut harness = opened();
            let first = ("first", some(&[DAMAGED], EVERYWHERE));
            let second = ("second", some(states, place));
            let reply = if together {
                harness.ask(&put_rules("both", vec![first, second]))
            } else {
                harness.ask(&put_rules("one", vec![first])).accepted();
                harness.ask(&put_rules("other", vec![second]))
            };
            assert_eq!(reply.reason(), conflict.map(|_| Reason::RuleConflict), "{states:?} {place:?}");
            assert_eq!(reply.fact("state"), conflict);
            if conflict.is_some() {
                assert_eq!((reply.fact("name"), reply.fact("conflicts_with")), (Some("second"), Some("first")));
            }
        }
    }
    // A rule does not conflict with the one that it replaces, and other rights may have many holders.
    let mut harness = opened();
    put(&mut harness, "first", source("wms"), &[Set], EVERYWHERE);
    put(&mut harness, "first", source("erp"), &[Set, Report], EVERYWHERE);
    put(&mut harness, "second", source("wms"), &[Adjust, Report, Promise], EVERYWHERE);
    let swap =
        vec![("second", rule(source("erp"), &[Set], EVERYWHERE)), ("first", rule(OPERATOR, &[Report], EVERYWHERE))];
    harness.ask(&put_rules("swap", swap)).accepted();
    harness.restart();
}

#[test]
fn rules_have_versions_names_and_references() {
    let mut harness = opened();
    let with_version = |key: &'static str, expected_version| {
        let mut command = put_rules(key, vec![("rule", rule(OPERATOR, &[Report], PlaceDraft::Location("wh-3")))]);
        let Body::Upsert { entries, .. } = &mut command.body else { unreachable!() };
        entries[0].expected_version = Some(expected_version);
        command
    };
    assert_eq!(harness.ask(&with_version("a", 0)).accepted(), Outcome::Put(vec![1]));
    assert_eq!(harness.ask(&with_version("b", 0)).reason(), Some(Reason::StaleVersion));
    assert_eq!(harness.ask(&with_version("c", 1)).accepted(), Outcome::Put(vec![2]));
    let in_use = harness.ask(&delete("d", EntityKind::Locations, "wh-3"));
    assert_eq!((in_use.reason(), in_use.fact("used_by")), (Some(Reason::EntityInUse), Some("authority_rule rule")));
    let unknown = harness.ask(&put_rules("e", vec![("x", rule(source("nobody"), &[Set], EVERYWHERE))]));
    assert_eq!(unknown.reason(), Some(Reason::UnknownSource));
    let unknown = harness.ask(&put_rules("f", vec![("x", rule(OPERATOR, &[Set], PlaceDraft::Location("nowhere")))]));
    assert_eq!(unknown.reason(), Some(Reason::UnknownLocation));
    harness.ask(&delete("g", EntityKind::AuthorityRules, "rule")).accepted();
    assert_eq!(
        harness.ask(&with_version("h", 0)).accepted(),
        Outcome::Put(vec![4]),
        "the name goes on with its version"
    );
    both_ways(harness);
}

#[test]
fn a_repeat_gets_the_first_answer_whatever_the_rules_are_by_then() {
    let mut harness = opened();
    put(&mut harness, "rule", source("wms"), &[Set, Report], EVERYWHERE);
    let claim = || stock_lines("claim", SetTo, &[("mug", "wh-1", 3, ON_HAND), ("mug", "wh-2", 4, ON_HAND)]);
    let numbered = || from("erp", 1, stock("", SetTo, "mug", "wh-1", 5));
    let mut refused = stock("refused", Received, "mug", "wh-1", 1);
    refused.context.remember_refusal = true;
    let refused_number = || from("erp", 2, stock("", Received, "mug", "wh-1", 1));
    let first: Vec<Reply> =
        [claim(), numbered(), refused.clone(), refused_number()].iter().map(|command| harness.ask(command)).collect();
    assert_eq!(
        first.iter().map(Reply::reason).collect::<Vec<_>>(),
        [None, None, Some(Reason::NotAuthoritative), Some(Reason::NotAuthoritative)]
    );
    harness.ask(&delete("gone", EntityKind::AuthorityRules, "rule")).accepted();
    let check = |harness: &mut Harness| {
        let digest = harness.digest();
        for (command, first) in [claim(), numbered(), refused.clone(), refused_number()].iter().zip(&first) {
            let again = harness.ask(command);
            match (first, again) {
                (Reply::Accepted { outcome, .. }, Reply::Accepted { replayed: true, outcome: again, .. }) => {
                    assert_eq!(*outcome, again);
                }
                (first, again) => assert_eq!(*first, again),
            }
        }
        assert_eq!(harness.digest(), digest);
    };
    check(&mut harness);
    harness.restart();
    check(&mut harness);
    let (ledger, _) = loaded(&mut harness);
    harness.ledger = ledger;
    check(&mut harness);
    assert_eq!(mugs(&harness), 9);
}
