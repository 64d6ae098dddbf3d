//! What repeats a server's writes later than the server itself: its replica, and the part of its file that was synced.

use std::collections::VecDeque;
use std::sync::Arc;

use super::dataset::{Dataset, Write};

/// A copy that follows.
#[derive(Clone, Debug)]
pub struct Late {
    data: Dataset,
    pending: VecDeque<(u64, Arc<[Write]>)>,
}

impl Late {
    /// A copy of this, which is complete now.
    pub fn of(data: &Dataset) -> Self {
        Late { data: data.clone(), pending: VecDeque::new() }
    }

    /// It will have to repeat these writes of this moment.
    pub fn note(&mut self, at_us: u64, writes: &Arc<[Write]>) {
        self.pending.push_back((at_us, writes.clone()));
    }

    /// Repeats everything up to a moment.
    pub fn catch_up(&mut self, until_us: u64) {
        while self.pending.front().is_some_and(|(at_us, _)| *at_us <= until_us) {
            if let Some((_, writes)) = self.pending.pop_front() {
                writes.iter().for_each(|write| self.data.apply(write));
            }
        }
    }

    /// Whether it has everything.
    pub fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }

    /// What it has; what is pending is lost.
    pub fn into_data(self) -> Dataset {
        self.data
    }
}
