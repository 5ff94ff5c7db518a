//! The states of the actors that health, metrics and the status page read.
//!
//! An actor writes its state into the checkpoint of health, and pages in another process read it back. The names are
//! kept: a checkpoint of another version must still be read, so a field that it lacks takes its default.

use serde::{Deserialize, Serialize};

use crate::db::ChainLag;
use crate::domain::money::units::Timestamp;

/// The state of the chain watcher.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainWatcherState {
    pub connected: bool,
    /// When the node confirmed the first subscription of this connection.
    pub watching_since: Option<Timestamp>,
    /// The wallets to watch.
    pub wallets: Option<usize>,
    /// The wallets of the subscription that the node confirmed last.
    pub watched: usize,
    pub last_block: Option<u64>,
    pub logs: ChainLogCounts,
    /// Logs that wait for the database.
    pub waiting: usize,
    /// Connections in a row that have failed.
    pub failures: Option<u32>,
    pub hindsight: Option<ConfirmationStats>,
}

/// Logs of followed wallets since the watcher's last restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainLogCounts {
    pub fills: u64,
    pub repeated: u64,
    pub taken_back: u64,
    pub lost: u64,
    pub unreadable: u64,
}

/// How the chain did against the API in the last day.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfirmationStats {
    /// `None` while both have not shown a single fill.
    pub lead: Option<ChainLag>,
    /// Fills seen on chain and not confirmed within five minutes.
    pub unconfirmed: usize,
}

/// The state of a poller.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PollerState {
    /// Hostile text.
    pub label: String,
    /// The start of the next regular poll's span.
    pub since: Option<Timestamp>,
    pub polling: bool,
    pub windows_waiting: usize,
    /// Polls in a row that have failed.
    pub failures: u32,
}

/// The state of the lease keeper.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseKeeperState {
    /// The name of this worker.
    pub worker: String,
    /// The leases that it holds.
    pub held: Vec<String>,
    /// Live workers, this one included.
    pub workers: usize,
    /// Rounds in a row that have failed.
    pub failures: u32,
}
