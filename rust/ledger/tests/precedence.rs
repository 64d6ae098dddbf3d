//! Where lines and holds of one command are refused for different reasons, the answer does not depend on their order or names.

mod desk;

use invengine_ledger::event::StockKind::Received;
use invengine_ledger::{Command, Reason, ReservationId};

use desk::asks::{allocate, amend, by_order, extend, fulfill, part, release, reserve, stock, transfer, whole};
use desk::{Desk, asks};

type Lines = [(&'static str, &'static str, i64); 2];

/// Both ways round: which of the two items is in the first state.
const BOTH: [Lines; 2] = [[("cup", "wh-1", 1), ("mug", "wh-1", 1)], [("mug", "wh-1", 1), ("cup", "wh-1", 1)]];

fn stocked() -> Desk {
    let mut desk = Desk::default().opened();
    for sku in ["cup", "mug"] {
        desk.ask(&stock(&format!("stock-{sku}"), Received, sku, "wh-1", 9)).did();
        desk.ask(&stock(&format!("room-{sku}"), Received, sku, "wh-2", 9)).did();
    }
    desk
}

/// What happens to one line before the command that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Allocated,
    Lapsed,
    Fulfilled,
    Released,
}

use Fate::{Allocated, Fulfilled, Lapsed, Released};

/// A hold whose first line has one fate and the second another.
fn hold(desk: &mut Desk, lines: Lines, fates: [Fate; 2]) -> ReservationId {
    let id = desk.ask(&reserve("hold", &lines)).hold().id;
    for (number, (line, fate)) in lines.into_iter().zip(fates).enumerate() {
        let key = format!("fate-{number}");
        match fate {
            Allocated => drop(desk.ask(&allocate(&key, part(id, &[line]))).did()),
            Fulfilled => drop(desk.ask(&fulfill(&key, part(id, &[line]))).did()),
            Released => drop(desk.ask(&release(&key, part(id, &[line]))).did()),
            Lapsed => {}
        }
    }
    if fates.contains(&Lapsed) {
        desk.wait(61_000);
    }
    id
}

fn reason(desk: &mut Desk, command: &Command<'_>) -> Option<Reason> {
    desk.ask(command).reason()
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
            let mut desk = stocked();
            let id = hold(&mut desk, lines, fates);
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
                assert_eq!(reason(&mut desk, &command), Some(expected), "{fates:?} {lines:?} {number}");
            }
        }
    }
}

#[test]
fn allocated_comes_before_every_other_reason() {
    for other in [Fulfilled, Released] {
        for lines in BOTH {
            let mut desk = stocked();
            let id = hold(&mut desk, lines, [Allocated, other]);
            for command in [allocate("a", whole(id)), extend("b", whole(id)), allocate("c", part(id, &lines))] {
                assert_eq!(reason(&mut desk, &command), Some(Reason::AlreadyAllocated), "{other:?} {lines:?}");
            }
        }
    }
    for lines in BOTH {
        let mut desk = stocked();
        let id = hold(&mut desk, lines, [Allocated, Lapsed]);
        assert_eq!(reason(&mut desk, &extend("a", whole(id))), Some(Reason::AlreadyAllocated), "{lines:?}");
        desk.ask(&allocate("b", whole(id))).did();
    }
}

#[test]
fn an_amendment_gives_the_same_reason_whatever_its_lines_are_called() {
    for lines in BOTH {
        let mut desk = stocked();
        let id = hold(&mut desk, lines, [Released, Allocated]);
        // One line more is still reserved, or nothing could be amended at all.
        desk.ask(&stock("more", Received, "cup", "wh-3", 9)).did();
        let all = [lines[0], lines[1], ("cup", "wh-3", 1)];
        let mut desk_of_three = stocked();
        desk_of_three.ask(&stock("more", Received, "cup", "wh-3", 9)).did();
        let three = desk_of_three.ask(&reserve("hold", &all)).hold().id;
        desk_of_three.ask(&release("x", part(three, &lines[..1]))).did();
        desk_of_three.ask(&allocate("y", part(three, &lines[1..]))).did();
        let both = [(lines[0].0, "wh-1", 2), (lines[1].0, "wh-1", 2)];
        let told = reason(&mut desk_of_three, &amend("z", whole(three), &both));
        assert_eq!(told, Some(Reason::AlreadyAllocated), "{lines:?}");
        assert_eq!(reason(&mut desk, &amend("z", whole(id), &both)), Some(Reason::AlreadyAllocated), "{lines:?}");
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
            let mut desk = stocked();
            for (number, fate) in order.into_iter().enumerate() {
                let key = format!("hold-{number}");
                let mut one = reserve(&key, &[("mug", "wh-1", 1)]);
                one.context.order_ref = "order-1";
                let id = desk.ask(&one).hold().id;
                let key = format!("fate-{number}");
                desk.ask(&match fate {
                    Allocated => allocate(&key, whole(id)),
                    Fulfilled => fulfill(&key, whole(id)),
                    _ => release(&key, whole(id)),
                })
                .did();
            }
            assert_eq!(reason(&mut desk, &allocate("a", by_order("order-1"))), Some(expected), "{order:?}");
        }
    }
}

#[test]
fn where_something_can_be_acted_on_it_is() {
    for lines in BOTH {
        for other in [Fulfilled, Released] {
            let mut desk = stocked();
            let id = hold(&mut desk, lines, [other, Allocated]);
            let done = desk.ask(&fulfill("a", whole(id))).hold();
            assert_eq!(done.lines.len(), 1);
            assert_eq!(done.lines[0].sku, lines[1].0);
        }
    }
}

#[test]
fn a_line_of_which_too_much_is_asked_is_refused_after_a_line_that_cannot_be_acted_on() {
    for lines in BOTH {
        let mut desk = stocked();
        let id = hold(&mut desk, lines, [Allocated, Released]);
        let too_much = [(lines[0].0, "wh-1", 5), lines[1]];
        assert_eq!(reason(&mut desk, &release("a", part(id, &too_much))), Some(Reason::AlreadyReleased), "{lines:?}");
    }
}

#[test]
fn an_unknown_item_is_refused_before_an_unknown_location() {
    for (item, place) in [("aaa", "zzz"), ("zzz", "aaa")] {
        let mut desk = stocked();
        let mut lines = [(item, "wh-1", 1), ("mug", place, 1)];
        lines.sort_unstable();
        let id = desk.ask(&reserve("hold", &[("mug", "wh-1", 1)])).hold().id;
        let kind = invengine_ledger::event::StockState::OnHand;
        let of_stock = lines.map(|(sku, location, units)| (sku, location, units, kind));
        let backwards = [of_stock[1], of_stock[0]];
        for command in [
            reserve("a", &lines),
            release("b", part(id, &lines)),
            amend("c", whole(id), &lines),
            asks::stock_lines("d", Received, &of_stock),
            asks::stock_lines("e", Received, &backwards),
        ] {
            let told = desk.ask(&command);
            assert_eq!((told.reason(), told.fact("sku")), (Some(Reason::UnknownSku), Some(item)), "{command:?}");
        }
    }
}
