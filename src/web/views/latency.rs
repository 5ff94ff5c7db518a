//! Latencies of the pipeline: percentiles over rows of the database, and the histograms that a worker has counted since
//! its start.

use serde::Serialize;

use super::worker::WorkerReport;
use crate::db::{Db, DbError};
use crate::domain::money::units::Timestamp;

const DAY_MS: i64 = 24 * 3_600_000;
/// Numbers of the newest fills and attempts that the percentiles cover.
const FILLS: i64 = 2_000;
const ATTEMPTS: i64 = 1_000;

/// Percentiles of one step between a fill and its copy, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LatencyView {
    /// The step.
    pub what: &'static str,
    /// The rows or the time that the percentiles cover, in words.
    pub over: String,
    /// The number of counted rows.
    pub n: i64,
    /// The median, in milliseconds.
    pub p50_ms: Option<i64>,
    /// The 95th percentile, in milliseconds.
    pub p95_ms: Option<i64>,
    /// The 99th percentile, in milliseconds.
    pub p99_ms: Option<i64>,
    /// True when the values are upper bounds, because the worker counts latencies in steps.
    pub at_most: bool,
}

/// Returns the latencies from a fill to its attempt, in the order of the pipeline, then the worker's own steps.
///
/// # Errors
/// [`DbError`] when the database fails.
pub async fn latencies(db: &Db, worker: Option<&WorkerReport>, now: Timestamp) -> Result<Vec<LatencyView>, DbError> {
    let lags = db.detection_lags(now.plus_millis(-DAY_MS), FILLS).await?;
    let delays = db.attempt_delays(Timestamp::EPOCH, ATTEMPTS).await?;
    let mut latencies = vec![
        measured("Fill to sight", "fills of the last 24 h, the newest 2,000", lags),
        measured("Sight to attempt", "the newest 1,000 attempts, window and latency included", delays),
    ];
    for (what, shown) in
        [("decision", "Due to committed"), ("book_fetch", "Order book fetched"), ("commit", "Ledger commit")]
    {
        let counted = worker.and_then(|worker| worker.latencies.iter().find(|latency| latency.what == what));
        let ms = |micros: Option<i64>| micros.map(|micros| micros.saturating_add(999) / 1_000);
        latencies.extend(counted.map(|counted| LatencyView {
            what: shown,
            over: "since the worker started".to_owned(),
            n: counted.n,
            p50_ms: ms(counted.p50_micros),
            p95_ms: ms(counted.p95_micros),
            p99_ms: ms(counted.p99_micros),
            at_most: true,
        }));
    }
    Ok(latencies)
}

fn measured(what: &'static str, over: &str, mut millis: Vec<i64>) -> LatencyView {
    // A block may be dated a little ahead of our clock.
    millis.iter_mut().for_each(|ms| *ms = (*ms).max(0));
    millis.sort_unstable();
    let at = |percent: usize| {
        let rank = (millis.len() * percent).div_ceil(100).max(1);
        millis.get(rank - 1).copied()
    };
    let n = i64::try_from(millis.len()).unwrap_or(i64::MAX);
    LatencyView { what, over: over.to_owned(), n, p50_ms: at(50), p95_ms: at(95), p99_ms: at(99), at_most: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let of = |millis: Vec<i64>| {
            let latency = measured("", "", millis);
            (latency.n, latency.p50_ms, latency.p95_ms, latency.p99_ms)
        };
        assert_eq!(of(vec![]), (0, None, None, None));
        assert_eq!(of(vec![7]), (1, Some(7), Some(7), Some(7)));
        assert_eq!(of((1..=100).rev().collect()), (100, Some(50), Some(95), Some(99)));
        assert_eq!(of(vec![-5, 10]), (2, Some(0), Some(10), Some(10)));
    }
}
