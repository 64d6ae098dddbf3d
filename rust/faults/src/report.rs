//! The results of a run.

use crate::coverage_marks::{Mark, Marks};
use crate::faults::{Class, Counts, Fault};
use crate::model::Violation;

/// The results of one run, or the sum of many.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Report {
    pub seed: u64,
    pub hours: f64,
    pub commands: u64,
    pub calls: u64,
    pub started: bool,
    pub recoveries: u64,
    pub crashes: u64,
    pub failures: u64,
    pub checks: u64,
    pub faults: Counts,
    pub marks: Marks,
    pub digest: u64,
    pub log: Vec<Fault>,
    pub violation: Option<Violation>,
    pub recent: Vec<String>,
    pub state: String,
    pub swarm: String,
}

impl Report {
    /// Adds another run; the order does not matter.
    pub fn add(&mut self, other: &Report) {
        self.hours += other.hours;
        self.commands += other.commands;
        self.calls += other.calls;
        self.recoveries += other.recoveries;
        self.crashes += other.crashes;
        self.failures += other.failures;
        self.checks += other.checks;
        self.faults.add(&other.faults);
        self.marks.add(&other.marks);
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// One JSON document on one line, with every class and every mark.
    pub fn json(&self, seeds: (u64, u64)) -> String {
        let faults = Class::ALL.iter().map(|class| format!("\"{}\": {}", class.name(), self.faults.of(*class)));
        let marks = Mark::ALL.iter().map(|mark| format!("\"{}\": {}", mark.name(), self.marks.count(*mark)));
        let failed =
            self.violation.as_ref().map_or_else(|| "null".into(), |violation| format!("\"{}\"", violation.rule));
        format!(
            "{{\"seeds\": [{}, {}], \"hours\": {:.4}, \"recoveries\": {}, \"crashes\": {}, \"commands\": {}, \
             \"faults\": {{{}}}, \"marks\": {{{}}}, \"digest\": \"{:016x}\", \"failed\": {failed}}}",
            seeds.0,
            seeds.1,
            self.hours,
            self.recoveries,
            self.crashes,
            self.commands,
            faults.collect::<Vec<_>>().join(", "),
            marks.collect::<Vec<_>>().join(", "),
            self.digest
        )
    }

    /// Classes that never happened, and marks that were never hit.
    pub fn missing(&self) -> Vec<&'static str> {
        let classes = Class::ALL.iter().filter(|class| self.faults.of(**class) == 0).map(|class| class.name());
        let marks = Mark::ALL.iter().filter(|mark| self.marks.count(**mark) == 0).map(|mark| mark.name());
        classes.chain(marks).collect()
    }

    /// The results as text, one per line.
    pub fn text(&self) -> String {
        let faults: Vec<String> = Class::ALL
            .iter()
            .filter(|class| self.faults.of(**class) > 0)
            .map(|class| format!("{} {}", class.name(), self.faults.of(*class)))
            .collect();
        let marks = Mark::ALL.iter().map(|mark| format!("{} {}", mark.name(), self.marks.count(*mark)));
        let marks: Vec<String> = marks.collect();
        format!(
            "simulated hours: {:.2}\ncommands: {} ({} calls decided)\ncrash-recoveries: {} ({} crashes, {} failed journals)\n\
             full checks: {}\nfaults: {}\nmarks: {}\ndigest: {:016x}",
            self.hours,
            self.commands,
            self.calls,
            self.recoveries,
            self.crashes,
            self.failures,
            self.checks,
            faults.join(", "),
            marks.join(", "),
            self.digest
        )
    }
}
