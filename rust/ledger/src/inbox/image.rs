//! Kept messages in an image.

use super::{DeadLetter, HeldMessage, WaitingMessage};
use crate::codec::{Decoded, Field, Malformed, Reader};
use crate::ledger::Ledger;

/// One kept message.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Parked(HeldMessage),
    Waiting(WaitingMessage),
    Dead(DeadLetter),
}

impl Field for Kept {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Kept::Parked(held) => {
                out.push(1);
                held.put(out);
            }
            Kept::Waiting(waiting) => {
                out.push(2);
                waiting.held.put(out);
                waiting.kind.put(out);
                waiting.name.put(out);
            }
            Kept::Dead(letter) => {
                out.push(3);
                letter.held.put(out);
                letter.rejection.put(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            1 => Kept::Parked(Field::read(from)?),
            2 => Kept::Waiting(WaitingMessage {
                held: Field::read(from)?,
                kind: Field::read(from)?,
                name: Field::read(from)?,
            }),
            3 => Kept::Dead(DeadLetter { held: Field::read(from)?, rejection: Field::read(from)? }),
            _ => return Err(Malformed("a kept message is neither parked nor waiting nor dead")),
        })
    }
}

impl Ledger {
    /// All kept messages: by source those that are parked, those that wait, and dead letters.
    pub(crate) fn kept_messages(&self) -> Vec<Kept> {
        let of_source = self.inboxes.of_source.values();
        of_source
            .flat_map(|inbox| {
                let parked = inbox.parked.values().cloned().map(Kept::Parked);
                let waiting = inbox.waiting.values().cloned().map(Kept::Waiting);
                parked.chain(waiting).chain(inbox.letters.values().cloned().map(Kept::Dead))
            })
            .collect()
    }

    /// Restores a kept message of an image; false if it is kept already, its source does not exist, or it cannot be
    /// parked there.
    pub(crate) fn restore_kept(&mut self, kept: Kept) -> bool {
        let held = match &kept {
            Kept::Parked(held) => held,
            Kept::Waiting(waiting) => &waiting.held,
            Kept::Dead(letter) => &letter.held,
        };
        let Some(source) = self.sources.get(held.source) else { return false };
        if !(1..=self.sequence).contains(&held.sequence) {
            return false;
        }
        match kept {
            Kept::Parked(held) if held.epoch != source.epoch || held.number <= source.last => false,
            Kept::Parked(held) => self.inboxes.park(held),
            Kept::Waiting(waiting) => self.inboxes.wait(waiting),
            Kept::Dead(letter) => self.inboxes.bury(letter),
        }
    }
}
