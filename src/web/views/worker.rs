//! The reports that workers write into their health checkpoints. Pages read them from the database, because another
//! process may serve the pages.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::db::{Db, HEALTH_KEY};
use crate::domain::money::units::Timestamp;

/// A worker that has been silent for this long was stopped or replaced; it is not shown beside others.
const WORKER_GONE_MILLIS: i64 = 90_000;

/// The last report of one worker.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker's id; empty when there is only one.
    #[serde(skip_deserializing)]
    pub id: String,
    pub at: Timestamp,
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    #[serde(default)]
    pub version: String,
    pub actors: Vec<ActorReport>,
    #[serde(default)]
    pub upstreams: Vec<UpstreamReport>,
    #[serde(default)]
    pub endpoints: Vec<EndpointReport>,
    #[serde(default)]
    pub waiting_interactive: u32,
    #[serde(default)]
    pub waiting_bulk: u32,
    /// How far the venue's clock is ahead of the worker's.
    #[serde(default)]
    pub venue_offset_ms: Option<i64>,
    #[serde(default)]
    pub latencies: Vec<LatencyReport>,
}

/// One actor of a worker.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ActorReport {
    pub name: String,
    pub restarts: u32,
    pub silences: u32,
    #[serde(default)]
    pub last_restart: Option<Timestamp>,
    /// The cause of the last restart.
    #[serde(default)]
    pub last_cause: Option<String>,
    #[serde(default)]
    pub observed: Option<ReportedState>,
}

/// The observed state of an actor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReportedState {
    #[serde(default)]
    pub state: serde_json::Value,
    #[serde(default)]
    pub last_activity: Option<Timestamp>,
}

impl ReportedState {
    /// Returns the state as `S`. A field that another version did not write takes its default.
    pub fn read<S: DeserializeOwned + Default>(&self) -> S {
        S::deserialize(&self.state).unwrap_or_default()
    }
}

/// An upstream and the state of its breaker: `closed`, `open`, `half open` or `resting`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UpstreamReport {
    pub upstream: String,
    pub state: String,
    pub failures: u32,
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// The requests, errors and 429s of one endpoint in each of the last whole minutes, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EndpointReport {
    pub endpoint: String,
    pub upstream: String,
    pub minutes: Vec<[i64; 3]>,
}

/// Upper bounds of the percentiles of one latency since the worker started.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LatencyReport {
    pub what: String,
    pub n: i64,
    pub p50_micros: Option<i64>,
    pub p95_micros: Option<i64>,
    pub p99_micros: Option<i64>,
}

/// Returns the reports of the workers, the newest first. A worker that has been silent for long is left out, unless it is
/// the only one.
pub async fn workers(db: &Db, now: Timestamp) -> Vec<WorkerReport> {
    let rows = db.checkpoints_with_prefix(HEALTH_KEY).await.unwrap_or_default();
    let mut workers: Vec<WorkerReport> = rows.iter().filter_map(|(key, text, _)| read(key, text)).collect();
    workers.sort_by_key(|worker| std::cmp::Reverse(worker.at));
    let is_there = |(n, worker): &(usize, WorkerReport)| *n == 0 || now.millis_since(worker.at) < WORKER_GONE_MILLIS;
    workers.into_iter().enumerate().filter(is_there).map(|(_, worker)| worker).collect()
}

fn read(key: &str, text: &str) -> Option<WorkerReport> {
    let worker: WorkerReport = serde_json::from_str(text).ok()?;
    let id = key.strip_prefix(HEALTH_KEY).unwrap_or_default().trim_start_matches(':').to_owned();
    Some(WorkerReport { id, ..worker })
}
