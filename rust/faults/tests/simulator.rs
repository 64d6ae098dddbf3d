//! The simulator itself: the same seed is the same run, healthy seeds pass, and planted bugs are found.

use invengine_faults::faults::Mask;
use invengine_faults::planted::Planted;
use invengine_faults::report::Report;
use invengine_faults::swarm::Pace;
use invengine_faults::world::World;

fn run(seed: u64, planted: Option<Planted>) -> Report {
    World::new(seed, Pace::Recoveries, Mask::default(), planted, false).run()
}

// case: E01, E05, A09, A14, A15
#[test]
fn the_same_seed_is_the_same_run_and_breaks_nothing() {
    for seed in 0..5 {
        let (first, second) = (run(seed, None), run(seed, None));
        assert_eq!(first.breach, None, "seed {seed}");
        assert_eq!((first.digest, first.commands), (second.digest, second.commands), "seed {seed}");
        assert!(first.recoveries > 5 && first.commands > 100, "seed {seed}: {first:?}");
    }
}

#[test]
fn planted_bugs_are_found() {
    for planted in [Planted::SyncWithoutSync, Planted::EarlyAnswer, Planted::SkippedFrame] {
        let found = (0..20).find_map(|seed| run(seed, Some(planted)).breach);
        assert!(found.is_some(), "{planted:?} was not found");
    }
}
