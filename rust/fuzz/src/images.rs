//! Images of a ledger: whatever a snapshot contains, it is refused or gives a ledger whose own image has the same bytes.

use invengine_ledger::{Audit, ImageLoader, Ledger, LedgerOptions, Malformed};

use crate::Signature;
use crate::byte_source::ByteSource;
use crate::script;

fn options() -> LedgerOptions {
    LedgerOptions::new("main")
}

/// The input is the length of the pieces, then the image.
pub fn run(bytes: &[u8]) -> Signature {
    let mut feed = ByteSource::new(bytes);
    let piece_bytes = 1 + (usize::from(feed.byte()) << 4);
    let image = feed.rest();
    match load(image, piece_bytes) {
        Ok(mut ledger) => {
            assert_eq!(written(&mut ledger), image, "the image differs from the one that was read");
            let _ = Audit::check(&ledger);
            Signature::of("loaded")
        }
        Err(malformed) => Signature::of(malformed.0),
    }
}

fn load(image: &[u8], piece_bytes: usize) -> Result<Ledger, Malformed> {
    let mut loader = ImageLoader::new(options());
    image.chunks(piece_bytes).try_for_each(|piece| loader.piece(piece))?;
    loader.finish()
}

fn written(ledger: &mut Ledger) -> Vec<u8> {
    let mut image = ledger.image();
    let (mut all, mut piece) = (Vec::new(), Vec::new());
    while image.next(&mut piece) {
        all.extend_from_slice(&piece);
    }
    all
}

/// The image after each frame of the day.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut ledger = Ledger::new(options());
    let mut seeds = Vec::new();
    for frame in &*script::FRAMES {
        ledger.fold(&frame.payload, frame.time_ms, 1).expect("the day's own frames fold");
        seeds.push([&[seeds.len() as u8], &written(&mut ledger)[..]].concat());
    }
    seeds
}
