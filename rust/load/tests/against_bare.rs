//! The generator against the bare listener: every kind of call, every count.

use std::net::SocketAddr;
use std::sync::mpsc;

use invengine_load::{CallKind, Pace, Phase, Report, Spec, run, serve_bare};

fn listen() -> (SocketAddr, tokio::sync::oneshot::Sender<()>) {
    let (address, ready) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let until = async move {
            let _ = stopped.await;
        };
        serve_bare(any, None, |at| address.send(at).unwrap(), until).unwrap();
    });
    (ready.recv().unwrap(), stop)
}

fn run_against_bare(change: impl FnOnce(&mut Spec)) -> Report {
    let (address, _stop) = listen();
    let mut spec = Spec { target: address.to_string(), duration_ms: 300, ..Spec::default() };
    change(&mut spec);
    run(spec).unwrap()
}

#[test]
fn a_closed_loop_counts_every_answer_once() {
    let report = run_against_bare(|spec| {
        (spec.connections, spec.streams, spec.reserves_max, spec.duration_ms) = (3, 16, 5_000, 20_000);
    });
    assert_eq!((report.sent, report.accepted, report.unanswered, report.broken), (5_000, 5_000, 0, 0));
    assert_eq!(report.units[0].accepted, 5_000);
    assert!(report.accepted_keys.len() > 8);
    assert!(report.by_reason.is_empty(), "{:?}", report.by_reason);
}

#[test]
fn one_idle_caller_has_a_latency() {
    let report = run_against_bare(|spec| spec.measure_from_ms = 100);
    assert!(report.window.accepted > 10 && report.window.accepted < report.accepted);
    assert!(report.latency_us.p50 > 1.0 && report.latency_us.p50 <= report.latency_us.p99);
    assert!((report.window.seconds - 0.2).abs() < 0.1, "{}", report.window.seconds);
    assert!(report.client_cpu_s > 0.0);
}

#[test]
fn an_open_loop_sends_what_arrives_and_keeps_a_timeline() {
    let report = run_against_bare(|spec| {
        let phases = vec![Phase { ms: 500, from_per_s: 2_000.0, to_per_s: 2_000.0 }];
        spec.pace = Some(Pace { phases, poisson: true, queue_patience_ms: 1_000 });
        (spec.connections, spec.streams, spec.interval_ms) = (2, 50, 100);
    });
    assert!((800..1_200).contains(&report.accepted), "{}", report.accepted);
    assert_eq!(report.accepted, report.timeline.iter().map(|step| step.accepted).sum::<u64>());
    assert_eq!(report.window.gave_up, 0);
}

#[test]
fn a_refusal_without_a_reason_is_counted_by_its_code() {
    let report = run_against_bare(|spec| {
        spec.call = CallKind::Submit;
        (spec.batch, spec.reserves_max) = (500, 1_000);
    });
    // To the bare listener a batch is a malformed Reserve.
    assert_eq!((report.accepted, report.unanswered), (0, 0));
    assert_eq!(report.by_reason.get("CODE_13"), Some(&2), "{:?}", report.by_reason);
}

#[test]
fn a_target_without_a_listener_is_an_error() {
    let spec = Spec { target: "127.0.0.1:1".to_owned(), ..Spec::default() };
    assert!(run(spec).is_err());
}

#[test]
fn a_spec_that_cannot_be_run_is_refused() {
    let spec = Spec { batch: 1_001, ..Spec::default() };
    assert_eq!(run(spec).unwrap_err().to_string(), "batch must be 1 to 1,000");
}
