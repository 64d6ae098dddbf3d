//! Reads of availability, each compared with the state at its position, now or once that is durable.

use crate::model::{Breach, Model};

/// What a reader was told.
#[derive(Clone, Debug)]
pub struct Read {
    /// Epoch of the engine that answered.
    pub writer_epoch: u64,
    /// The position that it names.
    pub sequence: u64,
    /// Engine time of that moment.
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
    /// Takes a read of an engine that owns its journal.
    ///
    /// # Errors
    /// It does not show the state at its position, or that is older than what is durable.
    pub fn take(&mut self, read: Read, model: &Model) -> Result<(), Breach> {
        if read.sequence < model.sequence {
            let found = format!("at {}, while {} is durable", read.sequence, model.sequence);
            return Breach::err("reads see what is durable", found);
        }
        if read.sequence == model.sequence {
            return compare(&read, model);
        }
        self.pending.push(read);
        Ok(())
    }

    /// The journal has moved on, by a frame of this writer.
    ///
    /// # Errors
    /// A read of that writer does not show the state at its position.
    pub fn reached(&mut self, writer_epoch: u64, model: &Model) -> Result<(), Breach> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pending.retain(|read| read.writer_epoch == writer_epoch);
        let place = self.pending.partition_point(|read| read.sequence <= model.sequence);
        for read in self.pending.drain(..place) {
            if read.sequence != model.sequence {
                return Breach::err("reads stand between commands", format!("{read:?}"));
            }
            compare(&read, model)?;
        }
        Ok(())
    }

    /// What was read of an engine that is gone can be compared with nothing.
    pub fn forget(&mut self) {
        self.pending.clear();
    }
}

fn compare(read: &Read, model: &Model) -> Result<(), Breach> {
    let free = model.level(&read.sku, &read.location).map_or(0, |level| level.free(read.now_ms));
    if read.available == free.max(0) {
        return Ok(());
    }
    Breach::err("reads show the state at their position", format!("{read:?}, it is {free}"))
}
