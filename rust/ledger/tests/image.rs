//! An image is the whole state: loaded, it is the same ledger bit for bit and goes on the same way; bytes that are not an image
//! are refused.

mod harness;
mod history;

use std::path::Path;
use std::sync::LazyLock;

use invengine_ledger::{
    Answer, Audit, Command, DEDUPE_WINDOW_MS, IMAGE_PIECE_BYTES, ImageLoader, Ledger, LedgerOptions, Malformed, Payload,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use harness::answers::{Outcome, Reply};
use harness::commands::reserve;
use harness::{Frame, Harness, ROOMY, START_MS};
use history::{Look, Player, Step, Turn, history, play};

fn options(window_ms: i64) -> LedgerOptions {
    LedgerOptions { dedupe_window_ms: window_ms, ..LedgerOptions::new("main") }
}

fn image(ledger: &mut Ledger) -> Vec<u8> {
    let (mut whole, mut piece) = (Vec::new(), Vec::new());
    let mut image = ledger.image();
    while image.next(&mut piece) {
        assert!(piece.len() <= IMAGE_PIECE_BYTES);
        whole.extend_from_slice(&piece);
    }
    whole
}

fn load(options: LedgerOptions, bytes: &[u8], piece_bytes: usize) -> Result<Ledger, Malformed> {
    let mut loader = ImageLoader::new(options);
    for piece in bytes.chunks(piece_bytes) {
        loader.piece(piece)?;
    }
    loader.finish()
}

fn fold(ledger: &mut Ledger, frames: &[Frame]) {
    for frame in frames {
        ledger.fold(&frame.payload, frame.time_ms, frame.writer_epoch).expect("a frame of its own");
    }
}

/// What a ledger would write on its own from now on: all expiries, then the forgetting of keys.
fn rest_of_its_life(ledger: &mut Ledger) -> Vec<u8> {
    let mut payload = Payload::default();
    let mut now_ms = ledger.time_ms();
    for _ in 0..5 {
        now_ms += 40_000;
        while ledger.sweep(now_ms, &mut payload, 1 << 20) > 0 {}
        ledger.forget_keys(now_ms, &mut payload, 1 << 20);
    }
    payload.bytes().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    // case: E11, E16
    #[test]
    fn a_loaded_image_is_the_same_ledger_and_goes_on_the_same_way(
        steps in history(120),
        window_ms in prop_oneof![Just(2_000i64), Just(DEDUPE_WINDOW_MS)],
        piece_bytes in 1usize..3_000,
    ) {
        let frames = play(&steps, window_ms, Look::End, true).harness.frames;
        let mut whole = Ledger::new(options(window_ms));
        fold(&mut whole, &frames);
        let last = image(&mut whole);
        let mut rest = None;
        for cut in (0..=frames.len()).step_by(1 + frames.len() / 8) {
            let mut first = Ledger::new(options(window_ms));
            fold(&mut first, &frames[..cut]);
            let bytes = image(&mut first);
            let mut loaded = load(options(window_ms), &bytes, piece_bytes).expect("an image of its own");
            prop_assert_eq!(loaded.digest(), first.digest());
            prop_assert_eq!(image(&mut loaded), bytes);
            fold(&mut loaded, &frames[cut..]);
            prop_assert!(image(&mut loaded) == last, "cut at {}", cut);
            let its_rest = rest_of_its_life(&mut loaded);
            prop_assert!(*rest.get_or_insert_with(|| its_rest.clone()) == its_rest, "cut at {}", cut);
        }
        prop_assert_eq!(rest.unwrap_or_default(), rest_of_its_life(&mut whole));
    }
}

/// Two ledgers with the same past, one folded from its journal and one loaded from its image.
struct Twins([Harness; 2]);

impl Twins {
    fn new(window_ms: i64) -> Self {
        Twins([Harness::with_window(window_ms), Harness::with_window(window_ms)])
    }

    /// Restarts both: one from the journal, the other from the image.
    fn part(&mut self, window_ms: i64) {
        let [folded, loaded] = &mut self.0;
        folded.restart();
        loaded.restart();
        let bytes = image(&mut folded.ledger);
        loaded.ledger = load(options(window_ms), &bytes, 777).expect("an image of its own");
        assert_eq!(loaded.ledger.open_reservations(), folded.ledger.open_reservations());
        assert_eq!(loaded.ledger.key_bytes(), folded.ledger.key_bytes());
    }

    /// Takes one step with both, which must do the same.
    fn take(&mut self, player: &mut Player, step: &Step) {
        let sources: Vec<_> = self.0[0].ledger.sources().to_vec();
        let place = |name: &str| {
            let found = sources.iter().find(|source| *source.name == *name);
            found.map_or((0, 0), |source| (source.epoch, source.last))
        };
        let turn = player.turn(step, self.0[0].now_ms, &place);
        let done = self.0.each_mut().map(|harness| take(harness, &turn));
        assert_eq!(done[0], done[1]);
        assert_eq!(self.0[0].digest(), self.0[1].digest());
        match &done[0] {
            Done::Reply(Reply::Accepted { replayed: false, outcome: Outcome::Reserved(hold), .. }) => player.note(hold),
            Done::Reply(Reply::Accepted { replayed: false, outcome: Outcome::Holds(holds), .. }) => {
                holds.iter().for_each(|hold| player.note(hold));
            }
            _ => {}
        }
    }
}

/// The result of a step.
#[derive(Debug, PartialEq)]
enum Done {
    Reply(Reply),
    Count(usize),
}

fn take(harness: &mut Harness, turn: &Turn) -> Done {
    match turn {
        Turn::Command(command) => return Done::Reply(harness.ask(command)),
        Turn::Wait(ms) => harness.wait(*ms),
        Turn::Sweep => return Done::Count(harness.sweep()),
        Turn::Forget => return Done::Count(usize::from(harness.forget())),
        Turn::Restart | Turn::Cut => harness.cut(),
    }
    Done::Count(0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    // case: E11
    #[test]
    fn a_loaded_ledger_answers_and_writes_as_the_folded_one(steps in history(150), each in 1usize..40) {
        const WINDOW_MS: i64 = 2_000;
        let mut twins = Twins::new(WINDOW_MS);
        let mut player = Player::default();
        for command in Player::opening() {
            twins.0.iter_mut().for_each(|harness| drop(harness.ask(&command).accepted()));
        }
        for (number, step) in steps.iter().enumerate() {
            if number % each == 0 {
                twins.part(WINDOW_MS);
            }
            twins.take(&mut player, step);
        }
        twins.0.iter_mut().for_each(Harness::cut);
        let payloads = twins.0.each_ref().map(|harness| harness.frames.iter().map(|frame| frame.payload.clone()).collect::<Vec<_>>());
        prop_assert!(payloads[0] == payloads[1]);
        prop_assert!(image(&mut twins.0[0].ledger) == image(&mut twins.0[1].ledger));
    }

    // case: E11, H17
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), after in any::<prop::sample::Index>()) {
        prop_assert!(load(options(2_000), &bytes, 64).is_err());
        let mut spliced = SMALL[..after.index(SMALL.len())].to_vec();
        spliced.extend_from_slice(&bytes);
        prop_assert!(load(options(2_000), &spliced, 64).is_err());
    }
}

static SMALL: LazyLock<Vec<u8>> = LazyLock::new(small);

/// The first image format: the ledger that the first payload format folds to, and one command of a writer ahead of time.
const FIRST: &[u8] = include_bytes!("fixtures/image-v1.bin");
const FIRST_DIGEST: &str = "e028a2fdfd058299809a484e51ee7830";
/// The second image format, which also has issue times, the parts of fingerprints and remembered refusals: the ledger that the
/// second payload folds to, after a correction of its clock.
const SECOND: &[u8] = include_bytes!("fixtures/image-v2.bin");
const SECOND_DIGEST: &str = "e26ade89bb7b2cadb2376281a5a3a422";
/// The third image format, which holds units of a state only where there are any, and entities with versions: the ledger that
/// the third payload folds to, and the same commands.
const THIRD: &[u8] = include_bytes!("fixtures/image-v3.bin");
const THIRD_DIGEST: &str = "cbd9f302ed7903df6a7b66f04ca664a9";

fn ahead(time_ms: i64) -> Command<'static> {
    let mut ahead = reserve("ahead", &[("mug", "wh-2", 1), ("cup", "wh-2", 1)]);
    ahead.context.issue_time_ms = Some(time_ms + 777_777);
    ahead
}

fn second() -> Ledger {
    corrected(include_bytes!("fixtures/payload-v1-parts.bin"))
}

fn third() -> Ledger {
    corrected(include_bytes!("fixtures/payload-v1-entities.bin"))
}

/// The ledger that a payload folds to, after two commands of a writer ahead of time and a correction of its clock.
fn corrected(payload: &[u8]) -> Ledger {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    ledger.fold(payload, START_MS, 1).expect("read for ever");
    let now_ms = ledger.time_ms();
    let mut refused = ahead(now_ms);
    (refused.context.key, refused.context.remember_refusal) = ("refused-ahead", true);
    refused.body = reserve("", &[("mug", "wh-2", 999)]).body;
    for command in [ahead(now_ms), refused] {
        ledger.execute(&command, now_ms, &mut Payload::default(), ROOMY);
    }
    assert!(ledger.correct_clock(now_ms - 86_400_000, now_ms, &mut Payload::default(), ROOMY));
    ledger
}

// case: E11, E16
#[test]
fn every_image_format_loads_for_ever() {
    for (bytes, digest, sequence) in [(FIRST, FIRST_DIGEST, 38), (SECOND, SECOND_DIGEST, 42), (THIRD, THIRD_DIGEST, 60)]
    {
        let mut loaded = load(LedgerOptions::new("main"), bytes, 100).expect("every format is read for ever");
        assert_eq!(loaded.digest().to_string(), digest);
        assert_eq!(Audit::check(&loaded), Vec::new());
        assert_eq!((loaded.sequence(), loaded.level_count()), (sequence, 5));
        let now_ms = loaded.time_ms();
        let again = loaded.execute(&ahead(now_ms), now_ms, &mut Payload::default(), ROOMY);
        assert!(matches!(again.answer, Answer::Accepted { replayed: true, .. }), "{again:?}");
        rest_of_its_life(&mut loaded);
    }
    for (bytes, mut expected) in [(SECOND, second()), (THIRD, third())] {
        let mut loaded = load(LedgerOptions::new("main"), bytes, 100).expect("every format is read for ever");
        assert_eq!(loaded.clock_offset_ms(), 86_400_000);
        assert_eq!(rest_of_its_life(&mut loaded), rest_of_its_life(&mut expected));
    }
}

#[test]
fn this_build_still_writes_the_same_image() {
    // A difference is no fault while old images still load; but it must be intended, and is then a new version with a fixture
    // of its own.
    let mut ledger = third();
    let bytes = image(&mut ledger);
    if bytes != THIRD {
        let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image.bin");
        std::fs::write(&found, &bytes).expect("a writable target directory");
        panic!("the image format changed (now {}, in {}): raise the version", ledger.digest(), found.display());
    }
}

fn small() -> Vec<u8> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = history(60).new_tree(&mut runner).expect("a history").current();
    image(&mut play(&steps, 2_000, Look::End, true).harness.refold())
}

// case: E11
#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let bytes = small();
    assert!(load(options(2_000), &bytes, 100).is_ok());
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[place] ^= 1 << bit;
            assert!(load(options(2_000), &bad, bad.len()).is_err(), "byte {place} bit {bit}");
        }
        assert!(load(options(2_000), &bytes[..place], 1_000).is_err(), "cut at {place}");
    }
    assert!(load(options(2_000), &[bytes.clone(), vec![0]].concat(), 1_000).is_err());
}

// case: E11
#[test]
fn another_ledgers_image_is_refused() {
    let refused = load(LedgerOptions::new("other"), &small(), 1_000).map(drop);
    assert_eq!(refused, Err(Malformed("the image is of another ledger")));
}
