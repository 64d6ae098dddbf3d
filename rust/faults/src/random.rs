//! Random numbers, reproducible from a seed. Every purpose has a stream of its own, so that leaving out one fault does not
//! change what the others draw.

/// One stream of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes a number (the finalizer of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let mut value = number.wrapping_add(GOLDEN);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Random {
    /// The stream of a seed for one purpose.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Random(mix(seed ^ mix(purpose)))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { ((u128::from(self.draw()) * u128::from(end)) >> 64) as u64 }
    }

    /// A number of this range, both ends included.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// A number of this range, log-uniform: every order of magnitude is as likely as another.
    pub fn scale(&mut self, first: u64, last: u64) -> u64 {
        let (low, high) = ((first.max(1) as f64).ln(), (last.max(1) as f64).ln());
        (low + (high - low) * self.fraction()).exp().round() as u64
    }

    /// True with a probability of `ppm` millionths.
    pub fn chance(&mut self, ppm: u64) -> bool {
        self.below(1_000_000) < ppm
    }

    /// A number from 0, included, to 1, excluded.
    pub fn fraction(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An exponentially distributed waiting time with this mean.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        (-(1.0 - self.fraction()).ln() * mean as f64) as u64
    }

    /// A random element; `None` if there are none.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_and_keeps_its_ranges() {
        let (mut one, mut two, mut other) = (Random::new(5, 1), Random::new(5, 1), Random::new(5, 2));
        let numbers: Vec<u64> = (0..1_000).map(|_| one.between(10, 12)).collect();
        assert!(numbers.iter().all(|number| (10..=12).contains(number) && *number == two.between(10, 12)));
        assert!((10..=12).all(|wanted| numbers.contains(&wanted)));
        assert!((0..1_000).any(|_| one.draw() != other.draw()));
        assert!((0..1_000).all(|_| (100..=10_000).contains(&one.scale(100, 10_000))));
        let mean = (0..10_000).map(|_| one.exponential(1_000)).sum::<u64>() / 10_000;
        assert!((900..1_100).contains(&mean), "{mean}");
    }
}
