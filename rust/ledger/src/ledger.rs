//! The ledger's state and what can be read of it. Nothing here reads a clock: time is an argument.

use hashbrown::HashMap;

use crate::ahead::RECORDS_AHEAD;
use crate::codec::{Malformed, RecordReader};
use crate::command::Catalogue;
use crate::correction::Issued;
use crate::event::{LevelIndex, Slot};
use crate::few::Few;
use crate::keys::{KeyEntry, Keys, Scope};
use crate::level::{Level, Levels};
use crate::mix::{Digest, Mix};
use crate::names::{Handle, Names};
use crate::outcome::LevelFigures;
use crate::record::Record;
use crate::refusals::Refusals;
use crate::refused::Refused;
use crate::rejection::Rejection;
use crate::reservation::{Reservation, ReservationId, Slab};
use crate::schedule::Schedule;
use crate::source::{Source, Sources};

/// How far back keys are remembered unless memory runs short.
pub const DEDUPE_WINDOW_MS: i64 = 24 * 3_600 * 1_000;
/// Memory for keys unless said otherwise: 2 GiB.
pub const KEY_BYTES_MAX: usize = 2 << 30;
/// Memory for remembered refusals unless said otherwise: 256 MiB.
pub const REFUSAL_BYTES_MAX: usize = 256 << 20;

/// What a ledger is opened with. Policies decide commands; they never change what an event means.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// Its name; tokens of another ledger name nothing in this one.
    pub name: String,
    /// How far back keys are remembered, ms of engine time.
    pub dedupe_window_ms: i64,
    /// Bytes that keys may take, roughly.
    pub key_bytes_max: usize,
    /// Bytes that remembered refusals may take, roughly.
    pub refusal_bytes_max: usize,
}

impl LedgerOptions {
    /// The usual options.
    pub fn new(name: impl Into<String>) -> Self {
        LedgerOptions {
            name: name.into(),
            dedupe_window_ms: DEDUPE_WINDOW_MS,
            key_bytes_max: KEY_BYTES_MAX,
            refusal_bytes_max: REFUSAL_BYTES_MAX,
        }
    }
}

/// The state of one ledger: a fold of its events.
pub struct Ledger {
    pub(crate) options: LedgerOptions,
    pub(crate) tag: u64,
    pub(crate) epoch: u32,
    pub(crate) sequence: u64,
    pub(crate) time_ms: i64,
    pub(crate) first_time_ms: i64,
    pub(crate) catalogues: [Names; 3],
    pub(crate) levels: Levels,
    pub(crate) slab: Slab,
    pub(crate) schedule: Schedule,
    pub(crate) orders: HashMap<Box<str>, Few<Slot>>,
    pub(crate) holders: HashMap<Box<str>, Few<Slot>>,
    pub(crate) keys: Keys,
    pub(crate) issued: Issued,
    pub(crate) refusals: Refusals,
    pub(crate) sources: Sources,
    pub(crate) refused: Refused,
    pub(crate) digest: Digest,
    pub(crate) open_reservations: u64,
    pub(crate) expired_reservations: u64,
    /// Events that did not fit the state; only a journal that was not written by this ledger has any.
    pub(crate) misfits: u64,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(options: LedgerOptions) -> Self {
        let tag = Mix::new(9).bytes(options.name.as_bytes()).short();
        let keys = Keys::default();
        Ledger {
            options,
            tag,
            epoch: 0,
            sequence: 0,
            time_ms: i64::MIN,
            first_time_ms: i64::MIN,
            catalogues: Default::default(),
            levels: Levels::default(),
            slab: Slab::default(),
            schedule: Schedule::default(),
            orders: HashMap::new(),
            holders: HashMap::new(),
            issued: Issued::default(),
            refusals: Refusals::beside(&keys),
            keys,
            sources: Sources::default(),
            refused: Refused::default(),
            digest: Digest::default(),
            open_reservations: 0,
            expired_reservations: 0,
            misfits: 0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// What tokens of this ledger carry, so that another ledger's name nothing here.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Position of its last event, 0 if there is none.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Time of its last record; `i64::MIN` if there is none.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// How far engine time is ahead of the wall clock, as the last correction found it; 0 if there was none.
    pub fn clock_offset_ms(&self) -> i64 {
        self.issued.offset_ms()
    }

    /// Writer epoch of the last frame that was folded, unless another one was set since.
    pub fn epoch(&self) -> u64 {
        u64::from(self.epoch)
    }

    /// The writer epoch that new reservations carry.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = u32::try_from(epoch).expect("Invariant: fewer than 2^32 starts of one ledger");
    }

    /// Folds the records of one journal frame.
    ///
    /// # Errors
    /// The payload is not of this version, or its events do not fit the state: nothing after it can be trusted.
    pub fn fold(&mut self, payload: &[u8], frame_time_ms: i64, writer_epoch: u64) -> Result<(), Malformed> {
        self.fold_with(payload, frame_time_ms, writer_epoch, &mut |_, _| {}, &mut |_, _| true).map(|_| ())
    }

    /// The same with a look at each record before and after; `after` ends the fold by answering false.
    ///
    /// # Errors
    /// As `fold`. Answers whether the payload was folded to its end.
    pub fn fold_with(
        &mut self,
        payload: &[u8],
        frame_time_ms: i64,
        writer_epoch: u64,
        before: &mut dyn FnMut(&Ledger, &Record<'_>),
        after: &mut dyn FnMut(&Ledger, &Record<'_>) -> bool,
    ) -> Result<bool, Malformed> {
        self.epoch = u32::try_from(writer_epoch).map_err(|_| Malformed("a writer epoch is out of range"))?;
        let mut reader = RecordReader::new(payload, frame_time_ms)?;
        let mut records = Vec::new();
        loop {
            let (count, more) = reader.read_some(&mut records, RECORDS_AHEAD);
            let keys = self.read_ahead(&records[..count]);
            for (record, key) in records[..count].iter().zip(keys) {
                if record.time_ms < self.time_ms {
                    return Err(Malformed("the time of a record goes back"));
                }
                before(self, record);
                self.apply(record, key);
                if self.misfits > 0 {
                    return Err(Malformed("an event does not fit the state before it"));
                }
                if !after(self, record) {
                    return Ok(false);
                }
            }
            if !more? {
                return Ok(true);
            }
        }
    }

    /// The digest of all state. Costs what changed since it was read last.
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
        whole.add(self.issued.digest());
        whole
    }

    /// Brings the digest up to date if much has changed since it was read, so that no later reader pays for all of it.
    pub fn bound_unhashed(&mut self) {
        const UNHASHED_MAX: usize = 1_000;
        let of_keys = self.keys.unhashed() + self.refusals.unhashed();
        if self.levels.unhashed() + self.slab.unhashed() + of_keys > UNHASHED_MAX {
            self.digest();
        }
    }

    /// One of the catalogues.
    pub fn catalogue(&self, catalogue: Catalogue) -> &Names {
        &self.catalogues[catalogue as usize]
    }

    /// Items.
    #[inline]
    pub fn items(&self) -> &Names {
        &self.catalogues[Catalogue::Items as usize]
    }

    /// Locations.
    #[inline]
    pub fn locations(&self) -> &Names {
        &self.catalogues[Catalogue::Locations as usize]
    }

    /// Channels.
    #[inline]
    pub fn channels(&self) -> &Names {
        &self.catalogues[Catalogue::Channels as usize]
    }

    /// Sources, in the order they were registered.
    pub fn sources(&self) -> &[Source] {
        self.sources.all()
    }

    /// The oldest source that people may take for this one, if that is another and older one.
    pub fn source_look_alike(&self, source: &str) -> Option<&str> {
        self.sources.look_alike(source)
    }

    /// How many levels there are.
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

    /// Item and location of a level, by name; empty if there is no such level.
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

    /// The id behind a token, if this ledger issued one like it.
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

    fn indexed<'l>(&'l self, slots: Option<&'l Few<Slot>>) -> impl Iterator<Item = &'l Reservation> {
        slots.map_or(&[][..], |slots| slots).iter().filter_map(|slot| self.slab.at(*slot))
    }

    /// All reservations that are still known, in no useful order.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.slab.iter()
    }

    /// How many reservations are known.
    pub fn reservation_count(&self) -> usize {
        self.slab.len()
    }

    /// How many have units reserved or allocated.
    pub fn open_reservations(&self) -> u64 {
        self.open_reservations
    }

    /// How many expired so far, counting each expiry.
    pub fn expired_reservations(&self) -> u64 {
        self.expired_reservations
    }

    /// How many keys are remembered.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Bytes that keys take, roughly.
    pub fn key_bytes(&self) -> usize {
        self.keys.bytes()
    }

    /// Whose keys a reader of this channel or source asks for; `None` if the name is unknown, and so has no keys.
    pub fn scope(&self, channel: &str, source: &str) -> Option<Scope> {
        if !channel.is_empty() {
            return self.channels().find(channel).map(Scope::Channel);
        }
        if !source.is_empty() {
            return self.sources.find(source).map(Scope::Source);
        }
        Some(Scope::Operator)
    }

    /// How many refusals are remembered because their callers asked for it.
    pub fn refusal_count(&self) -> usize {
        self.refusals.len()
    }

    /// Bytes that remembered refusals take, roughly.
    pub fn refusal_bytes(&self) -> usize {
        self.refusals.bytes()
    }

    /// Bytes that they may take, roughly.
    pub fn refusal_bytes_max(&self) -> usize {
        self.options.refusal_bytes_max
    }

    /// What a key did, if it is remembered.
    pub fn key(&self, scope: Scope, key: &str) -> Option<&KeyEntry> {
        self.keys.find(scope, key)
    }

    /// The refusal of a key whose caller asked that it be remembered. It stands, even if the key was cancelled since.
    pub fn remembered_refusal(&self, scope: Scope, key: &str) -> Option<&KeyEntry> {
        self.refusals.find(self.keys.hash_of(scope, key), scope, key)
    }

    /// The rejection of a key, if it is remembered (in memory only).
    pub fn refused_key(&self, scope: Scope, key: &str) -> Option<Rejection> {
        self.refused.find(self.keys.hash_of(scope, key), scope, key).map(|refused| refused.1)
    }

    /// How far back keys are remembered at this time, ms.
    pub fn effective_window_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.window_start_ms(now_ms))
    }

    /// How far back all refusals are remembered whose callers asked for it, ms: less than keys are if their memory was full.
    pub fn effective_refusal_window_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.window_start_ms(now_ms).max(self.refusals.remembered_since_ms()))
    }

    pub(crate) fn window_start_ms(&self, now_ms: i64) -> i64 {
        self.keys.remembered_since_ms().max(now_ms.saturating_sub(self.options.dedupe_window_ms))
    }

    /// The earliest time at which a hold may be over.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.schedule.next()
    }
}
