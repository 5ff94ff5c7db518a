//! The state that all clients of a process share: one rate limit, a breaker for each upstream, counts of the traffic.
//!
//! An HTTP client cannot leave its thread. The gate can, so every client sends its requests through the same gate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::breaker::{Admission, Breaker, BreakerObserved, Failure};
use super::endpoint::{Endpoint, Priority, Upstream};
use super::error::PolymarketError;
use super::limiter::Limiter;
use super::settings::LimitSettings;
use super::traffic::{Ending, EndpointTotals, EndpointTraffic, Traffic};
use crate::chance;
use crate::clock::{Clock, VenueClock};
use crate::domain::money::units::Timestamp;

/// The shared gate; clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    venue: VenueClock,
    limiter: Limiter,
    upstreams: [Mutex<Breaker>; 3],
    traffic: Mutex<Traffic>,
    /// The last `end` of an activity URL, so that each URL is new.
    last_end: AtomicI64,
}

/// State of the gate, for health, the status page and tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateObserved {
    pub upstreams: Vec<UpstreamObserved>,
    pub endpoints: Vec<EndpointTraffic>,
    pub waiting_interactive: usize,
    pub waiting_bulk: usize,
    /// How far the venue's clock is ahead of ours, in milliseconds; `None` before the first answer.
    pub venue_offset_ms: Option<i64>,
}

/// State of one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamObserved {
    pub upstream: Upstream,
    pub breaker: BreakerObserved,
}

impl Gate {
    /// Creates a gate with these limits.
    pub fn new(limits: &LimitSettings, clock: Clock) -> Self {
        let breaker = || Mutex::new(Breaker::new(limits.breaker.clone()));
        Self(Arc::new(Shared {
            clock,
            venue: VenueClock::new(clock),
            limiter: Limiter::new(limits.requests_per_second, limits.burst),
            upstreams: [breaker(), breaker(), breaker()],
            traffic: Mutex::default(),
            last_end: AtomicI64::new(0),
        }))
    }

    /// Returns the state of the gate.
    pub fn observe(&self) -> GateObserved {
        let now = self.0.clock.now();
        let upstreams = Upstream::ALL
            .iter()
            .map(|&upstream| UpstreamObserved { upstream, breaker: self.breaker(upstream).observe(now) })
            .collect();
        GateObserved {
            upstreams,
            endpoints: lock(&self.0.traffic).observe(now),
            waiting_interactive: self.0.limiter.waiting(Priority::Interactive),
            waiting_bulk: self.0.limiter.waiting(Priority::Bulk),
            venue_offset_ms: self.0.venue.measured_ms(),
        }
    }

    /// Returns the venue's clock, as the dates of its answers show it.
    pub fn venue(&self) -> &VenueClock {
        &self.0.venue
    }

    /// Returns the totals of all requests since the start, for metrics.
    pub fn totals(&self) -> BTreeMap<Endpoint, EndpointTotals> {
        lock(&self.0.traffic).totals()
    }

    /// Waits until one request may be sent.
    ///
    /// # Errors
    /// [`PolymarketError::Resting`], at once, when the upstream rests beyond `deadline`.
    pub(in crate::polymarket) async fn enter(
        &self,
        upstream: Upstream,
        priority: Priority,
        deadline: Timestamp,
    ) -> Result<Pass, PolymarketError> {
        loop {
            // Do not spend a permit on an upstream that is resting, or on checking whether a probe has returned.
            let admission = self.breaker(upstream).peek(self.now());
            if matches!(admission, Admission::Wait(_)) {
                self.wait_for(admission, upstream, deadline).await?;
                continue;
            }
            self.0.limiter.acquire(priority).await;
            let admission = self.breaker(upstream).admit(self.now());
            match admission {
                Admission::Go | Admission::Probe => {
                    let probes = admission == Admission::Probe;
                    return Ok(Pass { gate: self.clone(), upstream, probes, reported: false });
                }
                Admission::Wait(_) => self.wait_for(admission, upstream, deadline).await?,
            }
        }
    }

    async fn wait_for(
        &self,
        admission: Admission,
        upstream: Upstream,
        deadline: Timestamp,
    ) -> Result<(), PolymarketError> {
        let Admission::Wait(until) = admission else {
            return Ok(());
        };
        let wait = Duration::from_millis(until.millis_since(self.now()).max(0).unsigned_abs());
        if until > deadline {
            return Err(PolymarketError::Resting { upstream, retry_after: wait });
        }
        tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        Ok(())
    }

    /// Counts one request.
    pub(in crate::polymarket) fn count(&self, endpoint: Endpoint, ending: Ending, took: Duration) {
        lock(&self.0.traffic).count(endpoint, ending, took, self.now());
    }

    /// Returns an `end` in seconds, at or after `end`, that no earlier activity URL of this process had.
    ///
    /// The CDN answers a URL it has seen from its cache. An end after now only ever moves forward. An end in the past moves by
    /// up to a quarter of an hour, and the caller drops the rows beyond the end it wanted.
    pub(in crate::polymarket) fn fresh_end(&self, end: Timestamp) -> i64 {
        const AHEAD: i64 = 3_600;
        const SPREAD: i64 = 997;
        let floor = self.0.venue.now().seconds().saturating_add(AHEAD);
        let next = |last: i64| Some(last.saturating_add(1).max(floor));
        let last = self.0.last_end.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_else(|last| last);
        let fresh = next(last).unwrap_or(floor);
        if end >= self.0.venue.now() {
            fresh.max(end.seconds())
        } else {
            end.seconds().saturating_add(fresh.rem_euclid(SPREAD))
        }
    }

    /// Returns the current time.
    pub(in crate::polymarket) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    #[cfg(test)]
    pub(in crate::polymarket) fn given(&self) -> Vec<super::limiter::Given> {
        self.0.limiter.given()
    }

    fn breaker(&self, upstream: Upstream) -> MutexGuard<'_, Breaker> {
        let [data_api, clob, gamma] = &self.0.upstreams;
        lock(match upstream {
            Upstream::DataApi => data_api,
            Upstream::Clob => clob,
            Upstream::Gamma => gamma,
        })
    }
}

/// Permission to send one request; its result must be reported.
#[must_use]
#[derive(Debug)]
pub(in crate::polymarket) struct Pass {
    gate: Gate,
    upstream: Upstream,
    probes: bool,
    reported: bool,
}

impl Pass {
    /// Reports an answer.
    pub(in crate::polymarket) fn succeeded(mut self) {
        self.reported = true;
        self.gate.breaker(self.upstream).succeeded();
    }

    /// Reports a failure.
    pub(in crate::polymarket) fn failed(mut self, failure: Failure) {
        self.reported = true;
        self.gate.breaker(self.upstream).failed(self.gate.now(), failure, chance::random());
    }
}

impl Drop for Pass {
    /// If the caller stopped waiting for a probe, the next call becomes the probe.
    fn drop(&mut self) {
        if self.probes && !self.reported {
            self.gate.breaker(self.upstream).abandoned(self.gate.now());
        }
    }
}

/// Ignores poisoning: counters and states behind these locks stay valid even if a thread panics while holding one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(&LimitSettings::default(), Clock::starting_at(Timestamp::from_millis(1_790_000_000_500)))
    }

    #[tokio::test(start_paused = true)]
    async fn no_two_activity_urls_have_the_same_end() {
        let gate = gate();
        let now = gate.now();
        let open: Vec<i64> = (0..5).map(|_| gate.fresh_end(now)).collect();
        assert!(open.windows(2).all(|pair| pair[0] < pair[1]), "{open:?}");
        assert!(open[0] >= now.seconds() + 3_600);
        let past = now.plus_millis(-3_600_000);
        let first = gate.fresh_end(past);
        let second = gate.fresh_end(past);
        assert_ne!(first, second);
        assert!((past.seconds()..past.seconds() + 997).contains(&first), "{first}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_rests_too_long_is_refused_at_once_and_the_others_are_not() {
        let gate = gate();
        let deadline = gate.now().plus_millis(5_000);
        let pass = gate.enter(Upstream::Clob, Priority::Interactive, deadline).await.unwrap();
        pass.failed(Failure::RateLimited(Some(Duration::from_secs(30))));
        let refused = gate.enter(Upstream::Clob, Priority::Interactive, deadline).await.unwrap_err();
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(30)));
        assert!(refused.is_transient());
        gate.enter(Upstream::Gamma, Priority::Bulk, deadline).await.unwrap().succeeded();
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_rest_is_waited_for() {
        let gate = gate();
        let begin = gate.now();
        let deadline = begin.plus_millis(5_000);
        let pass = gate.enter(Upstream::Clob, Priority::Bulk, deadline).await.unwrap();
        pass.failed(Failure::RateLimited(Some(Duration::from_secs(3))));
        gate.enter(Upstream::Clob, Priority::Bulk, deadline).await.unwrap().succeeded();
        assert!((3_000..=3_010).contains(&gate.now().millis_since(begin)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_probe_dropped_before_its_answer_the_next_call_probes() {
        let gate = gate();
        let deadline = gate.now().plus_millis(60_000);
        for _ in 0..5 {
            gate.enter(Upstream::Clob, Priority::Bulk, deadline).await.unwrap().failed(Failure::Broken(None));
        }
        let probe = gate.enter(Upstream::Clob, Priority::Bulk, deadline).await.unwrap();
        assert!(probe.probes);
        drop(probe);
        assert!(gate.enter(Upstream::Clob, Priority::Bulk, deadline).await.unwrap().probes);
    }

    #[test]
    fn the_gate_can_be_shared_by_threads() {
        fn sendable<T: Send + Sync + Clone>() {}
        sendable::<Gate>();
    }
}
