//! Watches the chain for fills of followed wallets, and has the Data API polled for each at once (spec 3.2).
//!
//! Takes   [`DirectoryChanged`], [`LeasesChanged`], and the events of its socket.
//! Sends   [`ReconcileAll`] to the reconciler when the connection is back, [`Announce`] when the connection changes.
//!         A fill is stored as a row with its q_reconcile job; it never moves a portfolio.
//! Timer   one for the next attempt to connect, one for a write that failed; each minute it reads how far the chain was
//!         ahead of the API.
//! Truth   the wallets in the directory; `alchemy:lastBlock` holds the newest block seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};
use tokio::sync::watch;
use tracing::Instrument;

use super::{
    directory::DirectoryChanged,
    lease_keeper::LeasesChanged,
    live_hub::{Announce, HealthChanged, LiveFact},
    reconciler::ReconcileAll,
    supervise::{
        Incarnation, IoError, IoResult, Observed, SupervisorContext, back_off, observable, spawn_io, start_supervised,
    },
};
use crate::chain::ChainError;
use crate::chain::blocks::Block;
use crate::chain::feed::{ChainNews, Feed};
use crate::chain::order_filled::ChainFill;
use crate::chain::socket::converse;
use crate::clock::Clock;
use crate::config::Secret;
use crate::db::{Db, DbError, Directory};
use crate::domain::events::lease::{LeaseName, Leases};
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::health::actor_state::{ChainLogCounts, ChainWatcherState, ConfirmationStats};
use crate::queue::wakeup::local::Wakeups;

use persist::{AfterFailure, ChainLog, PersistOutcome, Waiting};

/// How far back the API is read again after the chain connection was down.
const OUT_OF_SIGHT_MS: i64 = 300_000;
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// A connection that broke sooner does not count as a success. Otherwise a node that accepts every socket and drops it
/// would be tried every second, and each time the last minutes of every user would be read again.
const STEADY_MS: i64 = 60_000;
const LOOK_BACK_EVERY: Duration = Duration::from_secs(60);
const LOOK_BACK_MS: i64 = 24 * 3_600_000;
/// At most this many unconfirmed fills are counted.
const UNCONFIRMED_MAX: i64 = 1_000;
/// How often the newest block is stored while no log is stored.
const NOTE_BLOCK_EVERY_MS: i64 = 15_000;
/// The checkpoint that holds the newest block seen.
pub const LAST_BLOCK: &str = "alchemy:lastBlock";

#[derive(Debug, Clone)]
pub struct ChainWatcherDeps {
    pub db: Db,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub live: Recipient<Announce>,
    pub reconciler: Recipient<ReconcileAll>,
    pub url: Secret,
    pub exchanges: Vec<Wallet>,
    /// The leases at the start; [`LeasesChanged`] replaces them.
    pub leases: Arc<Leases>,
}

pub struct ChainWatcher {
    deps: ChainWatcherDeps,
    /// The number of the connection, which restarts do not reset: late events of an old socket are ignored.
    connection: u64,
    incarnation: Incarnation,
    /// The user of each wallet, with the profile wallet.
    owners: BTreeMap<Wallet, (FollowedUserId, Wallet)>,
    /// The wallets to watch. Dropping the sender closes the socket.
    wallets: watch::Sender<BTreeSet<Wallet>>,
    /// The number of wallets in the subscription that the node confirmed last.
    n_watched: usize,
    /// When the node confirmed the first subscription of this connection.
    watching_since: Option<Timestamp>,
    was_out_of_sight: bool,
    failures: u32,
    last_block: Option<u64>,
    last_noted: Timestamp,
    waiting: Waiting,
    counts: ChainLogCounts,
    confirmation_stats: Option<ConfirmationStats>,
    last_activity: Option<Timestamp>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Connect;

#[derive(Message)]
#[rtype(result = "()")]
struct FeedEvent {
    connection: u64,
    news: ChainNews,
}

#[derive(Message)]
#[rtype(result = "()")]
struct WriteNext;

#[derive(Message)]
#[rtype(result = "()")]
struct LookBack;

impl ChainWatcher {
    pub fn start(deps: ChainWatcherDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "chain_watcher", Self::new(deps, 0, BTreeMap::new()))
    }

    fn new(deps: ChainWatcherDeps, connection: u64, owners: BTreeMap<Wallet, (FollowedUserId, Wallet)>) -> Self {
        let wallets = watched(&owners, &deps.leases);
        Self {
            deps,
            connection,
            incarnation: Incarnation::default(),
            owners,
            wallets: watch::Sender::new(wallets),
            n_watched: 0,
            watching_since: None,
            was_out_of_sight: true,
            failures: 0,
            last_block: None,
            last_noted: Timestamp::EPOCH,
            waiting: Waiting::default(),
            counts: ChainLogCounts::default(),
            confirmation_stats: None,
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        let state = ChainWatcherState {
            connected: self.watching_since.is_some(),
            watching_since: self.watching_since,
            wallets: Some(self.owners.len()),
            watched: self.n_watched,
            last_block: self.last_block,
            logs: self.counts.clone(),
            waiting: self.waiting.len(),
            failures: Some(self.failures),
            hindsight: self.confirmation_stats.clone(),
        };
        Observed::new(state, self.last_activity)
    }

    /// Handles a confirmed subscription; after a gap, has the API read again.
    fn watching(&mut self) {
        let now = self.deps.clock.now();
        if self.watching_since.is_none() {
            self.watching_since = Some(now);
            tracing::info!(wallets = self.owners.len(), "chain connected");
            self.tell_health(true, "the chain is in sight".to_owned());
        }
        // The node does not repeat the logs of a gap: the fills of the gap come from the Data API.
        if std::mem::take(&mut self.was_out_of_sight) {
            self.deps.reconciler.do_send(ReconcileAll { since: now.plus_millis(-OUT_OF_SIGHT_MS) });
        }
    }

    /// Adds a fill of a watched wallet to the logs to store.
    fn fill(&mut self, fill: ChainFill, ctx: &mut Context<Self>) {
        // A replaced subscription may still send fills of a wallet that is not followed any more.
        let ours = |(user, _): &&(FollowedUserId, Wallet)| self.deps.leases.hold(LeaseName::User(*user));
        let owner = self.owners.get(&fill.wallet).filter(ours).cloned();
        let Some((user, profile_wallet)) = owner else { return };
        let last_block = self.last_block.unwrap_or_default();
        let log = ChainLog { fill, user, profile_wallet, seen: self.deps.clock.now(), last_block };
        if !self.waiting.push(log) {
            self.counts.lost += 1;
            tracing::debug!("too many logs wait for the database; the Data API will show this fill");
        }
        self.write_next(ctx);
    }

    fn write_next(&mut self, ctx: &mut Context<Self>) {
        let Some(log) = self.waiting.begin() else { return };
        let (db, wakeups, now) = (self.deps.db.clone(), self.deps.wakeups.clone(), self.deps.clock.now());
        let write = async move { persist::store(&db, &wakeups, log, now).await };
        self.incarnation.spawn_io(ctx, write, Self::written);
    }

    /// Handles the end of one write, and starts the next.
    fn written(&mut self, outcome: IoResult<PersistOutcome, DbError>, ctx: &mut Context<Self>) {
        let error = match outcome {
            Ok(outcome) => {
                match outcome {
                    PersistOutcome::New => self.counts.fills += 1,
                    PersistOutcome::Known => self.counts.repeated += 1,
                    PersistOutcome::TakenBack => self.counts.taken_back += 1,
                }
                self.waiting.written();
                return self.write_next(ctx);
            }
            Err(error) => error,
        };
        let transient = matches!(&error, IoError::Failed(error) if error.is_transient());
        let error = error.to_string();
        match self.waiting.failed(transient) {
            AfterFailure::TryAgainIn(wait) => {
                tracing::debug!(error, "a chain log could not be stored and will be retried");
                ctx.notify_later(WriteNext, wait);
            }
            AfterFailure::GaveUp => {
                self.counts.lost += 1;
                tracing::warn!(error, "a chain log was not stored; the Data API will show its fill");
                self.write_next(ctx);
            }
        }
    }

    /// Handles the end of a connection, and sets the timer for the next.
    fn disconnected(&mut self, connection: u64, reason: String, ctx: &mut Context<Self>) {
        if connection != self.connection {
            return;
        }
        let now = self.deps.clock.now();
        let watched = self.watching_since.take();
        if watched.is_some_and(|since| now.millis_since(since) >= STEADY_MS) {
            self.failures = 0;
        }
        self.n_watched = 0;
        self.was_out_of_sight = true;
        self.failures = self.failures.saturating_add(1);
        if watched.is_some() || self.failures == 1 {
            tracing::warn!(reason, "chain disconnected; polling goes on alone");
            self.tell_health(false, reason);
        }
        ctx.notify_later(Connect, back_off(RETRY, RETRY_MOST, self.failures));
    }

    fn looked_back(&mut self, stats: IoResult<ConfirmationStats, DbError>, _: &mut Context<Self>) {
        match stats {
            Ok(stats) => self.confirmation_stats = Some(stats),
            Err(IoError::Failed(error)) => tracing::debug!(%error, "the confirmation statistics cannot be read"),
            Err(error) => tracing::warn!(%error, "the confirmation statistics cannot be read"),
        }
    }

    /// Handles a new block, and stores its number now and then.
    fn head(&mut self, number: u64) {
        self.last_block = Some(number);
        // Without wallets there is no subscription that the node could confirm.
        if self.wallets.borrow().is_empty() && self.watching_since.is_none() {
            self.watching();
        }
        let now = self.deps.clock.now();
        if now.millis_since(self.last_noted) < NOTE_BLOCK_EVERY_MS {
            return;
        }
        self.last_noted = now;
        let (db, (key, json)) = (self.deps.db.clone(), block_row(number));
        let store = async move {
            if let Err(error) = db.put_checkpoint(&key, &json, now).await {
                tracing::debug!(%error, "the newest block could not be stored");
            }
        };
        actix::spawn(store.in_current_span());
    }

    fn follow(&mut self, directory: &Directory) {
        self.owners = owners(directory);
        self.watch();
    }

    fn watch(&mut self) {
        let wallets = watched(&self.owners, &self.deps.leases);
        self.wallets.send_if_modified(|watched| {
            let changed = *watched != wallets;
            *watched = wallets;
            changed
        });
    }

    fn tell_health(&self, healthy: bool, detail: String) {
        let part = "chain_watcher".to_owned();
        let change = HealthChanged { part, healthy, detail, at: self.deps.clock.now() };
        self.deps.live.do_send(Announce(vec![LiveFact::HealthChanged(change)]));
    }
}

impl Actor for ChainWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.notify(Connect);
        ctx.notify(LookBack);
        ctx.run_interval(LOOK_BACK_EVERY, |_, ctx| ctx.notify(LookBack));
    }
}

impl Supervised for ChainWatcher {
    fn restarting(&mut self, _: &mut Self::Context) {
        let owners = std::mem::take(&mut self.owners);
        *self = Self::new(self.deps.clone(), self.connection + 1, owners);
    }
}

observable!(ChainWatcher);

impl Handler<Connect> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, _: Connect, ctx: &mut Self::Context) {
        self.connection += 1;
        let (connection, address) = (self.connection, ctx.address());
        let (url, feed) = (self.deps.url.clone(), Feed::new(self.deps.exchanges.clone()));
        let wallets = self.wallets.subscribe();
        // A connection ends only with an error.
        let talk = async move {
            let news = |news| address.do_send(FeedEvent { connection, news });
            Err::<Infallible, ChainError>(converse(url.reveal(), feed, wallets, news).await)
        };
        spawn_io(ctx, talk, move |watcher: &mut Self, ended, ctx| {
            let Err(reason) = ended;
            watcher.disconnected(connection, reason.to_string(), ctx);
        });
    }
}

impl Handler<FeedEvent> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, event: FeedEvent, ctx: &mut Self::Context) {
        if event.connection != self.connection {
            return;
        }
        self.last_activity = Some(self.deps.clock.now());
        match event.news {
            ChainNews::Watching(wallets) => {
                self.n_watched = wallets.len();
                self.watching();
            }
            ChainNews::Head(Block { number, .. }) => self.head(number),
            ChainNews::Fill(fill) => self.fill(*fill, ctx),
            ChainNews::Unreadable(error) => {
                self.counts.unreadable += 1;
                // A node with another message format would otherwise cause a warning for every message.
                if self.counts.unreadable == 1 {
                    tracing::warn!(%error, "the node sent a message that cannot be parsed");
                } else {
                    tracing::debug!(%error, "the node sent another message that cannot be parsed");
                }
            }
        }
    }
}

impl Handler<WriteNext> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, _: WriteNext, ctx: &mut Self::Context) {
        self.write_next(ctx);
    }
}

impl Handler<LookBack> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, _: LookBack, ctx: &mut Self::Context) {
        let (db, now) = (self.deps.db.clone(), self.deps.clock.now());
        self.incarnation.spawn_io(ctx, async move { look_back(&db, now).await }, Self::looked_back);
    }
}

impl Handler<LeasesChanged> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, LeasesChanged(leases): LeasesChanged, _: &mut Self::Context) {
        self.deps.leases = leases;
        self.watch();
    }
}

impl Handler<DirectoryChanged> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, _: &mut Self::Context) {
        self.follow(&directory);
    }
}

/// Returns the user of each wallet: enabled users only, by their profile wallet and the other wallets seen in their
/// rows.
fn owners(directory: &Directory) -> BTreeMap<Wallet, (FollowedUserId, Wallet)> {
    let enabled = directory.users.iter().filter(|user| user.enabled());
    let wallets = enabled.flat_map(|user| {
        let all = user.wallets.iter().chain([&user.profile_wallet]);
        all.map(|wallet| (wallet.clone(), (user.id, user.profile_wallet.clone())))
    });
    wallets.collect()
}

/// Returns the wallets of the leaders whose leases we hold.
fn watched(owners: &BTreeMap<Wallet, (FollowedUserId, Wallet)>, leases: &Leases) -> BTreeSet<Wallet> {
    let ours = owners.iter().filter(|(_, (user, _))| leases.hold(LeaseName::User(*user)));
    ours.map(|(wallet, _)| wallet.clone()).collect()
}

/// Reads how the chain compared with the API during the last day.
///
/// # Errors
/// When the database fails.
async fn look_back(db: &Db, now: Timestamp) -> Result<ConfirmationStats, DbError> {
    let from = now.plus_millis(-LOOK_BACK_MS);
    let unconfirmed = db.unconfirmed_fills(from, now, UNCONFIRMED_MAX).await?.len();
    Ok(ConfirmationStats { lead: db.chain_lags(from, now).await?.all, unconfirmed })
}

/// Returns the checkpoint row for a block: key and JSON.
fn block_row(number: u64) -> (String, String) {
    (LAST_BLOCK.to_owned(), serde_json::json!({ "block": number }).to_string())
}

mod persist;
#[cfg(test)]
mod tests;
