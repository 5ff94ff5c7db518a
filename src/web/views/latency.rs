//! How long things take: percentiles over rows of the database, and the bounds a worker has counted since its start.

use serde::Serialize;

use super::worker::Worker;
use crate::db::{Db, DbError};
use crate::domain::money::units::Timestamp;

const DAY_MS: i64 = 24 * 3_600_000;
/// The newest fills and attempts that are looked at.
const FILLS: i64 = 2_000;
const ATTEMPTS: i64 = 1_000;

/// Percentiles of one stretch of the way, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pace {
    pub what: &'static str,
    /// What it is counted over.
    pub over: String,
    pub n: i64,
    pub p50_ms: Option<i64>,
    pub p95_ms: Option<i64>,
    pub p99_ms: Option<i64>,
    /// The worker counts in steps: it was so much or less.
    pub at_most: bool,
}

/// From a fill to the attempt, in the order of the way, then what the worker needs for its part.
pub async fn paces(db: &Db, worker: Option<&Worker>, now: Timestamp) -> Result<Vec<Pace>, DbError> {
    let lags = db.detection_lags(now.plus_millis(-DAY_MS), FILLS).await?;
    let delays = db.attempt_delays(Timestamp::EPOCH, ATTEMPTS).await?;
    let mut paces = vec![
        measured("Fill to sight", "fills of the last 24 h, the newest 2,000", lags),
        measured("Sight to attempt", "the newest 1,000 attempts, window and latency included", delays),
    ];
    for (what, shown) in
        [("decision", "Due to committed"), ("book_fetch", "Order book fetched"), ("commit", "Ledger commit")]
    {
        let counted = worker.and_then(|worker| worker.latencies.iter().find(|latency| latency.what == what));
        let ms = |micros: Option<i64>| micros.map(|micros| micros.saturating_add(999) / 1_000);
        paces.extend(counted.map(|counted| Pace {
            what: shown,
            over: "since the worker started".to_owned(),
            n: counted.n,
            p50_ms: ms(counted.p50_micros),
            p95_ms: ms(counted.p95_micros),
            p99_ms: ms(counted.p99_micros),
            at_most: true,
        }));
    }
    Ok(paces)
}

fn measured(what: &'static str, over: &str, mut millis: Vec<i64>) -> Pace {
    // A block may be dated a little ahead of our clock.
    millis.iter_mut().for_each(|ms| *ms = (*ms).max(0));
    millis.sort_unstable();
    let at = |percent: usize| {
        let rank = (millis.len() * percent).div_ceil(100).max(1);
        millis.get(rank - 1).copied()
    };
    let n = i64::try_from(millis.len()).unwrap_or(i64::MAX);
    Pace { what, over: over.to_owned(), n, p50_ms: at(50), p95_ms: at(95), p99_ms: at(99), at_most: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let of = |millis: Vec<i64>| {
            let pace = measured("", "", millis);
            (pace.n, pace.p50_ms, pace.p95_ms, pace.p99_ms)
        };
        assert_eq!(of(vec![]), (0, None, None, None));
        assert_eq!(of(vec![7]), (1, Some(7), Some(7), Some(7)));
        assert_eq!(of((1..=100).rev().collect()), (100, Some(50), Some(95), Some(99)));
        assert_eq!(of(vec![-5, 10]), (2, Some(0), Some(10), Some(10)));
    }
}
