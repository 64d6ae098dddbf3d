//! Every record survives encoding and decoding, and every record can be folded or is refused.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::authority::{AuthorityRule, ClaimReason, Holder, Place, Right, SourceKind};
use crate::codec::{Field, Reader};
use crate::command::QUANTITY_MAX;
use crate::correction::ClockCorrection;
use crate::entity::{
    Attributes, Consumer, EntityKind, EntityValue, Labels, LocationGroup, LocationType, Money, SourceProfile,
    VersionedEntity,
};
use crate::event::{Delta, LevelUnits, LineMove, StockKind, Units};
use crate::fingerprint::Fingerprint;
use crate::ids::ReservationId;
use crate::keys::Scope;
use crate::ledger::{Ledger, LedgerOptions};
use crate::one_or_many::OneOrMany;
use crate::rejection::{FACT_NAMES, Fact, Reason, Rejection};
use crate::states::StockState;
use crate::stock_transfer::{ArrivedUnits, ItemUnits, Remainder, Route};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-c]{1,2}", 1 => Just(String::new()), 1 => any::<String>()]
}

fn handle() -> impl Strategy<Value = u32> {
    prop_oneof![20 => 0..3u32, 1 => any::<u32>()]
}

fn quantity() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..9i64, 1 => 0..=QUANTITY_MAX, 1 => Just(QUANTITY_MAX)]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 1_000..9_000i64, 1 => any::<i64>()]
}

fn id() -> impl Strategy<Value = ReservationId> {
    let mostly_0 = || prop_oneof![20 => Just(0u32), 1 => any::<u32>()];
    (handle(), mostly_0(), mostly_0()).prop_map(|(slot, generation, epoch)| ReservationId { slot, generation, epoch })
}

fn one_or_many<T: Clone + std::fmt::Debug>(one: impl Strategy<Value = T>) -> impl Strategy<Value = OneOrMany<T>> {
    vec(one, 0..4).prop_map(|list| list.into_iter().collect())
}

fn units() -> impl Strategy<Value = OneOrMany<LevelUnits>> {
    one_or_many((handle(), quantity()).prop_map(|(level, units)| LevelUnits { level, units }))
}

fn moves() -> impl Strategy<Value = OneOrMany<LineMove>> {
    let line = |(level, reserved, allocated)| LineMove { level, reserved, allocated };
    one_or_many((handle(), quantity(), quantity()).prop_map(line))
}

fn rejection() -> impl Strategy<Value = Rejection> {
    let fact = (0..FACT_NAMES.len(), any::<i64>(), name(), any::<bool>()).prop_map(|(place, number, text, is_text)| {
        if is_text { Fact::Text(FACT_NAMES[place], text.into()) } else { Fact::Number(FACT_NAMES[place], number) }
    });
    (0..Reason::ALL.len(), vec(fact, 0..4)).prop_map(|(reason, facts)| Rejection { reason: Reason::ALL[reason], facts })
}

fn stock_changed() -> impl Strategy<Value = Event> {
    let kind = (1..6u8).prop_map(|byte| StockKind::read(&mut Reader::new(&[byte])).expect("a kind"));
    let state = (1..5u8).prop_map(|byte| StockState::read(&mut Reader::new(&[byte])).expect("a state"));
    (handle(), handle(), kind, state, quantity(), any::<bool>()).prop_map(
        |(item, location, kind, state, units, more)| {
            let delta = if more { units } else { -units };
            Event::StockChanged { item, location, kind, state, delta: Delta(delta) }
        },
    )
}

fn labels() -> impl Strategy<Value = Labels> {
    let money = (any::<[u8; 3]>(), any::<i64>(), any::<u32>());
    let unit_value = proptest::option::of(money.prop_map(|(currency, units, nanos)| Money { currency, units, nanos }));
    let attributes = prop_oneof![
        Just(Attributes::None),
        (name(), unit_value).prop_map(|(class, unit_value)| Attributes::Item { class: class.into(), unit_value }),
        (0..5usize).prop_map(|kind| Attributes::Location(LocationType::ALL[kind])),
    ];
    (name(), name(), attributes).prop_map(|(display_name, gs1, attributes)| Labels {
        display_name: display_name.into(),
        gs1: gs1.into(),
        attributes,
    })
}

fn stock_transfer() -> impl Strategy<Value = Event> {
    let route = || (handle(), handle()).prop_map(|(origin, destination)| Route { origin, destination });
    let item_units = || (handle(), quantity()).prop_map(|(item, units)| ItemUnits { item, units });
    let shipped = || vec(item_units(), 0..3).prop_map(|lines| lines.into_iter().collect::<OneOrMany<_>>());
    let state = (1..6u8).prop_map(|byte| StockState::read(&mut Reader::new(&[byte])).expect("a state"));
    let arrived = (handle(), state, (quantity(), quantity(), quantity(), quantity())).prop_map(
        |(item, state, (units, in_transit, lost, sent_back))| ArrivedUnits {
            item,
            state,
            units,
            in_transit,
            lost,
            sent_back,
        },
    );
    let arrived = vec(arrived, 0..3).prop_map(|lines| lines.into_iter().collect::<OneOrMany<_>>());
    let remainder = prop_oneof![Just(Remainder::Lost), Just(Remainder::SentBack)];
    prop_oneof![
        (name(), route(), shipped())
            .prop_map(|(name, route, lines)| { Event::TransferShipped { transfer: name.into(), route, lines } }),
        (handle(), route(), arrived).prop_map(|(transfer, route, lines)| Event::TransferReceived {
            transfer,
            route,
            lines
        }),
        (handle(), route(), remainder, shipped()).prop_map(|(transfer, route, remainder, lines)| {
            Event::TransferClosed { transfer, route, remainder, lines }
        }),
    ]
}

fn state() -> impl Strategy<Value = StockState> {
    (1..6u8).prop_map(|byte| StockState::read(&mut Reader::new(&[byte])).expect("a state"))
}

/// Rules and profiles, and what becomes of commands because of them.
fn authority() -> impl Strategy<Value = Event> {
    let kind = || (0..SourceKind::ALL.len()).prop_map(|number| SourceKind::ALL[number]);
    let holder = prop_oneof![
        name().prop_map(|name| Holder::Source(name.into())),
        kind().prop_map(Holder::Kind),
        Just(Holder::Operator)
    ];
    let place = prop_oneof![
        Just(Place::Everywhere),
        (0..5usize).prop_map(|kind| Place::Type(LocationType::ALL[kind])),
        handle().prop_map(Place::Location),
    ];
    let rights = one_or_many((0..Right::ALL.len()).prop_map(|number| Right::ALL[number]));
    let rule = (name(), 0..4u64, holder, rights, one_or_many(state()), place).prop_map(
        |(name, version, holder, rights, states, place)| {
            let value = EntityValue::AuthorityRule(AuthorityRule { holder, rights, states, place });
            (EntityKind::AuthorityRules, name, version, value)
        },
    );
    let handles = || one_or_many(handle());
    let profile =
        (name(), 0..4u64, kind(), handles(), handles()).prop_map(|(name, version, kind, channels, locations)| {
            let value = EntityValue::SourceProfile(SourceProfile { kind, channels, locations });
            (EntityKind::SourceProfiles, name, version, value)
        });
    let reason = prop_oneof![Just(ClaimReason::NotOwner), Just(ClaimReason::AsOfStale)];
    let claim = (handle(), handle(), state(), quantity(), reason).prop_map(|(item, location, state, units, reason)| {
        Event::ClaimMade { item, location, state, quantity: Units(units), reason }
    });
    prop_oneof![
        2 => prop_oneof![2 => rule, 1 => profile].prop_map(|(kind, name, version, value)| Event::EntityPut {
            entity: VersionedEntity { kind, name: name.into(), version, value }
        }),
        3 => claim,
        1 => (handle(), any::<u64>(), any::<u64>())
            .prop_map(|(source, epoch, number)| Event::Echoed { source, epoch, number }),
    ]
}

/// Messages that are kept, and what becomes of them.
fn kept_message() -> impl Strategy<Value = Event> {
    let message = || vec(any::<u8>(), 0..4).prop_map(Vec::into_boxed_slice);
    let kind = prop_oneof![
        3 => Just(EntityKind::StockTransfers),
        1 => (0..EntityKind::ALL.len()).prop_map(|kind| EntityKind::ALL[kind]),
    ];
    let position = || prop_oneof![8 => 0..12u64, 1 => any::<u64>()];
    prop_oneof![
        4 => message().prop_map(|message| Event::MessageParked { message }),
        3 => (kind, name(), message())
            .prop_map(|(kind, name, message)| Event::MessageWaits { kind, name: name.into(), message }),
        3 => (any::<bool>(), rejection(), message())
            .prop_map(|(forgets, rejection, message)| Event::MessageDead { forgets, rejection, message }),
        2 => (handle(), position()).prop_map(|(source, waiting)| Event::WaitEnded { source, waiting }),
        2 => (handle(), position(), any::<bool>(), name(), name()).prop_map(
            |(source, letter, redriven, actor, reason_code)| Event::LetterSettled {
                source,
                letter,
                redriven,
                actor: actor.into(),
                reason_code: reason_code.into(),
            }
        ),
        2 => (handle(), 0..3u64, position())
            .prop_map(|(source, epoch, through)| Event::GapSkipped { source, epoch, through }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => kept_message(),
        4 => (id(), time(), units()).prop_map(|(id, expire_ms, lines)| Event::Reserved { id, expire_ms, lines }),
        1 => (id(), time()).prop_map(|(id, expire_ms)| Event::Extended { id, expire_ms }),
        1 => (id(), units()).prop_map(|(id, lines)| Event::Amended { id, lines }),
        2 => (id(), any::<bool>(), units())
            .prop_map(|(id, reacquired, lines)| {
                if reacquired { Event::Reacquired { id, lines } } else { Event::Allocated { id, lines } }
            }),
        1 => (id(), moves()).prop_map(|(id, lines)| Event::Released { id, lines }),
        1 => (id(), moves()).prop_map(|(id, lines)| Event::Fulfilled { id, lines }),
        1 => (id(), units()).prop_map(|(id, lines)| Event::Expired { id, lines }),
        1 => (id(), handle(), moves())
            .prop_map(|(id, to_location, lines)| Event::Transferred { id, to_location, lines }),
        4 => stock_changed(),
        2 => (handle(), handle(), 1..5u8, 1..5u8, quantity()).prop_map(|(item, location, from, to, units)| {
            let state = |byte| StockState::read(&mut Reader::new(&[byte])).expect("a state");
            Event::StockMoved { item, location, from: state(from), to: state(to), units: Units(units) }
        }),
        3 => stock_transfer(),
        4 => authority(),
        1 => (0..4usize, name(), name(), name()).prop_map(|(kind, name, display_name, gs1)| Event::Upserted {
            kind: EntityKind::ALL[kind],
            name: name.into(),
            display_name: display_name.into(),
            gs1: gs1.into()
        }),
        1 => (0..4usize, name(), labels()).prop_map(|(kind, name, labels)| Event::UpsertedWithAttributes {
            kind: EntityKind::ALL[kind],
            name: name.into(),
            labels,
        }),
        2 => (name(), 0..4u64, vec(handle(), 0..3)).prop_map(|(name, version, locations)| {
            let value = EntityValue::LocationGroup(LocationGroup { locations: locations.into_iter().collect() });
            let kind = EntityKind::LocationGroups;
            Event::EntityPut { entity: VersionedEntity { kind, name: name.into(), version, value } }
        }),
        1 => (name(), 0..4u64, any::<u64>(), any::<u64>()).prop_map(|(name, version, writer_epoch, sequence)| {
            let value = EntityValue::Consumer(Consumer { ledger: name.clone().into(), writer_epoch, sequence });
            let kind = EntityKind::Consumers;
            Event::EntityPut { entity: VersionedEntity { kind, name: name.into(), version, value } }
        }),
        1 => (0..EntityKind::ALL.len(), handle(), 0..4u64).prop_map(|(kind, handle, version)| {
            Event::EntityRemoved { kind: EntityKind::ALL[kind], handle, version }
        }),
        1 => (name(), any::<u64>()).prop_map(|(source, epoch)| Event::SourceRegistered { source: source.into(), epoch }),
        1 => name().prop_map(|key| Event::KeyCancelled { key: key.into() }),
        1 => rejection().prop_map(|rejection| Event::MessageRejected { rejection }),
        1 => any::<u64>().prop_map(|sequence| Event::MessageRepeated { sequence }),
        1 => any::<i64>().prop_map(|before_ms| Event::KeysForgotten { before_ms }),
        1 => (any::<i64>(), any::<i64>())
            .prop_map(|(wall_ms, engine_ms)| Event::ClockCorrected { correction: ClockCorrection { wall_ms, engine_ms } }),
        1 => (rejection(), any::<bool>()).prop_map(|(rejection, forgets)| Event::CommandRefused { rejection, forgets }),
    ]
}

/// The owned parts of a record: times, numbers, handles, texts, events.
type Parts =
    (i64, Option<(u64, Option<i64>, Option<i64>, Option<u32>, Option<(u32, u64, u64)>, Vec<String>)>, Vec<Event>);

fn parts() -> impl Strategy<Value = Parts> {
    let other_time = || proptest::option::weighted(0.7, prop_oneof![1 => Just(0i64), 2 => time(), 1 => any::<i64>()]);
    let number = || prop_oneof![6 => 0..4u64, 1 => any::<u64>()];
    let source = (handle(), number(), number());
    let origin = (
        any::<u64>(),
        other_time(),
        other_time(),
        proptest::option::weighted(0.3, handle()),
        proptest::option::weighted(0.2, source),
        vec(name(), 8),
    );
    (time(), proptest::option::weighted(0.8, origin), vec(event(), 1..4))
}

fn record(parts: &Parts) -> Record<'_> {
    let (time_ms, origin, events) = parts;
    let origin = origin.as_ref().map(|(fingerprint, issue_time_ms, event_time_ms, channel, source, texts)| Origin {
        fingerprint: Fingerprint { hash: *fingerprint, has_parts: fingerprint % 2 == 0 },
        issue_time_ms: *issue_time_ms,
        event_time_ms: *event_time_ms,
        channel: *channel,
        source: source.map(|(source, epoch, number)| OriginSource { source, epoch, number }),
        passed_on: source.filter(|(_, epoch, _)| epoch % 2 == 1).map(|(source, epoch, number)| OriginSource {
            source,
            epoch: number,
            number: epoch,
        }),
        key: &texts[0],
        unknown_channel: &texts[1],
        order_ref: &texts[2],
        holder: &texts[3],
        actor: &texts[4],
        reason_code: &texts[5],
        reference: &texts[6],
        causation: &texts[7],
    });
    Record { time_ms: *time_ms, origin, events: events.iter().cloned().collect() }
}

fn encoded(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = vec![PAYLOAD_VERSION];
    let mut before_ms = records[0].time_ms;
    for record in records {
        encode(&mut bytes, record, before_ms);
        before_ms = record.time_ms;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_record_survives_encoding_and_decoding(all in vec(parts(), 1..4)) {
        // Times within a frame are close to each other; anything else is refused when it is decoded.
        prop_assume!(all.iter().all(|parts| parts.0.abs() < i64::MAX / 4));
        let records: Vec<Record<'_>> = all.iter().map(record).collect();
        let bytes = encoded(&records);
        let mut reader = RecordReader::new(&bytes, records[0].time_ms).expect("this version");
        for record in &records {
            let read = reader.next().expect("a whole record");
            prop_assert_eq!(read.as_ref(), Some(record));
        }
        prop_assert_eq!(reader.next().expect("the end"), None);
    }

    #[test]
    fn reading_several_bytes_at_once_equals_reading_them_one_by_one(
        bytes in vec(prop_oneof![4 => 0x80..=0xffu8, 1 => any::<u8>()], 0..14),
    ) {
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.number().ok(), slow_number(&bytes));
        let taken = bytes.iter().position(|byte| *byte < 0x80).map_or(0, |end| end + 1);
        prop_assert!(slow_number(&bytes).is_none() || bytes[taken..].len() == reader.left());
    }

    #[test]
    fn any_records_are_folded_or_refused(all in vec(parts(), 1..40), keep_time in any::<bool>()) {
        let mut records: Vec<Record<'_>> = all.iter().map(record).collect();
        if keep_time {
            records.iter_mut().for_each(|record| record.time_ms = 5_000);
        }
        let mut ledger = Ledger::new(LedgerOptions::new("any"));
        for names in ["aa", "bb", "cc"] {
            upsert(&mut ledger, names);
        }
        for record in &records {
            if record.time_ms.checked_sub(ledger.time_ms).is_none_or(|later| later < 0) {
                continue;
            }
            let bytes = encoded(std::slice::from_ref(record));
            let sequence = ledger.sequence;
            let folded = ledger.fold(&bytes, record.time_ms, 0);
            let digest = ledger.digest();
            prop_assert_eq!(ledger.digest(), digest);
            if folded.is_err() {
                // What does not apply is found at once, so a journal that this ledger did not write is never continued.
                ledger = Ledger::new(LedgerOptions::new("any"));
                upsert(&mut ledger, "aa");
            } else {
                prop_assert_eq!(ledger.sequence, sequence + record.events.len() as u64);
                prop_assert!(no_hold_is_negative(&ledger));
                prop_assert!(claims_are_counted(&ledger));
                let _ = ledger.key(Scope::Operator, "aa");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    /// Records of one event about messages of two sources, most of which apply: what is kept survives an image, and what does not
    /// apply changes nothing.
    #[test]
    fn any_kept_messages_are_folded_or_refused(
        all in vec((kept_message(), 0..2u32, 1..3u64, prop_oneof![8 => 1..7u64, 1 => any::<u64>()], "[ab]{1,2}"), 1..40),
    ) {
        let mut ledger = Ledger::new(LedgerOptions::new("any"));
        let names = ["a", "b"].map(|source| Event::SourceRegistered { source: source.into(), epoch: 1 });
        let record = Record { time_ms: 0, origin: None, events: names.into_iter().collect() };
        ledger.fold(&encoded(&[record]), 0, 0).expect("sources");
        for (event, source, epoch, number, key) in &all {
            let origin = Origin {
                key,
                source: Some(OriginSource { source: *source, epoch: *epoch, number: *number }),
                ..Origin::default()
            };
            let (before, was_kept) = (ledger.inboxes.digest(), ledger.kept_messages().len());
            ledger.apply(&Record { time_ms: 5_000, origin: Some(origin), events: OneOrMany::One(event.clone()) }, None);
            if std::mem::take(&mut ledger.inapplicable_events) > 0 {
                let skips = matches!(event, Event::GapSkipped { .. });
                let settles = matches!(event, Event::WaitEnded { .. } | Event::LetterSettled { .. });
                prop_assert!(skips || settles || ledger.inboxes.digest() == before, "{event:?}");
                prop_assert!(skips || settles || ledger.kept_messages().len() == was_kept, "{event:?}");
            }
            while ledger.next_ready().is_some() {}
        }
        let digest = ledger.digest();
        let mut loader = crate::ImageLoader::new(LedgerOptions::new("any"));
        let mut image = ledger.image();
        let mut piece = Vec::new();
        while image.next(&mut piece) {
            loader.piece(&piece).expect("a piece");
        }
        let mut loaded = loader.finish().expect("an image");
        prop_assert_eq!(loaded.digest(), digest);
        prop_assert_eq!(format!("{:?}", loaded.kept_messages()), format!("{:?}", ledger.kept_messages()));
    }
}

fn slow_number(bytes: &[u8]) -> Option<u64> {
    let end = bytes.iter().position(|byte| *byte < 0x80)?;
    let places = bytes[..=end].iter().enumerate();
    let value = (end < 10).then(|| places.fold(0, |sum, (at, byte)| sum | (u128::from(byte & 0x7f) << (7 * at))))?;
    u64::try_from(value).ok()
}

fn upsert(ledger: &mut Ledger, name: &str) {
    let entry = |kind: usize| Event::Upserted {
        kind: EntityKind::ALL[kind],
        name: name.into(),
        display_name: "".into(),
        gs1: "".into(),
    };
    let record = Record { time_ms: 0, origin: None, events: (0..3).map(entry).collect() };
    ledger.fold(&encoded(&[record]), 0, 0).expect("names");
}

fn claims_are_counted(ledger: &Ledger) -> bool {
    let writers = (0..ledger.sources().len() as u32).map(Some).chain([None]);
    writers.map(|writer| ledger.claim_count(writer)).sum::<usize>() == ledger.claims_after(None).count()
}

/// Stock may be negative in an arbitrary journal; the units of holds never are.
fn no_hold_is_negative(ledger: &Ledger) -> bool {
    let fine = |units: [i64; 5]| units.iter().all(|units| *units >= 0);
    ledger
        .slab
        .iter()
        .flat_map(|reservation| reservation.lines.iter())
        .all(|line| fine([line.reserved, line.allocated, line.released, line.expired, line.fulfilled]))
}
