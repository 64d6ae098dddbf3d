//! If lines or holds of one command are refused for different reasons, the answer does not depend on their order or names.

mod harness;

use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Command, Reason, ReservationId};

use harness::commands::{allocate, amend, by_order, extend, fulfill, part, release, reserve, stock, transfer, whole};
use harness::{Harness, commands};

type Lines = [(&'static str, &'static str, i64); 2];

/// Both orders: which of the two items is in the first state.
const BOTH: [Lines; 2] = [[("cup", "wh-1", 1), ("mug", "wh-1", 1)], [("mug", "wh-1", 1), ("cup", "wh-1", 1)]];

fn stocked() -> Harness {
    let mut harness = Harness::default().opened();
    for sku in ["cup", "mug"] {
        harness.ask(&stock(&format!("stock-{sku}"), Received, sku, "wh-1", 9)).accepted();
        harness.ask(&stock(&format!("room-{sku}"), Received, sku, "wh-2", 9)).accepted();
    }
    harness
}

/// What happens to one line before the command that is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Allocated,
    Lapsed,
    Fulfilled,
    Released,
}

use Fate::{Allocated, Fulfilled, Lapsed, Released};

/// A hold whose first line has one fate and the second another.
fn hold(harness: &mut Harness, lines: Lines, fates: [Fate; 2]) -> ReservationId {
    let id = harness.ask(&reserve("hold", &lines)).hold().id;
    for (number, (line, fate)) in lines.into_iter().zip(fates).enumerate() {
        let key = format!("fate-{number}");
        match fate {
            Allocated => drop(harness.ask(&allocate(&key, part(id, &[line]))).accepted()),
            Fulfilled => drop(harness.ask(&fulfill(&key, part(id, &[line]))).accepted()),
            Released => drop(harness.ask(&release(&key, part(id, &[line]))).accepted()),
            Lapsed => {}
        }
    }
    if fates.contains(&Lapsed) {
        harness.wait(61_000);
    }
    id
}

fn reason(harness: &mut Harness, command: &Command<'_>) -> Option<Reason> {
    harness.ask(command).reason()
}

#[test]
fn a_refused_hold_gives_the_same_reason_whatever_its_lines_are_called() {
    let rows = [
        ([Fulfilled, Lapsed], Reason::ReservationExpired),
        ([Released, Lapsed], Reason::ReservationExpired),
        ([Released, Fulfilled], Reason::AlreadyFulfilled),
    ];
    for (fates, expected) in rows {
        for lines in BOTH {
            let mut harness = stocked();
            let id = hold(&mut harness, lines, fates);
            let named = || part(id, &lines);
            for (number, command) in [
                fulfill("a", whole(id)),
                release("b", whole(id)),
                transfer("c", whole(id), "wh-2"),
                extend("d", whole(id)),
                fulfill("e", named()),
                release("f", named()),
                transfer("g", named(), "wh-2"),
            ]
            .into_iter()
            .enumerate()
            {
                assert_eq!(reason(&mut harness, &command), Some(expected), "{fates:?} {lines:?} {number}");
            }
        }
    }
}

#[test]
fn allocated_comes_before_every_other_reason() {
    for other in [Fulfilled, Released] {
        for lines in BOTH {
            let mut harness = stocked();
            let id = hold(&mut harness, lines, [Allocated, other]);
            for command in [allocate("a", whole(id)), extend("b", whole(id)), allocate("c", part(id, &lines))] {
                assert_eq!(reason(&mut harness, &command), Some(Reason::AlreadyAllocated), "{other:?} {lines:?}");
            }
        }
    }
    for lines in BOTH {
        let mut harness = stocked();
        let id = hold(&mut harness, lines, [Allocated, Lapsed]);
        assert_eq!(reason(&mut harness, &extend("a", whole(id))), Some(Reason::AlreadyAllocated), "{lines:?}");
        harness.ask(&allocate("b", whole(id))).accepted();
    }
}

#[test]
fn an_amendment_gives_the_same_reason_whatever_its_lines_are_called() {
    for lines in BOTH {
        let mut harness = stocked();
        let id = hold(&mut harness, lines, [Released, Allocated]);
        // One more line is still reserved, or nothing could be amended at all.
        harness.ask(&stock("more", Received, "cup", "wh-3", 9)).accepted();
        let all = [lines[0], lines[1], ("cup", "wh-3", 1)];
        let mut harness_of_three = stocked();
        harness_of_three.ask(&stock("more", Received, "cup", "wh-3", 9)).accepted();
        let three = harness_of_three.ask(&reserve("hold", &all)).hold().id;
        harness_of_three.ask(&release("x", part(three, &lines[..1]))).accepted();
        harness_of_three.ask(&allocate("y", part(three, &lines[1..]))).accepted();
        let both = [(lines[0].0, "wh-1", 2), (lines[1].0, "wh-1", 2)];
        let reply = reason(&mut harness_of_three, &amend("z", whole(three), &both));
        assert_eq!(reply, Some(Reason::AlreadyAllocated), "{lines:?}");
        assert_eq!(reason(&mut harness, &amend("z", whole(id), &both)), Some(Reason::AlreadyAllocated), "{lines:?}");
    }
}

#[test]
fn an_order_gives_the_same_reason_whichever_of_its_holds_came_first() {
    let expected = [
        ([Allocated, Released], Reason::AlreadyAllocated),
        ([Allocated, Fulfilled], Reason::AlreadyAllocated),
        ([Fulfilled, Released], Reason::AlreadyFulfilled),
    ];
    for (fates, expected) in expected {
        for order in [fates, [fates[1], fates[0]]] {
            let mut harness = stocked();
            for (number, fate) in order.into_iter().enumerate() {
                let key = format!("hold-{number}");
                let mut one = reserve(&key, &[("mug", "wh-1", 1)]);
                one.context.order_ref = "order-1";
                let id = harness.ask(&one).hold().id;
                let key = format!("fate-{number}");
                harness
                    .ask(&match fate {
                        Allocated => allocate(&key, whole(id)),
                        Fulfilled => fulfill(&key, whole(id)),
                        _ => release(&key, whole(id)),
                    })
                    .accepted();
            }
            assert_eq!(reason(&mut harness, &allocate("a", by_order("order-1"))), Some(expected), "{order:?}");
        }
    }
}

#[test]
fn lines_that_can_be_acted_on_are() {
    for lines in BOTH {
        for other in [Fulfilled, Released] {
            let mut harness = stocked();
            let id = hold(&mut harness, lines, [other, Allocated]);
            let done = harness.ask(&fulfill("a", whole(id))).hold();
            assert_eq!(done.lines.len(), 1);
            assert_eq!(done.lines[0].sku, lines[1].0);
        }
    }
}

#[test]
fn a_line_with_too_large_a_quantity_is_refused_after_a_line_that_cannot_be_acted_on() {
    for lines in BOTH {
        let mut harness = stocked();
        let id = hold(&mut harness, lines, [Allocated, Released]);
        let too_much = [(lines[0].0, "wh-1", 5), lines[1]];
        assert_eq!(
            reason(&mut harness, &release("a", part(id, &too_much))),
            Some(Reason::AlreadyReleased),
            "{lines:?}"
        );
    }
}

#[test]
fn an_unknown_item_is_refused_before_an_unknown_location() {
    for (item, place) in [("aaa", "zzz"), ("zzz", "aaa")] {
        let mut harness = stocked();
        let mut lines = [(item, "wh-1", 1), ("mug", place, 1)];
        lines.sort_unstable();
        let id = harness.ask(&reserve("hold", &[("mug", "wh-1", 1)])).hold().id;
        let kind = invengine_ledger::StockState::OnHand;
        let of_stock = lines.map(|(sku, location, units)| (sku, location, units, kind));
        let backwards = [of_stock[1], of_stock[0]];
        for command in [
            reserve("a", &lines),
            release("b", part(id, &lines)),
            amend("c", whole(id), &lines),
            commands::stock_lines("d", Received, &of_stock),
            commands::stock_lines("e", Received, &backwards),
        ] {
            let reply = harness.ask(&command);
            assert_eq!((reply.reason(), reply.fact("sku")), (Some(Reason::UnknownSku), Some(item)), "{command:?}");
        }
    }
}
