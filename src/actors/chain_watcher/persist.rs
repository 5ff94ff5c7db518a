//! Stores chain logs one after the other: the removal of a log must not overtake the log itself.

use std::{collections::VecDeque, time::Duration};

use crate::actors::reconciler::ReconcileJob;
use crate::chain::order_filled::ChainFill;
use crate::db::Inserted;
use crate::db::{ChainTrade, Db, DbError};
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::queue::Queue;
use crate::queue::wakeup::local::Wakeups;

use super::block_row;

const RETRY: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// Together some ten seconds. When the database is away for longer, the Data API shows the fills anyway.
const TRIES: u32 = 6;
const WAITING_MAX: usize = 10_000;

/// A log of a followed wallet, as it arrived.
#[derive(Debug, Clone)]
pub(super) struct ChainLog {
    pub fill: ChainFill,
    pub user: FollowedUserId,
    pub profile_wallet: Wallet,
    pub seen: Timestamp,
    /// The newest block known when it arrived.
    pub last_block: u64,
}

/// What storing a log changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PersistOutcome {
    New,
    /// Stored before with the same position in its block: it came from a second subscription, or the node repeats logs
    /// after a reconnect.
    Known,
    /// A reorganisation removed the log: its row is marked.
    TakenBack,
}

/// The logs that wait to be stored, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    logs: VecDeque<ChainLog>,
    writing: bool,
    tries: u32,
}

/// What to do after a write has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterFailure {
    TryAgainIn(Duration),
    GaveUp,
}

impl Waiting {
    /// Adds a log. Returns false when there is no room: the database has been away during heavy trading.
    pub fn push(&mut self, log: ChainLog) -> bool {
        let fits = self.logs.len() < WAITING_MAX;
        if fits {
            self.logs.push_back(log);
        }
        fits
    }

    /// Returns the next log to store; `None` while one is being stored.
    pub fn begin(&mut self) -> Option<ChainLog> {
        let next = self.logs.front().filter(|_| !self.writing).cloned()?;
        self.writing = true;
        Some(next)
    }

    /// Removes the log that has been stored.
    pub fn written(&mut self) {
        self.logs.pop_front();
        (self.writing, self.tries) = (false, 0);
    }

    /// Handles a failed write. The log stays the next one while a retry makes sense.
    pub fn failed(&mut self, transient: bool) -> AfterFailure {
        self.tries += 1;
        if transient && self.tries < TRIES {
            self.writing = false;
            return AfterFailure::TryAgainIn(crate::actors::supervise::back_off(RETRY, RETRY_MOST, self.tries));
        }
        self.written();
        AfterFailure::GaveUp
    }

    pub fn len(&self) -> usize {
        self.logs.len()
    }
}

/// Stores a log with the job that has the Data API polled for it, or marks the row of a removed log.
///
/// # Errors
/// When the database fails.
pub(super) async fn store(
    db: &Db,
    wakeups: &Wakeups,
    log: ChainLog,
    now: Timestamp,
) -> Result<PersistOutcome, DbError> {
    let place = log.fill.place.clone();
    if log.fill.removed {
        db.mark_removed(&place.tx_hash, place.log_index, Some(&place.block_hash)).await?;
        return Ok(PersistOutcome::TakenBack);
    }
    // A block may be dated later than our clock; the search must not start later than now.
    let seen = log.fill.block_time.map_or(log.seen, |time| time.min(log.seen));
    let job = ReconcileJob::Transaction { tx_hash: place.tx_hash, seen }.for_user(log.user, now);
    let block = block_row(log.last_block.max(log.fill.block_number));
    let inserted = db.insert_chain_trade(&trade_of(log), &job, &[block], now).await?;
    Ok(match inserted {
        Inserted::New(_) => {
            wakeups.notify(Queue::Reconcile);
            PersistOutcome::New
        }
        Inserted::Known => PersistOutcome::Known,
    })
}

fn trade_of(log: ChainLog) -> ChainTrade {
    let ChainLog { fill, user, profile_wallet, seen, .. } = log;
    ChainTrade {
        tx_hash: fill.place.tx_hash,
        log_index: fill.place.log_index,
        block_hash: Some(fill.place.block_hash),
        profile_wallet,
        proxy_wallet: Some(fill.wallet),
        followed_user: user,
        asset: Some(fill.asset),
        side: fill.side,
        price: fill.price,
        shares: fill.shares,
        notional: fill.notional,
        fee: Some(fill.fee),
        // The time of the block, even when it is a little ahead of our clock.
        event_time: fill.block_time.unwrap_or(seen),
        detect_time: seen,
    }
}
