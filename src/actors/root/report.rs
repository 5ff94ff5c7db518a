//! The health report of a worker: it is stored as a checkpoint, and another process that serves pages reads it.

use serde::Serialize;

use super::health::ActorHealth;
use crate::domain::money::units::Timestamp;
use crate::metrics::{Histogram, Metrics};
use crate::polymarket::http::traffic::MINUTES_SHOWN;
use crate::polymarket::{Endpoint, Gate};

/// The state of a worker at one moment. The web reads the field names, so they must not change.
#[derive(Debug, Serialize)]
pub(super) struct WorkerReport {
    pub at: Timestamp,
    pub started_at: Timestamp,
    pub version: &'static str,
    pub actors: Vec<ActorHealth>,
    upstreams: Vec<UpstreamReport>,
    endpoints: Vec<EndpointReport>,
    waiting_interactive: usize,
    waiting_bulk: usize,
    /// How far the venue's clock is ahead of ours; `None` before its first answer.
    venue_offset_ms: Option<i64>,
    /// Since the start.
    latencies: Vec<LatencyReport>,
}

#[derive(Debug, Serialize)]
struct UpstreamReport {
    upstream: &'static str,
    state: &'static str,
    failures: u32,
    until: Option<Timestamp>,
}

/// For each of the last whole minutes, oldest first: the number of requests, of errors and of answers with status 429.
#[derive(Debug, Serialize)]
struct EndpointReport {
    endpoint: Endpoint,
    upstream: &'static str,
    minutes: Vec<[u64; 3]>,
}

/// Percentiles of a latency, each as the next higher bound of the histogram.
#[derive(Debug, Serialize)]
struct LatencyReport {
    what: &'static str,
    n: u64,
    p50_micros: Option<u64>,
    p95_micros: Option<u64>,
    p99_micros: Option<u64>,
}

impl WorkerReport {
    pub fn new(
        (at, started_at): (Timestamp, Timestamp),
        actors: Vec<ActorHealth>,
        gate: &Gate,
        metrics: &Metrics,
    ) -> Self {
        let observed = gate.observe();
        let upstreams = observed.upstreams.iter().map(|seen| UpstreamReport {
            upstream: seen.upstream.as_str(),
            state: seen.breaker.state,
            failures: seen.breaker.failures,
            until: seen.breaker.until,
        });
        let endpoints = observed.endpoints.iter().map(|traffic| EndpointReport {
            endpoint: traffic.endpoint,
            upstream: traffic.endpoint.upstream().as_str(),
            minutes: traffic.whole_minutes(at, MINUTES_SHOWN),
        });
        let latencies = [
            ("decision", &metrics.decision),
            ("book_fetch", &metrics.book_fetch),
            ("commit", &metrics.commit),
            ("detection", &metrics.detection),
        ];
        Self {
            at,
            started_at,
            version: env!("CARGO_PKG_VERSION"),
            actors,
            upstreams: upstreams.collect(),
            endpoints: endpoints.collect(),
            waiting_interactive: observed.waiting_interactive,
            waiting_bulk: observed.waiting_bulk,
            venue_offset_ms: observed.venue_offset_ms,
            latencies: latencies.into_iter().map(|(what, histogram)| LatencyReport::of(what, histogram)).collect(),
        }
    }
}

impl LatencyReport {
    fn of(what: &'static str, histogram: &Histogram) -> Self {
        Self {
            what,
            n: histogram.count(),
            p50_micros: histogram.at_most(50),
            p95_micros: histogram.at_most(95),
            p99_micros: histogram.at_most(99),
        }
    }
}
