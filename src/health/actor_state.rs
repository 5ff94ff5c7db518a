//! The states of the actors that health, metrics and the status page read.
//!
//! An actor's state is stored in the health checkpoint, and pages in another process read it back. The field names must
//! not change: a checkpoint of another version must still be readable, so a missing field takes its default.

use serde::{Deserialize, Serialize};

use crate::db::ChainLag;
use crate::domain::events::reading::Reader;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;

/// The checkpoint of a leader's late rows, before the leader's id. Pages read it.
pub const LATE_ROWS: &str = "reading:lateRows:";

/// The state of the chain watcher.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainWatcherState {
    pub connected: bool,
    /// When the node confirmed the first subscription on this connection.
    pub watching_since: Option<Timestamp>,
    /// The wallets to watch.
    pub wallets: Option<usize>,
    /// The wallets of the subscription that the node confirmed last.
    pub watched: usize,
    pub last_block: Option<u64>,
    pub logs: ChainLogCounts,
    /// Logs that wait for the database.
    pub waiting: usize,
    /// Number of connections in a row that failed.
    pub failures: Option<u32>,
    pub hindsight: Option<ConfirmationStats>,
}

/// Numbers of logs of followed wallets since the watcher's last restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainLogCounts {
    pub fills: u64,
    pub repeated: u64,
    pub taken_back: u64,
    pub lost: u64,
    pub unreadable: u64,
}

/// How the chain compared with the API in the last day.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfirmationStats {
    /// `None` while no fill was seen by both.
    pub lead: Option<ChainLag>,
    /// Number of fills seen on chain and not confirmed by the API within five minutes.
    pub unconfirmed: usize,
}

/// The state of a poller.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PollerState {
    /// Text from outside; it may be hostile.
    pub label: String,
    /// The start of the time span of the next regular poll.
    pub since: Option<Timestamp>,
    pub polling: bool,
    pub windows_waiting: usize,
    /// Number of polls in a row that failed.
    pub failures: u32,
    /// The wallets of an answer that was not taken, until an answer is taken again. Text from outside.
    pub refused: Option<String>,
}

/// The state of the reconciler.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReconcilerState {
    /// Leaders that this worker reads.
    pub users: usize,
    /// Leaders of whom nothing could be read for some minutes.
    pub stalled: Vec<FollowedUserId>,
    /// Transactions that the chain has shown and the API has not.
    pub sought: usize,
    /// The intervals that are reached.
    pub intervals: Vec<ReadInterval>,
}

/// How often a reader reads each leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadInterval {
    pub reader: Reader,
    /// In seconds; longer than under a light load when there are many leaders.
    pub every_s: i64,
    /// Seconds since the leader who has waited longest was read by it; `None` before the first read of each.
    pub longest_ago_s: Option<i64>,
}

/// The state of the price refresher, at its last round.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PriceRefresherState {
    /// Number of held assets whose market is open; `None` before the first round.
    pub held: Option<usize>,
    /// How many of them have a price.
    pub priced: Option<usize>,
    /// Since when fewer are priced than held.
    pub unpriced_since: Option<Timestamp>,
}

impl PriceRefresherState {
    /// A market may open or close between two rounds; after this long an asset without a price needs a look.
    const PATIENCE_MS: i64 = 10 * 60_000;

    /// Returns whether assets have been without a price for too long at `now`.
    pub fn is_troubled(&self, now: Timestamp) -> bool {
        self.unpriced_since.is_some_and(|since| now.millis_since(since) >= Self::PATIENCE_MS)
    }
}

/// The state of the lease keeper.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseKeeperState {
    /// The name of this worker.
    pub worker: String,
    /// The leases that it holds.
    pub held: Vec<String>,
    /// Number of live workers, this one included.
    pub workers: usize,
    /// Number of rounds in a row that failed.
    pub failures: u32,
}
