//! Counters, gauges and histograms: plain atomics. The code where an event happens writes them; a scrape reads them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows, from the start of the process.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// Counts observed values by size. One observation is two atomic additions, takes tens of nanoseconds and no memory.
#[derive(Debug)]
pub struct Histogram {
    unit: Unit,
    bounds: &'static [u64],
    /// One count for each bound, and a last one for values above all bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// The unit of a histogram's values. Durations are stored in microseconds and shown in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Pieces,
}

/// Bounds for work inside the bot and for requests to upstreams, in microseconds.
const QUICK: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];
/// Bounds for the detection of a fill, in microseconds: usually seconds, and a quarter of an hour when the fill is read
/// after a stop.
const SLOW: &[u64] = &[
    500_000,
    1_000_000,
    2_000_000,
    4_000_000,
    8_000_000,
    15_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
];
/// Bounds for numbers of things.
const PIECES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Histogram {
    /// Returns a histogram for durations from 1 ms to 30 s.
    pub fn quick() -> Self {
        Self::new(Unit::Seconds, QUICK)
    }

    /// Returns a histogram for durations from 0.5 s to 1 h.
    pub fn slow() -> Self {
        Self::new(Unit::Seconds, SLOW)
    }

    /// Returns a histogram for numbers of things, from 1 to 512.
    pub fn pieces() -> Self {
        Self::new(Unit::Pieces, PIECES)
    }

    fn new(unit: Unit, bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { unit, bounds, counts, sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Observes the difference of two times. Clocks differ, so a negative difference counts as zero.
    pub fn observe_millis(&self, millis: i64) {
        self.add(u64::try_from(millis).unwrap_or(0).saturating_mul(1_000));
    }

    pub fn observe_pieces(&self, n: usize) {
        self.add(u64::try_from(n).unwrap_or(u64::MAX));
    }

    fn add(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Returns each bound with the number of values up to it, and the number of all values.
    pub fn cumulative(&self) -> (Vec<(u64, u64)>, u64) {
        let mut total = 0;
        let mut bounded = Vec::with_capacity(self.bounds.len());
        for (place, count) in self.counts.iter().enumerate() {
            total += count.load(Relaxed);
            bounded.extend(self.bounds.get(place).map(|bound| (*bound, total)));
        }
        (bounded, total)
    }

    /// Returns the smallest bound that `percent` of the values do not exceed; the last bound when there is no such
    /// bound, and `None` when there are no values.
    pub fn at_most(&self, percent: u64) -> Option<u64> {
        let (bounded, total) = self.cumulative();
        let wanted = total.saturating_mul(percent).div_ceil(100).max(1);
        let within = bounded.iter().find(|(_, n)| *n >= wanted).or(bounded.last());
        within.filter(|_| total > 0).map(|(bound, _)| *bound)
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_counts_within_it() {
        let sizes = Histogram::pieces();
        for n in [0, 1, 2, 3, 512, 513, 1_000_000] {
            sizes.observe_pieces(n);
        }
        let (bounded, total) = sizes.cumulative();
        assert_eq!(&bounded[..3], [(1, 2), (2, 3), (4, 4)]);
        assert_eq!(bounded.last(), Some(&(512, 5)));
        assert_eq!((total, sizes.sum()), (7, 1_001_031));
    }

    #[test]
    fn a_percentile_is_the_smallest_bound_that_holds_that_share_of_the_values() {
        let sizes = Histogram::pieces();
        assert_eq!(sizes.at_most(50), None);
        for n in [1, 2, 3, 4, 500] {
            sizes.observe_pieces(n);
        }
        assert_eq!([50, 80, 99].map(|percent| sizes.at_most(percent)), [Some(4), Some(4), Some(512)]);
        sizes.observe_pieces(9_999);
        assert_eq!(sizes.at_most(99), Some(512), "beyond all bounds");
    }

    #[test]
    fn a_negative_duration_counts_as_zero() {
        let lags = Histogram::quick();
        lags.observe_millis(-5);
        lags.observe_millis(5);
        lags.observe(Duration::from_micros(5_001));
        let (bounded, total) = lags.cumulative();
        assert_eq!(&bounded[..4], [(1_000, 1), (2_500, 1), (5_000, 2), (10_000, 3)]);
        assert_eq!((total, lags.sum()), (3, 10_001));
    }
}
