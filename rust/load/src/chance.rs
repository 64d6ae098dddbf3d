//! Random choices of a run, the same for the same seed: which item a reserve asks for, and when a caller arrives.

use crate::spec::{Pace, Skus};

/// Hashes a number (SplitMix64).
pub fn mix(number: u64) -> u64 {
    let mut value = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number in [0, 1).
pub fn fraction(number: u64) -> f64 {
    (mix(number) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Which item each reserve asks for: a function of the reserve's number, so that it need not be stored.
#[derive(Debug)]
pub struct Choice {
    seed: u64,
    hot_share: f64,
    count: u32,
    lines: u32,
    /// For Zipf: the share of the calls that go to this item or one before it.
    shares: Vec<f64>,
}

impl Choice {
    /// The choice among these items.
    pub fn new(skus: &Skus, seed: u64) -> Self {
        let mut shares = Vec::new();
        if skus.theta > 0.0 {
            let mut sum = 0.0;
            for rank in 1..=skus.count {
                sum += f64::from(rank).powf(-skus.theta);
                shares.push(sum);
            }
            shares.iter_mut().for_each(|share| *share /= sum);
        }
        Self { seed: mix(seed), hot_share: skus.hot_share, count: skus.count, lines: skus.lines, shares }
    }

    /// The items of this reserve's lines, far apart: an order of creation is no order of what is bought together.
    pub fn items(&self, reserve: u64) -> impl Iterator<Item = u32> + use<> {
        let (first, count, apart) = (self.sku(reserve), self.count, self.count / self.lines);
        (0..self.lines).map(move |line| (first + line * apart) % count)
    }

    /// The item of this reserve, or of its first line.
    pub fn sku(&self, reserve: u64) -> u32 {
        if self.count == 1 {
            return 0;
        }
        let drawn = fraction(self.seed ^ reserve);
        if drawn < self.hot_share {
            return 0;
        }
        let rest = (drawn - self.hot_share) / (1.0 - self.hot_share);
        if !self.shares.is_empty() {
            let place = self.shares.partition_point(|share| *share <= rest);
            return u32::try_from(place).unwrap_or(0).min(self.count - 1);
        }
        let first = u32::from(self.hot_share > 0.0);
        (first + (rest * f64::from(self.count - first)) as u32).min(self.count - 1)
    }
}

/// The times at which callers arrive.
#[derive(Debug)]
pub struct Arrivals {
    pace: Pace,
    seed: u64,
    drawn: u64,
    next_ns: f64,
}

impl Arrivals {
    /// The arrivals of this pace.
    pub fn new(pace: Pace, seed: u64) -> Self {
        let mut arrivals = Self { pace, seed: mix(seed ^ 0xa5a5), drawn: 0, next_ns: 0.0 };
        arrivals.step();
        arrivals
    }

    /// When the next caller arrives, in nanoseconds since the start; `None` after the last.
    pub fn next(&self) -> Option<u64> {
        self.rate(self.next_ns).map(|_| self.next_ns as u64)
    }

    /// Advances to the caller after that.
    pub fn step(&mut self) {
        const IDLE_NS: f64 = 1e6;
        let Some(rate) = self.rate(self.next_ns) else { return };
        if rate < 1e-3 {
            self.next_ns += IDLE_NS;
            return;
        }
        self.drawn += 1;
        let gap = if self.pace.poisson { -(1.0 - fraction(self.seed ^ self.drawn)).ln() } else { 1.0 };
        self.next_ns += gap * 1e9 / rate;
    }

    fn rate(&self, at_ns: f64) -> Option<f64> {
        let mut from_ns = 0.0;
        for phase in &self.pace.phases {
            let length_ns = phase.ms as f64 * 1e6;
            if at_ns < from_ns + length_ns {
                let part = (at_ns - from_ns) / length_ns;
                return Some(phase.from_per_s + (phase.to_per_s - phase.from_per_s) * part);
            }
            from_ns += length_ns;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Choice};
    use crate::spec::{Pace, Phase, Skus};

    fn counts(skus: Skus) -> Vec<u32> {
        let mut counts = vec![0; skus.count as usize];
        let choice = Choice::new(&skus, 7);
        (0..100_000).for_each(|reserve| counts[choice.sku(reserve) as usize] += 1);
        counts
    }

    #[test]
    fn shares_of_the_items_are_as_asked() {
        let uniform = counts(Skus { count: 10, ..Skus::default() });
        assert!(uniform.iter().all(|count| (9_000..11_000).contains(count)), "{uniform:?}");
        let zipf = counts(Skus { count: 10, theta: 1.0, ..Skus::default() });
        // The first of ten has 1 / H(10) = 34 %, the second half of that.
        assert!((33_000..35_500).contains(&zipf[0]) && (16_000..18_500).contains(&zipf[1]), "{zipf:?}");
        let sale = counts(Skus { count: 10, hot_share: 0.9, ..Skus::default() });
        assert!((89_000..91_000).contains(&sale[0]) && sale[1..].iter().all(|count| *count > 900), "{sale:?}");
    }

    #[test]
    fn the_lines_of_a_reserve_are_of_different_items() {
        let choice = Choice::new(&Skus { count: 11, lines: 5, ..Skus::default() }, 1);
        for reserve in 0..100 {
            let mut items: Vec<u32> = choice.items(reserve).collect();
            assert_eq!(items[0], choice.sku(reserve));
            items.sort_unstable();
            items.dedup();
            assert!(items.len() == 5 && items[4] < 11, "{items:?}");
        }
    }

    #[test]
    fn callers_arrive_at_the_rate_of_each_phase() {
        let phases = vec![
            Phase { ms: 1_000, from_per_s: 1_000.0, to_per_s: 1_000.0 },
            Phase { ms: 1_000, from_per_s: 1_000.0, to_per_s: 9_000.0 },
            Phase { ms: 1_000, from_per_s: 0.0, to_per_s: 0.0 },
        ];
        for poisson in [false, true] {
            let pace = Pace { phases: phases.clone(), poisson, queue_patience_ms: 0 };
            let mut arrivals = Arrivals::new(pace, 3);
            let mut seconds = [0; 3];
            while let Some(at) = arrivals.next() {
                seconds[(at / 1_000_000_000) as usize] += 1;
                arrivals.step();
            }
            assert!((900..1_100).contains(&seconds[0]), "{seconds:?}");
            assert!((4_800..5_200).contains(&seconds[1]), "{seconds:?}");
        }
    }
}
