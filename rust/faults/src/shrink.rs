//! Finds fewer faults with the same failure: first whole classes are left out, then halves of what remains, down to single
//! faults.

use crate::faults::{Class, Fault, Mask};
use crate::planted::Planted;
use crate::report::Report;
use crate::simulation::Simulation;
use crate::swarm::Profile;

/// Most runs that shrinking may take.
const RUNS_MAX: usize = 120;

/// Leaves out what the failure does not need. Returns the mask and the last failing run.
pub fn shrink(seed: u64, pace: Profile, planted: Option<Planted>, rule: &'static str) -> (Mask, Report) {
    let mut mask = Mask::default();
    let mut runs = 0;
    let mut fails = |mask: &Mask| {
        runs += 1;
        let report = (runs <= RUNS_MAX).then(|| Simulation::new(seed, pace, mask.clone(), planted, true).run())?;
        report.violation.as_ref().is_some_and(|violation| violation.rule == rule).then_some(report)
    };
    let mut last = fails(&mask).unwrap_or_default();
    for class in Class::ALL {
        let mut fewer = mask.clone();
        fewer.classes.push(*class);
        if let Some(report) = fails(&fewer) {
            (mask, last) = (fewer, report);
        }
    }
    let mut piece = last.log.len() / 2;
    while piece > 0 {
        let log: Vec<Fault> = last.log.clone();
        for part in log.chunks(piece) {
            let mut fewer = mask.clone();
            fewer.faults.extend(part);
            if let Some(report) = fails(&fewer) {
                (mask, last) = (fewer, report);
            }
        }
        piece /= 2;
    }
    (mask, last)
}
