//! What the engine does on its own: it expires holds and forgets keys.

use std::collections::BTreeSet;

use super::Model;
use crate::harness::answers::Outcome;

impl Model {
    /// Records the expiry of every expired hold; returns their number.
    pub fn sweep(&mut self, now_ms: i64) -> usize {
        let now_ms = now_ms.max(self.time_ms);
        let count = (0..self.holds.len()).filter(|at| self.expire_if_due(*at, now_ms)).count();
        if count > 0 {
            self.begin(now_ms);
        }
        count
    }

    /// Forgets the older window if the younger one has reached its age; returns whether it did.
    pub fn forget(&mut self, now_ms: i64) -> bool {
        let now_ms = now_ms.max(self.time_ms);
        let since_ms = self.younger_ms.max(self.first_time_ms);
        if self.sequence == 0 || now_ms - since_ms < self.window_ms {
            return false;
        }
        self.event(now_ms);
        let older = self.window - 1;
        self.holds.retain(|hold| hold.outstanding() || hold.ended_in != older);
        (self.older_ms, self.younger_ms) = (self.younger_ms, now_ms);
        self.window += 1;
        let (ids, window): (BTreeSet<_>, _) = (self.holds.iter().map(|hold| hold.id).collect(), self.window);
        self.keys.retain(|_, known| {
            let names_a_hold = matches!(&known.outcome, Some(Outcome::Reserved(hold)) if ids.contains(&hold.id));
            if known.window == older && names_a_hold {
                known.window = window;
            }
            known.window != older
        });
        self.remembered.retain(|_, remembered| remembered.window != older);
        true
    }

    /// Drops what was in memory only.
    pub fn restart(&mut self) {
        self.refused.clear();
        self.starts += 1;
    }

    /// Number of holds with reserved or allocated units, as far as recorded.
    pub fn open_holds(&self) -> usize {
        self.holds.iter().filter(|hold| hold.outstanding()).count()
    }
}
