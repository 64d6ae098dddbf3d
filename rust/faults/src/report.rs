//! What a run came to.

use crate::faults::{CLASSES, Class, Fault};
use crate::model::Breach;

/// One run, or many added up.
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
    pub detected: u64,
    pub faults: [u64; CLASSES],
    pub digest: u64,
    pub log: Vec<Fault>,
    pub breach: Option<Breach>,
    pub recent: Vec<String>,
    pub state: String,
    pub swarm: String,
}

impl Report {
    /// Adds another run, whatever the order.
    pub fn add(&mut self, other: &Report) {
        self.hours += other.hours;
        self.commands += other.commands;
        self.calls += other.calls;
        self.recoveries += other.recoveries;
        self.crashes += other.crashes;
        self.failures += other.failures;
        self.checks += other.checks;
        self.detected += other.detected;
        self.faults.iter_mut().zip(other.faults).for_each(|(sum, count)| *sum += count);
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// Classes that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        Class::ALL.iter().filter(|class| self.faults[**class as usize] == 0).map(|class| class.name()).collect()
    }

    /// One line each.
    pub fn text(&self) -> String {
        let faults: Vec<String> = Class::ALL
            .iter()
            .filter(|class| self.faults[**class as usize] > 0)
            .map(|class| format!("{} {}", class.name(), self.faults[*class as usize]))
            .collect();
        format!(
            "simulated hours: {:.2}\ncommands: {} ({} calls decided)\ncrash-recoveries: {} ({} crashes, {} failed journals)\n\
             full checks: {}, rot detected: {}\nfaults: {}\ndigest: {:016x}",
            self.hours,
            self.commands,
            self.calls,
            self.recoveries,
            self.crashes,
            self.failures,
            self.checks,
            self.detected,
            faults.join(", "),
            self.digest
        )
    }
}
