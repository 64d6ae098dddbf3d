//! Cores and CPU time of threads.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Pins the calling thread, and the threads that it starts from now on, to one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// CPU seconds that the calling thread has used.
pub fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Pages that this process has touched for the first time.
pub fn page_faults() -> u64 {
    // The fields behind the name, which may contain spaces, begin with the third; minflt is the tenth.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// CPU seconds that each thread of a process has used, by thread name. Threads with the same name are added up; empty if the
/// process is gone.
pub fn process_cpu_s(pid: u32) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return found };
    for task in tasks.flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let on_core_ns = read("schedstat").split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
        *found.entry(read("comm").trim().to_owned()).or_default() += on_core_ns.unwrap_or(0.0) / 1e9;
    }
    found
}

/// The CPU seconds used between `earlier` and `later`.
pub fn used(earlier: &BTreeMap<String, f64>, later: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    later.iter().map(|(name, used)| (name.clone(), used - earlier.get(name).unwrap_or(&0.0))).collect()
}
