//! Writing down what was seen, one log after the other: a log that is taken back must not overtake itself.

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
/// A database that is away for longer than some ten seconds: the canonical source shows the fills all the same.
const TRIES: u32 = 6;
const WAITING_MAX: usize = 10_000;

/// A log of a followed wallet, as it came.
#[derive(Debug, Clone)]
pub(super) struct ChainLog {
    pub fill: ChainFill,
    pub user: FollowedUserId,
    pub profile_wallet: Wallet,
    pub seen: Timestamp,
    /// The newest block known when it came.
    pub last_block: u64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PersistOutcome {
    New,
    /// Seen before in the same place: a second subscription, or a node that repeats itself after a reconnect.
    Known,
    TakenBack,
}

/// What waits to be written, in the order it came.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    sights: VecDeque<ChainLog>,
    writing: bool,
    tries: u32,
}

/// What to do after a write went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterFailure {
    TryAgainIn(Duration),
    GaveUp,
}

impl Waiting {
    /// False when there is no room: the database has been away while very much happened.
    pub fn push(&mut self, sight: ChainLog) -> bool {
        let fits = self.sights.len() < WAITING_MAX;
        if fits {
            self.sights.push_back(sight);
        }
        fits
    }

    /// The next to write, when nothing is being written.
    pub fn begin(&mut self) -> Option<ChainLog> {
        let next = self.sights.front().filter(|_| !self.writing).cloned()?;
        self.writing = true;
        Some(next)
    }

    pub fn written(&mut self) {
        self.sights.pop_front();
        (self.writing, self.tries) = (false, 0);
    }

    /// The write in hand failed; it stays the next one while trying again makes sense.
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
        self.sights.len()
    }
}

/// Writes a sight with the job that has the canonical source asked, or marks the log as taken back.
pub(super) async fn keep(
    db: &Db,
    wakeups: &Wakeups,
    sight: ChainLog,
    now: Timestamp,
) -> Result<PersistOutcome, DbError> {
    let place = sight.fill.place.clone();
    if sight.fill.removed {
        db.mark_removed(&place.tx_hash, place.log_index, Some(&place.block_hash)).await?;
        return Ok(PersistOutcome::TakenBack);
    }
    // A node may be faster than the clock in its own block; what is asked for starts no later than now.
    let seen = sight.fill.block_time.map_or(sight.seen, |time| time.min(sight.seen));
    let job = ReconcileJob::Transaction { tx_hash: place.tx_hash, seen }.for_user(sight.user, now);
    let block = block_row(sight.last_block.max(sight.fill.block_number));
    let inserted = db.insert_chain_trade(&trade_of(sight), &job, &[block], now).await?;
    Ok(match inserted {
        Inserted::New(_) => {
            wakeups.notify(Queue::Reconcile);
            PersistOutcome::New
        }
        Inserted::Known => PersistOutcome::Known,
    })
}

fn trade_of(sight: ChainLog) -> ChainTrade {
    let ChainLog { fill, user, profile_wallet, seen, .. } = sight;
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
        // The block's own word, even where it is a little ahead of our clock.
        event_time: fill.block_time.unwrap_or(seen),
        detect_time: seen,
    }
}
