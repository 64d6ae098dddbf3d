//! An image is the whole state: loaded again it is the same ledger, to the bit, and goes on the same way; and bytes that are
//! not one are refused.

mod desk;
mod history;

use invengine_ledger::{DEDUPE_WINDOW_MS, IMAGE_PIECE_BYTES, ImageLoader, Ledger, LedgerOptions, Malformed, Payload};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use desk::Frame;
use history::{Look, history, play};

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

/// What a ledger would write by itself from now on: all expiries, then the forgetting of keys.
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
        let frames = play(&steps, window_ms, Look::End, true).desk.frames;
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

fn small() -> Vec<u8> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = history(60).new_tree(&mut runner).expect("a history").current();
    image(&mut play(&steps, 2_000, Look::End, true).desk.refold())
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
