//! The simulator itself: the same seed is the same run, healthy seeds pass, and planted bugs are found. Even seeds have their
//! journal in files, odd ones in Redis.

use invengine_faults::faults::{Class, Mask};
use invengine_faults::marks::Mark;
use invengine_faults::planted::Planted;
use invengine_faults::report::Report;
use invengine_faults::swarm::Pace;
use invengine_faults::world::World;

fn run(seed: u64, pace: Pace, planted: Option<Planted>) -> Report {
    World::new(seed, pace, Mask::default(), planted, false).run()
}

fn is_the_same_twice(seed: u64, pace: Pace) -> Report {
    let (first, second) = (run(seed, pace, None), run(seed, pace, None));
    assert_eq!(first.breach, None, "seed {seed}");
    assert_eq!((first.digest, first.commands), (second.digest, second.commands), "seed {seed}");
    first
}

// case: E01, E05, E11, E13, A06, A09, A14, A15, F01, F02, F03, F05, F06, F13, F14, G03
#[test]
fn the_same_seed_is_the_same_run_and_breaks_nothing() {
    for seed in 0..10 {
        let first = is_the_same_twice(seed, Pace::Recoveries);
        assert!(first.recoveries > 5 && first.commands > 100, "seed {seed}: {first:?}");
    }
    for seed in 0..4 {
        let first = is_the_same_twice(seed, Pace::Hours);
        assert!(first.commands > 1_000 && first.hours > 0.08, "seed {seed}: {first:?}");
    }
}

#[test]
fn a_report_names_every_class_and_mark_and_what_never_happened() {
    let report = run(1, Pace::Recoveries, None);
    let json = report.json((1, 2));
    for name in Class::ALL.iter().map(|class| class.name()).chain(Mark::ALL.iter().map(|mark| mark.name())) {
        assert_eq!(json.matches(&format!("\"{name}\": ")).count(), 1, "{name} in {json}");
        assert_eq!(report.missing().contains(&name), json.contains(&format!("\"{name}\": 0")), "{name} in {json}");
    }
    assert!(json.contains(&format!("\"digest\": \"{:016x}\", \"failed\": null", report.digest)), "{json}");
}

/// Each was called a breach, and was none: a failover made an owner of before owner again, with what it had written.
#[test]
fn an_owner_that_a_failover_brings_back_goes_on_with_its_own_history() {
    for seed in [542_209_987_173, 786_616_625_231] {
        assert_eq!(run(seed, Pace::Hours, None).breach, None, "seed {seed}");
    }
}

#[test]
fn planted_bugs_are_found() {
    for planted in [Planted::SyncWithoutSync, Planted::EarlyAnswer, Planted::SkippedFrame] {
        let found = (0..20).find_map(|seed| run(seed, Pace::Recoveries, Some(planted)).breach);
        assert!(found.is_some(), "{planted:?} was not found");
    }
}
