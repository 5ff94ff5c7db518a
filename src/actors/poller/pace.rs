//! How fast leaders are read: their number and the size of a read, shared by the pollers and the reconciler.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::events::reading::{Reader, stretch_permille};

/// The load of reading in this process; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ReadingPace(Arc<Load>);

#[derive(Debug, Default)]
struct Load {
    leaders: AtomicI64,
    /// The mean number of requests of a read of each reader, in thousandths; zero before the first.
    requests: [AtomicI64; Reader::ALL.len()],
}

/// The part of the newest read in the mean.
const NEWEST_PART: i64 = 8;

impl ReadingPace {
    /// Sets how many leaders this process reads.
    pub fn set_leaders(&self, n: usize) {
        self.0.leaders.store(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Counts a read that returned `n_rows`.
    pub fn count(&self, by: Reader, n_rows: usize, page_rows: u32) {
        let Some(mean) = self.of(by) else { return };
        let pages = n_rows / usize::try_from(page_rows.max(1)).unwrap_or(usize::MAX) + 1;
        let requests = i64::try_from(pages).unwrap_or(i64::MAX).saturating_mul(1_000);
        let before = mean.load(Ordering::Relaxed);
        let after = if before == 0 { requests } else { before + (requests - before) / NEWEST_PART };
        mean.store(after, Ordering::Relaxed);
    }

    /// Returns an interval as the load stretches it, in milliseconds. `poll_every_ms` is how often leaders are polled.
    pub fn stretched_ms(&self, every_ms: i64, poll_every_ms: i64) -> i64 {
        let permille = self.permille(poll_every_ms);
        let stretched = i128::from(every_ms).saturating_mul(i128::from(permille)) / 1_000;
        i64::try_from(stretched).unwrap_or(i64::MAX)
    }

    /// Returns by how much every interval is stretched, in thousandths: 1000 while the load is light.
    pub fn permille(&self, poll_every_ms: i64) -> i64 {
        let requests = |by| self.of(by).map_or(0, |mean| mean.load(Ordering::Relaxed)).max(1_000);
        stretch_permille(self.0.leaders.load(Ordering::Relaxed), poll_every_ms, requests)
    }

    fn of(&self, by: Reader) -> Option<&AtomicI64> {
        Reader::ALL.iter().position(|known| *known == by).and_then(|place| self.0.requests.get(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_stretched_when_leaders_or_pages_are_many() {
        let pace = ReadingPace::default();
        pace.set_leaders(100);
        assert_eq!(pace.stretched_ms(600_000, 30_000), 600_000);
        pace.count(Reader::Poll, 4_999, 500);
        assert_eq!(pace.permille(30_000), 3_519);
        pace.count(Reader::Poll, 0, 500);
        assert!(pace.permille(30_000) < 3_519);
        let many = ReadingPace::default();
        many.set_leaders(1_000);
        assert_eq!(many.stretched_ms(600_000, 30_000), 3_116_400);
    }
}
