//! Sources in the reference model: epochs rise, and each number is consumed once.

use invengine_ledger::OriginSource;

use crate::model::{CommandEffect, Model, Violation};

/// A source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    name: String,
    epoch: u64,
    number: u64,
}

impl Model {
    /// Its name; empty if there is none.
    pub(crate) fn source_name(&self, source: u32) -> String {
        self.sources.get(source as usize).map_or_else(String::new, |found| found.name.clone())
    }

    /// Epoch and last number of a source.
    pub(crate) fn source_position(&self, source: u32) -> Option<(u64, u64)> {
        self.sources.get(source as usize).map(|found| (found.epoch, found.number))
    }

    pub(crate) fn source(&self, name: &str) -> Option<u32> {
        self.sources.iter().position(|source| source.name == name).map(|handle| handle as u32)
    }

    pub(crate) fn registered(&mut self, name: &str, epoch: u64) -> Result<i64, Violation> {
        let index = self.source(name).unwrap_or_else(|| {
            self.sources.push(Source { name: name.into(), ..Source::default() });
            self.sources.len() as u32 - 1
        });
        let source = &mut self.sources[index as usize];
        if epoch <= source.epoch {
            return Violation::err("epochs of a source rise", format!("{name}: {epoch} after {}", source.epoch));
        }
        (source.epoch, source.number) = (epoch, 0);
        Ok(0)
    }

    pub(crate) fn consumed(&mut self, position: OriginSource, effect: CommandEffect) -> Result<(), Violation> {
        let Some(source) = self.sources.get_mut(position.source as usize) else {
            return Violation::err("source order", "a message of a source that was never registered");
        };
        if (position.epoch, position.number) != (source.epoch, source.number + 1) {
            let found = format!(
                "{}: {}/{} after {}/{}",
                source.name, position.epoch, position.number, source.epoch, source.number
            );
            return Violation::err("source order", found);
        }
        source.number = position.number;
        self.numbers.insert((position.source, position.epoch, position.number), effect);
        Ok(())
    }
}
