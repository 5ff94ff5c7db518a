//! The one place that reads the system's time, and the venue's clock beside it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::money::units::Timestamp;

/// A source of the time: the system's clock, or in tests one that moves with Tokio's clock, which can be paused.
///
/// Its time never goes back within a process. When the system's clock is set back, jobs, windows and leases would
/// otherwise wait until it reaches their times again. So this time goes on at half speed until the system's clock has
/// caught up. When the system's clock leaps forward, also because the machine slept, this time leaps with it.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    System,
    Tokio {
        start: Timestamp,
        since: tokio::time::Instant,
    },
    /// As `Tokio`, and it can be set.
    #[cfg(any(test, feature = "testkit"))]
    Settable {
        start: Timestamp,
        since: tokio::time::Instant,
        stepped_ms: &'static AtomicI64,
        steady: &'static Steady,
    },
}

impl Clock {
    /// Returns a clock that reads `start` now and moves with Tokio's time.
    pub fn starting_at(start: Timestamp) -> Self {
        Self::Tokio { start, since: tokio::time::Instant::now() }
    }

    /// Returns a clock like [`starting_at`](Self::starting_at) that can be set, as an operator or a time server sets the
    /// system's clock. Timers do not notice. Its copies are set with it; its few bytes are never freed.
    #[cfg(any(test, feature = "testkit"))]
    pub fn settable(start: Timestamp) -> Self {
        let stepped_ms = Box::leak(Box::new(AtomicI64::new(0)));
        Self::Settable { start, since: tokio::time::Instant::now(), stepped_ms, steady: Box::leak(Box::default()) }
    }

    /// Returns this clock as a process reads it that begins now.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn of_new_process(self) -> Self {
        match self {
            Self::Settable { start, since, stepped_ms, .. } => {
                Self::Settable { start, since, stepped_ms, steady: Box::leak(Box::default()) }
            }
            other => other,
        }
    }

    /// Sets a [settable](Self::settable) clock forward by `millis` milliseconds, or back when negative.
    #[cfg(any(test, feature = "testkit"))]
    pub fn step(&self, millis: i64) {
        let Self::Settable { stepped_ms, .. } = self else { panic!("only a settable clock can be set") };
        stepped_ms.fetch_add(millis, Ordering::SeqCst);
    }

    /// Returns the current time, which is never before one that was returned earlier.
    pub fn now(&self) -> Timestamp {
        let millis = match self {
            Self::System => STEADY.read(running_micros(), system_micros()) / 1_000,
            Self::Tokio { start, since } => start.millis().saturating_add(elapsed_micros(since) / 1_000),
            #[cfg(any(test, feature = "testkit"))]
            Self::Settable { since, steady, .. } => steady.read(elapsed_micros(since), self.wall_micros()) / 1_000,
        };
        Timestamp::from_millis(millis)
    }

    /// Returns by how many milliseconds the system's clock is behind [`now`](Self::now), after it was set back.
    pub fn ahead_ms(&self) -> i64 {
        self.now().millis_since(Timestamp::from_millis(self.wall_micros() / 1_000)).max(0)
    }

    /// Returns by how many milliseconds the system's clock is ahead of the time that this process has run. It changes
    /// when the clock is set, and when the machine has slept.
    fn divergence_ms(&self) -> i64 {
        let run = match self {
            Self::System => running_micros(),
            Self::Tokio { since, .. } => elapsed_micros(since),
            #[cfg(any(test, feature = "testkit"))]
            Self::Settable { since, .. } => elapsed_micros(since),
        };
        self.wall_micros().saturating_sub(run) / 1_000
    }

    fn wall_micros(&self) -> i64 {
        match self {
            Self::System => system_micros(),
            Self::Tokio { start, since } => start.millis().saturating_mul(1_000).saturating_add(elapsed_micros(since)),
            #[cfg(any(test, feature = "testkit"))]
            Self::Settable { start, since, stepped_ms, .. } => start
                .millis()
                .saturating_add(stepped_ms.load(Ordering::SeqCst))
                .saturating_mul(1_000)
                .saturating_add(elapsed_micros(since)),
        }
    }
}

/// Makes a time that never goes back out of one that may.
#[derive(Debug, Default)]
pub struct Steady {
    /// The time that the process had run, and the time that was returned then, in microseconds: of the last reading, or
    /// while the clock is behind, of the last one before it was set back.
    anchor: Mutex<Option<(i64, i64)>>,
}

/// That of the system's clock.
static STEADY: Steady = Steady { anchor: Mutex::new(None) };

impl Steady {
    /// Returns the time to show, in microseconds, when the process has run for `run` and the system's clock shows `wall`.
    fn read(&self, run: i64, wall: i64) -> i64 {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = anchor.map(|(since, shown)| shown.saturating_add(run.saturating_sub(since).max(0) / 2));
        match slow {
            Some(slow) if slow > wall => slow,
            _ => {
                *anchor = Some((run, wall));
                wall
            }
        }
    }
}

fn elapsed_micros(since: &tokio::time::Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// Returns the time since the first call, without the time that the machine slept.
fn running_micros() -> i64 {
    static BEGUN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    i64::try_from(BEGUN.elapsed().as_micros()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the only place that reads the system's time")]
fn system_micros() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// Answers whose dates count for the offset: enough that one wrong date changes nothing, few enough that a step of a
/// clock is known after some answers.
const DATES: usize = 9;
/// Dates are whole seconds and answers take time: a smaller offset is none.
const OFFSET_LEAST_MS: i64 = 2_000;
/// A change of our clock beside the time that passes; a smaller one is the clock being kept right.
const STEP_LEAST_MS: i64 = 1_000;
/// From this offset on, an operator should set our clock (spec 13).
pub const OFFSET_ALERT_MS: i64 = 30_000;

/// The venue's clock: ours plus the offset that the `Date` headers of the venue's answers show. Clones share the offset.
#[derive(Debug, Clone)]
pub struct VenueClock {
    clock: Clock,
    dates: Arc<Mutex<VecDeque<i64>>>,
    /// How far the venue is ahead of the system's clock, in milliseconds; [`UNKNOWN`] before the first answer.
    measured: Arc<AtomicI64>,
    /// The divergence of our clock when that was measured.
    measured_at: Arc<AtomicI64>,
}

const UNKNOWN: i64 = i64::MIN;

impl VenueClock {
    /// Returns a clock without an offset, until an answer shows one.
    pub fn new(clock: Clock) -> Self {
        let measured = Arc::new(AtomicI64::new(UNKNOWN));
        Self { clock, dates: Arc::default(), measured, measured_at: Arc::default() }
    }

    /// Adds the date of an answer, which is the venue's time cut to whole seconds. `asked` and `answered` are by our
    /// clock.
    pub fn observe(&self, date: Timestamp, asked: Timestamp, answered: Timestamp) {
        let halfway = asked.plus_millis(answered.millis_since(asked).max(0) / 2);
        let offset = date.plus_millis(500).millis_since(halfway).saturating_add(self.clock.ahead_ms());
        let divergence = self.clock.divergence_ms();
        let mut dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        // Dates from before a step of our clock say nothing about the clock as it is now.
        if divergence.saturating_sub(self.measured_at.swap(divergence, Ordering::Relaxed)).abs() >= STEP_LEAST_MS {
            dates.clear();
        }
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

    /// Returns the offset from our clock that counts, in milliseconds: zero when it is under two seconds or not known.
    ///
    /// When our clock was set back since the last answer, the offset has grown by as much. A leap forward may be a sleep
    /// of the machine as well as a wrong clock, so it counts as time until an answer says more: a fill is then judged too
    /// old rather than too young.
    pub fn offset_ms(&self) -> i64 {
        let Some(measured) = self.measured_ms() else { return 0 };
        let set_back = self.measured_at.load(Ordering::Relaxed).saturating_sub(self.clock.divergence_ms());
        let set_back = Some(set_back).filter(|by| *by >= STEP_LEAST_MS).unwrap_or_default();
        let offset = measured.saturating_add(set_back);
        let offset = Some(offset).filter(|offset| offset.abs() >= OFFSET_LEAST_MS).unwrap_or_default();
        offset.saturating_sub(self.clock.ahead_ms())
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
    async fn time_goes_on_at_half_speed_after_a_step_back_and_leaps_forward_at_once() {
        let start = Timestamp::from_millis(1_790_000_000_000);
        let clock = Clock::settable(start);
        let shown = |millis: i64| assert_eq!(clock.now().millis_since(start), millis);
        let pass = async |seconds: u64| tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
        pass(10).await;
        shown(10_000);
        clock.step(-3_600_000);
        shown(10_000);
        assert_eq!(clock.ahead_ms(), 3_600_000);
        pass(60).await;
        shown(40_000);
        clock.step(-1_000);
        shown(40_000);
        assert_eq!(clock.of_new_process().now().millis_since(start), 70_000 - 3_601_000);
        pass(7_200).await;
        assert_eq!(clock.ahead_ms(), 0, "twice the time of the step");
        shown(7_270_000 - 3_601_000);
        clock.step(86_400_000);
        shown(7_270_000 - 3_601_000 + 86_400_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_venues_time_is_known_through_a_step_of_our_clock() {
        let start = Timestamp::from_millis(1_790_000_000_000);
        let clock = Clock::settable(start);
        let venue = VenueClock::new(clock);
        let answer = |true_ms: i64| {
            let now = clock.now();
            venue.observe(start.plus_millis(true_ms / 1_000 * 1_000), now, now);
        };
        let check = |true_ms: i64| {
            let error = venue.now().millis_since(start.plus_millis(true_ms));
            assert!(error.abs() <= 1_000, "{error} ms off");
        };
        for _ in 0..9 {
            answer(0);
        }
        clock.step(-3_600_000);
        check(0);
        answer(0);
        check(0);
        tokio::time::advance(std::time::Duration::from_secs(100)).await;
        check(100_000);
        assert!(is_far_off(venue.measured_ms()));
        // A wrong leap is corrected by the first answer, and a sleep needs no correction.
        clock.step(10_800_000);
        assert_eq!(venue.now().millis_since(start.plus_millis(100_000)) / 1_000, 10_800);
        answer(100_000);
        check(100_000);
        clock.step(86_400_000);
        check(86_500_000);
    }

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
