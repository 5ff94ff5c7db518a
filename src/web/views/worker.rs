//! What workers left in their checkpoints of health: the pages may be served by another process.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::db::{Db, HEALTH_KEY};
use crate::domain::money::units::Timestamp;

/// One of several workers that has been silent for so long was stopped or has been replaced.
const WORKER_GONE_MILLIS: i64 = 90_000;

/// A worker as it last spoke of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Worker {
    /// Which of several; empty when there is one.
    #[serde(skip_deserializing)]
    pub id: String,
    pub at: Timestamp,
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    #[serde(default)]
    pub version: String,
    pub actors: Vec<Actor>,
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    #[serde(default)]
    pub waiting_interactive: u32,
    #[serde(default)]
    pub waiting_bulk: u32,
    #[serde(default)]
    pub latencies: Vec<Latency>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Actor {
    pub name: String,
    pub restarts: u32,
    pub silences: u32,
    #[serde(default)]
    pub last_restart: Option<Timestamp>,
    /// Of the last restart.
    #[serde(default)]
    pub last_cause: Option<String>,
    #[serde(default)]
    pub observed: Option<Observed>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Observed {
    #[serde(default)]
    pub state: serde_json::Value,
    #[serde(default)]
    pub last_activity: Option<Timestamp>,
}

impl Observed {
    /// Returns the state as `S`. What it lacks, because another version wrote it, takes its default.
    pub fn read<S: DeserializeOwned + Default>(&self) -> S {
        S::deserialize(&self.state).unwrap_or_default()
    }
}

/// A host and its breaker: `closed`, `open`, `half open` or `resting`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Upstream {
    pub upstream: String,
    pub state: String,
    pub failures: u32,
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// Requests, errors and 429s of each of the last whole minutes, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Endpoint {
    pub endpoint: String,
    pub upstream: String,
    pub minutes: Vec<[i64; 3]>,
}

/// Bounds that so many of the values since the start did not exceed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Latency {
    pub what: String,
    pub n: i64,
    pub p50_micros: Option<i64>,
    pub p95_micros: Option<i64>,
    pub p99_micros: Option<i64>,
}

/// The workers that are or should be there, the one heard of last before the others: those that are long gone are left
/// out unless there is no other.
pub async fn workers(db: &Db, now: Timestamp) -> Vec<Worker> {
    let rows = db.checkpoints_with_prefix(HEALTH_KEY).await.unwrap_or_default();
    let mut workers: Vec<Worker> = rows.iter().filter_map(|(key, text, _)| read(key, text)).collect();
    workers.sort_by_key(|worker| std::cmp::Reverse(worker.at));
    let is_there = |(n, worker): &(usize, Worker)| *n == 0 || now.millis_since(worker.at) < WORKER_GONE_MILLIS;
    workers.into_iter().enumerate().filter(is_there).map(|(_, worker)| worker).collect()
}

fn read(key: &str, text: &str) -> Option<Worker> {
    let worker: Worker = serde_json::from_str(text).ok()?;
    let id = key.strip_prefix(HEALTH_KEY).unwrap_or_default().trim_start_matches(':').to_owned();
    Some(Worker { id, ..worker })
}
