//! A test run with snapshots, and the states that a crash can leave.

use invengine_node::journal::{JournalError, JournalPosition};

use super::disk::{Call, Disk, Left, sectors_of};
use super::run::append_next;
use super::snapshots::{Sum, recover, snapshot};
use super::storage::TestStorage;

/// Appends `frames` frames, with a snapshot and a trim after every 50; returns the last acknowledged sequence and the number of
/// snapshots that failed.
pub fn run(storage: &TestStorage, frames: usize) -> (u64, usize) {
    let Ok((mut journal, _)) = recover(storage) else { return (0, 0) };
    let (mut position, mut sum, mut acknowledged, mut failed) = (JournalPosition::start("main"), Sum::default(), 0, 0);
    for index in 1..=frames {
        match append_next(&mut journal, false) {
            Ok(sequence) => acknowledged = sequence,
            Err(JournalError::Full { .. }) => {}
            Err(_) => break,
        }
        storage.mark(acknowledged);
        if index % 50 == 0 && snapshot(&journal, &mut position, &mut sum).is_err() {
            failed += 1;
        }
    }
    (acknowledged, failed)
}

/// All states a crash can leave just before a call, and in the first sectors of a write.
pub fn crashes(disk: &Disk, call: &Call) -> Vec<Disk> {
    let mut states = vec![disk.after_crash(&Left::Nothing), disk.after_crash(&Left::Everything)];
    if let Call::Write(_, offset, data) = call {
        let mut half_way = disk.clone();
        half_way.apply(call);
        let sectors = sectors_of(*offset, data);
        // A write of many sectors (zeros of a new file) is torn at each of its first ones.
        for cut in 1..sectors.min(8) {
            states.push(half_way.after_crash(&Left::Sectors(0..cut)));
            states.push(half_way.after_crash(&Left::Sectors(cut..sectors)));
        }
    }
    states
}
