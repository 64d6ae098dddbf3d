//! Reads of availability, each compared with the state at its position, at once or when that position is durable.

use crate::model::{Model, Violation};

/// The answer that a reader got.
#[derive(Clone, Debug)]
pub struct Read {
    /// Epoch of the engine that answered.
    pub writer_epoch: u64,
    /// The position that the answer states.
    pub sequence: u64,
    /// Engine time of the answer.
    pub now_ms: i64,
    pub sku: String,
    pub location: String,
    pub available: i64,
}

/// Reads whose position is not durable yet, in order.
#[derive(Debug, Default)]
pub struct Reads {
    pending: Vec<Read>,
}

impl Reads {
    /// Checks a read of an engine that owns its journal, or keeps it until its position is durable.
    ///
    /// # Errors
    /// It does not show the state at its position, or its position is older than what is durable.
    pub fn take(&mut self, read: Read, model: &Model) -> Result<(), Violation> {
        if read.sequence < model.sequence {
            let found = format!("at {}, while {} is durable", read.sequence, model.sequence);
            return Violation::err("reads see what is durable", found);
        }
        if read.sequence == model.sequence {
            return compare(&read, model);
        }
        self.pending.push(read);
        Ok(())
    }

    /// The journal grew by a frame of this writer: checks its reads up to here and drops those of other writers.
    ///
    /// # Errors
    /// A read of that writer does not show the state at its position.
    pub fn reached(&mut self, writer_epoch: u64, model: &Model) -> Result<(), Violation> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pending.retain(|read| read.writer_epoch == writer_epoch);
        let index = self.pending.partition_point(|read| read.sequence <= model.sequence);
        for read in self.pending.drain(..index) {
            if read.sequence != model.sequence {
                return Violation::err("reads stand between commands", format!("{read:?}"));
            }
            compare(&read, model)?;
        }
        Ok(())
    }

    /// Drops the pending reads of an engine that is gone: there is nothing to compare them with.
    pub fn forget(&mut self) {
        self.pending.clear();
    }
}

fn compare(read: &Read, model: &Model) -> Result<(), Violation> {
    let free = model.level(&read.sku, &read.location).map_or(0, |level| level.free(read.now_ms));
    if read.available == free.max(0) {
        return Ok(());
    }
    Violation::err("reads show the state at their position", format!("{read:?}, it is {free}"))
}
