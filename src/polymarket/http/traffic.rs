//! Counts requests, errors and 429s of each endpoint, per minute and in total, and how long answers took.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::endpoint::Endpoint;
use crate::domain::money::units::Timestamp;
use crate::metrics::Histogram;

const MINUTE_MS: i64 = 60_000;
const MINUTES_KEPT: usize = 60;
/// How many of the last minutes pages show.
pub const MINUTES_SHOWN: usize = 30;

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Answered,
    /// Includes requests that the upstream refused: those are errors that an operator should see.
    Failed,
    RateLimited,
}

/// The requests of one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MinuteCounts {
    pub minute: Timestamp,
    pub requests: u64,
    /// Requests without a usable answer, 429s included.
    pub errors: u64,
    pub rate_limited: u64,
}

/// The last hour of one endpoint, oldest minute first; minutes without requests are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointTraffic {
    pub endpoint: Endpoint,
    pub minutes: Vec<MinuteCounts>,
}

/// All requests to one endpoint since the start.
#[derive(Debug, Clone)]
pub struct EndpointTotals {
    pub requests: u64,
    /// Requests without a usable answer, 429s included.
    pub errors: u64,
    pub rate_limited: u64,
    /// From the permit to the last byte of the answer, or to the failure.
    pub took: Arc<Histogram>,
}

/// The counts of all endpoints.
#[derive(Debug, Default)]
pub struct Traffic {
    endpoints: BTreeMap<Endpoint, VecDeque<MinuteCounts>>,
    totals: BTreeMap<Endpoint, EndpointTotals>,
}

impl Traffic {
    /// Adds one request.
    pub fn count(&mut self, endpoint: Endpoint, ending: Ending, took: Duration, now: Timestamp) {
        let failed = u64::from(ending != Ending::Answered);
        let rate_limited = u64::from(ending == Ending::RateLimited);
        let totals = self.totals.entry(endpoint).or_default();
        totals.requests = totals.requests.saturating_add(1);
        totals.errors = totals.errors.saturating_add(failed);
        totals.rate_limited = totals.rate_limited.saturating_add(rate_limited);
        totals.took.observe(took);
        let minute = now.bucket(MINUTE_MS);
        let minutes = self.endpoints.entry(endpoint).or_default();
        if minutes.back().is_none_or(|last| last.minute < minute) {
            minutes.push_back(MinuteCounts { minute, requests: 0, errors: 0, rate_limited: 0 });
        }
        if minutes.len() > MINUTES_KEPT {
            minutes.pop_front();
        }
        if let Some(counts) = minutes.back_mut() {
            counts.requests = counts.requests.saturating_add(1);
            counts.errors = counts.errors.saturating_add(failed);
            counts.rate_limited = counts.rate_limited.saturating_add(rate_limited);
        }
    }

    /// Returns the totals of every endpoint with at least one request.
    pub fn totals(&self) -> BTreeMap<Endpoint, EndpointTotals> {
        self.totals.clone()
    }

    /// Returns the last hour of every endpoint.
    pub fn observe(&self, now: Timestamp) -> Vec<EndpointTraffic> {
        let oldest = now.plus_millis(-MINUTE_MS * 60);
        let recent = |minutes: &VecDeque<MinuteCounts>| {
            minutes.iter().filter(|counts| counts.minute > oldest).copied().collect()
        };
        self.endpoints
            .iter()
            .map(|(&endpoint, minutes)| EndpointTraffic { endpoint, minutes: recent(minutes) })
            .collect()
    }
}

impl EndpointTraffic {
    /// Returns requests, errors and 429s of each of the `n` full minutes before `now`, oldest first.
    pub fn whole_minutes(&self, now: Timestamp, n: usize) -> Vec<[u64; 3]> {
        let mut counts = vec![[0; 3]; n];
        for minute in &self.minutes {
            let ago = now.bucket(MINUTE_MS).millis_since(minute.minute) / MINUTE_MS;
            let place = usize::try_from(ago).ok().filter(|ago| *ago > 0).and_then(|ago| n.checked_sub(ago));
            if let Some(slot) = place.and_then(|place| counts.get_mut(place)) {
                *slot = [minute.requests, minute.errors, minute.rate_limited];
            }
        }
        counts
    }
}

impl Default for EndpointTotals {
    fn default() -> Self {
        Self { requests: 0, errors: 0, rate_limited: 0, took: Arc::new(Histogram::quick()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(20);

    #[test]
    fn requests_errors_and_429s_are_counted_by_endpoint_and_minute() {
        let mut traffic = Traffic::default();
        let at = |millis| Timestamp::from_millis(millis);
        traffic.count(Endpoint::Book, Ending::Answered, TOOK, at(0));
        traffic.count(Endpoint::Book, Ending::Failed, TOOK, at(59_999));
        traffic.count(Endpoint::Book, Ending::RateLimited, TOOK, at(60_000));
        traffic.count(Endpoint::Activity, Ending::Answered, TOOK, at(60_001));
        let counts = |minute, requests, errors, rate_limited| MinuteCounts {
            minute: at(minute),
            requests,
            errors,
            rate_limited,
        };
        assert_eq!(
            traffic.observe(at(60_001)),
            [
                EndpointTraffic { endpoint: Endpoint::Activity, minutes: vec![counts(60_000, 1, 0, 0)] },
                EndpointTraffic {
                    endpoint: Endpoint::Book,
                    minutes: vec![counts(0, 2, 1, 0), counts(60_000, 1, 1, 1)]
                },
            ]
        );
        assert_eq!(traffic.observe(at(60 * 60_000)).last().unwrap().minutes, [counts(60_000, 1, 1, 1)]);
        let totals = &traffic.totals()[&Endpoint::Book];
        assert_eq!((totals.requests, totals.errors, totals.rate_limited), (3, 2, 1));
        assert_eq!((totals.took.cumulative().1, totals.took.sum()), (3, 60_000));
    }

    #[test]
    fn full_minutes_include_those_without_requests() {
        let minute = |at: i64, requests| MinuteCounts {
            minute: Timestamp::from_millis(at * MINUTE_MS),
            requests,
            errors: 1,
            rate_limited: 0,
        };
        let minutes = vec![minute(0, 9), minute(2, 5), minute(4, 7), minute(5, 8)];
        let traffic = EndpointTraffic { endpoint: Endpoint::Book, minutes };
        let counts = traffic.whole_minutes(Timestamp::from_millis(5 * MINUTE_MS + 59_999), 4);
        assert_eq!(counts, [[0, 0, 0], [5, 1, 0], [0, 0, 0], [7, 1, 0]]);
    }

    #[test]
    fn an_hour_is_kept() {
        let mut traffic = Traffic::default();
        for minute in 0..200 {
            let at = Timestamp::from_millis(minute * MINUTE_MS);
            traffic.count(Endpoint::Book, Ending::Answered, TOOK, at);
        }
        assert_eq!(traffic.endpoints[&Endpoint::Book].len(), MINUTES_KEPT);
    }
}
