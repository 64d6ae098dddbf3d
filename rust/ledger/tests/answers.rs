//! The size limit of answers: a command whose full answer would be too long is refused before it is executed, or always
//! answered in short form.

mod harness;

use invengine_ledger::EntityKind;
use invengine_ledger::command::RESERVATION_LINES_MAX;
use invengine_ledger::event::StockKind;
use invengine_ledger::{Answer, Command, Context, Effect, Reason};

use harness::Harness;
use harness::commands::{
    allocate, amend, by_order, extend, fulfill, release, reserve, stock, stock_lines, transfer, upsert, whole,
};

const LINES: usize = 1_000;

/// Names of the greatest length: 128 characters of four bytes each.
fn long(number: usize) -> String {
    format!("{}{number:0>4}", "\u{1f9e1}".repeat(124))
}

/// A ledger with many items at one location, all with long names, and three holds of an order on all of them. Two of the
/// holds fit in an answer.
fn three_long_holds() -> Harness {
    let mut harness = Harness::default().opened();
    let (items, place): (Vec<String>, String) = ((0..LINES).map(long).collect(), long(9_999));
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    harness.ask(&upsert("items", EntityKind::Items, &items)).accepted();
    harness.ask(&upsert("place", EntityKind::Locations, &[&place])).accepted();
    let state = invengine_ledger::StockState::OnHand;
    let goods: Vec<_> = items.iter().map(|item| (*item, &*place, 10, state)).collect();
    harness.ask(&stock_lines("goods", StockKind::Received, &goods)).accepted();
    let wanted: Vec<_> = items.iter().map(|item| (*item, &*place, 1)).collect();
    for key in ["a", "b", "c"] {
        let hold = reserve(key, &wanted);
        harness.ask(&Command { context: Context { order_ref: "order", ..hold.context }, ..hold }).accepted();
    }
    harness.cut();
    harness
}

fn in_short(command: Command<'_>) -> Command<'_> {
    Command { context: Context { accept_summary: true, ..command.context }, ..command }
}

/// How an accepted command is answered.
#[derive(Debug, PartialEq, Eq)]
struct Accepted {
    /// Number of lines of each hold that changed.
    lines: Vec<usize>,
    in_full: bool,
    replayed: bool,
}

/// How a command is answered, or why it is rejected.
fn reply(harness: &mut Harness, command: &Command<'_>) -> Result<Accepted, Reason> {
    let executed = harness.execute(command);
    match executed.answer {
        Answer::Accepted { effect, replayed, .. } => {
            let effect = harness.ledger.effect(effect);
            let lines = match effect {
                Effect::Reserved(hold) => vec![hold.lines.len()],
                Effect::Holds(holds) => holds.iter().map(|hold| hold.lines.len()).collect(),
                _ => Vec::new(),
            };
            Ok(Accepted { lines, in_full: harness.ledger.fits_in_full_answer(effect), replayed })
        }
        Answer::Rejected(rejection) => Err(rejection.reason),
        Answer::Deferred { .. } | Answer::Buried { .. } => panic!("a command is not deferred"),
    }
}

#[test]
fn a_command_whose_answer_could_be_too_long_is_refused_before_it_is_executed() {
    let commands: [fn(&'static str) -> Command<'static>; 4] = [
        |key| extend(key, by_order("order")),
        |key| allocate(key, by_order("order")),
        |key| release(key, by_order("order")),
        |key| fulfill(key, by_order("order")),
    ];
    for command in commands {
        let mut harness = three_long_holds();
        let (digest, sequence) = (harness.digest(), harness.ledger.sequence());
        assert_eq!(reply(&mut harness, &command("k")), Err(Reason::AnswerTooLarge));
        assert_eq!((harness.digest(), harness.ledger.sequence(), harness.open_bytes()), (digest, sequence, 0));
        // The key was not used.
        let lines = vec![LINES; 3];
        let short = Accepted { lines, in_full: false, replayed: false };
        assert_eq!(reply(&mut harness, &in_short(command("k"))).as_ref(), Ok(&short));
        // A repeat is not executed: it gets its answer in short form, whether it asks for that or not.
        assert_eq!(reply(&mut harness, &command("k")), Ok(Accepted { replayed: true, ..short }));
    }
}

#[test]
fn an_answer_that_fits_is_given_in_full_to_every_caller() {
    let mut harness = three_long_holds();
    let first = harness.ledger.reservations_of_order("order").next().map(|found| found.id).expect("three holds");
    for command in [allocate("one", whole(first)), in_short(release("two", whole(first)))] {
        assert_eq!(reply(&mut harness, &command), Ok(Accepted { lines: vec![LINES], in_full: true, replayed: false }));
    }
}

#[test]
fn a_refused_answer_uses_no_number_of_a_source() {
    let mut harness = three_long_holds();
    harness.ask(&harness::commands::register("register", "shop")).accepted();
    let source = |number| Some(invengine_ledger::command::SourcePosition { id: "shop", epoch: 1, sequence: number });
    let mut message = allocate("", by_order("order"));
    message.context.source = source(1);
    assert_eq!(reply(&mut harness, &message), Err(Reason::AnswerTooLarge));
    assert!(reply(&mut harness, &in_short(message)).is_ok_and(|yes| !yes.replayed));
}

#[test]
fn many_holds_of_an_order_are_answered_in_short_form() {
    let mut harness = Harness::with_mugs(100_000);
    for number in 0..30_000 {
        let hold = reserve("", &[("mug", "wh-1", 1)]);
        let key = format!("key-{number}");
        harness.ask(&Command { context: Context { key: &key, order_ref: "order", ..hold.context }, ..hold }).accepted();
        if number % 10_000 == 0 {
            harness.cut();
        }
    }
    harness.cut();
    assert_eq!(reply(&mut harness, &allocate("k", by_order("order"))), Err(Reason::AnswerTooLarge));
    let yes = reply(&mut harness, &in_short(allocate("k", by_order("order")))).unwrap();
    assert!(!yes.in_full && yes.lines.len() == 30_000);
    assert_eq!(harness.level("mug", "wh-1").2, 30_000);
    let digest = harness.digest();
    assert_eq!(harness.refold().digest(), digest);
}

#[test]
fn a_reservation_does_not_grow_beyond_the_size_of_an_answer() {
    let mut harness = Harness::default().opened();
    let items: Vec<String> = (0..RESERVATION_LINES_MAX + 1).map(|number| format!("item-{number}")).collect();
    for (number, some) in items.chunks(LINES).enumerate() {
        let names: Vec<&str> = some.iter().map(String::as_str).collect();
        harness.ask(&upsert(&format!("items-{number}"), EntityKind::Items, &names)).accepted();
        for (key, place) in [("one", "wh-1"), ("two", "wh-2")] {
            let state = invengine_ledger::StockState::OnHand;
            let goods: Vec<_> = names.iter().map(|name| (*name, place, 9, state)).collect();
            harness.ask(&stock_lines(&format!("{key}-{number}"), StockKind::Received, &goods)).accepted();
        }
    }
    let lines = |from: usize, to: usize, units| -> Vec<(&str, &str, i64)> {
        items[from..to].iter().map(|name| (&**name, "wh-1", units)).collect()
    };
    let id = harness.ask(&reserve("hold", &lines(0, LINES, 2))).hold().id;
    assert!(reply(&mut harness, &amend("grow", whole(id), &lines(LINES, 2 * LINES, 2))).is_ok());
    let digest = harness.digest();
    let more = amend("more", whole(id), &lines(2 * LINES, 2 * LINES + 1, 1));
    assert_eq!(reply(&mut harness, &more), Err(Reason::InvalidField));
    let elsewhere = transfer("elsewhere", harness::commands::part(id, &[("item-0", "wh-1", 1)]), "wh-2");
    assert_eq!(reply(&mut harness, &elsewhere), Err(Reason::InvalidField));
    assert_eq!(harness.digest(), digest);
    // As many lines as before, and fewer.
    assert!(reply(&mut harness, &transfer("all", whole(id), "wh-2")).is_ok());
    assert!(reply(&mut harness, &amend("less", whole(id), &[("item-0", "wh-2", 1)])).is_ok());
    let units: i64 = harness.ledger.reservation(id).unwrap().lines.iter().map(|line| line.reserved).sum();
    assert_eq!(units, 2 * RESERVATION_LINES_MAX as i64 - 1);
    harness.ask(&stock("after", StockKind::Received, "item-0", "wh-1", 1)).accepted();
}

#[test]
fn a_replaced_hold_is_not_part_of_the_answer() {
    let mut harness = Harness::with_mugs(30_000);
    fn ann(key: &str) -> Command<'_> {
        let hold = reserve(key, &[("mug", "wh-1", 1)]);
        Command { context: Context { holder: "ann", ..hold.context }, ..hold }
    }
    for number in 0..25_000 {
        harness.ask(&ann(&format!("key-{number}"))).accepted();
    }
    harness.cut();
    let mut instead = ann("instead");
    let invengine_ledger::command::Body::Reserve { replace_own, .. } = &mut instead.body else { unreachable!() };
    *replace_own = true;
    assert_eq!(reply(&mut harness, &instead), Ok(Accepted { lines: vec![1], in_full: true, replayed: false }));
    assert_eq!(harness.level("mug", "wh-1").1, 1);
}
