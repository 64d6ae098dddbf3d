//! The ledger's state and its queries. Nothing here reads a clock: time is an argument.

use crate::ids::{Handle, LevelIndex, ReservationId, Slot, TOKEN_BYTES};
use crate::level::{LevelFigures, LevelPlace};
use hashbrown::HashMap;

use crate::authority::{Authority, CLAIMS_MAX};
use crate::correction::IssueTimes;
use crate::entity::{Entities, EntityKind};
use crate::inbox::{InboxLimits, Inboxes};
use crate::keys::{KeyEntry, Keys, Scope};
use crate::level::{Level, Levels};
use crate::names::Names;
use crate::one_or_many::OneOrMany;
use crate::refusals::Refusals;
use crate::rejection::Rejection;
use crate::rejection_cache::RejectionCache;
use crate::reservation::{Reservation, Slab};
use crate::schedule::ExpirySchedule;
use crate::source::{Source, Sources};
use crate::stable_hash::{Digest, StableHash};

/// Default for how far back keys are remembered; less if memory runs short.
pub const DEDUPE_WINDOW_MS: i64 = 24 * 3_600 * 1_000;
/// Default memory for keys: 2 GiB.
pub const KEY_BYTES_MAX: usize = 2 << 30;
/// Default memory for remembered refusals: 256 MiB.
pub const REFUSAL_BYTES_MAX: usize = 256 << 20;

/// The options of a ledger. They affect how commands are decided, but never what an event means.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// Name of the ledger; tokens of another ledger name nothing in this one.
    pub name: String,
    /// How far back keys are remembered, ms of engine time.
    pub dedupe_window_ms: i64,
    /// Approximate limit for the memory of keys, bytes.
    pub key_bytes_max: usize,
    /// Approximate limit for the memory of remembered refusals, bytes.
    pub refusal_bytes_max: usize,
    /// Most claims of one source.
    pub claims_max: usize,
    /// What is kept of the messages of one source.
    pub inbox: InboxLimits,
}

impl LedgerOptions {
    /// The default options.
    pub fn new(name: impl Into<String>) -> Self {
        LedgerOptions {
            name: name.into(),
            dedupe_window_ms: DEDUPE_WINDOW_MS,
            key_bytes_max: KEY_BYTES_MAX,
            refusal_bytes_max: REFUSAL_BYTES_MAX,
            claims_max: CLAIMS_MAX,
            inbox: InboxLimits::default(),
        }
    }
}

/// The slots of the reservations of each order, or of each holder.
pub(crate) type SlotsByName = HashMap<Box<str>, OneOrMany<Slot>>;

/// The state of one ledger: a fold of its events.
pub struct Ledger {
    pub(crate) options: LedgerOptions,
    pub(crate) tag: u64,
    pub(crate) epoch: u32,
    pub(crate) sequence: u64,
    pub(crate) time_ms: i64,
    pub(crate) first_time_ms: i64,
    pub(crate) entities: [Entities; EntityKind::ALL.len()],
    pub(crate) levels: Levels,
    pub(crate) slab: Slab,
    pub(crate) schedule: ExpirySchedule,
    pub(crate) orders: SlotsByName,
    pub(crate) holders: SlotsByName,
    pub(crate) keys: Keys,
    pub(crate) issue_times: IssueTimes,
    pub(crate) refusals: Refusals,
    pub(crate) sources: Sources,
    pub(crate) authority: Authority,
    pub(crate) inboxes: Inboxes,
    pub(crate) rejection_cache: RejectionCache,
    pub(crate) digest: Digest,
    pub(crate) open_reservations: u64,
    pub(crate) expired_reservations: u64,
    /// Events that did not apply to the state; only a journal that this ledger did not write has any.
    pub(crate) inapplicable_events: u64,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(options: LedgerOptions) -> Self {
        let tag = StableHash::new(9).bytes(options.name.as_bytes()).short();
        let keys = Keys::default();
        Ledger {
            options,
            tag,
            epoch: 0,
            sequence: 0,
            time_ms: i64::MIN,
            first_time_ms: i64::MIN,
            entities: Default::default(),
            levels: Levels::default(),
            slab: Slab::default(),
            schedule: ExpirySchedule::default(),
            orders: HashMap::new(),
            holders: HashMap::new(),
            issue_times: IssueTimes::default(),
            refusals: Refusals::beside(&keys),
            keys,
            sources: Sources::default(),
            authority: Authority::default(),
            inboxes: Inboxes::default(),
            rejection_cache: RejectionCache::default(),
            digest: Digest::default(),
            open_reservations: 0,
            expired_reservations: 0,
            inapplicable_events: 0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The tag in the tokens of this ledger, which makes another ledger's tokens invalid here.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Position of the last event, 0 without events.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Time of the last record; `i64::MIN` without records.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// How far engine time is ahead of the wall clock, ms, by the last correction; 0 without one.
    pub fn clock_offset_ms(&self) -> i64 {
        self.issue_times.offset_ms()
    }

    /// Writer epoch of the last folded frame, unless another one was set since.
    pub fn epoch(&self) -> u64 {
        u64::from(self.epoch)
    }

    /// Sets the writer epoch that new reservations carry.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = u32::try_from(epoch).expect("Invariant: fewer than 2^32 starts of one ledger");
    }

    /// The digest of all state. The cost is proportional to what has changed since the last call.
    pub fn digest(&mut self) -> Digest {
        let digest = &mut self.digest;
        let mut replace = |old: u128, new: u128| {
            digest.remove(old);
            digest.add(new);
        };
        self.levels.bring_up_to_date(&mut replace);
        self.slab.bring_up_to_date(&mut replace);
        let mut whole = self.digest;
        whole.add(self.keys.digest());
        whole.add(self.refusals.digest());
        whole.add(self.sources.digest());
        whole.add(self.authority.claims.digest());
        whole.add(self.authority.changes.digest());
        whole.add(self.inboxes.digest());
        whole.add(self.issue_times.digest());
        whole
    }

    /// Updates the digest if much has changed since it was read, so that no later reader has to wait for all of it.
    pub fn bound_unhashed(&mut self) {
        const UNHASHED_MAX: usize = 1_000;
        let of_keys = self.keys.unhashed() + self.refusals.unhashed();
        if self.levels.unhashed() + self.slab.unhashed() + of_keys > UNHASHED_MAX {
            self.digest();
        }
    }

    /// The entities of a kind.
    #[inline]
    pub fn entities(&self, kind: EntityKind) -> &Entities {
        &self.entities[kind as usize]
    }

    /// Items.
    #[inline]
    pub fn items(&self) -> &Names {
        self.entities(EntityKind::Items).names()
    }

    /// Locations.
    #[inline]
    pub fn locations(&self) -> &Names {
        self.entities(EntityKind::Locations).names()
    }

    /// Channels.
    #[inline]
    pub fn channels(&self) -> &Names {
        self.entities(EntityKind::Channels).names()
    }

    /// Sources, in the order they were registered.
    pub fn sources(&self) -> &[Source] {
        self.sources.all()
    }

    /// The handle of a source, by name.
    pub fn find_source(&self, source: &str) -> Option<Handle> {
        self.sources.find(source)
    }

    /// The name of a source; empty if there is none.
    pub fn source_name(&self, source: Handle) -> &str {
        self.sources.get(source).map_or("", |found| &found.name)
    }

    /// The oldest source that people may confuse with this one, if that is another and older source.
    pub fn source_look_alike(&self, source: &str) -> Option<&str> {
        self.sources.look_alike(source)
    }

    /// Number of levels.
    pub fn level_count(&self) -> usize {
        self.levels.len()
    }

    /// A level by its index.
    pub fn level(&self, level: LevelIndex) -> Option<&Level> {
        self.levels.get(level)
    }

    /// The level of an item at a location, if anything was ever recorded there.
    pub fn find_level(&self, item: Handle, location: Handle) -> Option<LevelIndex> {
        self.levels.find(item, location)
    }

    /// The levels of an item.
    pub fn levels_of_item(&self, item: Handle) -> &[LevelIndex] {
        self.levels.of_item(item)
    }

    /// The quantities of a level at this time.
    pub fn figures(&self, level: LevelIndex, now_ms: i64) -> LevelFigures {
        self.levels.figures(level, now_ms).unwrap_or_default()
    }

    /// What identifies a level in the events of any time.
    pub fn place_of(&self, level: LevelIndex) -> Option<LevelPlace> {
        let found = self.levels.get(level)?;
        let of_item = self.levels.of_item(found.item).into();
        Some(LevelPlace { level, item: found.item, location: found.location, of_item })
    }

    /// Names of a level's item and location; empty if there is no such level.
    #[inline]
    pub fn level_names(&self, level: LevelIndex) -> (&str, &str) {
        self.levels
            .get(level)
            .map_or(("", ""), |found| (self.items().name(found.item), self.locations().name(found.location)))
    }

    /// The token of a reservation.
    pub fn token(&self, id: ReservationId) -> String {
        id.token(self.tag)
    }

    /// The same as ASCII characters, without an allocation.
    #[inline]
    pub fn token_digits(&self, id: ReservationId) -> [u8; TOKEN_BYTES] {
        id.token_digits(self.tag)
    }

    /// The id in a token; `None` if this ledger cannot have issued the token.
    pub fn parse_token(&self, token: &str) -> Option<ReservationId> {
        ReservationId::parse(token, self.tag)
    }

    /// A reservation, if it is still known.
    pub fn reservation(&self, id: ReservationId) -> Option<&Reservation> {
        self.slab.find(id)
    }

    /// The reservations of an order.
    pub fn reservations_of_order<'l>(&'l self, order_ref: &str) -> impl Iterator<Item = &'l Reservation> {
        self.indexed(self.orders.get(order_ref))
    }

    /// The reservations for a holder.
    pub fn reservations_of_holder<'l>(&'l self, holder: &str) -> impl Iterator<Item = &'l Reservation> {
        self.indexed(self.holders.get(holder))
    }

    fn indexed<'l>(&'l self, slots: Option<&'l OneOrMany<Slot>>) -> impl Iterator<Item = &'l Reservation> {
        slots.map_or(&[][..], |slots| slots).iter().filter_map(|slot| self.slab.at(*slot))
    }

    /// All reservations that are still known, in no particular order.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.slab.iter()
    }

    /// Number of reservations that are still known.
    pub fn reservation_count(&self) -> usize {
        self.slab.len()
    }

    /// Number of reservations with reserved or allocated units.
    pub fn open_reservations(&self) -> u64 {
        self.open_reservations
    }

    /// Number of expiries so far.
    pub fn expired_reservations(&self) -> u64 {
        self.expired_reservations
    }

    /// Number of remembered keys.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Approximate memory of the keys, bytes.
    pub fn key_bytes(&self) -> usize {
        self.keys.bytes()
    }

    /// The scope of the keys of this channel or source; `None` if the name is unknown, and so has no keys.
    pub fn scope(&self, channel: &str, source: &str) -> Option<Scope> {
        if !channel.is_empty() {
            return self.channels().find(channel).map(Scope::Channel);
        }
        if !source.is_empty() {
            return self.sources.find(source).map(Scope::Source);
        }
        Some(Scope::Operator)
    }

    /// Number of refusals that are remembered because their callers asked for it.
    pub fn refusal_count(&self) -> usize {
        self.refusals.len()
    }

    /// Approximate memory of the remembered refusals, bytes.
    pub fn refusal_bytes(&self) -> usize {
        self.refusals.bytes()
    }

    /// Approximate limit for the memory of remembered refusals, bytes.
    pub fn refusal_bytes_max(&self) -> usize {
        self.options.refusal_bytes_max
    }

    /// What a key did, if it is remembered.
    pub fn key(&self, scope: Scope, key: &str) -> Option<&KeyEntry> {
        self.keys.find(scope, key)
    }

    /// The refusal of a key whose caller asked that it be remembered. It remains valid even if the key was cancelled since.
    pub fn remembered_refusal(&self, scope: Scope, key: &str) -> Option<&KeyEntry> {
        self.refusals.find(self.keys.hash_of(scope, key), scope, key)
    }

    /// The rejection of a key, if it is cached (in memory only).
    pub fn cached_rejection(&self, scope: Scope, key: &str) -> Option<Rejection> {
        self.rejection_cache.find(self.keys.hash_of(scope, key), scope, key).map(|refused| refused.1)
    }

    /// How far back keys are remembered at this time, ms.
    pub fn effective_window_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.window_start_ms(now_ms))
    }

    /// How far back all refusals are remembered whose callers asked for it, ms. Less than for keys if their memory was full.
    pub fn effective_refusal_window_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.window_start_ms(now_ms).max(self.refusals.remembered_since_ms()))
    }

    pub(crate) fn window_start_ms(&self, now_ms: i64) -> i64 {
        self.keys.remembered_since_ms().max(now_ms.saturating_sub(self.options.dedupe_window_ms))
    }

    /// The earliest time at which a hold may expire.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.schedule.next()
    }
}
