//! Units do not appear or vanish: what an item has is what it had, and what events say came in and left. Per item, over all its
//! levels and from any position on:
//!
//! `opening + received + returned + adjusted − fulfilled − lost = closing`, where opening and closing count the units on hand
//! and those in transit.

use hashbrown::HashMap;

use crate::event::{Event, StockKind};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::record::Record;
use crate::stock_transfer::Remainder;

/// Units by where they came from or went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitFlows {
    /// On hand or in transit at the start.
    pub opening: i64,
    /// Received.
    pub received: i64,
    /// Returned by customers.
    pub returned: i64,
    /// Found or missing: adjustments, set and counted quantities, what a stock transfer had too many.
    pub adjusted: i64,
    /// Left for a customer.
    pub fulfilled: i64,
    /// Lost on the way.
    pub lost: i64,
}

impl UnitFlows {
    /// What must be there.
    pub fn expected(&self) -> i64 {
        self.opening + self.received + self.returned + self.adjusted - self.fulfilled - self.lost
    }

    fn add(&mut self, other: &UnitFlows) {
        self.opening += other.opening;
        self.received += other.received;
        self.returned += other.returned;
        self.adjusted += other.adjusted;
        self.fulfilled += other.fulfilled;
        self.lost += other.lost;
    }
}

/// The flows of the items that records touched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conservation(HashMap<Handle, UnitFlows>);

impl Conservation {
    /// Notes what a record will bring in and take out. Called before it is applied.
    pub fn before(&mut self, ledger: &Ledger, record: &Record<'_>) {
        for event in record.events.iter() {
            for_each_flow(ledger, event, |item, flow| {
                let found = self
                    .0
                    .entry(item)
                    .or_insert_with(|| UnitFlows { opening: units_of(ledger, item), ..UnitFlows::default() });
                found.add(&flow);
            });
        }
    }

    /// The items whose units are not what came in and left.
    pub fn broken<'l>(&'l self, ledger: &'l Ledger) -> impl Iterator<Item = Handle> + 'l {
        let differs =
            |(item, flows): (&Handle, &UnitFlows)| (flows.expected() != units_of(ledger, *item)).then_some(*item);
        self.0.iter().filter_map(differs)
    }

    /// The flows of all items together, those that were never touched included.
    pub fn total(&self, ledger: &Ledger) -> UnitFlows {
        let mut total = UnitFlows::default();
        for item in 0..ledger.items().len() as Handle {
            match self.0.get(&item) {
                Some(flows) => total.add(flows),
                None => total.opening += units_of(ledger, item),
            }
        }
        total
    }
}

/// On hand or in transit, at all levels of an item.
fn units_of(ledger: &Ledger, item: Handle) -> i64 {
    ledger.levels_of_item(item).iter().map(|level| ledger.levels.quantities(*level).all()).sum()
}

fn for_each_flow(ledger: &Ledger, event: &Event, mut f: impl FnMut(Handle, UnitFlows)) {
    let none = UnitFlows::default();
    match event {
        Event::StockChanged { item, kind, delta, .. } => f(
            *item,
            match kind {
                StockKind::Received => UnitFlows { received: delta.0, ..none },
                StockKind::Returned => UnitFlows { returned: delta.0, ..none },
                StockKind::Adjusted | StockKind::Set | StockKind::Counted => UnitFlows { adjusted: delta.0, ..none },
            },
        ),
        Event::StockMoved { item, .. } => f(*item, none),
        Event::Fulfilled { lines, .. } => {
            for line in lines.iter() {
                if let Some(level) = ledger.level(line.level) {
                    f(level.item, UnitFlows { fulfilled: line.reserved + line.allocated, ..none });
                }
            }
        }
        Event::TransferShipped { lines, .. } => lines.iter().for_each(|line| f(line.item, none)),
        Event::TransferReceived { lines, .. } => {
            lines
                .iter()
                .for_each(|line| f(line.item, UnitFlows { adjusted: line.surplus(), lost: -line.lost, ..none }));
        }
        Event::TransferClosed { remainder, lines, .. } => {
            let lost = |units| if *remainder == Remainder::Lost { units } else { 0 };
            lines.iter().for_each(|line| f(line.item, UnitFlows { lost: lost(line.units), ..none }));
        }
        _ => {}
    }
}
