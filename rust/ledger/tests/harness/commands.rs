//! Short constructors for commands. Set `context` for fields that are not arguments.

use invengine_ledger::command::{Body, EntityRef, Line, MoveLine, StockLine, Target, TargetBy, Upsert};
use invengine_ledger::entity::LocationGroupDraft;
use invengine_ledger::event::StockKind;
use invengine_ledger::stock_transfer::{Arrival, ArrivalLine, Remainder, ShipmentLine, TransferCommand};
use invengine_ledger::{Command, Context, ReservationId, StockState};
use invengine_ledger::{EntityDraft, EntityKind};

use super::Harness;

/// Default time to live of holds in tests: they expire at a tick 60 s from now.
pub const TTL_MS: i64 = 60_000;

fn command<'a>(key: &'a str, body: Body<'a>) -> Command<'a> {
    Command { context: Context { key, ..Context::default() }, body }
}

fn lines<'a>(lines: &[(&'a str, &'a str, i64)]) -> Vec<Line<'a>> {
    lines.iter().map(|(sku, location, quantity)| Line { sku, location, quantity: *quantity }).collect()
}

/// Reserve.
pub fn reserve<'a>(key: &'a str, wanted: &[(&'a str, &'a str, i64)]) -> Command<'a> {
    let lines = lines(wanted);
    command(key, Body::Reserve { lines, ttl_ms: TTL_MS, allow_partial: false, replace_own: false })
}

/// The hold of this id, whole.
pub fn whole<'a>(id: ReservationId) -> Target<'a> {
    Target { by: TargetBy::Id(id), lines: Vec::new(), expected_version: 0 }
}

/// Some lines of the hold of this id.
pub fn part<'a>(id: ReservationId, of: &[(&'a str, &'a str, i64)]) -> Target<'a> {
    Target { lines: lines(of), ..whole(id) }
}

/// The hold that this key made.
pub fn by_key(key: &str) -> Target<'_> {
    Target { by: TargetBy::Key(key), lines: Vec::new(), expected_version: 0 }
}

/// All holds of this order.
pub fn by_order(order: &str) -> Target<'_> {
    Target { by: TargetBy::Order(order), lines: Vec::new(), expected_version: 0 }
}

/// Extend by [`TTL_MS`].
pub fn extend<'a>(key: &'a str, target: Target<'a>) -> Command<'a> {
    command(key, Body::Extend { target, ttl_ms: TTL_MS })
}

/// Amend.
pub fn amend<'a>(key: &'a str, target: Target<'a>, wanted: &[(&'a str, &'a str, i64)]) -> Command<'a> {
    command(key, Body::Amend { target, lines: lines(wanted) })
}

/// Allocate.
pub fn allocate<'a>(key: &'a str, target: Target<'a>) -> Command<'a> {
    command(key, Body::Allocate(target))
}

/// Release.
pub fn release<'a>(key: &'a str, target: Target<'a>) -> Command<'a> {
    command(key, Body::Release(target))
}

/// Fulfill.
pub fn fulfill<'a>(key: &'a str, target: Target<'a>) -> Command<'a> {
    command(key, Body::Fulfill(target))
}

/// TransferReservation.
pub fn transfer<'a>(key: &'a str, target: Target<'a>, to_location: &'a str) -> Command<'a> {
    command(key, Body::Transfer { target, to_location })
}

/// A stock command on the on_hand quantity of a level.
pub fn stock<'a>(key: &'a str, kind: StockKind, sku: &'a str, location: &'a str, quantity: i64) -> Command<'a> {
    stock_lines(key, kind, &[(sku, location, quantity, StockState::OnHand)])
}

/// A stock command with several lines.
pub fn stock_lines<'a>(key: &'a str, kind: StockKind, lines: &[(&'a str, &'a str, i64, StockState)]) -> Command<'a> {
    let line = |(sku, location, quantity, state): &(&'a str, &'a str, i64, StockState)| StockLine {
        sku,
        location,
        quantity: *quantity,
        state: *state,
        expected: None,
    };
    command(key, Body::Stock { kind, lines: lines.iter().map(line).collect() })
}

/// Moves units of one level from one state to another.
pub fn move_quantity<'a>(
    key: &'a str,
    (sku, location): (&'a str, &'a str),
    quantity: i64,
    [from, to]: [StockState; 2],
) -> Command<'a> {
    command(key, Body::MoveQuantity { lines: vec![MoveLine { sku, location, quantity, from, to }] })
}

/// Ships a new stock transfer.
pub fn ship<'a>(key: &'a str, transfer: &'a str, [from, to]: [&'a str; 2], lines: &[(&'a str, i64)]) -> Command<'a> {
    let lines = lines.iter().map(|(sku, quantity)| ShipmentLine { sku, quantity: *quantity }).collect();
    command(key, Body::StockTransfer(TransferCommand::Ship { transfer, from, to, lines }))
}

/// Goods of a stock transfer arrive; without lines all that are on their way.
pub fn arrive<'a>(key: &'a str, transfer: &'a str, lines: &[(&'a str, i64, StockState)]) -> Command<'a> {
    let line =
        |(sku, quantity, state): &(&'a str, i64, StockState)| ArrivalLine { sku, quantity: *quantity, state: *state };
    let arrival = if lines.is_empty() { Arrival::Whole } else { Arrival::Lines(lines.iter().map(line).collect()) };
    command(key, Body::StockTransfer(TransferCommand::Receive { transfer, expected_version: None, arrival }))
}

/// What has not arrived of a stock transfer will not.
pub fn close<'a>(key: &'a str, transfer: &'a str, remainder: Remainder) -> Command<'a> {
    command(key, Body::StockTransfer(TransferCommand::Close { transfer, expected_version: None, remainder }))
}

/// Creates names.
pub fn upsert<'a>(key: &'a str, catalogue: EntityKind, names: &[&'a str]) -> Command<'a> {
    let entry = |name: &&'a str| Upsert::labels(name, "", "");
    command(key, Body::Upsert { kind: catalogue, entries: names.iter().map(entry).collect() })
}

/// RegisterSource.
pub fn register<'a>(key: &'a str, source: &'a str) -> Command<'a> {
    command(key, Body::RegisterSource { source })
}

impl Harness {
    /// A ledger with the items mug and cup, the locations wh-1, wh-2 and wh-3, the channels app and web, and nothing on hand.
    pub fn opened(mut self) -> Self {
        for (key, catalogue, names) in [
            ("open-items", EntityKind::Items, &["mug", "cup"][..]),
            ("open-locations", EntityKind::Locations, &["wh-1", "wh-2", "wh-3"][..]),
            ("open-channels", EntityKind::Channels, &["app", "web"][..]),
        ] {
            self.ask(&upsert(key, catalogue, names)).accepted();
        }
        self
    }

    /// The same with this many mugs at wh-1.
    pub fn with_mugs(quantity: i64) -> Self {
        let mut harness = Harness::default().opened();
        harness.ask(&stock("open-stock", StockKind::Received, "mug", "wh-1", quantity)).accepted();
        harness
    }

    /// (on_hand, reserved, allocated, available, oversold) of a level now.
    pub fn level(&self, sku: &str, location: &str) -> (i64, i64, i64, i64, i64) {
        let ledger = &self.ledger;
        let item = ledger.items().find(sku).expect("a known item");
        let place = ledger.locations().find(location).expect("a known location");
        let figures =
            ledger.find_level(item, place).map(|level| ledger.figures(level, self.now_ms)).unwrap_or_default();
        (figures.stock.on_hand(), figures.reserved, figures.allocated, figures.available(), figures.oversold())
    }
}

/// Puts a location group; the expected version is any if absent.
pub fn put_group<'a>(
    key: &'a str,
    name: &'a str,
    locations: Vec<&'a str>,
    expected_version: Option<u64>,
) -> Command<'a> {
    let value = EntityDraft::LocationGroup(LocationGroupDraft { locations });
    let entries = vec![Upsert { name, expected_version, value }];
    command(key, Body::Upsert { kind: EntityKind::LocationGroups, entries })
}

/// Deletes an entity, whatever its version.
pub fn delete<'a>(key: &'a str, kind: EntityKind, name: &'a str) -> Command<'a> {
    command(key, Body::Delete { kind, entries: vec![EntityRef { name, expected_version: None }] })
}
