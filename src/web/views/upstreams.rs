//! The inputs and outputs of the bot: polls, upstreams, snapshots.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::worker;
use super::worker::WorkerReport;
use crate::clock::is_far_off;
use crate::db::{Db, DbError, FollowedUser};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::health::actor_state::{LATE_ROWS, PollerState, ReadInterval, ReconcilerState};
use crate::web::charts::histogram;
use crate::web::charts::histogram::{Column, Counted};

/// A portfolio whose newest minute snapshot is older than this is stale.
const SNAPSHOT_STALE_MS: i64 = 180_000;
const HOUR_MS: i64 = 3_600_000;

/// The progress of reading the Data API for one user.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PolledUser {
    /// The leader.
    pub id: FollowedUserId,
    /// Hostile text.
    pub label: String,
    /// False when the trader is no longer followed.
    pub enabled: bool,
    /// The last poll that succeeded.
    pub polled_at: Option<Timestamp>,
    /// `api:lastTradeTime:<id>` and `api:lastActivityTime:<id>`.
    pub last_trade_time: Option<Timestamp>,
    /// The time of the newest activity row that was read.
    pub last_activity_time: Option<Timestamp>,
    /// Number of failed polls in a row.
    pub failures: i64,
    /// The wallets of an answer that was not taken, because its rows are not of this leader. Hostile text.
    pub refused: Option<String>,
    /// Number of rows that appeared after their time had been read.
    pub late_rows: u64,
    /// When the last of them was found.
    pub last_late_at: Option<Timestamp>,
}

/// How the Data API is read: the intervals that are reached, and the venue's clock.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct ReadingView {
    /// How far Polymarket's clock is ahead of ours, in milliseconds; null before its first answer.
    pub venue_offset_ms: Option<i64>,
    /// True when the offset is over 30 seconds.
    pub clock_is_off: bool,
    /// The intervals of the worker whose intervals are the longest.
    pub intervals: Vec<ReadIntervalView>,
}

/// How often a reader reads each leader.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReadIntervalView {
    /// `poll` from the checkpoints; `recent` the last two minutes; `hour`; `day`.
    pub reader: String,
    /// The interval, in seconds.
    pub every_s: i64,
    /// Seconds since the leader who has waited longest was read; null before the first read, and for `poll`.
    pub longest_ago_s: Option<i64>,
}

/// An upstream and its breaker. With several workers it is the worst of their breakers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UpstreamView {
    /// The upstream service.
    pub upstream: String,
    /// `closed`, `open`, `half open` or `resting`.
    pub state: String,
    /// Number of failed requests in a row.
    pub failures: u32,
    /// When an open breaker tries again.
    pub until: Option<Timestamp>,
}

/// The requests to one endpoint, summed over all workers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EndpointView {
    /// The endpoint of the upstream service.
    pub endpoint: String,
    /// The upstream service.
    pub upstream: String,
    /// The requests of the last whole minute.
    pub last_minute: RequestCounts,
    /// The requests of the last 30 minutes.
    pub last_half_hour: RequestCounts,
    /// Requests, errors and 429s of each whole minute, oldest first.
    pub minutes: Vec<[i64; 3]>,
    /// The requests of each minute as a bar chart.
    pub columns: Vec<Column>,
}

/// Requests of one span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RequestCounts {
    /// Number of requests.
    pub requests: i64,
    /// Requests that failed, 429s included.
    pub errors: i64,
    /// Number of requests that were answered with 429.
    pub rate_limited: i64,
}

/// The age of the newest snapshot of a portfolio.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SnapshotAge {
    /// The portfolio: `EXEC_GLOBAL`, `EXEC_USER:7` or `SHADOW_USER:7`.
    pub portfolio: String,
    /// The label of the portfolio's leader; null for the global portfolio.
    pub user_label: Option<String>,
    /// The minute of the newest snapshot; null without one.
    pub bucket_time: Option<Timestamp>,
    /// Whether the newest snapshot is older than three minutes, or missing. A portfolio that holds nothing has one an
    /// hour.
    pub stale: bool,
}

#[derive(Deserialize)]
struct Checkpoint {
    time: Timestamp,
}

impl PolledUser {
    /// Returns one row for each of `users`, from the checkpoints and the reports of `workers`.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn all(db: &Db, users: &[FollowedUser], workers: &[WorkerReport]) -> Result<Vec<Self>, DbError> {
        let trades = checkpoints(db, "api:lastTradeTime:").await?;
        let activities = checkpoints(db, "api:lastActivityTime:").await?;
        let late = late_rows(db).await?;
        let one = |user: &FollowedUser| {
            let name = format!("poller:{}", user.id);
            let actors = workers.iter().flat_map(|worker| &worker.actors);
            let poller = actors.filter(|actor| actor.name == name).find_map(|actor| actor.observed.as_ref());
            let trade = trades.get(&user.id.to_string());
            let state: PollerState = poller.map(worker::ReportedState::read).unwrap_or_default();
            let late = late.get(&user.id.to_string());
            Self {
                id: user.id,
                label: user.label.clone(),
                enabled: user.enabled(),
                polled_at: poller.and_then(|poller| poller.last_activity).or(trade.map(|(_, written)| *written)),
                last_trade_time: trade.map(|(time, _)| *time),
                last_activity_time: activities.get(&user.id.to_string()).map(|(time, _)| *time),
                failures: i64::from(state.failures),
                refused: state.refused,
                late_rows: late.map_or(0, |late| late.n),
                last_late_at: late.map(|late| late.last),
            }
        };
        Ok(users.iter().map(one).collect())
    }
}

/// The late rows of a leader, as the poller stores them.
#[derive(Deserialize)]
struct LateRows {
    n: u64,
    last: Timestamp,
}

/// Returns the late rows by user id.
async fn late_rows(db: &Db) -> Result<BTreeMap<String, LateRows>, DbError> {
    let rows = db.checkpoints_with_prefix(LATE_ROWS).await?;
    let read = |(key, text, _): (String, String, Timestamp)| {
        Some((key.strip_prefix(LATE_ROWS)?.to_owned(), serde_json::from_str(&text).ok()?))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

impl ReadingView {
    /// Returns the reading of the worker that is slowest, and the clock of the worker whose clock is furthest off.
    pub fn slowest(workers: &[WorkerReport]) -> Self {
        let reconcilers = workers.iter().flat_map(|worker| &worker.actors).filter(|actor| actor.name == "reconciler");
        let states = reconcilers.filter_map(|actor| Some(actor.observed.as_ref()?.read::<ReconcilerState>()));
        let slowest = states.max_by_key(|state| state.intervals.iter().map(|interval| interval.every_s).max());
        let one = |interval: ReadInterval| ReadIntervalView {
            reader: interval.reader.to_string(),
            every_s: interval.every_s,
            longest_ago_s: interval.longest_ago_s,
        };
        let intervals = slowest.map(|state| state.intervals.into_iter().map(one).collect()).unwrap_or_default();
        let offsets = workers.iter().filter_map(|worker| worker.venue_offset_ms);
        let venue_offset_ms = offsets.max_by_key(|offset| offset.unsigned_abs());
        Self { venue_offset_ms, clock_is_off: is_far_off(venue_offset_ms), intervals }
    }
}

/// Returns by user id the time in the checkpoint, and when it was written.
async fn checkpoints(db: &Db, prefix: &str) -> Result<BTreeMap<String, (Timestamp, Timestamp)>, DbError> {
    let rows = db.checkpoints_with_prefix(prefix).await?;
    let read = |(key, text, written): (String, String, Timestamp)| {
        let checkpoint: Checkpoint = serde_json::from_str(&text).ok()?;
        Some((key.strip_prefix(prefix)?.to_owned(), (checkpoint.time, written)))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

impl UpstreamView {
    /// Returns each upstream with the worst of its breakers.
    pub fn worst(workers: &[WorkerReport]) -> Vec<Self> {
        let mut worst: BTreeMap<&str, &worker::UpstreamReport> = BTreeMap::new();
        for seen in workers.iter().flat_map(|worker| &worker.upstreams) {
            let kept = worst.entry(&seen.upstream).or_insert(seen);
            if seen.failures > kept.failures || (kept.state == "closed" && seen.state != "closed") {
                *kept = seen;
            }
        }
        let one = |seen: &worker::UpstreamReport| Self {
            upstream: seen.upstream.clone(),
            state: seen.state.clone(),
            failures: seen.failures,
            until: seen.until.filter(|_| seen.state != "closed"),
        };
        worst.into_values().map(one).collect()
    }
}

impl EndpointView {
    /// Returns each endpoint with the requests of all workers.
    pub fn summed(workers: &[WorkerReport]) -> Vec<Self> {
        let mut minutes: BTreeMap<(&str, &str), Vec<[i64; 3]>> = BTreeMap::new();
        for report in workers.iter().flat_map(|worker| &worker.endpoints) {
            let sums = minutes.entry((&report.upstream, &report.endpoint)).or_default();
            // A worker of another version may report more minutes; the newest are last.
            let more = report.minutes.len().saturating_sub(sums.len());
            sums.splice(0..0, vec![[0; 3]; more]);
            for (sum, counts) in sums.iter_mut().rev().zip(report.minutes.iter().rev()) {
                for (sum, n) in sum.iter_mut().zip(counts) {
                    *sum = sum.saturating_add(*n);
                }
            }
        }
        minutes.into_iter().map(|((upstream, endpoint), minutes)| Self::of(upstream, endpoint, minutes)).collect()
    }

    fn of(upstream: &str, endpoint: &str, minutes: Vec<[i64; 3]>) -> Self {
        let counted = |(at, [requests, errors, rate_limited]): (usize, &[i64; 3])| Counted {
            n: *requests,
            tone: if *errors > 0 { "worse" } else { "" },
            label: format!("{} min ago: {errors} errors, {rate_limited} times 429", minutes.len() - at),
        };
        Self {
            endpoint: endpoint.to_owned(),
            upstream: upstream.to_owned(),
            last_minute: RequestCounts::of(minutes.iter().rev().take(1)),
            last_half_hour: RequestCounts::of(minutes.iter()),
            columns: histogram::columns(minutes.iter().enumerate().map(counted)),
            minutes,
        }
    }
}

impl RequestCounts {
    fn of<'a>(minutes: impl Iterator<Item = &'a [i64; 3]>) -> Self {
        minutes.fold(Self::default(), |sum, [requests, errors, rate_limited]| Self {
            requests: sum.requests.saturating_add(*requests),
            errors: sum.errors.saturating_add(*errors),
            rate_limited: sum.rate_limited.saturating_add(*rate_limited),
        })
    }
}

impl SnapshotAge {
    /// Returns the global portfolio, then the two portfolios of each of `users`.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn all(db: &Db, users: &[FollowedUser], now: Timestamp) -> Result<Vec<Self>, DbError> {
        let mut wanted = vec![(PortfolioId::ExecGlobal, None)];
        for user in users {
            wanted.push((PortfolioId::ExecUser(user.id), Some(user.label.clone())));
            wanted.push((PortfolioId::ShadowUser(user.id), Some(user.label.clone())));
        }
        let mut ages = Vec::with_capacity(wanted.len());
        for (portfolio, user_label) in wanted {
            let newest = db.newest_snapshot(portfolio).await?;
            let bucket_time = newest.map(|snapshot| snapshot.bucket_time);
            // A portfolio that holds nothing has a row an hour.
            let idle = newest.is_some_and(|snapshot| snapshot.exposure == UsdcMicros::ZERO);
            let most = if idle { SNAPSHOT_STALE_MS + HOUR_MS } else { SNAPSHOT_STALE_MS };
            let stale = bucket_time.is_none_or(|bucket| now.millis_since(bucket) > most);
            ages.push(Self { portfolio: portfolio.to_string(), user_label, bucket_time, stale });
        }
        Ok(ages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(minutes: Vec<[i64; 3]>, state: &str, failures: u32) -> WorkerReport {
        let (endpoint, upstream) = ("book".to_owned(), "clob".to_owned());
        WorkerReport {
            upstreams: vec![worker::UpstreamReport {
                upstream: upstream.clone(),
                state: state.to_owned(),
                failures,
                until: None,
            }],
            endpoints: vec![worker::EndpointReport { endpoint, upstream, minutes }],
            ..WorkerReport::default()
        }
    }

    #[test]
    fn traffic_of_several_workers_is_one_sum_by_the_minute() {
        let workers = [
            worker(vec![[1, 0, 0], [2, 1, 0]], "closed", 0),
            worker(vec![[9, 3, 3], [5, 0, 0], [7, 2, 1]], "closed", 1),
        ];
        let summed = EndpointView::summed(&workers);
        assert_eq!(summed[0].minutes, [[9, 3, 3], [6, 0, 0], [9, 3, 1]]);
        assert_eq!(summed[0].last_minute, RequestCounts { requests: 9, errors: 3, rate_limited: 1 });
        assert_eq!(summed[0].last_half_hour, RequestCounts { requests: 24, errors: 6, rate_limited: 4 });
        assert!(EndpointView::summed(&[]).is_empty());
    }

    #[test]
    fn of_several_breakers_the_worst_is_shown() {
        let workers = [worker(vec![], "closed", 1), worker(vec![], "open", 5), worker(vec![], "closed", 0)];
        let worst = UpstreamView::worst(&workers);
        assert_eq!((worst.len(), worst[0].state.as_str(), worst[0].failures), (1, "open", 5));
    }
}
