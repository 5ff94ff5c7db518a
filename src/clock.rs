//! The one place that reads the system's time, and the venue's clock beside it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::money::units::Timestamp;

/// A source of the time: the system's clock, or in tests one that moves with Tokio's clock, which can be paused.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    System,
    /// `stepped_ms` is how far the clock was set forward (back when negative) since its start.
    Tokio {
        start: Timestamp,
        since: tokio::time::Instant,
        stepped_ms: &'static AtomicI64,
    },
}

/// The steps of clocks that make none.
static NEVER_STEPPED: AtomicI64 = AtomicI64::new(0);

impl Clock {
    /// Returns a clock that reads `start` now and moves with Tokio's time.
    pub fn starting_at(start: Timestamp) -> Self {
        Self::Tokio { start, since: tokio::time::Instant::now(), stepped_ms: &NEVER_STEPPED }
    }

    /// Returns a clock like [`starting_at`](Self::starting_at) that can be set, as an operator or a time server sets the
    /// system's clock. Timers do not notice. Its copies are set with it; its eight bytes are never freed.
    #[cfg(any(test, feature = "testkit"))]
    pub fn settable(start: Timestamp) -> Self {
        Self::Tokio { start, since: tokio::time::Instant::now(), stepped_ms: Box::leak(Box::new(AtomicI64::new(0))) }
    }

    /// Sets a [settable](Self::settable) clock forward by `millis` milliseconds, or back when negative.
    #[cfg(any(test, feature = "testkit"))]
    pub fn step(&self, millis: i64) {
        if let Self::Tokio { stepped_ms, .. } = self {
            assert!(!std::ptr::eq(*stepped_ms, &NEVER_STEPPED), "only a settable clock can be set");
            stepped_ms.fetch_add(millis, Ordering::SeqCst);
        }
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Tokio { start, since, stepped_ms } => start
                .plus_millis(i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX))
                .plus_millis(stepped_ms.load(Ordering::SeqCst)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the only place that reads the system's time")]
fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Answers whose dates count for the offset: enough that one wrong date changes nothing, few enough that a step of a
/// clock is known after some answers.
const DATES: usize = 9;
/// Dates are whole seconds and answers take time: a smaller offset is none.
const OFFSET_LEAST_MS: i64 = 2_000;
/// From this offset on, an operator should set our clock (spec 13).
pub const OFFSET_ALERT_MS: i64 = 30_000;

/// The venue's clock: ours plus the offset that the `Date` headers of the venue's answers show. Clones share the offset.
#[derive(Debug, Clone)]
pub struct VenueClock {
    clock: Clock,
    dates: Arc<Mutex<VecDeque<i64>>>,
    /// In milliseconds; [`UNKNOWN`] before the first answer.
    measured: Arc<AtomicI64>,
}

const UNKNOWN: i64 = i64::MIN;

impl VenueClock {
    /// Returns a clock without an offset, until an answer shows one.
    pub fn new(clock: Clock) -> Self {
        Self { clock, dates: Arc::default(), measured: Arc::new(AtomicI64::new(UNKNOWN)) }
    }

    /// Adds the date of an answer, which is the venue's time cut to whole seconds. `asked` and `answered` are by our
    /// clock.
    pub fn observe(&self, date: Timestamp, asked: Timestamp, answered: Timestamp) {
        let halfway = asked.plus_millis(answered.millis_since(asked).max(0) / 2);
        let offset = date.plus_millis(500).millis_since(halfway);
        let mut dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        dates.push_back(offset);
        if dates.len() > DATES {
            dates.pop_front();
        }
        let mut sorted: Vec<i64> = dates.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        self.measured.store(median, Ordering::Relaxed);
    }

    /// Returns how far the venue's clock is ahead of ours, in milliseconds, as measured; `None` before the first answer.
    pub fn measured_ms(&self) -> Option<i64> {
        Some(self.measured.load(Ordering::Relaxed)).filter(|measured| *measured != UNKNOWN)
    }

    /// Returns the offset that counts, in milliseconds: zero when it is under two seconds or not known.
    pub fn offset_ms(&self) -> i64 {
        self.measured_ms().filter(|measured| measured.abs() >= OFFSET_LEAST_MS).unwrap_or_default()
    }

    /// Returns the venue's time.
    pub fn now(&self) -> Timestamp {
        self.of(self.clock.now())
    }

    /// Returns the venue's time at `ours`.
    pub fn of(&self, ours: Timestamp) -> Timestamp {
        ours.plus_millis(self.offset_ms())
    }
}

/// Returns whether an offset calls for an operator.
pub fn is_far_off(measured_ms: Option<i64>) -> bool {
    measured_ms.is_some_and(|offset| offset.abs() > OFFSET_ALERT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_median_of_the_last_dates_is_the_offset_and_less_than_two_seconds_is_none() {
        let ours = Timestamp::from_millis(1_790_000_000_000);
        let venue = VenueClock::new(Clock::starting_at(ours));
        assert_eq!((venue.measured_ms(), venue.offset_ms()), (None, 0));
        let dated = |seconds: i64| venue.observe(ours.plus_millis(1_000 * seconds), ours, ours.plus_millis(200));
        dated(1);
        assert_eq!((venue.measured_ms(), venue.offset_ms()), (Some(1_400), 0));
        for _ in 0..4 {
            dated(-7_200);
        }
        assert_eq!((venue.offset_ms(), venue.now()), (-7_199_600, ours.plus_millis(-7_199_600)));
        assert!(is_far_off(venue.measured_ms()));
        dated(90_000);
        assert_eq!(venue.offset_ms(), -7_199_600, "one wrong date changes nothing");
        for _ in 0..9 {
            dated(0);
        }
        assert_eq!((venue.measured_ms(), venue.offset_ms()), (Some(400), 0));
        assert!(!is_far_off(venue.measured_ms()));
    }
}
