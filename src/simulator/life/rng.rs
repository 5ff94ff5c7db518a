//! Numbers that look random and are the same for the same seed on every machine.
//!
//! Two ways to throw: `Dice`, a stream, for what happens one thing after another; and `noise`, a pure function of its
//! keys, for what must be answerable at any time in any order, such as the price of a market at noon yesterday.

use std::fmt::Write;

/// A stream of throws (SplitMix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for each name, so that one more throw here never changes what happens there.
    pub fn named(seed: u64, name: &str, number: u64) -> Self {
        Self(mix(hash_text(seed, name) ^ mix(number)))
    }

    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f64 {
        unit(self.throw())
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).max(0).unsigned_abs().saturating_add(1);
        low.saturating_add_unsigned(self.throw() % width)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Waiting time until the next of events that come `mean` apart.
    pub fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Normal with mean 0 and deviation 1 (the sum of twelve uniforms is near enough for a market).
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// One of `items`; `None` when there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let n = u64::try_from(items.len()).ok().filter(|n| *n > 0)?;
        items.get(usize::try_from(self.throw() % n).unwrap_or(0))
    }
}

/// A number in 0..1 that belongs to these keys for ever.
pub fn noise(seed: u64, a: i64, b: i64) -> f64 {
    unit(mix(mix(seed ^ mix(a.cast_unsigned())).wrapping_add(b.cast_unsigned())))
}

/// A smooth curve through `noise` at the whole numbers, in -1..1.
pub fn smooth_noise(seed: u64, octave: i64, x: f64) -> f64 {
    let cell = x.floor();
    let within = x - cell;
    let at = |step: i64| noise(seed, octave, (cell as i64).wrapping_add(step)) * 2.0 - 1.0;
    let ease = within * within * (3.0 - 2.0 * within);
    at(0) + (at(1) - at(0)) * ease
}

/// `bytes` bytes (at most 32) of lower-case hex that belong to this name for ever.
pub fn hex_of(seed: u64, name: &str, number: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(66);
    text.push_str("0x");
    for word in words_of(seed, name, number) {
        let _ = write!(text, "{word:016x}");
    }
    text.truncate(2 + bytes * 2);
    text
}

/// A token id: 256 bits in decimal, as the chain's own are.
pub fn token_of(seed: u64, name: &str, number: u64) -> String {
    alloy_primitives::U256::from_limbs(words_of(seed, name, number)).to_string()
}

/// No cryptography: a debug build makes thousands of these a second.
fn words_of(seed: u64, name: &str, number: u64) -> [u64; 4] {
    let mut dice = Dice::named(seed, name, number);
    [(); 4].map(|()| dice.throw())
}

pub fn hash_text(seed: u64, text: &str) -> u64 {
    text.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(throw: u64) -> f64 {
    (throw >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_numbers_for_ever() {
        let mut dice = Dice::new(7);
        assert_eq!([dice.throw(), dice.throw()], [7_191_089_600_892_374_487, 309_689_372_594_955_804]);
        assert_eq!(noise(7, 1, 2), noise(7, 1, 2));
        assert_ne!(noise(7, 1, 2), noise(7, 2, 1));
    }

    #[test]
    fn throws_stay_within_their_bounds() {
        let mut dice = Dice::named(1, "bounds", 0);
        for _ in 0..1000 {
            assert!((3..=5).contains(&dice.between(3, 5)));
            assert!((0.0..1.0).contains(&dice.unit()));
            assert!(dice.wait(2.0) >= 0.0);
            assert!(smooth_noise(3, 0, dice.unit() * 100.0).abs() <= 1.0);
        }
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
