//! How long answers may be: what could not be told in full is refused before it is executed, or told in short for ever.

mod desk;

use invengine_ledger::command::{Catalogue, RESERVATION_LINES_MAX};
use invengine_ledger::event::StockKind;
use invengine_ledger::{Answer, Command, Context, Effect, Reason};

use desk::Desk;
use desk::asks::{
    allocate, amend, by_order, extend, fulfill, release, reserve, stock, stock_lines, transfer, upsert, whole,
};

const LINES: usize = 1_000;

/// Names as long as they may be: 128 characters of four bytes each.
fn long(number: usize) -> String {
    format!("{}{number:0>4}", "\u{1f9e1}".repeat(124))
}

/// A ledger with many items at one place, all names long, and three holds of an order on all of them: two fit an answer.
fn three_long_holds() -> Desk {
    let mut desk = Desk::default().opened();
    let (items, place): (Vec<String>, String) = ((0..LINES).map(long).collect(), long(9_999));
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    desk.ask(&upsert("items", Catalogue::Items, &items)).did();
    desk.ask(&upsert("place", Catalogue::Locations, &[&place])).did();
    let state = invengine_ledger::event::StockState::OnHand;
    let goods: Vec<_> = items.iter().map(|item| (*item, &*place, 10, state)).collect();
    desk.ask(&stock_lines("goods", StockKind::Received, &goods)).did();
    let wanted: Vec<_> = items.iter().map(|item| (*item, &*place, 1)).collect();
    for key in ["a", "b", "c"] {
        let hold = reserve(key, &wanted);
        desk.ask(&Command { context: Context { order_ref: "order", ..hold.context }, ..hold }).did();
    }
    desk.cut();
    desk
}

fn in_short(command: Command<'_>) -> Command<'_> {
    Command { context: Context { accept_summary: true, ..command.context }, ..command }
}

/// How a yes is told.
#[derive(Debug, PartialEq, Eq)]
struct Yes {
    /// Of each hold that changed.
    lines: Vec<usize>,
    in_full: bool,
    replayed: bool,
}

/// How the answer is told, or why there is none.
fn told(desk: &mut Desk, command: &Command<'_>) -> Result<Yes, Reason> {
    let executed = desk.execute(command);
    match executed.answer {
        Answer::Accepted { effect, replayed, .. } => {
            let effect = desk.ledger.effect(effect);
            let lines = match effect {
                Effect::Reserved(hold) => vec![hold.lines.len()],
                Effect::Holds(holds) => holds.iter().map(|hold| hold.lines.len()).collect(),
                _ => Vec::new(),
            };
            Ok(Yes { lines, in_full: desk.ledger.is_told_in_full(effect), replayed })
        }
        Answer::Rejected(rejection) => Err(rejection.reason),
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
        let mut desk = three_long_holds();
        let (digest, sequence) = (desk.digest(), desk.ledger.sequence());
        assert_eq!(told(&mut desk, &command("k")), Err(Reason::AnswerTooLarge));
        assert_eq!((desk.digest(), desk.ledger.sequence(), desk.open_bytes()), (digest, sequence, 0));
        // The key was not used.
        let lines = vec![LINES; 3];
        let short = Yes { lines, in_full: false, replayed: false };
        assert_eq!(told(&mut desk, &in_short(command("k"))).as_ref(), Ok(&short));
        // A repeat is not executed: it gets its answer, in short, whether it asks for that or not.
        assert_eq!(told(&mut desk, &command("k")), Ok(Yes { replayed: true, ..short }));
    }
}

#[test]
fn what_fits_is_told_in_full_whoever_asks() {
    let mut desk = three_long_holds();
    let first = desk.ledger.reservations_of_order("order").next().map(|found| found.id).expect("three holds");
    for command in [allocate("one", whole(first)), in_short(release("two", whole(first)))] {
        assert_eq!(told(&mut desk, &command), Ok(Yes { lines: vec![LINES], in_full: true, replayed: false }));
    }
}

#[test]
fn a_refused_answer_uses_no_number_of_a_source() {
    let mut desk = three_long_holds();
    desk.ask(&desk::asks::register("register", "shop")).did();
    let source = |number| Some(invengine_ledger::command::SourcePosition { id: "shop", epoch: 1, sequence: number });
    let mut message = allocate("", by_order("order"));
    message.context.source = source(1);
    assert_eq!(told(&mut desk, &message), Err(Reason::AnswerTooLarge));
    assert!(told(&mut desk, &in_short(message)).is_ok_and(|yes| !yes.replayed));
}

#[test]
fn many_holds_of_an_order_are_told_in_short() {
    let mut desk = Desk::with_mugs(100_000);
    for number in 0..30_000 {
        let hold = reserve("", &[("mug", "wh-1", 1)]);
        let key = format!("key-{number}");
        desk.ask(&Command { context: Context { key: &key, order_ref: "order", ..hold.context }, ..hold }).did();
        if number % 10_000 == 0 {
            desk.cut();
        }
    }
    desk.cut();
    assert_eq!(told(&mut desk, &allocate("k", by_order("order"))), Err(Reason::AnswerTooLarge));
    let yes = told(&mut desk, &in_short(allocate("k", by_order("order")))).unwrap();
    assert!(!yes.in_full && yes.lines.len() == 30_000);
    assert_eq!(desk.level("mug", "wh-1").2, 30_000);
    let digest = desk.digest();
    assert_eq!(desk.refold().digest(), digest);
}

#[test]
fn a_reservation_does_not_grow_beyond_what_an_answer_can_tell() {
    let mut desk = Desk::default().opened();
    let items: Vec<String> = (0..RESERVATION_LINES_MAX + 1).map(|number| format!("item-{number}")).collect();
    for (number, some) in items.chunks(LINES).enumerate() {
        let names: Vec<&str> = some.iter().map(String::as_str).collect();
        desk.ask(&upsert(&format!("items-{number}"), Catalogue::Items, &names)).did();
        for (key, place) in [("one", "wh-1"), ("two", "wh-2")] {
            let state = invengine_ledger::event::StockState::OnHand;
            let goods: Vec<_> = names.iter().map(|name| (*name, place, 9, state)).collect();
            desk.ask(&stock_lines(&format!("{key}-{number}"), StockKind::Received, &goods)).did();
        }
    }
    let lines = |from: usize, to: usize, units| -> Vec<(&str, &str, i64)> {
        items[from..to].iter().map(|name| (&**name, "wh-1", units)).collect()
    };
    let id = desk.ask(&reserve("hold", &lines(0, LINES, 2))).hold().id;
    assert!(told(&mut desk, &amend("grow", whole(id), &lines(LINES, 2 * LINES, 2))).is_ok());
    let digest = desk.digest();
    let more = amend("more", whole(id), &lines(2 * LINES, 2 * LINES + 1, 1));
    assert_eq!(told(&mut desk, &more), Err(Reason::InvalidField));
    let elsewhere = transfer("elsewhere", desk::asks::part(id, &[("item-0", "wh-1", 1)]), "wh-2");
    assert_eq!(told(&mut desk, &elsewhere), Err(Reason::InvalidField));
    assert_eq!(desk.digest(), digest);
    // As many lines as before, and fewer.
    assert!(told(&mut desk, &transfer("all", whole(id), "wh-2")).is_ok());
    assert!(told(&mut desk, &amend("less", whole(id), &[("item-0", "wh-2", 1)])).is_ok());
    let units: i64 = desk.ledger.reservation(id).unwrap().lines.iter().map(|line| line.reserved).sum();
    assert_eq!(units, 2 * RESERVATION_LINES_MAX as i64 - 1);
    desk.ask(&stock("after", StockKind::Received, "item-0", "wh-1", 1)).did();
}

#[test]
fn a_hold_that_gives_way_is_not_part_of_the_answer() {
    let mut desk = Desk::with_mugs(30_000);
    fn ann(key: &str) -> Command<'_> {
        let hold = reserve(key, &[("mug", "wh-1", 1)]);
        Command { context: Context { holder: "ann", ..hold.context }, ..hold }
    }
    for number in 0..25_000 {
        desk.ask(&ann(&format!("key-{number}"))).did();
    }
    desk.cut();
    let mut instead = ann("instead");
    let invengine_ledger::command::Body::Reserve { replace_own, .. } = &mut instead.body else { unreachable!() };
    *replace_own = true;
    assert_eq!(told(&mut desk, &instead), Ok(Yes { lines: vec![1], in_full: true, replayed: false }));
    assert_eq!(desk.level("mug", "wh-1").1, 1);
}
