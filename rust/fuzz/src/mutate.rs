//! Mutations of inputs, drawn from a seed: the same seed always gives the same search.

/// Longest input that a mutation produces.
const INPUT_BYTES_MAX: usize = 4 << 10;
const EDGES: [u64; 10] = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, u32::MAX as u64, i64::MAX as u64];

/// A stream of random numbers (splitmix64).
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below a limit, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

/// Changes an input in one to four places; `other` is an input to borrow bytes from.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        change(input, other, random);
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let kind = random.below(10);
    if input.is_empty() || kind == 0 {
        let at = random.below(input.len() + 1);
        let count = 1 + random.below(8);
        let bytes: Vec<u8> = (0..count).map(|_| random.next() as u8).collect();
        input.splice(at..at, bytes);
        return;
    }
    let at = random.below(input.len());
    let end = at + 1 + random.below((input.len() - at).min(32));
    match kind {
        1 | 2 => input[at] ^= 1 << random.below(8),
        3 => input[at] = random.next() as u8,
        4 => input[at] = input[at].wrapping_add([1, 255][random.below(2)]),
        5 => write_edge(&mut input[at..], random),
        6 => drop(input.drain(at..end)),
        7 => input.truncate(at),
        8 => {
            let twice = input[at..end].to_vec();
            input.splice(at..at, twice);
        }
        _ => borrow(input, at, other, random),
    }
}

fn write_edge(at: &mut [u8], random: &mut Random) {
    let bytes = EDGES[random.below(EDGES.len())].to_le_bytes();
    let count = at.len().min([1, 2, 4, 8][random.below(4)]);
    at[..count].copy_from_slice(&bytes[..count]);
}

fn borrow(input: &mut Vec<u8>, at: usize, other: &[u8], random: &mut Random) {
    if other.is_empty() {
        return;
    }
    let from = random.below(other.len());
    let bytes = &other[from..from + 1 + random.below((other.len() - from).min(64))];
    let end = if random.below(2) == 0 { at } else { input.len().min(at + bytes.len()) };
    input.splice(at..end, bytes.iter().copied());
}
