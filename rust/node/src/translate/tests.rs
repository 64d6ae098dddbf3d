//! Round trips: the bytes of a request, a ledger, the bytes of the answer.

use invengine_ledger::outcome::{HoldChange, LineChange};
use invengine_ledger::reservation::LineState;
use invengine_ledger::{Command, Effect, Executed, Ledger, LedgerOptions, Payload, RecordReader};
use invengine_wire::v1;
use invengine_wire::v1::event::Fact;
use invengine_wire::v1::hold_target::By;
use prost::Message;

use super::command::{CommandMethod, CommandRequest};
use super::event_filter::EventFilter;
use super::outcomes::Outcomes;
use super::read::{ReadMethod, ReadRequest, View};
use super::{answer, events::events, with_submit};
use crate::positions::EventEpochs;
use crate::refusal::Refusal;
use crate::sizes::COMMAND_ANSWER_BYTES_MAX;

const START_MS: i64 = 1_000;

/// A ledger with one item at two locations, and the payload of its journal.
pub(super) struct Harness {
    pub(super) ledger: Ledger,
    payload: Payload,
    now_ms: i64,
}

impl Harness {
    pub(super) fn new() -> Self {
        let ledger = Ledger::new(LedgerOptions::new("main"));
        let mut harness = Harness { ledger, payload: Payload::default(), now_ms: START_MS };
        let item = v1::Item { sku: "tea".into(), ..v1::Item::default() };
        harness.ask(&v1::UpsertItemsRequest { context: key("i"), items: vec![item] }).unwrap();
        let place = |name: &str| v1::Location { location: name.into(), ..v1::Location::default() };
        let locations = vec![place("here"), place("there")];
        let request = v1::UpsertLocationsRequest { context: key("l"), locations };
        harness.ask(&request).unwrap();
        let lines = ["there", "here"].map(|location| v1::StockLine {
            sku: "tea".into(),
            location: location.into(),
            quantity: 9,
            state: 0,
        });
        harness.ask(&v1::ReceiveRequest { context: key("r"), lines: lines.into() }).unwrap();
        harness
    }

    pub(super) fn run(&mut self, command: &Command<'_>) -> Executed {
        self.ledger.execute(command, self.now_ms, &mut self.payload, 1 << 20)
    }

    fn ask<M: CommandRequest>(&mut self, request: &M) -> Result<Vec<u8>, Refusal> {
        let tag = self.ledger.tag();
        let method = CommandMethod::of::<M>();
        method.with_command(&request.encode_to_vec(), "", tag, |command| {
            let executed = self.run(command);
            answer::reply(&method, &self.ledger, command, &executed)
        })?
    }

    fn reserve(&mut self, name: &str, units: i64) -> v1::ReserveResponse {
        let answer = self.ask(&reserve(name, &[("here", units)])).unwrap();
        v1::ReserveResponse::decode(&*answer).unwrap()
    }

    fn look<A: Message + Default, M: ReadRequest>(&self, request: &M) -> Result<A, Refusal> {
        let epochs = EventEpochs::default().claimed(7);
        let found = ReadMethod::of::<M>().read(&request.encode_to_vec(), &self.ledger, self.view(&epochs))?;
        Ok(A::decode(&*found.bytes).unwrap())
    }

    fn view<'a>(&self, epochs: &'a EventEpochs) -> View<'a> {
        let newest = epochs.newest(self.ledger.sequence());
        View { now_ms: self.now_ms, durable_sequence: 1, tag: self.ledger.tag(), epochs, newest }
    }

    fn events(&self) -> Vec<v1::Event> {
        let mut reader = RecordReader::new(self.payload.bytes(), self.payload.frame_time_ms()).unwrap();
        let mut found = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            let first = found.len() as u64 + 1;
            found.extend(events(&self.ledger, &record, &EventFilter::default(), first, first, 7));
        }
        found
    }
}

fn key(name: &str) -> Option<v1::CommandContext> {
    Some(v1::CommandContext { idempotency_key: name.into(), ..v1::CommandContext::default() })
}

fn reserve(name: &str, lines: &[(&str, i64)]) -> v1::ReserveRequest {
    let line = |(location, quantity): &(&str, i64)| v1::LineRequest {
        sku: "tea".into(),
        location: (*location).into(),
        location_group: String::new(),
        quantity: *quantity,
    };
    v1::ReserveRequest { context: key(name), lines: lines.iter().map(line).collect(), ..v1::ReserveRequest::default() }
}

fn by_id(token: &str) -> Option<v1::HoldTarget> {
    Some(v1::HoldTarget { by: Some(By::ReservationId(token.into())), ..v1::HoldTarget::default() })
}

fn fields(refusal: &Refusal) -> Vec<&str> {
    refusal.violations.iter().map(|(field, _)| field.as_str()).collect()
}

#[test]
fn lines_are_merged_and_sorted_and_a_repeat_says_the_same() {
    let mut harness = Harness::new();
    let request = reserve("k", &[("there", 1), ("here", 2), ("there", 3)]);
    let answer = harness.ask(&request).unwrap();
    let mut first = v1::ReserveResponse::decode(&*answer).unwrap();
    let hold = first.hold.clone().unwrap();
    let lines: Vec<_> = hold.lines.iter().map(|line| (line.location.as_str(), line.quantity, line.state)).collect();
    assert_eq!(lines, [("here", 2, v1::LineState::Reserved as i32), ("there", 4, v1::LineState::Reserved as i32)]);
    assert_eq!(harness.ledger.parse_token(&hold.reservation_id).map(|id| id.slot), Some(0));
    let receipt = first.receipt.as_mut().unwrap();
    assert_eq!(receipt.sequence, receipt.durable_sequence);
    receipt.replayed = true;
    let again = harness.ask(&reserve("k", &[("here", 2), ("there", 4)])).unwrap();
    assert_eq!(v1::ReserveResponse::decode(&*again).unwrap(), first);
}

#[test]
fn a_hold_is_identified_by_its_token_and_by_no_other() {
    let mut harness = Harness::new();
    let hold = harness.reserve("k", 2).hold.unwrap();
    let allocate = |name: &str, token: &str| v1::AllocateRequest { context: key(name), target: by_id(token) };
    let answer = harness.ask(&allocate("a", &hold.reservation_id)).unwrap();
    let holds = v1::AllocateResponse::decode(&*answer).unwrap().holds;
    assert_eq!(holds[0].lines[0].state, v1::LineState::Allocated as i32);
    let refusal = harness.ask(&allocate("b", "nobody")).unwrap_err();
    assert_eq!((refusal.reason, refusal.metadata["reservation"].as_str()), ("RESERVATION_NOT_FOUND", "nobody"));
}

#[test]
fn each_bad_field_is_named() {
    let mut harness = Harness::new();
    let max = (1i64 << 53) - 1;
    let mut rows = vec![
        (reserve("", &[("here", 1)]), vec!["context.idempotency_key"]),
        (reserve("k", &[]), vec!["lines"]),
        (reserve("k", &[("here", 0), ("", 1)]), vec!["lines[0].quantity", "lines[1].location"]),
        (reserve("k", &[("here", 1), ("there", max), ("here", max)]), vec!["lines[2].quantity"]),
    ];
    let mut both = reserve("k", &[("here", 1)]);
    both.lines[0].location_group = "eu".into();
    both.replace_own = true;
    rows.push((both, vec!["context.holder", "lines[0].location"]));
    for (request, expected) in rows {
        let refusal = harness.ask(&request).unwrap_err();
        assert_eq!((refusal.reason, fields(&refusal)), ("INVALID_FIELD", expected));
    }
    let mut group = reserve("k", &[("", 1)]);
    group.lines[0].location_group = "eu".into();
    assert_eq!(harness.ask(&group).unwrap_err().reason, "UNIMPLEMENTED");
    let malformed = CommandMethod::of::<v1::ReserveRequest>().with_command(b"\xff", "", 0, |_| ()).unwrap_err();
    assert_eq!(fields(&malformed), ["message"]);
}

#[test]
fn the_key_of_the_metadata_is_used_if_the_message_has_none() {
    for (own, expected) in [("", "outer"), ("inner", "inner")] {
        let bytes = reserve(own, &[("here", 1)]).encode_to_vec();
        let seen = CommandMethod::of::<v1::ReserveRequest>()
            .with_command(&bytes, "outer", 0, |command| command.context.key.to_owned());
        assert_eq!(seen.unwrap(), expected);
    }
}

#[test]
fn targets_have_their_rules() {
    let line = |units| v1::LineSelection { sku: "tea".into(), location: "here".into(), quantity: units };
    let target = |by: By| v1::HoldTarget { by: Some(by), ..v1::HoldTarget::default() };
    let order = || target(By::OrderRef("o".into()));
    let whole = || target(By::ReservationId("t".into()));
    let rows = [
        ("Allocate", v1::HoldTarget::default(), vec!["target"]),
        ("Allocate", target(By::ReservationKey("ö".into())), vec!["target.reservation_key"]),
        ("Allocate", v1::HoldTarget { lines: vec![line(1)], ..order() }, vec!["target.lines"]),
        ("Allocate", v1::HoldTarget { expected_version: 1, ..order() }, vec!["target.expected_version"]),
        ("Allocate", v1::HoldTarget { expected_version: -1, ..whole() }, vec!["target.expected_version"]),
        ("Allocate", v1::HoldTarget { lines: vec![line(-1)], ..whole() }, vec!["target.lines[0].quantity"]),
        ("Extend", v1::HoldTarget { lines: vec![line(1)], ..whole() }, vec!["target.lines"]),
        ("Amend", order(), vec!["target.order_ref"]),
    ];
    for (command, target, expected) in rows {
        let (context, target) = (key("k"), Some(target));
        let (method, bytes) = match command {
            "Allocate" => {
                (CommandMethod::of::<v1::AllocateRequest>(), v1::AllocateRequest { context, target }.encode_to_vec())
            }
            "Extend" => {
                let request = v1::ExtendRequest { context, target, ttl: None };
                (CommandMethod::of::<v1::ExtendRequest>(), request.encode_to_vec())
            }
            _ => {
                let request = v1::AmendRequest { context, target, lines: vec![line(1)] };
                (CommandMethod::of::<v1::AmendRequest>(), request.encode_to_vec())
            }
        };
        let refusal = method.with_command(&bytes, "", 0, |_| ()).unwrap_err();
        assert_eq!(fields(&refusal), expected, "{command}");
    }
    let twice = v1::AmendRequest { context: key("k"), target: Some(whole()), lines: vec![line(1), line(2)] };
    let refusal =
        CommandMethod::of::<v1::AmendRequest>().with_command(&twice.encode_to_vec(), "", 0, |_| ()).unwrap_err();
    assert_eq!(fields(&refusal), ["lines[1]"]);
}

#[test]
fn all_of_a_line_includes_its_parts() {
    let line = |units| v1::LineSelection { sku: "tea".into(), location: "here".into(), quantity: units };
    for (units, expected) in [(vec![1, 2], 3), (vec![1, 0, 2], 0)] {
        let lines = units.into_iter().map(line).collect();
        let target = v1::HoldTarget { lines, ..by_id("t").unwrap() };
        let bytes = v1::ReleaseRequest { context: key("k"), target: Some(target) }.encode_to_vec();
        let seen =
            CommandMethod::of::<v1::ReleaseRequest>().with_command(&bytes, "", 0, |command| match &command.body {
                invengine_ledger::command::Body::Release(target) => {
                    target.lines.iter().map(|line| line.quantity).collect()
                }
                _ => Vec::new(),
            });
        assert_eq!(seen.unwrap(), [expected]);
    }
}

#[test]
fn a_batch_continues_after_an_invalid_command() {
    let mut harness = Harness::new();
    let command = |request| v1::Command { command: Some(v1::command::Command::Reserve(request)) };
    let commands = vec![
        command(reserve("a", &[("here", 2)])),
        command(reserve("b", &[("here", 0)])),
        v1::Command::default(),
        command(reserve("c", &[("here", 99)])),
        command(reserve("d", &[("here", 1)])),
    ];
    let mut outcomes = Outcomes::default();
    let tag = harness.ledger.tag();
    with_submit(&v1::SubmitRequest { commands }.encode_to_vec(), tag, &mut |commands| {
        for command in commands {
            match command {
                Ok(command) => {
                    let executed = harness.run(command);
                    outcomes.push(&harness.ledger, &executed, &command.context);
                }
                Err(refusal) => outcomes.push_refused(refusal),
            }
        }
    })
    .unwrap();
    let answer = v1::SubmitResponse::decode(&*outcomes.into_response(5)).unwrap();
    let reason =
        |outcome: &v1::Outcome| outcome.rejection.as_ref().map_or("", |rejection| rejection.reason.as_str()).to_owned();
    let reasons: Vec<String> = answer.outcomes.iter().map(reason).collect();
    assert_eq!(reasons, ["", "INVALID_FIELD", "INVALID_FIELD", "INSUFFICIENT_STOCK", ""]);
    assert_eq!((answer.outcomes[4].holds[0].version, answer.durable_sequence), (1, 5));
}

#[test]
fn a_batch_has_its_limits() {
    for count in [0, 1_001] {
        let batch = v1::SubmitRequest { commands: vec![v1::Command::default(); count] };
        let refused = with_submit(&batch.encode_to_vec(), 0, &mut |_| panic!("nothing of it is executed"));
        assert_eq!(fields(&refused.unwrap_err()), ["commands"]);
    }
}

#[test]
fn a_hold_past_its_expiry_reads_as_expired_and_is_not_listed() {
    let mut harness = Harness::new();
    let token = harness.reserve("k", 3).hold.unwrap().reservation_id;
    let by = Some(v1::get_reservation_request::By::ReservationId(token));
    let request = v1::GetReservationRequest { by, ..v1::GetReservationRequest::default() };
    let list = v1::ListReservationsRequest::default();
    for (now_ms, reserved, expired, listed) in [(START_MS, 3, 0, 1), (START_MS + 15 * 60_000, 0, 3, 0)] {
        harness.now_ms = now_ms;
        let found: v1::GetReservationResponse = harness.look(&request).unwrap();
        let line = &found.reservation.unwrap().lines[0];
        assert_eq!((line.quantity, line.reserved, line.expired), (3, reserved, expired));
        let found: v1::ListReservationsResponse = harness.look(&list).unwrap();
        assert_eq!(found.reservations.len(), listed);
    }
}

#[test]
fn reservations_come_in_pages_in_the_order_they_were_made() {
    let mut harness = Harness::new();
    let made: Vec<String> =
        ["a", "b", "c", "d", "e"].iter().map(|name| harness.reserve(name, 1).hold.unwrap().reservation_id).collect();
    let mut request = v1::ListReservationsRequest { page_size: 2, ..v1::ListReservationsRequest::default() };
    let mut seen = Vec::new();
    for left in [3, 1, 0] {
        let found: v1::ListReservationsResponse = harness.look(&request).unwrap();
        seen.extend(found.reservations.into_iter().map(|each| each.reservation_id));
        assert_eq!((found.next_page_token.is_empty(), made.len() - seen.len()), (left == 0, left));
        request.page_token = found.next_page_token;
    }
    assert_eq!(seen, made);
}

#[test]
fn the_outcome_of_a_key_depends_on_its_last_event() {
    let mut harness = Harness::new();
    let answer = harness.reserve("k", 2);
    let bytes = v1::GetOutcomeRequest { idempotency_key: "k".into(), ..v1::GetOutcomeRequest::default() };
    let epochs = EventEpochs::default().claimed(7);
    let found = ReadMethod::of::<v1::GetOutcomeRequest>()
        .read(&bytes.encode_to_vec(), &harness.ledger, harness.view(&epochs))
        .unwrap();
    assert_eq!(found.depends_on, answer.receipt.unwrap().sequence as u64);
    let known = v1::GetOutcomeResponse::decode(&*found.bytes).unwrap();
    assert_eq!((known.known, known.sequence), (true, answer.receipt.unwrap().sequence));
    let outcome = known.outcome.unwrap();
    assert_eq!((&outcome.holds[0], outcome.receipt.unwrap().replayed), (answer.hold.as_ref().unwrap(), true));
    let never = v1::GetOutcomeRequest { idempotency_key: "never".into(), ..v1::GetOutcomeRequest::default() };
    let unknown: v1::GetOutcomeResponse = harness.look(&never).unwrap();
    assert_eq!((unknown.known, unknown.outcome, unknown.key_cancelled), (false, None, false));
}

#[test]
fn availability_is_answered_in_the_order_of_the_queries() {
    let mut harness = Harness::new();
    harness.reserve("k", 4);
    let query = |location: &str| v1::AvailabilityQuery {
        sku: "tea".into(),
        location: location.into(),
        location_group: String::new(),
    };
    let queries = vec![query("there"), query("")];
    let asked = v1::GetAvailabilityRequest { queries, ..v1::GetAvailabilityRequest::default() };
    let found: v1::GetAvailabilityResponse = harness.look(&asked).unwrap();
    let seen: Vec<_> = found.availabilities.iter().map(|each| (each.location.as_str(), each.available)).collect();
    assert_eq!(seen, [("there", 9), ("here", 5), ("there", 9)]);
    let nobody = v1::GetAvailabilityRequest { channel: "nobody".into(), ..asked };
    let refused = harness.look::<v1::GetAvailabilityResponse, _>(&nobody).unwrap_err();
    assert_eq!(refused.reason, "UNKNOWN_CHANNEL");
}

#[test]
fn one_unknown_name_does_not_fail_the_other_queries() {
    let harness = Harness::new();
    let query = |(sku, location): (&str, &str)| v1::AvailabilityQuery {
        sku: sku.into(),
        location: location.into(),
        location_group: String::new(),
    };
    let queries = [("tea", "here"), ("typo", "here"), ("tea", "typo"), ("typo", "typo"), ("typo", "")].map(query);
    let asked = v1::GetAvailabilityRequest { queries: queries.into(), ..v1::GetAvailabilityRequest::default() };
    let refused = harness.look::<v1::GetAvailabilityResponse, _>(&asked).unwrap_err();
    assert_eq!((refused.reason, refused.metadata["sku"].as_str()), ("UNKNOWN_SKU", "typo"));
    let asked = v1::GetAvailabilityRequest { allow_unknown: true, ..asked };
    let found: v1::GetAvailabilityResponse = harness.look(&asked).unwrap();
    let seen: Vec<_> = found
        .availabilities
        .iter()
        .map(|each| (&*each.sku, &*each.location, each.available, each.unknown_sku, each.unknown_location))
        .collect();
    assert_eq!(
        seen,
        [
            ("tea", "here", 9, false, false),
            ("typo", "here", 0, true, false),
            ("tea", "typo", 0, false, true),
            ("typo", "typo", 0, true, true),
            ("typo", "", 0, true, false),
        ]
    );
    assert_eq!(found.sequence as u64, harness.ledger.sequence());
}

#[test]
fn an_effect_is_listed_in_full_if_it_fits_and_summarised_otherwise() {
    let mut harness = Harness::new();
    let long = "\u{1f9e1}".repeat(128);
    let item = v1::Item { sku: long.clone(), ..v1::Item::default() };
    harness.ask(&v1::UpsertItemsRequest { context: key("long"), items: vec![item] }).unwrap();
    let place = v1::Location { location: long.clone(), ..v1::Location::default() };
    let request = v1::UpsertLocationsRequest { context: key("place"), locations: vec![place] };
    harness.ask(&request).unwrap();
    let lines = vec![v1::StockLine { sku: long.clone(), location: long, quantity: 9, state: 0 }];
    harness.ask(&v1::ReceiveRequest { context: key("goods"), lines }).unwrap();
    let token = harness.reserve("k", 1).hold.unwrap().reservation_id;
    let id = harness.ledger.parse_token(&token).unwrap();
    let level = harness.ledger.level_count() as u32 - 1;
    let (quantity, state) = (i64::MAX, LineState::Fulfilled);
    let effect = |holds: usize, lines: usize| {
        let line = LineChange { level, state, quantity, outstanding: quantity };
        let lines = vec![line; lines].into_iter().collect();
        let hold = HoldChange { id, version: u32::MAX, reacquired: true, expire_ms: 253_402_300_799_999, lines };
        Effect::Holds(vec![hold; holds].into_iter().collect())
    };
    for lines in [1, 3, 1_000] {
        let (mut most, mut too_many) = (1, 4 + 4_000 / lines);
        while most + 1 < too_many {
            let middle = usize::midpoint(most, too_many);
            let fits = harness.ledger.fits_in_full_answer(&effect(middle, lines));
            (most, too_many) = if fits { (middle, too_many) } else { (most, middle) };
        }
        let full = answer::accepted_outcome(&harness.ledger, (u64::MAX >> 1, true), &effect(most, lines), ("", ""));
        assert_eq!((full.holds.len(), full.summary.as_ref()), (most, None));
        assert!(full.encoded_len() <= COMMAND_ANSWER_BYTES_MAX, "{}", full.encoded_len());
        assert!(most == 1 || full.encoded_len() > COMMAND_ANSWER_BYTES_MAX * 9 / 10, "{}", full.encoded_len());
        let short = answer::accepted_outcome(&harness.ledger, (9_999, true), &effect(too_many, lines), ("", ""));
        assert!(short.holds.is_empty() && short.encoded_len() < 200, "{}", short.encoded_len());
        let summary = short.summary.unwrap();
        assert_eq!((summary.reservations, summary.lines), (too_many as i64, (too_many * lines) as i64));
        let units = v1::UnitsInState { state: v1::LineState::Fulfilled as i32, units: i64::MAX };
        assert_eq!(summary.units, [units], "a sum saturates at the largest number");
        assert_eq!(summary.first_sequence, 10_000 - 2 * too_many as i64);
    }
}

#[test]
fn a_reservation_longer_than_an_answer_says_how_many_lines_it_omits() {
    let mut harness = Harness::new();
    let token = harness.reserve("k", 1).hold.unwrap().reservation_id;
    let id = harness.ledger.parse_token(&token).unwrap();
    let mut found = harness.ledger.reservation(id).unwrap().clone();
    for (lines, shown, left_out) in [(1, 1, 0), (2_000, 2_000, 0), (2_003, 2_000, 3)] {
        found.lines = vec![found.lines[0]; lines].into_iter().collect();
        let shaped = super::shape::reservation(&harness.ledger, &found, START_MS);
        assert_eq!((shaped.lines.len(), shaped.lines_omitted), (shown, left_out));
    }
}

#[test]
fn events_carry_the_shared_fields_of_their_command() {
    let mut harness = Harness::new();
    let hold = harness.reserve("k", 4).hold.unwrap();
    let mut shared = key("a").unwrap();
    shared.order_ref = "order".into();
    shared.issue_time = Some(super::shape::timestamp(START_MS));
    let allocate = v1::AllocateRequest { context: Some(shared.clone()), target: by_id(&hold.reservation_id) };
    harness.ask(&allocate).unwrap();
    let events = harness.events();
    let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=harness.ledger.sequence() as i64).collect::<Vec<_>>());
    assert!(matches!(&events[0].fact, Some(Fact::ItemUpserted(fact)) if fact.sku == "tea"));
    assert!(matches!(&events[3].fact, Some(Fact::StockChanged(fact)) if (&*fact.location, fact.delta) == ("there", 9)));
    let last = events.last().unwrap();
    assert_eq!((last.context.as_ref(), last.writer_epoch), (Some(&shared), 7));
    assert!(matches!(&last.fact, Some(Fact::Allocated(fact))
        if fact.order_ref == "order" && fact.reservation_id == hold.reservation_id && fact.lines[0].quantity == 4));
}
