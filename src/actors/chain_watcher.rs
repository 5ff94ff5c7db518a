//! Watches the chain for fills of followed wallets, and has the canonical source asked for each at once.
//!
//! Takes   `DirectoryChanged`; what its socket says.
//! Sends   `ReconcileAll` to the reconciler after the chain was out of sight, `Announce` when the connection changes.
//!         A fill is a row with its q_reconcile job; it never moves a portfolio.
//! Timer   one, for the next try to connect.
//! Truth   the wallets in the directory; `alchemy:lastBlock` tells how far the chain was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};
use tokio::sync::watch;
use tracing::Instrument;

use super::{
    lease_keeper::LeasesChanged,
    live_hub::{Announce, HealthChanged, LiveFact},
    reconciler::{ReconcileAll, ReconcileJob},
    root::DirectoryChanged,
    supervise::{Guard, Observed, Panicked, back_off, observable, spawn_io, start_guarded},
};
use crate::{
    chain::{
        ChainError,
        feed::{ChainNews, Feed},
        order_filled::ChainFill,
        socket::converse,
    },
    clock::Clock,
    config::Secret,
    db::{ChainTrade, Db, DbError, Directory, Inserted, LeaseName, Leases},
    domain::{
        ids::{FollowedUserId, Wallet},
        units::Timestamp,
    },
    queue::{Queue, in_process::Bell},
};

/// How far back is read again after the chain was out of sight.
const OUT_OF_SIGHT_MS: i64 = 300_000;
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// How often the block reached is noted while nothing else is written.
const NOTE_BLOCK_EVERY_MS: i64 = 15_000;
pub const LAST_BLOCK: &str = "alchemy:lastBlock";

#[derive(Debug, Clone)]
pub struct ChainWatcherDeps {
    pub db: Db,
    pub clock: Clock,
    pub bell: Bell,
    pub live: Recipient<Announce>,
    pub reconciler: Recipient<ReconcileAll>,
    pub url: Secret,
    pub exchanges: Vec<Wallet>,
    /// As they stand at the start; `LeasesChanged` replaces them.
    pub leases: Arc<Leases>,
}

pub struct ChainWatcher {
    deps: ChainWatcherDeps,
    /// Names a connection, over restarts too: what an old socket says late is ignored.
    connection: u64,
    owners: BTreeMap<Wallet, (FollowedUserId, Wallet)>,
    /// The wallets to watch. Dropping it ends the conversation.
    wallets: watch::Sender<BTreeSet<Wallet>>,
    /// The wallets of the subscription that the node confirmed last.
    n_watched: usize,
    /// When the node confirmed the first subscription of this connection.
    watching_since: Option<Timestamp>,
    was_out_of_sight: bool,
    failures: u32,
    last_block: Option<u64>,
    last_noted: Timestamp,
    n_fills: u64,
    last_activity: Option<Timestamp>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Connect;

#[derive(Message)]
#[rtype(result = "()")]
struct Said {
    connection: u64,
    news: ChainNews,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ended {
    connection: u64,
    reason: Result<ChainError, Panicked>,
}

/// A fill is written down, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
struct Kept(Result<Result<bool, DbError>, Panicked>);

impl ChainWatcher {
    pub fn start(deps: ChainWatcherDeps, guard: &Guard) -> Addr<Self> {
        start_guarded(guard, "chain_watcher", Self::new(deps, 0, BTreeMap::new()))
    }

    fn new(deps: ChainWatcherDeps, connection: u64, owners: BTreeMap<Wallet, (FollowedUserId, Wallet)>) -> Self {
        let wallets = watched(&owners, &deps.leases);
        Self {
            deps,
            connection,
            owners,
            wallets: watch::Sender::new(wallets),
            n_watched: 0,
            watching_since: None,
            was_out_of_sight: true,
            failures: 0,
            last_block: None,
            last_noted: Timestamp::EPOCH,
            n_fills: 0,
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "connected": self.watching_since.is_some(),
                "watching_since": self.watching_since,
                "wallets": self.owners.len(),
                "watched": self.n_watched,
                "last_block": self.last_block,
                "fills": self.n_fills,
                "failures": self.failures,
            }),
            last_activity: self.last_activity,
        }
    }

    fn watching(&mut self) {
        let now = self.deps.clock.now();
        self.failures = 0;
        if self.watching_since.is_none() {
            self.watching_since = Some(now);
            tracing::info!(wallets = self.owners.len(), "the chain is in sight");
            self.tell_health(true, "the chain is in sight".to_owned());
        }
        // Logs are not repeated after a gap: whatever fell into it comes from the canonical source.
        if std::mem::take(&mut self.was_out_of_sight) {
            self.deps.reconciler.do_send(ReconcileAll { since: now.plus_millis(-OUT_OF_SIGHT_MS) });
        }
    }

    fn fill(&mut self, fill: ChainFill, ctx: &mut Context<Self>) {
        // A replaced subscription may still bring fills of a wallet that is not followed any more.
        let ours = |(user, _): &&(FollowedUserId, Wallet)| self.deps.leases.hold(LeaseName::User(*user));
        let Some((user, profile)) = self.owners.get(&fill.wallet).filter(ours).cloned() else { return };
        self.n_fills += 1;
        let (db, bell, now) = (self.deps.db.clone(), self.deps.bell.clone(), self.deps.clock.now());
        let keep = async move {
            let place = fill.place.clone();
            if fill.removed {
                return db.mark_removed(&place.tx_hash, place.log_index, Some(&place.block_hash)).await;
            }
            let seen = fill.block_time.map_or(now, |time| time.min(now));
            let job = ReconcileJob::Transaction { tx_hash: place.tx_hash, seen }.for_user(user, now);
            let block = block_row(fill.block_number);
            let new = db.insert_chain_trade(&trade_of(fill, user, profile, now), &job, &[block], now).await?;
            bell.ring(Queue::Reconcile);
            Ok(matches!(new, Inserted::New(_)))
        };
        spawn_io(ctx, keep, Kept);
    }

    fn head(&mut self, number: u64) {
        self.last_block = Some(number);
        // With nobody to watch there is no subscription that the node could confirm.
        if self.owners.is_empty() && self.watching_since.is_none() {
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
                tracing::debug!(%error, "the block reached could not be noted");
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
    }
}

impl Supervised for ChainWatcher {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone(), self.connection + 1, std::mem::take(&mut self.owners));
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
        let talk = async move {
            converse(url.reveal(), feed, wallets, |news| address.do_send(Said { connection, news })).await
        };
        spawn_io(ctx, talk, move |reason| Ended { connection, reason });
    }
}

impl Handler<Said> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, said: Said, ctx: &mut Self::Context) {
        if said.connection != self.connection {
            return;
        }
        self.last_activity = Some(self.deps.clock.now());
        match said.news {
            ChainNews::Watching(wallets) => {
                self.n_watched = wallets.len();
                self.watching();
            }
            ChainNews::Head { number, .. } => self.head(number),
            ChainNews::Fill(fill) => self.fill(*fill, ctx),
            ChainNews::Unreadable(error) => tracing::warn!(%error, "the node sent what we cannot read"),
        }
    }
}

impl Handler<Ended> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, ended: Ended, ctx: &mut Self::Context) {
        if ended.connection != self.connection {
            return;
        }
        let reason = match ended.reason {
            Ok(error) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        self.watching_since = None;
        self.n_watched = 0;
        self.was_out_of_sight = true;
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(reason, "the chain is out of sight; polling goes on alone");
            self.tell_health(false, reason);
        }
        ctx.notify_later(Connect, back_off(RETRY, RETRY_MOST, self.failures));
    }
}

impl Handler<Kept> for ChainWatcher {
    type Result = ();

    fn handle(&mut self, Kept(result): Kept, _: &mut Self::Context) {
        let error = match result {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        // The canonical source shows the fill all the same, a little later.
        tracing::warn!(error, "a fill seen on chain could not be written down");
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

/// Whose fills a wallet's are: the enabled users, by their profile wallet and the others seen in their rows.
fn owners(directory: &Directory) -> BTreeMap<Wallet, (FollowedUserId, Wallet)> {
    let enabled = directory.users.iter().filter(|user| user.enabled);
    let wallets = enabled.flat_map(|user| {
        let all = user.wallets.iter().chain([&user.profile_wallet]);
        all.map(|wallet| (wallet.clone(), (user.id, user.profile_wallet.clone())))
    });
    wallets.collect()
}

/// The wallets of the leaders whose work is ours.
fn watched(owners: &BTreeMap<Wallet, (FollowedUserId, Wallet)>, leases: &Leases) -> BTreeSet<Wallet> {
    let ours = owners.iter().filter(|(_, (user, _))| leases.hold(LeaseName::User(*user)));
    ours.map(|(wallet, _)| wallet.clone()).collect()
}

fn trade_of(fill: ChainFill, user: FollowedUserId, profile_wallet: Wallet, now: Timestamp) -> ChainTrade {
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
        // A node may be faster than the clock in its own block.
        event_time: fill.block_time.unwrap_or(now),
        detect_time: now,
    }
}

fn block_row(number: u64) -> (String, String) {
    (LAST_BLOCK.to_owned(), serde_json::json!({ "block": number }).to_string())
}

#[cfg(test)]
mod tests;
