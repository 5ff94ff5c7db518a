//! The circuit breaker of an upstream: a state machine without a clock.
//!
//! Closed    calls pass; consecutive failures are counted.
//! Open      no call passes until a certain time; each failed probe moves that time further out.
//! Half open one call passes as a probe: its success closes the breaker, its failure opens it for longer.
//! A `Retry-After` is independent of these states: calls wait until it ends, whatever the state.

use std::time::Duration;

use serde::Serialize;

use super::backoff;
use crate::domain::money::units::Timestamp;

/// Limits of a breaker.
#[derive(Debug, Clone)]
pub struct BreakerSettings {
    /// Consecutive failures that open it.
    pub failures: u32,
    /// How long it stays open at first; doubles with each failed probe.
    pub open_for: Duration,
    pub open_for_max: Duration,
    /// The rest after a 429 without `Retry-After`; doubles with each consecutive failure.
    pub rest_base: Duration,
}

/// Whether a call may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Go,
    /// The call may be sent, and finds out whether the upstream works again.
    Probe,
    /// Not before this time.
    Wait(Timestamp),
}

/// How a call failed, as far as it says something about the upstream's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// 429, with or without a `Retry-After`.
    RateLimited(Option<Duration>),
    /// 5xx, no connection, an unreadable body.
    Broken(Option<Duration>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Timestamp },
    HalfOpen,
}

/// The breaker of one upstream.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    failures: u32,
    /// How often it opened in a row, without closing in between.
    openings: u32,
    rest_until: Timestamp,
}

/// Every state as [`BreakerObserved`] names it.
pub const STATES: [&str; 4] = ["closed", "open", "half open", "resting"];

/// State of a breaker, for health and the status page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BreakerObserved {
    pub state: &'static str,
    pub failures: u32,
    /// End of the open state or of the rest.
    pub until: Option<Timestamp>,
}

/// How often a call checks again while another call probes.
const PROBE_POLL_MS: i64 = 100;

impl Breaker {
    /// Creates a closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed, failures: 0, openings: 0, rest_until: Timestamp::EPOCH }
    }

    /// Asks to send one call. [`Admission::Probe`] takes the only place of a half-open breaker: it must be followed by
    /// [`Self::succeeded`], [`Self::failed`] or [`Self::abandoned`].
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        if let wait @ Admission::Wait(_) = self.peek(now) {
            return wait;
        }
        if matches!(self.state, State::Open { .. }) {
            self.state = State::HalfOpen;
            return Admission::Probe;
        }
        Admission::Go
    }

    /// Returns what [`Self::admit`] would return, without taking the place of the probe.
    pub fn peek(&self, now: Timestamp) -> Admission {
        if self.rest_until > now {
            return Admission::Wait(self.rest_until);
        }
        match self.state {
            State::Closed => Admission::Go,
            State::Open { until } if until > now => Admission::Wait(until),
            State::Open { .. } => Admission::Probe,
            State::HalfOpen => Admission::Wait(now.plus_millis(PROBE_POLL_MS)),
        }
    }

    /// Reports an answer: closes the breaker.
    pub fn succeeded(&mut self) {
        self.state = State::Closed;
        self.failures = 0;
        self.openings = 0;
    }

    /// Reports a failure. `roll` randomises the rest after a 429 without `Retry-After`.
    pub fn failed(&mut self, now: Timestamp, failure: Failure, roll: u32) {
        self.failures = self.failures.saturating_add(1);
        let rest = match failure {
            Failure::RateLimited(None) => Some(backoff::delay(
                self.settings.rest_base,
                self.settings.open_for_max,
                self.failures.saturating_sub(1),
                roll,
            )),
            Failure::RateLimited(rest) | Failure::Broken(rest) => rest,
        };
        if let Some(rest) = rest {
            self.rest_until = self.rest_until.max(later(now, rest));
        }
        let opens = match self.state {
            State::Closed => self.failures >= self.settings.failures,
            State::HalfOpen => true,
            // The call was sent before the breaker opened: its failure is old news.
            State::Open { .. } => false,
        };
        if opens {
            let open_for = self.settings.open_for.saturating_mul(1_u32.checked_shl(self.openings.min(16)).unwrap_or(1));
            self.openings = self.openings.saturating_add(1);
            self.state = State::Open { until: later(now, open_for.min(self.settings.open_for_max)) };
        }
    }

    /// Reports that the caller stopped waiting for a probe: the next call probes.
    pub fn abandoned(&mut self, now: Timestamp) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    /// Returns the state at `now`.
    pub fn observe(&self, now: Timestamp) -> BreakerObserved {
        let open_until = match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen => None,
        };
        let state = match self.state {
            _ if self.rest_until > now => "resting",
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen => "half open",
        };
        let until = open_until.max(Some(self.rest_until)).filter(|until| *until > now);
        BreakerObserved { state, failures: self.failures, until }
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: 5,
            open_for: Duration::from_secs(2),
            open_for_max: Duration::from_secs(60),
            rest_base: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings::default())
    }

    fn open(breaker: &mut Breaker) {
        for _ in 0..5 {
            breaker.failed(at(0), Failure::Broken(None), 0);
        }
    }

    #[test]
    fn it_opens_after_repeated_failures_and_a_success_between_starts_the_count_again() {
        let mut breaker = breaker();
        for _ in 0..4 {
            breaker.failed(at(0), Failure::Broken(None), 0);
        }
        assert_eq!(breaker.admit(at(0)), Admission::Go);
        breaker.succeeded();
        open(&mut breaker);
        assert_eq!(breaker.admit(at(1)), Admission::Wait(at(2_000)));
        assert_eq!(breaker.observe(at(1)).state, "open");
    }

    #[test]
    fn one_probe_goes_out_and_its_success_closes() {
        let mut breaker = breaker();
        open(&mut breaker);
        assert_eq!(breaker.admit(at(1_999)), Admission::Wait(at(2_000)));
        assert_eq!(breaker.admit(at(2_000)), Admission::Probe);
        assert_eq!(breaker.admit(at(2_000)), Admission::Wait(at(2_100)), "a second probe");
        breaker.succeeded();
        assert_eq!(breaker.admit(at(2_001)), Admission::Go);
    }

    #[test]
    fn a_failed_probe_opens_it_for_twice_as_long_up_to_the_maximum() {
        let mut breaker = breaker();
        open(&mut breaker);
        let mut now = 2_000;
        for expected in [4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            assert_eq!(breaker.admit(at(now)), Admission::Probe);
            breaker.failed(at(now), Failure::Broken(None), 0);
            assert_eq!(breaker.admit(at(now)), Admission::Wait(at(now + expected)));
            now += expected;
        }
    }

    #[test]
    fn after_an_abandoned_probe_the_next_call_probes() {
        let mut breaker = breaker();
        open(&mut breaker);
        assert_eq!(breaker.admit(at(2_000)), Admission::Probe);
        breaker.abandoned(at(2_005));
        assert_eq!(breaker.admit(at(2_005)), Admission::Probe);
    }

    #[test]
    fn retry_after_is_honoured_at_once_and_a_429_without_it_rests_a_little() {
        let mut breaker = breaker();
        breaker.failed(at(0), Failure::RateLimited(Some(Duration::from_secs(7))), 0);
        assert_eq!(breaker.admit(at(6_999)), Admission::Wait(at(7_000)));
        assert_eq!(breaker.observe(at(6_999)).state, "resting");
        assert_eq!(breaker.admit(at(7_000)), Admission::Go);
        breaker.failed(at(7_000), Failure::RateLimited(None), u32::MAX);
        assert_eq!(breaker.admit(at(7_000)), Admission::Wait(at(8_000)));
        // The answer to an older call does not end the rest.
        breaker.succeeded();
        assert_eq!(breaker.admit(at(7_500)), Admission::Wait(at(8_000)));
    }

    #[test]
    fn failures_of_calls_from_before_it_opened_do_not_prolong_it() {
        let mut breaker = breaker();
        open(&mut breaker);
        breaker.failed(at(1_500), Failure::Broken(None), 0);
        assert_eq!(breaker.admit(at(2_000)), Admission::Probe);
    }
}
