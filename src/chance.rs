//! The one place that draws random numbers: for waits that must not coincide, and for the names of workers. Secrets do
//! not come from here, but from the operating system.
//!
//! A test may seed the numbers of its thread, and then draws the same ones again.

use rand::RngCore;

/// Random numbers of this thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chance;

/// Returns one random value.
pub fn random<T>() -> T
where
    rand::distr::StandardUniform: rand::distr::Distribution<T>,
{
    rand::Rng::random(&mut Chance)
}

#[cfg(not(any(test, feature = "testkit")))]
#[expect(clippy::disallowed_methods, reason = "the only place that draws random numbers")]
fn draw<T>(from: impl FnOnce(&mut dyn RngCore) -> T) -> T {
    from(&mut rand::rng())
}

#[cfg(any(test, feature = "testkit"))]
#[expect(clippy::disallowed_methods, reason = "the only place that draws random numbers")]
fn draw<T>(from: impl FnOnce(&mut dyn RngCore) -> T) -> T {
    seeded::SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => from(seeded),
        None => from(&mut rand::rng()),
    })
}

impl RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        draw(|rng| rng.next_u32())
    }

    fn next_u64(&mut self) -> u64 {
        draw(|rng| rng.next_u64())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        draw(|rng| rng.fill_bytes(bytes));
    }
}

#[cfg(any(test, feature = "testkit"))]
pub use seeded::seed;

#[cfg(any(test, feature = "testkit"))]
mod seeded {
    use std::cell::RefCell;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    thread_local! {
        pub static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on the numbers of this thread follow from `seed`.
    pub fn seed(seed: u64) {
        SEEDED.set(Some(StdRng::seed_from_u64(seed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_thread_draws_the_same_numbers_again() {
        let drawn = || {
            seed(7);
            [(); 4].map(|()| random::<u64>())
        };
        let first = drawn();
        assert_eq!(first, drawn());
        assert_ne!(first[0], first[1]);
        assert_ne!(first.to_vec(), std::thread::spawn(|| vec![random::<u64>(); 4]).join().unwrap());
    }
}
