//! What commands did, as the entries of keys and sources hold it.

use super::entries::{
    ImageContext, STATES_OF_VERSION_2, level_of, line_state, other_states, put_stock, small_count, stock, units,
};
use crate::codec::{Decoded, Field, Malformed, Reader, put, put_signed};
use crate::entity::EntityKind;
use crate::ids::ReservationId;
use crate::level::LevelFigures;
use crate::one_or_many::OneOrMany;
use crate::outcome::{Effect, HoldChange, LineChange};
use crate::rejection::Rejection;
use crate::stock_transfer::TransferChange;

pub(crate) fn put_effect(out: &mut Vec<u8>, effect: &Effect) {
    match effect {
        Effect::Reserved(hold) => {
            out.push(1);
            put_hold(out, hold);
        }
        Effect::Holds(holds) => {
            out.push(2);
            put(out, holds.len() as u64);
            holds.iter().for_each(|hold| put_hold(out, hold));
        }
        Effect::KeyCancelled => out.push(3),
        Effect::Levels(levels) => {
            out.push(4);
            put_figures(out, levels);
        }
        Effect::Done => out.push(5),
        Effect::Registered { epoch, previous_epoch, previous_sequence, parked_dropped } => {
            out.push(if *parked_dropped == 0 { 6 } else { 14 });
            [epoch, previous_epoch, previous_sequence].into_iter().for_each(|number| put(out, *number));
            if *parked_dropped > 0 {
                put(out, *parked_dropped);
            }
        }
        Effect::Tombstone => out.push(7),
        Effect::Refused(rejection) => {
            out.push(8);
            out.extend_from_slice(rejection);
        }
        Effect::Put(versions) => {
            out.push(9);
            versions.put(out);
        }
        Effect::Transfer(change) => {
            out.push(10);
            change.put(out);
        }
        Effect::Claimed { levels, lines } => {
            out.push(11);
            put_figures(out, levels);
            lines.put(out);
        }
        Effect::Echo => out.push(12),
        Effect::Waits => out.push(13),
    }
}

pub(super) fn effect(from: &mut Reader<'_>, image: ImageContext) -> Decoded<Effect> {
    Ok(match from.byte()? {
        1 => Effect::Reserved(hold(from, image)?),
        2 => {
            let mut holds = OneOrMany::default();
            for _ in 0..from.count(7)? {
                holds.push(hold(from, image)?);
            }
            Effect::Holds(holds)
        }
        3 => Effect::KeyCancelled,
        4 => Effect::Levels(figures(from, image)?),
        5 => Effect::Done,
        kind @ (6 | 14) => Effect::Registered {
            epoch: from.number()?,
            previous_epoch: from.number()?,
            previous_sequence: from.number()?,
            parked_dropped: if kind == 6 { 0 } else { from.number()? },
        },
        7 => Effect::Tombstone,
        9 => Effect::Put(Field::read(from)?),
        10 => Effect::Transfer(Box::new(transfer_change(from, image)?)),
        11 => claimed(from, image)?,
        12 => Effect::Echo,
        13 => Effect::Waits,
        _ => return Err(Malformed("an unknown effect")),
    })
}

/// Claims of lines that the command had.
fn claimed(from: &mut Reader<'_>, image: ImageContext) -> Decoded<Effect> {
    let (levels, lines): (OneOrMany<LevelFigures>, OneOrMany<u32>) = (figures(from, image)?, Field::read(from)?);
    let fits = lines.iter().all(|line| (*line as usize) < levels.len());
    let levels = levels.into_iter().collect();
    fits.then_some(Effect::Claimed { levels, lines })
        .ok_or(Malformed("a claim of a line that the command did not have"))
}

/// A change of a stock transfer whose names exist.
fn transfer_change(from: &mut Reader<'_>, image: ImageContext) -> Decoded<TransferChange> {
    let change = TransferChange::read(from)?;
    let mut is_known = (change.transfer as usize) < image.names[EntityKind::StockTransfers as usize];
    change.value.for_each_reference(&mut |kind, handle| is_known &= (handle as usize) < image.names[kind as usize]);
    is_known.then_some(change).ok_or(Malformed("a stock transfer with a name that does not exist"))
}

/// The remembered rejection of a refused key.
pub(crate) fn refusal(from: &mut Reader<'_>) -> Decoded<Effect> {
    match from.byte()? {
        8 => Ok(Effect::refused(&Rejection::read(from)?)),
        _ => Err(Malformed("a remembered refusal is not a refusal")),
    }
}

fn put_hold(out: &mut Vec<u8>, hold: &HoldChange) {
    hold.id.put(out);
    put(out, u64::from(hold.version));
    out.push(u8::from(hold.reacquired));
    put_signed(out, hold.expire_ms);
    put(out, hold.lines.len() as u64);
    for line in hold.lines.iter() {
        put(out, u64::from(line.level));
        out.push(line.state as u8);
        put_signed(out, line.quantity);
        put_signed(out, line.outstanding);
    }
}

fn put_figures(out: &mut Vec<u8>, levels: &[LevelFigures]) {
    put(out, levels.len() as u64);
    for level in levels {
        put(out, u64::from(level.level));
        put_stock(out, &level.stock);
        put_signed(out, level.reserved);
        put_signed(out, level.allocated);
    }
}

fn figures(from: &mut Reader<'_>, image: ImageContext) -> Decoded<OneOrMany<LevelFigures>> {
    let mut all = OneOrMany::default();
    for _ in 0..from.count(5)? {
        let level = level_of(from, image)?;
        all.push(if image.version < 3 {
            let (on_hand, reserved, allocated) = (units(from)?, units(from)?, units(from)?);
            let stock = other_states(from, STATES_OF_VERSION_2)?;
            LevelFigures { level, stock: stock.with_sellable(on_hand - stock.on_hand()), reserved, allocated }
        } else {
            LevelFigures { level, stock: stock(from, image.version)?, reserved: units(from)?, allocated: units(from)? }
        });
    }
    Ok(all)
}

fn hold(from: &mut Reader<'_>, image: ImageContext) -> Decoded<HoldChange> {
    let (id, version) = (ReservationId::read(from)?, small_count(from)?);
    let (reacquired, expire_ms) = (from.byte()? == 1, from.signed()?);
    let mut lines = OneOrMany::default();
    for _ in 0..from.count(4)? {
        lines.push(LineChange {
            level: level_of(from, image)?,
            state: line_state(from.byte()?)?,
            quantity: units(from)?,
            outstanding: units(from)?,
        });
    }
    Ok(HoldChange { id, version, reacquired, expire_ms, lines })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::IMAGE_VERSION;
    use crate::stock_transfer::{Route, StockTransfer, TransferLine};

    #[test]
    fn a_stock_transfer_of_an_outcome_has_names_that_exist() {
        let image = ImageContext { version: IMAGE_VERSION, levels: 0, names: [1, 2, 0, 0, 1, 0, 0, 0] };
        let read = |transfer, destination, item| {
            let lines = OneOrMany::One(TransferLine { item, shipped: 1, ..TransferLine::default() });
            let value = StockTransfer { route: Route { origin: 0, destination }, ship_ms: 0, lines };
            let mut bytes = Vec::new();
            put_effect(&mut bytes, &Effect::Transfer(Box::new(TransferChange { transfer, version: 1, value })));
            effect(&mut Reader::new(&bytes), image).is_ok()
        };
        assert!(read(0, 1, 0));
        assert!(!read(1, 1, 0) && !read(0, 2, 0) && !read(0, 1, 1));
    }
}
