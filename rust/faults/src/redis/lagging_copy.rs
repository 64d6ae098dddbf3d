//! Copies that repeat the writes of a server later than the server itself: its replica, and the synced part of its
//! append-only file.

use std::collections::VecDeque;
use std::sync::Arc;

use super::dataset::{Dataset, Write};

/// A copy of a dataset that lags behind.
#[derive(Clone, Debug)]
pub struct LaggingCopy {
    data: Dataset,
    pending: VecDeque<(u64, Arc<[Write]>)>,
}

impl LaggingCopy {
    /// A copy of this dataset, complete so far.
    pub fn new(data: &Dataset) -> Self {
        LaggingCopy { data: data.clone(), pending: VecDeque::new() }
    }

    /// Records writes of this time, to be repeated later.
    pub fn record(&mut self, at_us: u64, writes: &Arc<[Write]>) {
        self.pending.push_back((at_us, writes.clone()));
    }

    /// Repeats everything up to a time.
    pub fn catch_up(&mut self, until_us: u64) {
        while self.pending.front().is_some_and(|(at_us, _)| *at_us <= until_us) {
            if let Some((_, writes)) = self.pending.pop_front() {
                writes.iter().for_each(|write| self.data.apply(write));
            }
        }
    }

    /// Whether nothing is pending.
    pub fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }

    /// The copied dataset; pending writes are lost.
    pub fn into_data(self) -> Dataset {
        self.data
    }
}
