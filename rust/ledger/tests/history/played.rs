//! A history played on a ledger alone, with the digests read on the way.

use std::collections::BTreeMap;

use invengine_ledger::{Digest, LedgerOptions};

use super::{Player, Step, Turn};
use crate::harness::Harness;
use crate::harness::answers::{Outcome, Reply};

/// When the digest of the live ledger is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    EachStep,
    EachFrame,
    End,
}

/// A played history: the harness, and the digests that were read, by sequence.
pub struct Played {
    pub harness: Harness,
    pub digests: BTreeMap<u64, Digest>,
}

/// Plays a history; `cut_each` ends the frame after each step.
pub fn play(steps: &[Step], window_ms: i64, look: Look, cut_each: bool) -> Played {
    let harness = Harness::new(LedgerOptions { dedupe_window_ms: window_ms, ..LedgerOptions::new("main") });
    let mut played = Played { harness, digests: BTreeMap::new() };
    let mut player = Player::default();
    for command in Player::opening() {
        played.harness.ask(&command).accepted();
    }
    for step in steps {
        played.step(&mut player, step, look);
        played.harness.check();
        if look == Look::EachStep {
            played.look();
        }
        if cut_each {
            played.harness.cut();
        }
    }
    played.harness.cut();
    played.look();
    played
}

impl Played {
    fn step(&mut self, player: &mut Player, step: &Step, look: Look) {
        let ledger = &self.harness.ledger;
        let find = |name: &str| ledger.sources().iter().find(|source| *source.name == *name);
        let turn = player
            .turn(step, self.harness.now_ms, &|name| find(name).map_or((0, 0), |found| (found.epoch, found.last)));
        match turn {
            Turn::Command(command) => match self.harness.ask(&command) {
                Reply::Accepted { replayed: false, outcome: Outcome::Reserved(hold), .. } => player.note(&hold),
                Reply::Accepted { replayed: false, outcome: Outcome::Holds(holds), .. } => {
                    holds.iter().for_each(|hold| player.note(hold));
                }
                _ => {}
            },
            Turn::Wait(ms) => self.harness.wait(ms),
            Turn::Sweep => drop(self.harness.sweep()),
            Turn::Forget => drop(self.harness.forget()),
            // Other tests restart ledgers; here a restart only ends the frame.
            Turn::Restart | Turn::Cut => {
                self.harness.cut();
                if look == Look::EachFrame {
                    self.look();
                }
            }
        }
    }

    fn look(&mut self) {
        self.digests.insert(self.harness.ledger.sequence(), self.harness.digest());
    }

    /// The digest at the end.
    pub fn last(&self) -> Digest {
        *self.digests.last_key_value().expect("the end was looked at").1
    }
}
