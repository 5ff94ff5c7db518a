//! Random numbers that are the same for the same seed on every machine.
//!
//! [`Rng`] is a stream, for things that happen one after another. [`noise`] is a pure function of its keys, for values
//! that are read at any time and in any order, such as the price of a market at noon yesterday.

use std::fmt::Write;

/// A stream of random numbers (SplitMix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Returns a separate stream for each name and number, so that one more draw from one never changes another.
    pub fn named(seed: u64, name: &str, number: u64) -> Self {
        Self(mix(hash_text(seed, name) ^ mix(number)))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number uniform in 0..1.
    pub fn uniform(&mut self) -> f64 {
        unit(self.next_u64())
    }

    /// Returns a number uniform in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).max(0).unsigned_abs().saturating_add(1);
        low.saturating_add_unsigned(self.next_u64() % width)
    }

    /// Returns true with this probability, in 0..1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Returns the time until the next of random events that are `mean` apart on average: exponentially distributed.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// Returns a normal number with mean 0 and deviation 1. It is the sum of twelve uniform ones, which is close enough
    /// for a market.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Returns one of `items`; `None` when it is empty.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let n = u64::try_from(items.len()).ok().filter(|n| *n > 0)?;
        items.get(usize::try_from(self.next_u64() % n).unwrap_or(0))
    }
}

/// Returns the number in 0..1 of these keys; the same keys always have the same number.
pub fn noise(seed: u64, a: i64, b: i64) -> f64 {
    unit(mix(mix(seed ^ mix(a.cast_unsigned())).wrapping_add(b.cast_unsigned())))
}

/// Returns a point on a smooth curve in -1..1. The curve goes through [`noise`] at whole numbers.
pub fn smooth_noise(seed: u64, octave: i64, x: f64) -> f64 {
    let cell = x.floor();
    let within = x - cell;
    let at = |step: i64| noise(seed, octave, (cell as i64).wrapping_add(step)) * 2.0 - 1.0;
    let ease = within * within * (3.0 - 2.0 * within);
    at(0) + (at(1) - at(0)) * ease
}

/// Returns `bytes` bytes (at most 32) in lower-case hex with `0x`, the same for the same name and number.
pub fn hex_of(seed: u64, name: &str, number: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(66);
    text.push_str("0x");
    for word in words_of(seed, name, number) {
        let _ = write!(text, "{word:016x}");
    }
    text.truncate(2 + bytes * 2);
    text
}

/// Returns a token id: 256 bits in decimal, like the ids on the chain.
pub fn token_of(seed: u64, name: &str, number: u64) -> String {
    alloy_primitives::U256::from_limbs(words_of(seed, name, number)).to_string()
}

/// Not a cryptographic hash: that would be too slow for a debug build, which needs thousands of these a second.
fn words_of(seed: u64, name: &str, number: u64) -> [u64; 4] {
    let mut rng = Rng::named(seed, name, number);
    [(); 4].map(|()| rng.next_u64())
}

/// Returns a number for a text. Not a cryptographic hash.
pub fn hash_text(seed: u64, text: &str) -> u64 {
    text.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers_on_every_machine() {
        let mut rng = Rng(7);
        assert_eq!([rng.next_u64(), rng.next_u64()], [7_191_089_600_892_374_487, 309_689_372_594_955_804]);
        assert_eq!(noise(7, 1, 2), noise(7, 1, 2));
        assert_ne!(noise(7, 1, 2), noise(7, 2, 1));
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut rng = Rng::named(1, "bounds", 0);
        for _ in 0..1000 {
            assert!((3..=5).contains(&rng.between(3, 5)));
            assert!((0.0..1.0).contains(&rng.uniform()));
            assert!(rng.exponential(2.0) >= 0.0);
            assert!(smooth_noise(3, 0, rng.uniform() * 100.0).abs() <= 1.0);
        }
        assert_eq!(rng.choose::<u8>(&[]), None);
    }
}
