//! The entries of an image: how each part of the state is encoded and decoded.

use super::IMAGE_VERSION;
use super::effects::{effect, put_effect};
use crate::codec::{Decoded, Field, Malformed, Reader, put, put_signed, put_text};
use crate::correction::IssueTimes;
use crate::entity::{Entities, EntityKind, EntityValue, Labels};
use crate::fingerprint::Fingerprint;
use crate::ids::{Handle, ReservationId, Slot};
use crate::ledger::{Ledger, SlotsByName};
use crate::level::in_range;
use crate::one_or_many::OneOrMany;
use crate::rejection::Rejection;
use crate::reservation::{HeldLine, LineState, Reservation, Slab};
use crate::source::{AppliedMessage, Source, StoredOutcome};
use crate::states::Quantities;

/// The states other than the sellable one that images up to version 2 hold, zeros included: damaged, returned, quality
/// control.
pub(super) const STATES_OF_VERSION_2: u64 = 1 << 2 | 1 << 3 | 1 << 4;

/// More than any ledger reaches, and far below what a field can hold: the next steps of a loaded ledger cannot overflow.
pub(crate) const HIGHEST: u32 = 1 << 31;

/// A number that a ledger increments.
fn count(from: &mut Reader<'_>) -> Decoded<u64> {
    const COUNT_MAX: u64 = 1 << 62;
    Some(from.number()?).filter(|number| *number < COUNT_MAX).ok_or(Malformed("a count is out of range"))
}

pub(super) fn small_count(from: &mut Reader<'_>) -> Decoded<u32> {
    Some(from.handle()?).filter(|number| *number < HIGHEST).ok_or(Malformed("a count is out of range"))
}

/// Units whose sums cannot overflow.
pub(super) fn units(from: &mut Reader<'_>) -> Decoded<i64> {
    Some(from.signed()?).filter(|units| in_range(*units)).ok_or(Malformed("a quantity is out of range"))
}

/// Units of a reservation, which are never negative.
fn held(from: &mut Reader<'_>) -> Decoded<i64> {
    Some(units(from)?).filter(|units| *units >= 0).ok_or(Malformed("a reservation has negative units"))
}

/// A level that exists.
pub(super) fn level_of(from: &mut Reader<'_>, image: ImageContext) -> Decoded<u32> {
    Some(from.handle()?)
        .filter(|level| (*level as usize) < image.levels)
        .ok_or(Malformed("a level that does not exist"))
}

/// What the entries of an image depend on.
#[derive(Clone, Copy)]
pub(super) struct ImageContext {
    /// Version of the image.
    pub version: u64,
    /// Number of its levels.
    pub levels: usize,
    /// Number of names of each kind.
    pub names: [usize; EntityKind::ALL.len()],
}

/// The first entry of an image.
pub(super) struct ImageHead {
    pub version: u64,
    pub name: Box<str>,
    pub sequence: u64,
    pub time_ms: i64,
    pub first_time_ms: i64,
    pub epoch: u32,
    pub expired_reservations: u64,
    /// `None` in images of version 1, which do not contain it.
    pub issued: Option<IssueTimes>,
}

pub(super) fn put_head(out: &mut Vec<u8>, ledger: &Ledger) {
    put(out, IMAGE_VERSION);
    put_text(out, &ledger.options.name);
    put(out, ledger.sequence);
    put_signed(out, ledger.time_ms);
    put_signed(out, ledger.first_time_ms);
    put(out, u64::from(ledger.epoch));
    put(out, ledger.expired_reservations);
    ledger.issue_times.put(out);
}

pub(super) fn head(from: &mut Reader<'_>) -> Decoded<ImageHead> {
    let version = from.number()?;
    if !(1..=IMAGE_VERSION).contains(&version) {
        return Err(Malformed("the image is of a version that this build does not know"));
    }
    Ok(ImageHead {
        version,
        name: from.text()?.into(),
        sequence: count(from)?,
        time_ms: from.signed()?,
        first_time_ms: from.signed()?,
        epoch: from.handle()?,
        expired_reservations: count(from)?,
        issued: (version > 1).then(|| IssueTimes::read(from)).transpose()?,
    })
}

pub(super) fn put_labels(out: &mut Vec<u8>, entities: &Entities, handle: Handle) {
    put_text(out, entities.names().name(handle));
    entities.labels(handle).unwrap_or(&Labels::default()).put(out);
}

/// The labels of an entry; attributes come from version 3 on.
pub(super) fn labels(from: &mut Reader<'_>, image: ImageContext) -> Decoded<Labels> {
    if image.version >= 3 {
        return Labels::read(from);
    }
    Ok(Labels { display_name: Field::read(from)?, gs1: Field::read(from)?, ..Labels::default() })
}

/// The handles of the kinds that have no block of their own.
pub(super) fn entities(ledger: &Ledger) -> Vec<(EntityKind, Handle)> {
    let kinds = EntityKind::ALL.into_iter().filter(|kind| !kind.is_catalogue());
    kinds
        .flat_map(|kind| (0..ledger.entities(kind).names().len() as Handle).map(move |handle| (kind, handle)))
        .collect()
}

pub(super) fn versions(ledger: &Ledger) -> Vec<(EntityKind, (Handle, u64, bool))> {
    let revised = |kind| ledger.entities(kind).names().revised().into_iter().map(move |revised| (kind, revised));
    EntityKind::ALL.into_iter().flat_map(revised).collect()
}

pub(super) fn put_entity(out: &mut Vec<u8>, ledger: &Ledger, (kind, handle): (EntityKind, Handle)) {
    let entities = ledger.entities(kind);
    kind.put(out);
    put_text(out, entities.names().name(handle));
    let value = entities.value(handle);
    value.is_some().put(out);
    if let Some(value) = value {
        value.put(out);
    }
}

/// An entity of one of the kinds that have no block of their own.
pub(super) fn entity<'a>(from: &mut Reader<'a>) -> Decoded<(EntityKind, &'a str, Option<EntityValue>)> {
    let (kind, name) = (EntityKind::read(from)?, from.text()?);
    let value = bool::read(from)?.then(|| EntityValue::read(kind, from)).transpose()?;
    Ok((kind, name, value))
}

pub(super) fn put_version(out: &mut Vec<u8>, (kind, (handle, version, is_removed)): (EntityKind, (Handle, u64, bool))) {
    kind.put(out);
    handle.put(out);
    version.put(out);
    is_removed.put(out);
}

pub(super) fn version(from: &mut Reader<'_>) -> Decoded<(EntityKind, Handle, u64, bool)> {
    Ok((EntityKind::read(from)?, from.handle()?, count(from)?, bool::read(from)?))
}

/// A level without its held units, which follow from the reservations.
pub(super) struct LevelParts {
    pub item: Handle,
    pub location: Handle,
    pub quantities: Quantities,
}

pub(super) fn put_level(out: &mut Vec<u8>, ledger: &Ledger, level: u32) {
    let Some(found) = ledger.levels.get(level) else { return };
    put(out, u64::from(found.item));
    put(out, u64::from(found.location));
    put_stock(out, &ledger.levels.quantities(level));
}

pub(super) fn level(from: &mut Reader<'_>, image: ImageContext) -> Decoded<LevelParts> {
    Ok(LevelParts { item: from.handle()?, location: from.handle()?, quantities: stock(from, image.version)? })
}

/// The sellable units, a bit for each other state that has units, and these units.
pub(super) fn put_stock(out: &mut Vec<u8>, stock: &Quantities) {
    put_signed(out, stock.sellable());
    let others = || stock.others().filter(|(_, units)| *units != 0);
    put(out, others().fold(0, |bits, (state, _)| bits | 1 << state as u64));
    others().for_each(|(_, units)| put_signed(out, units));
}

pub(super) fn stock(from: &mut Reader<'_>, version: u64) -> Decoded<Quantities> {
    let sellable = units(from)?;
    let bits = if version < 3 { STATES_OF_VERSION_2 } else { from.number()? };
    Ok(other_states(from, bits)?.with_sellable(sellable))
}

/// Units of the states with these bits.
pub(super) fn other_states(from: &mut Reader<'_>, bits: u64) -> Decoded<Quantities> {
    let (mut stock, mut unknown) = (Quantities::default(), bits);
    for (state, _) in Quantities::default().others() {
        let bit = 1 << state as u64;
        if bits & bit != 0 {
            stock.change(state, units(from)?);
            unknown &= !bit;
        }
    }
    if unknown == 0 { Ok(stock) } else { Err(Malformed("units in a state that this build does not know")) }
}

/// One slot of the slab.
pub(super) struct SlotParts {
    pub generation: u32,
    pub ended_in: u32,
    pub reservation: Option<Reservation>,
}

pub(super) fn put_slot(out: &mut Vec<u8>, slab: &Slab, slot: Slot) {
    put(out, u64::from(slab.generation(slot)));
    put(out, u64::from(slab.ended_in(slot)));
    let Some(reservation) = slab.at(slot) else { return out.push(0) };
    out.push(1);
    put(out, u64::from(reservation.id.epoch));
    put(out, u64::from(reservation.version));
    put(out, reservation.channel.map_or(0, |channel| u64::from(channel) + 1));
    put_signed(out, reservation.expire_ms);
    put_signed(out, reservation.create_ms);
    put(out, reservation.sequence);
    for text in [&reservation.key, &reservation.order_ref, &reservation.holder] {
        put_text(out, text);
    }
    put(out, reservation.lines.len() as u64);
    for line in reservation.lines.iter() {
        put(out, u64::from(line.level));
        out.push(line.last as u8);
        for units in [line.reserved, line.allocated, line.released, line.expired, line.fulfilled] {
            put_signed(out, units);
        }
    }
}

pub(super) fn slot_parts(from: &mut Reader<'_>, slot: Slot) -> Decoded<SlotParts> {
    let (generation, ended_in) = (small_count(from)?, from.handle()?);
    let reservation = match from.byte()? {
        0 => None,
        1 => Some(reservation(from, slot, generation)?),
        _ => return Err(Malformed("a slot is neither free nor in use")),
    };
    Ok(SlotParts { generation, ended_in, reservation })
}

fn reservation(from: &mut Reader<'_>, slot: Slot, generation: u32) -> Decoded<Reservation> {
    let id = ReservationId { slot, generation, epoch: from.handle()? };
    let version = small_count(from)?;
    let channel = match from.number()? {
        0 => None,
        channel => Some(Handle::try_from(channel - 1).map_err(|_| Malformed("a handle is out of range"))?),
    };
    let (expire_ms, create_ms, sequence) = (from.signed()?, from.signed()?, from.number()?);
    let (key, order_ref, holder) = (from.text()?.into(), from.text()?.into(), from.text()?.into());
    let mut lines = OneOrMany::default();
    for _ in 0..from.count(7)? {
        lines.push(HeldLine {
            level: from.handle()?,
            last: line_state(from.byte()?)?,
            reserved: held(from)?,
            allocated: held(from)?,
            released: held(from)?,
            expired: held(from)?,
            fulfilled: held(from)?,
        });
    }
    Ok(Reservation { id, version, channel, expire_ms, create_ms, sequence, key, order_ref, holder, lines })
}

pub(super) fn line_state(byte: u8) -> Decoded<LineState> {
    Ok(match byte {
        1 => LineState::Reserved,
        2 => LineState::Allocated,
        3 => LineState::Released,
        4 => LineState::Expired,
        5 => LineState::Fulfilled,
        _ => return Err(Malformed("an unknown state of a line")),
    })
}

/// Names with more than one reservation, sorted: for a single one there is no order to store.
pub(super) fn shared_names(index: &SlotsByName) -> Vec<&str> {
    let mut names: Vec<&str> = index.iter().filter(|(_, slots)| slots.len() > 1).map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names
}

pub(super) fn put_shared(out: &mut Vec<u8>, name: &str, index: &SlotsByName) {
    let slots = index.get(name).map_or(&[][..], |slots| slots);
    put_text(out, name);
    put(out, slots.len() as u64);
    slots.iter().for_each(|slot| put(out, u64::from(*slot)));
}

pub(super) fn shared(from: &mut Reader<'_>) -> Decoded<(Box<str>, Vec<Slot>)> {
    let name = from.text()?.into();
    let mut slots = Vec::new();
    for _ in 0..from.count(1)? {
        slots.push(from.handle()?);
    }
    Ok((name, slots))
}

pub(super) fn put_source(out: &mut Vec<u8>, source: &Source) {
    put_text(out, &source.name);
    put(out, source.epoch);
    put(out, source.last);
    put(out, source.recent().len() as u64);
    for applied in source.recent() {
        put(out, applied.fingerprint.hash);
        put(out, applied.sequence << 1 | u64::from(applied.fingerprint.has_parts));
        match &applied.outcome {
            StoredOutcome::Accepted(effect) => {
                out.push(1);
                put_effect(out, effect);
            }
            StoredOutcome::Rejected(rejection) => {
                out.push(2);
                rejection.put(out);
            }
        }
    }
}

/// A source with its kept outcomes, which are those of its last numbers.
pub(super) struct SourceParts {
    pub name: Box<str>,
    pub epoch: u64,
    pub last: u64,
    pub recent: Vec<AppliedMessage>,
}

pub(super) fn source(from: &mut Reader<'_>, image: ImageContext) -> Decoded<SourceParts> {
    let (name, epoch, last) = (from.text()?.into(), count(from)?, count(from)?);
    let outcomes = from.count(4)?;
    let first =
        last.checked_sub(outcomes as u64).ok_or(Malformed("a source keeps more outcomes than it had messages"))?;
    let mut recent = Vec::new();
    for number in first + 1..=last {
        let (hash, sequence) = (from.number()?, from.number()?);
        let has_parts = image.version >= 3 && sequence & 1 == 1;
        let sequence = if image.version < 3 { sequence } else { sequence >> 1 };
        let fingerprint = Fingerprint { hash, has_parts };
        let outcome = match from.byte()? {
            1 => StoredOutcome::Accepted(effect(from, image)?),
            2 => StoredOutcome::Rejected(Rejection::read(from)?),
            _ => return Err(Malformed("an outcome is neither accepted nor rejected")),
        };
        recent.push(AppliedMessage { number, fingerprint, sequence, outcome });
    }
    Ok(SourceParts { name, epoch, last, recent })
}
