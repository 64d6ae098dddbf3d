//! One Redis as its clients meet it: a primary with its file, a replica behind it, connections that break, and everything
//! that befalls them.

use std::sync::Arc;

use invengine_node::journal::Ack;
use redis::Value;

use super::dataset::{Bytes, Dataset, Id, Write};
use super::late::Late;
use super::node::{Node, Setup};
use crate::faults::Class;
use crate::journal::Shared;
use crate::model::Breach;
use crate::storage::{Faults, lock};
use crate::swarm::Swarm;

const SECOND_US: u64 = 1_000_000;
/// A replica that is not asked for is behind by less than this, unless it is cut off.
const LAG_US_MAX: u64 = 5 * SECOND_US;
/// `appendfsync everysec` promises so much.
const UNSYNCED_US_MAX: u64 = 2 * SECOND_US;
/// A server without a file saves now and then.
const UNSAVED_US_MAX: u64 = 60 * SECOND_US;
const STATE_KEY: &[u8] = b"invengine:{main}:state";
const FRAMES_KEY: &[u8] = b"invengine:{main}:frames";
/// Where a frame says who wrote it.
const EPOCH_AT: usize = 32;

/// A process that uses this Redis: which server, and how often that was started.
pub type Who = (usize, u64);

/// What happens to one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    #[default]
    Well,
    /// The connection is lost before the server heard anything.
    Unheard,
    /// The connection is lost after the server did what it was asked.
    Untold,
    /// The answer takes so long.
    Late(u64),
}

/// How the Redis of a seed is set up.
fn setup(ack: Ack, draw: u64) -> Setup {
    let replicas = u32::from(ack == Ack::Replicated || draw.is_multiple_of(2));
    let (version, has_file) = match (ack, draw % 4) {
        (Ack::Memory, _) => ((7, 0), false),
        (Ack::Replicated, 0 | 1) => ((7, 0), false),
        _ => ((9, 1), true),
    };
    Setup { version, has_file, syncs_always: ack == Ack::Fsync, replicas }
}

/// The Redis of a run.
pub struct House {
    pub ack: Ack,
    pub primary: Node,
    /// The part of the primary's file that no crash takes, where that is not all of it.
    file: Option<Late>,
    replica: Option<Late>,
    replica_back_us: Option<u64>,
    replica_cut_until_us: u64,
    /// Connections of an earlier generation are broken.
    pub generation: u64,
    pub down_until_us: u64,
    cut_until_us: Vec<u64>,
    /// Owners by their tokens.
    tokens: Vec<(Bytes, Who)>,
    owner: Option<Who>,
    /// Who owned the journal once, and since when it does not.
    deposed: Vec<(Who, u64)>,
    /// How often something was lost, or could have been.
    pub losses: u64,
    healed: bool,
    faults: Faults,
    follower: Shared,
    swarm: Swarm,
}

impl House {
    /// An empty Redis for so many processes.
    pub fn new(swarm: &Swarm, processes: usize, faults: Faults, follower: Shared) -> Self {
        let setup = setup(swarm.ack, swarm.redis_draw);
        let primary = Node::new(setup, Dataset::default());
        House {
            ack: swarm.ack,
            file: (!setup.syncs_always).then(|| Late::of(&primary.data)),
            replica: (setup.replicas > 0).then(|| Late::of(&primary.data)),
            primary,
            replica_back_us: None,
            replica_cut_until_us: 0,
            generation: 0,
            down_until_us: 0,
            cut_until_us: vec![0; processes],
            tokens: Vec::new(),
            owner: None,
            deposed: Vec::new(),
            losses: 0,
            healed: false,
            faults,
            follower,
            swarm: swarm.clone(),
        }
    }

    /// Who owns the journal.
    pub fn owner(&self) -> Option<Who> {
        self.owner
    }

    /// Since when a process that owned the journal does not any more.
    pub fn deposed_since(&self, who: Who) -> Option<u64> {
        self.deposed.iter().find(|(known, _)| *known == who).map(|(_, since_us)| *since_us)
    }

    /// Whether there is a replica that follows.
    pub fn has_replica(&self) -> bool {
        self.replica.is_some()
    }

    /// Whether a process gets through to the server.
    pub fn reaches(&self, process: usize, now_us: u64) -> bool {
        self.down_until_us <= now_us && self.cut_until_us[process] <= now_us
    }

    /// Whether an exchange of this process will meet nothing unusual.
    pub fn is_calm(&self, process: usize, generation: u64, now_us: u64) -> bool {
        let waits = self.ack == Ack::Replicated && (self.replica.is_none() || self.replica_cut_until_us > now_us);
        self.reaches(process, now_us) && self.generation == generation && self.primary.mood.is_good(now_us) && !waits
    }

    /// What happens to the next exchange.
    pub fn fate(&self) -> Fate {
        let ppm = self.swarm.redis_ppm;
        let mut faults = lock(&self.faults);
        if faults.hits(Class::RedisUnheard, ppm) {
            Fate::Unheard
        } else if faults.hits(Class::RedisUntold, ppm) {
            Fate::Untold
        } else if faults.hits(Class::RedisLate, ppm) {
            Fate::Late(faults.stream(Class::RedisLate).below(self.swarm.redis_late_ms_max * 1_000))
        } else {
            Fate::Well
        }
    }

    /// Executes one command of a process.
    pub fn execute(&mut self, who: Who, words: &[&[u8]], now_us: u64) -> Value {
        self.follow(now_us);
        let (value, writes) = self.primary.execute(words, now_us);
        if writes.is_empty() {
            return value;
        }
        if let [b"FCALL", b"invengine_claim" | b"invengine_seal", _, _, _, _, token, ..] = words {
            self.tokens.push(((*token).into(), who));
        }
        let writes: Arc<[Write]> = writes.into();
        let lates = [&mut self.file, &mut self.replica];
        lates.into_iter().flatten().for_each(|late| late.note(now_us, &writes));
        self.look_at(&writes);
        self.crown(now_us);
        value
    }

    /// Everything that follows the primary comes closer; a replica that was away is back.
    fn follow(&mut self, now_us: u64) {
        if let Some(file) = &mut self.file {
            let kept_us = if self.primary.setup.has_file { UNSYNCED_US_MAX } else { UNSAVED_US_MAX };
            file.catch_up(now_us.saturating_sub(kept_us));
        }
        if let (Some(replica), true) = (&mut self.replica, self.replica_cut_until_us <= now_us) {
            replica.catch_up(now_us.saturating_sub(LAG_US_MAX));
        }
        if self.replica_back_us.is_some_and(|back_us| back_us <= now_us && self.down_until_us <= now_us) {
            (self.replica, self.replica_back_us) = (Some(Late::of(&self.primary.data)), None);
            self.primary.setup.replicas = 1;
        }
    }

    /// No frame of an older writer may follow a newer claim, and what was in danger may be there again.
    fn look_at(&mut self, writes: &[Write]) {
        for write in writes {
            let Write::Add { frame, .. } = write else { continue };
            let mut follower = lock(&self.follower);
            let epoch =
                frame.get(EPOCH_AT..EPOCH_AT + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
            let known = self.primary.data.field(STATE_KEY, "epoch").ok().flatten();
            let known = known.and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
            if epoch != known {
                let found = format!("a frame of {epoch:?} while {known:?} owns the journal");
                follower.note(Breach::err("one writer", found));
            }
            follower.stored(frame);
        }
    }

    /// Notes who owns the journal from now on.
    fn crown(&mut self, now_us: u64) {
        let token = self.primary.data.field(STATE_KEY, "owner").ok().flatten();
        let known = |token: &Bytes| self.tokens.iter().rev().find(|(known, _)| known == token).map(|(_, who)| *who);
        let owner = token.and_then(known);
        if owner == self.owner {
            return;
        }
        if let Some(before) = std::mem::replace(&mut self.owner, owner) {
            self.deposed.push((before, now_us));
        }
        self.deposed.retain(|(who, _)| Some(*who) != self.owner);
    }

    /// How many replicas have everything that was written so far, if they are waited for until a moment; and when that is known.
    pub fn confirmed(&mut self, now_us: u64, until_us: u64) -> (u64, i64) {
        let back_us = self.replica_cut_until_us.max(now_us);
        let Some(replica) = self.replica.as_mut().filter(|_| back_us < until_us) else { return (until_us, 0) };
        replica.catch_up(now_us);
        (back_us, 1)
    }

    /// What a second may bring.
    pub fn tick(&mut self, now_us: u64) {
        self.follow(now_us);
        if self.healed {
            return;
        }
        let (faults, swarm) = (self.faults.clone(), self.swarm.clone());
        let draw = |class: Class, ppm: u64, max_us: u64| {
            let mut faults = lock(&faults);
            faults.hits(class, ppm).then(|| now_us + faults.stream(class).below(max_us))
        };
        let mood = &mut self.primary.mood;
        for (until_us, class) in [
            (&mut mood.busy_until_us, Class::RedisBusy),
            (&mut mood.misconfigured_until_us, Class::RedisMisconf),
            (&mut mood.few_replicas_until_us, Class::RedisNoReplicas),
            (&mut mood.read_only_until_us, Class::RedisReadOnly),
        ] {
            if let Some(until) = draw(class, 3_000, 5 * SECOND_US) {
                *until_us = until;
            }
        }
        if let Some(from) = draw(Class::RedisOom, 3_000, 5 * SECOND_US) {
            (mood.scarce_from_us, mood.no_room_from_us, mood.no_room_until_us) = (now_us, from, from + 5 * SECOND_US);
        }
        for cut in &mut self.cut_until_us {
            if let Some(until) = draw(Class::RedisCut, swarm.cut_ppm / 3, 8 * SECOND_US) {
                *cut = until;
            }
        }
        if self.replica.is_some()
            && let Some(until) = draw(Class::ReplicaCut, 20_000, 20 * SECOND_US)
        {
            self.replica_cut_until_us = until;
        }
        let failed = self.replica.is_some() && draw(Class::RedisFailover, swarm.failover_ppm, 1).is_some();
        let stopped = draw(Class::RedisRestart, swarm.failover_ppm, 1).is_some();
        let lost = draw(Class::RedisHostLost, swarm.failover_ppm, 1).is_some();
        self.befall(failed, stopped, lost, now_us);
    }

    fn befall(&mut self, failed: bool, stopped: bool, lost: bool, now_us: u64) {
        // With `replicated` the primary keeps nothing by itself: it is never left alone with what was acknowledged.
        let replicated = self.ack == Ack::Replicated;
        if failed || (replicated && (stopped || lost)) {
            self.fail_over(now_us);
        } else if stopped || lost {
            self.restart(lost, now_us);
        }
    }

    /// The replica takes over with what it has.
    fn fail_over(&mut self, now_us: u64) {
        let Some(mut replica) = self.replica.take() else { return };
        let mut faults = lock(&self.faults);
        let stale = faults.stream(Class::StaleFailover).chance(500_000) && faults.happens(Class::StaleFailover);
        let behind_us = if stale { faults.stream(Class::StaleFailover).below(LAG_US_MAX) } else { 0 };
        let away_us = faults.stream(Class::RedisFailover).between(SECOND_US / 10, 3 * SECOND_US);
        if self.replica_cut_until_us <= now_us {
            replica.catch_up(now_us - behind_us.min(now_us));
        }
        drop(faults);
        let complete = replica.is_complete();
        self.primary = Node::new(Setup { replicas: 0, ..self.primary.setup }, replica.into_data());
        self.file = self.file.is_some().then(|| Late::of(&self.primary.data));
        self.break_off(now_us + away_us, complete, now_us);
    }

    /// The server starts again with what its file has.
    fn restart(&mut self, host_lost: bool, now_us: u64) {
        let away_us = lock(&self.faults).stream(Class::RedisRestart).between(SECOND_US / 10, 3 * SECOND_US);
        let mut complete = true;
        if let Some(mut file) = self.file.take() {
            let has_file = self.primary.setup.has_file;
            if has_file && !host_lost {
                file.catch_up(now_us);
            } else {
                let kept_us = if has_file { UNSYNCED_US_MAX } else { UNSAVED_US_MAX };
                let behind_us = lock(&self.faults).stream(Class::RedisHostLost).below(kept_us);
                file.catch_up(now_us - behind_us.min(now_us));
            }
            complete = file.is_complete();
            self.primary.data = file.into_data();
            self.file = Some(Late::of(&self.primary.data));
        }
        let had_replica = self.replica.take().is_some() || self.replica_back_us.is_some();
        self.break_off(now_us + away_us, complete, now_us);
        let loads_us = lock(&self.faults).stream(Class::RedisRestart).below(2 * SECOND_US);
        if lock(&self.faults).happens(Class::RedisLoading) {
            self.primary.mood.loading_until_us = self.down_until_us + loads_us;
        }
        self.replica_back_us = self.replica_back_us.filter(|_| had_replica);
    }

    /// Every connection breaks; what the new primary does not have is in danger, but what a replica has confirmed is not.
    fn break_off(&mut self, down_until_us: u64, complete: bool, now_us: u64) {
        self.generation += 1;
        self.losses += 1;
        self.down_until_us = down_until_us;
        self.primary.setup.replicas = 0;
        let away_us = lock(&self.faults).stream(Class::ReplicaCut).between(SECOND_US, 10 * SECOND_US);
        self.replica_back_us = Some(down_until_us + away_us);
        if !complete {
            let newest = self.primary.data.stream(FRAMES_KEY).ok().flatten().and_then(|stream| stream.newest());
            let Id(last, _) = newest.map_or_else(Id::default, |entry| entry.0);
            lock(&self.follower).endanger(last + 1, self.ack == Ack::Replicated);
        }
        self.crown(now_us);
    }

    /// From now on nothing befalls it.
    pub fn heal(&mut self, now_us: u64) {
        self.healed = true;
        self.down_until_us = self.down_until_us.min(now_us);
        self.primary.mood = super::node::Mood::default();
        self.cut_until_us.fill(0);
        self.replica_cut_until_us = 0;
        self.replica_back_us = self.replica_back_us.map(|_| now_us);
        self.follow(now_us);
    }
}
