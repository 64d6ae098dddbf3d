//! The greatest length of an engine's answers: to one command, to a batch, to a read, of events.

use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Engine, EngineSettings, EventQuery, JournalKind};
use invengine_node::methods::{ANSWER_BYTES_MAX, COMMAND_ANSWER_BYTES_MAX, PAGE_BYTES_MAX};
use invengine_node::refusal::Refusal;
use invengine_wire::v1;
use invengine_wire::v1::command::Command as Asked;
use invengine_wire::v1::hold_target::By;
use prost::Message;

const LINES: usize = 1_000;
const BATCH: usize = 1_000;
const SUBMIT: &str = "/invengine.v1.ReservationService/Submit";
const ALLOCATE: &str = "/invengine.v1.ReservationService/Allocate";
const RESERVE: &str = "/invengine.v1.ReservationService/Reserve";

fn open() -> Engine {
    let settings = EngineSettings { journal: JournalKind::Memory, auto_create: true, ..EngineSettings::default() };
    Engine::open(&settings).unwrap()
}

fn ask(engine: &Engine, path: &str, message: &impl Message) -> Result<Vec<u8>, Refusal> {
    let payload = message.encode_to_vec();
    let decision = engine.call(&Call { path, payload: &payload, key: "", ledger: "", deadline: None });
    engine.wait(decision.depends_on, Instant::now() + Duration::from_secs(60));
    decision.reply
}

fn context(key: &str) -> Option<v1::CommandContext> {
    Some(v1::CommandContext { idempotency_key: key.into(), order_ref: "order".into(), ..Default::default() })
}

fn stock(engine: &Engine, skus: &[String]) {
    for (number, some) in skus.chunks(LINES / 2).enumerate() {
        let line = |sku: &String| v1::StockLine { sku: sku.clone(), location: "L".into(), quantity: 90_000, state: 0 };
        let lines = some.iter().map(line).collect();
        let request = v1::ReceiveRequest { context: context(&format!("stock-{number}")), lines };
        ask(engine, "/invengine.v1.InventoryService/Receive", &request).unwrap();
    }
}

fn reserve(key: &str, skus: &[String]) -> v1::ReserveRequest {
    let line = |sku: &String| v1::LineRequest {
        sku: sku.clone(),
        location: "L".into(),
        quantity: 1,
        ..v1::LineRequest::default()
    };
    v1::ReserveRequest { context: context(key), lines: skus.iter().map(line).collect(), ..Default::default() }
}

fn allocate(key: &str, by: By) -> v1::AllocateRequest {
    v1::AllocateRequest {
        context: context(key),
        target: Some(v1::HoldTarget { by: Some(by), ..v1::HoldTarget::default() }),
    }
}

fn submit(engine: &Engine, commands: Vec<Asked>) -> (usize, Vec<v1::Outcome>) {
    let commands = commands.into_iter().map(|command| v1::Command { command: Some(command) }).collect();
    let answer = ask(engine, SUBMIT, &v1::SubmitRequest { commands }).unwrap();
    (answer.len(), v1::SubmitResponse::decode(&*answer).unwrap().outcomes)
}

/// How many outcomes at the end were left out because the answer was full; no others may be left out.
fn left_out(outcomes: &[v1::Outcome]) -> usize {
    let is_left_out = |outcome: &v1::Outcome| {
        outcome.rejection.as_ref().is_some_and(|rejection| rejection.metadata.contains_key("answer_bytes_max"))
    };
    let first = outcomes.iter().position(is_left_out).unwrap_or(outcomes.len());
    assert!(outcomes[first..].iter().all(is_left_out), "nothing is executed after a command that was left out");
    let rejections = outcomes[first..].iter().filter_map(|outcome| outcome.rejection.as_ref());
    assert!(rejections.into_iter().all(|rejection| rejection.reason == "OVERLOADED" && rejection.code == 8));
    outcomes.len() - first
}

fn skus() -> Vec<String> {
    (0..LINES).map(|number| format!("item-{number}")).collect()
}

fn digest(engine: &Engine) -> Vec<u8> {
    ask(engine, "/invengine.v1.JournalService/GetDigest", &v1::GetDigestRequest {}).unwrap()
}

#[test]
fn a_thousand_replays_of_a_long_answer_are_one_bounded_answer() {
    let engine = open();
    let skus = skus();
    stock(&engine, &skus);
    ask(&engine, RESERVE, &reserve("hold", &skus)).unwrap();
    let by_key = || By::ReservationKey("hold".into());
    let first = ask(&engine, ALLOCATE, &allocate("k", by_key())).unwrap();
    let before = digest(&engine);
    let (bytes, outcomes) = submit(&engine, (0..BATCH).map(|_| Asked::Allocate(allocate("k", by_key()))).collect());
    assert!(bytes <= ANSWER_BYTES_MAX, "{bytes}");
    let answered = BATCH - left_out(&outcomes);
    assert!((2..=ANSWER_BYTES_MAX / first.len()).contains(&answered), "{answered} of {} bytes", first.len());
    assert!(
        outcomes[..answered]
            .iter()
            .all(|outcome| outcome.receipt.unwrap().replayed && outcome.holds[0].lines.len() == LINES)
    );
    assert_eq!(digest(&engine), before);
}

#[test]
fn what_a_full_answer_leaves_out_is_not_executed_and_can_be_sent_again() {
    let engine = open();
    let skus = skus();
    stock(&engine, &skus);
    let command = |number: usize| Asked::Reserve(reserve(&format!("hold-{number}"), &skus));
    let wanted: Vec<Asked> = (0..150).map(command).collect();
    let mut sent = 0;
    let mut rounds = 0;
    while sent < wanted.len() {
        // Four MiB of requests at most.
        let batch: Vec<Asked> = wanted[sent..].iter().take(100).cloned().collect();
        let (bytes, outcomes) = submit(&engine, batch);
        assert!(bytes <= ANSWER_BYTES_MAX, "{bytes}");
        let answered = outcomes.len() - left_out(&outcomes);
        assert!(answered > 0 && outcomes[..answered].iter().all(|outcome| !outcome.receipt.unwrap().replayed));
        for (number, _) in outcomes.iter().enumerate().skip(answered) {
            let key = v1::GetOutcomeRequest {
                idempotency_key: format!("hold-{}", sent + number),
                ..v1::GetOutcomeRequest::default()
            };
            let known = ask(&engine, "/invengine.v1.ReservationService/GetOutcome", &key).unwrap();
            assert!(!v1::GetOutcomeResponse::decode(&*known).unwrap().known, "its key is not used");
        }
        sent += answered;
        rounds += 1;
    }
    assert!(rounds > 1, "{rounds}");
}

#[test]
fn refusals_alone_do_not_overflow_an_answer() {
    let engine = open();
    let bad = |number: usize| {
        let mut request = reserve(&format!("k-{number}"), &vec![String::new(); 20]);
        request.lines.iter_mut().for_each(|line| line.quantity = -1);
        Asked::Reserve(request)
    };
    let (bytes, outcomes) = submit(&engine, (0..BATCH).map(bad).collect());
    assert!(bytes <= ANSWER_BYTES_MAX, "{bytes}");
    assert_eq!(outcomes.len(), BATCH);
    assert!(left_out(&outcomes) < BATCH);
}

#[test]
fn an_order_of_many_holds_gets_a_summary_and_its_events_have_the_rest() {
    let engine = open();
    let sku = vec!["mug".to_owned()];
    stock(&engine, &sku);
    for batch in 0..20 {
        let command = |number: usize| Asked::Reserve(reserve(&format!("hold-{batch}-{number}"), &sku));
        assert_eq!(left_out(&submit(&engine, (0..BATCH).map(command).collect()).1), 0);
    }
    let order = || By::OrderRef("order".into());
    let refusal = ask(&engine, ALLOCATE, &allocate("k", order())).unwrap_err();
    assert_eq!((refusal.reason, refusal.metadata["limit"].as_str()), ("ANSWER_TOO_LARGE", "2097152"));
    let mut request = allocate("k", order());
    request.context.as_mut().unwrap().accept_summary = true;
    let short = v1::AllocateResponse::decode(&*ask(&engine, ALLOCATE, &request).unwrap()).unwrap();
    let (receipt, summary) = (short.receipt.unwrap(), short.summary.unwrap());
    let units = v1::UnitsInState { state: v1::LineState::Allocated as i32, units: 20_000 };
    assert_eq!((summary.reservations, summary.lines, &summary.units[..]), (20_000, 20_000, &[units][..]));
    assert!(short.holds.is_empty() && !receipt.replayed);
    // A repeat gets the same, also without the flag, also by its key alone.
    let again = v1::AllocateResponse::decode(&*ask(&engine, ALLOCATE, &allocate("k", order())).unwrap()).unwrap();
    assert_eq!((again.summary.as_ref(), again.receipt.unwrap().replayed), (Some(&summary), true));
    let key = v1::GetOutcomeRequest { idempotency_key: "k".into(), ..v1::GetOutcomeRequest::default() };
    let known = ask(&engine, "/invengine.v1.ReservationService/GetOutcome", &key).unwrap();
    assert_eq!(v1::GetOutcomeResponse::decode(&*known).unwrap().outcome.unwrap().summary, Some(summary.clone()));
    // Every event of the command is in the range that the summary states.
    let (mut next, mut found) = (summary.first_sequence, 0);
    while next <= receipt.sequence {
        let answer = engine.read_events(&EventQuery::every(next as u64, 0)).unwrap().message;
        assert!(answer.len() <= PAGE_BYTES_MAX, "{}", answer.len());
        let events = v1::ReadEventsResponse::decode(&*answer).unwrap().events;
        next = events.last().unwrap().sequence + 1;
        found +=
            events.iter().filter(|event| event.context.as_ref().is_some_and(|of| of.idempotency_key == "k")).count();
    }
    assert_eq!((found, next), (20_000, receipt.sequence + 1));
}

#[test]
fn events_are_read_in_answers_of_bounded_length() {
    let engine = open();
    let long = "\u{1f9e1}".repeat(124);
    let skus: Vec<String> = (0..LINES).map(|number| format!("{long}{number:0>4}")).collect();
    stock(&engine, &skus);
    for number in 0..4 {
        ask(&engine, RESERVE, &reserve(&format!("hold-{number}"), &skus)).unwrap();
    }
    let last = engine.durable().sequence;
    let (mut next, mut answers) = (1, 0);
    while next <= last {
        let answer = engine.read_events(&EventQuery::every(next, 0)).unwrap().message;
        assert!(answer.len() <= COMMAND_ANSWER_BYTES_MAX, "{}", answer.len());
        let events = v1::ReadEventsResponse::decode(&*answer).unwrap().events;
        assert!(answer.len() <= PAGE_BYTES_MAX || events.len() == 1);
        assert!(events.iter().zip(next..).all(|(event, sequence)| event.sequence as u64 == sequence));
        next += events.len() as u64;
        answers += 1;
    }
    assert!(answers > 3);
    assert_eq!(
        v1::ReadEventsResponse::decode(&*engine.read_events(&EventQuery::every(1, 2)).unwrap().message)
            .unwrap()
            .events
            .len(),
        2
    );
}
