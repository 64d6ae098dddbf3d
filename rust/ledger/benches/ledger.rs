//! The ledger alone on one core: the cost of each kind of decision, with keys and expiry enabled.
//!
//! `cargo bench -p invengine-ledger`. The figure of docs/benchmarks.md (P1) is `reserve_and_allocate` over 100,000 levels.

use invengine_ledger::StockState;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use invengine_ledger::EntityKind;
use invengine_ledger::command::{Body, Line, StockLine, TTL_MS_DEFAULT, Target, TargetBy, Upsert};
use invengine_ledger::event::StockKind;
use invengine_ledger::{
    Answer, Command, Context, DEDUPE_WINDOW_MS, Effect, Executed, ImageLoader, Ledger, LedgerOptions, Payload,
    ReservationId,
};

const LOCATION: &str = "dc-1";
const FIRST_SKU: &str = "0000000000000000";
const START_MS: i64 = 1_800_000_000_000;
const FRAME_COMMANDS: u64 = 1_000;
const KEYS_MAX: u64 = 4_000_000;
const FRAME_BYTES_MAX: usize = 8 << 20;

/// A ledger with `levels` stocked levels, and the frame that it fills.
struct Bench {
    ledger: Ledger,
    payload: Payload,
    now_ms: i64,
    in_frame: u64,
    next_key: u64,
    /// Time and payload of each frame; `None` if frames are not kept.
    frames: Option<Vec<(i64, Vec<u8>)>>,
}

impl Bench {
    fn new(levels: usize, units: i64) -> Self {
        let mut bench = Self {
            ledger: Ledger::new(LedgerOptions::new("bench")),
            payload: Payload::default(),
            now_ms: START_MS,
            in_frame: 0,
            next_key: 0,
            frames: None,
        };
        bench.ledger.set_epoch(1);
        let upsert = |name| Upsert::labels(name, "", "");
        bench.accepted(Body::Upsert { kind: EntityKind::Locations, entries: vec![upsert(LOCATION)] });
        bench.stock(levels, units);
        bench
    }

    /// Adds `levels` items, each with `units` on hand.
    fn stock(&mut self, levels: usize, units: i64) {
        self.stock_at(LOCATION, levels, units);
    }

    /// Adds stock of the first `levels` items, new or known, at one location.
    fn stock_at(&mut self, location: &str, levels: usize, units: i64) {
        let skus: Vec<String> = (0..levels).map(|number| text(number as u64, &mut [0; 16]).to_owned()).collect();
        for part in skus.chunks(1_000) {
            let upsert = |sku| Upsert::labels(sku, "", "");
            let entries = part.iter().map(|sku| upsert(sku.as_str())).collect();
            self.accepted(Body::Upsert { kind: EntityKind::Items, entries });
            let line = |sku| StockLine { sku, location, quantity: units, state: StockState::OnHand, expected: None };
            let lines = part.iter().map(|sku| line(sku.as_str())).collect();
            self.accepted(Body::Stock { kind: StockKind::Received, lines });
        }
    }

    /// Executes with a new key; ends the frame every 1,000 commands.
    fn execute(&mut self, body: Body<'_>) -> Executed {
        if self.in_frame == FRAME_COMMANDS || self.payload.bytes().len() > FRAME_BYTES_MAX / 2 {
            self.cut();
            self.ledger.sweep(self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
            self.now_ms += 1;
            self.in_frame = 0;
        }
        self.in_frame += 1;
        self.next_key += 1;
        let mut digits = [0; 16];
        let key = text(self.next_key, &mut digits);
        let context = Context { key, issue_time_ms: Some(self.now_ms), ..Context::default() };
        self.ledger.execute(&Command { context, body }, self.now_ms, &mut self.payload, FRAME_BYTES_MAX)
    }

    /// The pieces of an image, all keys forgotten.
    fn image_of_levels(mut self) -> Vec<Vec<u8>> {
        self.cut();
        for turn in 1..=2 {
            self.ledger.forget_keys(self.now_ms + turn * 2 * DEDUPE_WINDOW_MS, &mut self.payload, FRAME_BYTES_MAX);
        }
        pieces(&mut self.ledger)
    }

    fn cut(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.push((self.payload.frame_time_ms(), self.payload.bytes().to_vec()));
        }
        self.payload.clear(FRAME_BYTES_MAX);
    }

    fn accepted(&mut self, body: Body<'_>) -> Option<ReservationId> {
        let Answer::Accepted { effect, .. } = self.execute(body).answer else { panic!("a command was refused") };
        match self.ledger.effect(effect) {
            Effect::Reserved(hold) => Some(hold.id),
            _ => None,
        }
    }

    fn reserve(&mut self, sku: &str) -> ReservationId {
        self.accepted(reserve(sku)).expect("a reserve makes a hold")
    }

    fn allocate(&mut self, id: ReservationId) {
        self.accepted(Body::Allocate(target(id)));
    }
}

/// The number as hexadecimal digits in a caller's buffer, without a cache line of its own, as names arrive within their
/// commands.
fn text(mut number: u64, digits: &mut [u8; 16]) -> &str {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
    std::str::from_utf8(digits).expect("digits are text")
}

fn reserve(sku: &str) -> Body<'_> {
    let lines = vec![Line { sku, location: LOCATION, quantity: 1 }];
    Body::Reserve { lines, ttl_ms: TTL_MS_DEFAULT, allow_partial: false, replace_own: false }
}

fn target(id: ReservationId) -> Target<'static> {
    Target { by: TargetBy::Id(id), lines: Vec::new(), expected_version: 0 }
}

/// Hashes a number (SplitMix64), so that levels come in random order.
fn mix(number: u64) -> usize {
    let mut value = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(value >> 32).unwrap_or(0)
}

/// A number of levels, and a ledger that is replaced before its keys fill the memory of a small machine.
struct Shop {
    levels: usize,
    bench: Bench,
}

impl Shop {
    fn new(levels: usize) -> Self {
        Self { levels, bench: Bench::new(levels, i64::from(u32::MAX)) }
    }

    /// The duration of `count` calls, each for a random level.
    fn timed(&mut self, count: u64, mut call: impl FnMut(&mut Bench, &str)) -> Duration {
        if self.bench.next_key > KEYS_MAX {
            *self = Self::new(self.levels);
        }
        let mut digits = [0; 16];
        let began = Instant::now();
        for number in 0..count {
            let level = mix(number) % self.levels;
            call(&mut self.bench, text(level as u64, &mut digits));
        }
        began.elapsed()
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reserve_and_allocate");
    group.throughput(Throughput::Elements(2));
    for levels in [1, 1_000, 100_000] {
        let mut shop = Shop::new(levels);
        group.bench_function(format!("{levels}_levels"), |bencher| {
            bencher.iter_custom(|count| {
                shop.timed(count, |bench, sku| {
                    let id = bench.reserve(sku);
                    bench.allocate(id);
                })
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("one_command");
    group.throughput(Throughput::Elements(1));
    let mut shop = Shop::new(100_000);
    group.bench_function("reserve", |bencher| {
        bencher.iter_custom(|count| {
            shop.timed(count, |bench, sku| {
                bench.reserve(sku);
            })
        });
    });
    group.bench_function("sold_out", |bencher| {
        let mut bench = Bench::new(1, 0);
        bencher.iter(|| assert!(matches!(bench.execute(reserve(FIRST_SKU)).answer, Answer::Rejected(_))));
    });
    group.bench_function("replayed", |bencher| {
        let mut bench = Bench::new(1, 1);
        bench.reserve(FIRST_SKU);
        bencher.iter(|| {
            bench.next_key -= 1;
            assert!(matches!(bench.execute(reserve(FIRST_SKU)).answer, Answer::Accepted { replayed: true, .. }));
        });
    });
    let mut shop = Shop::new(100_000);
    group.bench_function("reserve_and_digest", |bencher| {
        bencher.iter_custom(|count| {
            shop.timed(count, |bench, sku| {
                bench.reserve(sku);
                bench.ledger.digest();
            })
        });
    });
    group.finish();
}

/// The cost of a start (P14): levels of an image, events of a journal.
fn recovery(criterion: &mut Criterion) {
    const LEVELS: usize = 1_000_000;
    const STORES: usize = 50;
    let mut group = criterion.benchmark_group("recovery");
    let image = Bench::new(LEVELS, 5).image_of_levels();
    group.throughput(Throughput::Elements(LEVELS as u64));
    group.bench_function("load_levels_of_an_item_each", |bencher| bencher.iter_with_large_drop(|| load(&image)));
    let mut bench = Bench::new(0, 0);
    let stores: Vec<String> = (0..STORES).map(|number| format!("store-{number}")).collect();
    let entries = stores.iter().map(|name| Upsert::labels(name, "", "")).collect();
    bench.accepted(Body::Upsert { kind: EntityKind::Locations, entries });
    stores.iter().for_each(|store| bench.stock_at(store, LEVELS / STORES, 5));
    let image = bench.image_of_levels();
    group.bench_function("load_levels_in_50_stores", |bencher| bencher.iter_with_large_drop(|| load(&image)));
    let (frames, events) = journal();
    group.throughput(Throughput::Elements(events));
    group.bench_function("fold_events", |bencher| bencher.iter_with_large_drop(|| fold(&frames)));
    let image = pieces(&mut fold(&frames));
    group.bench_function("load_holds_and_keys_of_as_many_events", |bencher| {
        bencher.iter_with_large_drop(|| load(&image));
    });
    group.finish();
}

fn load(pieces: &[Vec<u8>]) -> Ledger {
    let mut loader = ImageLoader::new(LedgerOptions::new("bench"));
    pieces.iter().for_each(|piece| loader.piece(piece).expect("a piece of its own"));
    loader.finish().expect("an image of its own")
}

fn fold(frames: &[(i64, Vec<u8>)]) -> Ledger {
    let mut ledger = Ledger::new(LedgerOptions::new("bench"));
    for (time_ms, payload) in frames {
        ledger.fold(payload, *time_ms, 1).expect("a frame of its own");
    }
    ledger
}

fn pieces(ledger: &mut Ledger) -> Vec<Vec<u8>> {
    let (mut image, mut pieces, mut piece) = (ledger.image(), Vec::new(), Vec::new());
    while image.next(&mut piece) {
        pieces.push(piece.clone());
    }
    pieces
}

/// The frames of a million reserves and allocates over 100,000 levels, and their number of events.
fn journal() -> (Vec<(i64, Vec<u8>)>, u64) {
    const LEVELS: usize = 100_000;
    let mut bench = Bench::new(0, 0);
    bench.frames = Some(Vec::new());
    bench.stock(LEVELS, i64::from(u32::MAX));
    let mut digits = [0; 16];
    for number in 0..500_000 {
        let id = bench.reserve(text((mix(number) % LEVELS) as u64, &mut digits));
        bench.allocate(id);
    }
    bench.cut();
    (bench.frames.unwrap_or_default(), bench.ledger.sequence())
}

criterion_group! {
    name = ledger;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = decisions, recovery
}
criterion_main!(ledger);
