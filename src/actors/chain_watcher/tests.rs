use super::*;
use crate::domain::events::event::Side;
use crate::queue::Queue;
use crate::queue::wakeup::local::WakeupListener;
use crate::simulator::{CTF_EXCHANGE, Fill, SimMarket, wallet_of};
use crate::testkit::feed_setup::{FeedSetup, Received, receiver};
use crate::testkit::wait::within;

struct Watching {
    setup: FeedSetup,
    market: SimMarket,
    watcher: Addr<ChainWatcher>,
    reconciled: Received<ReconcileAll>,
    jobs: WakeupListener,
}

async fn watching(leader: &str) -> Watching {
    let setup = FeedSetup::new().await;
    let market = setup.market("rain");
    setup.follow(&wallet_of(leader)).await;
    let (reconciler, reconciled) = receiver();
    let deps = ChainWatcherDeps {
        db: setup.db.clone(),
        clock: setup.clock,
        wakeups: setup.wakeups.clone(),
        live: setup.live.clone(),
        reconciler,
        url: Secret::new(setup.exchange.chain_ws_url()),
        exchanges: vec![Wallet::parse(CTF_EXCHANGE).unwrap()],
        leases: std::sync::Arc::new(crate::domain::events::lease::Leases::All),
    };
    let jobs = setup.wakeups.listen(Queue::Reconcile);
    let watcher = ChainWatcher::start(deps, &setup.supervisor);
    watcher.do_send(DirectoryChanged(setup.directory().await));
    let mut it = Watching { setup, market, watcher, reconciled, jobs };
    it.in_sight().await;
    it
}

impl Watching {
    /// Waits until the node has confirmed a connection's first subscription.
    async fn in_sight(&mut self) {
        self.reconciled.next().await;
        self.subscribed(1).await;
    }

    /// Waits until exactly the wallets of the directory are watched, on one subscription.
    async fn subscribed(&self, n_wallets: usize) {
        let complete = || async {
            let state = self.watcher.send(super::super::supervise::Observe).await.unwrap().state;
            let n_subscriptions = self.setup.exchange.with(|exchange| exchange.chain.n_log_subscriptions());
            state["watched"] == n_wallets && n_subscriptions == 1
        };
        within(async {
            while !complete().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    fn fill(&self, leader: &str) -> String {
        let fill = Fill::taker(&wallet_of(leader), self.market.asset(0).unwrap(), Side::Buy, 500_000, 10_000_000);
        self.setup.exchange.with(|exchange| exchange.push_fill(fill)).unwrap().tx_hash
    }

    /// The rows seen on chain: the transaction, and whether its log was removed.
    async fn rows(&self) -> Vec<(String, bool)> {
        let Db::Sqlite { read, .. } = &self.setup.db else { unreachable!() };
        sqlx::query_as("select tx_hash, removed from trade_event where source = 'ALCHEMY' and not is_canonical order by created_at, log_index")
            .fetch_all(read)
            .await
            .unwrap()
    }
}

#[actix_web::test]
async fn a_fill_on_chain_is_stored_as_a_trigger_with_its_job() {
    let mut it = watching("leader").await;
    it.fill("a stranger");
    let tx_hash = it.fill("leader");
    within(it.jobs.notified()).await;
    assert_eq!(it.rows().await, [(tx_hash.clone(), false)]);
    let jobs = it.setup.jobs(Queue::Reconcile).await;
    assert_eq!(jobs.len(), 1);
    assert!(jobs[0].payload.contains(&tx_hash));
    assert_eq!(it.setup.jobs(Queue::GroupEvents).await, [], "nothing of the chain is copied");
    let noted = it.setup.db.checkpoint(LAST_BLOCK).await.unwrap().unwrap();
    assert!(noted.contains("block"), "{noted}");
}

#[actix_web::test]
async fn a_reorganised_fill_is_marked_and_stored_again_with_its_new_block() {
    let mut it = watching("leader").await;
    let tx_hash = it.fill("leader");
    within(it.jobs.notified()).await;
    it.setup.exchange.with(|exchange| {
        let now = exchange.now().plus_millis(10_000);
        assert!(exchange.chain.reorg(&tx_hash, now) > 0);
    });
    within(async {
        loop {
            let mut taken_back: Vec<bool> = it.rows().await.into_iter().map(|(_, removed)| removed).collect();
            taken_back.sort_unstable();
            if taken_back == [false, true] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_web::test]
async fn a_log_without_a_time_is_dated_by_its_block() {
    let mut it = watching("leader").await;
    it.setup.exchange.with(|exchange| exchange.chain.settings.block_timestamps = false);
    // Of a block whose head came before this connection: only the node can tell.
    let long_ago = Timestamp::from_seconds(it.setup.clock.now().seconds() - 600).unwrap();
    let asset = it.market.asset(0).unwrap();
    let fill = Fill::taker(&wallet_of("leader"), asset, Side::Buy, 500_000, 10_000_000).at(long_ago);
    it.setup.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
    within(it.jobs.notified()).await;
    let Db::Sqlite { read, .. } = &it.setup.db else { unreachable!() };
    let times: Vec<i64> = sqlx::query_scalar("select event_time from trade_event").fetch_all(read).await.unwrap();
    assert_eq!(times, [long_ago.millis()]);
}

#[actix_web::test]
async fn a_log_repeated_after_a_reconnect_is_known() {
    let mut it = watching("leader").await;
    it.setup.exchange.with(|exchange| exchange.chain.settings.replayed_logs = 5);
    it.fill("leader");
    within(it.jobs.notified()).await;
    it.setup.exchange.with(|exchange| exchange.chain.close_all());
    it.in_sight().await;
    let state = async || it.watcher.send(super::super::supervise::Observe).await.unwrap().state;
    within(async {
        while state().await["logs"]["repeated"] != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!((it.rows().await.len(), state().await["logs"]["fills"].clone()), (1, 1.into()));
}

#[actix_web::test]
async fn a_node_that_accepts_and_drops_every_socket_is_tried_less_and_less_often() {
    let mut it = watching("leader").await;
    for n_failures in 1..=2 {
        it.setup.exchange.with(|exchange| exchange.chain.close_all());
        it.in_sight().await;
        let state = it.watcher.send(super::super::supervise::Observe).await.unwrap().state;
        assert_eq!(state["failures"], n_failures, "{state}");
    }
}

#[test]
fn a_failed_write_is_retried_and_no_later_log_overtakes_it() {
    let mut waiting = Waiting::default();
    let fill = crate::chain::blocks::tests::fill(7, "0xa", 1);
    let log = |log_index: i64| {
        let mut fill = fill.clone();
        fill.place.log_index = log_index;
        let profile_wallet = fill.wallet.clone();
        ChainLog { fill, user: FollowedUserId(1), profile_wallet, seen: Timestamp::EPOCH, last_block: 7 }
    };
    let index = |log: Option<ChainLog>| log.map(|log| log.fill.place.log_index);
    assert!(waiting.push(log(1)) && waiting.push(log(2)));
    assert_eq!(index(waiting.begin()), Some(1));
    assert_eq!(index(waiting.begin()), None, "one write at a time");
    for _ in 0..5 {
        assert!(matches!(waiting.failed(true), AfterFailure::TryAgainIn(_)));
        assert_eq!(index(waiting.begin()), Some(1));
    }
    assert_eq!(waiting.failed(true), AfterFailure::GaveUp);
    assert_eq!(index(waiting.begin()), Some(2));
    assert_eq!(waiting.failed(false), AfterFailure::GaveUp, "a permanent failure is not retried");
    assert_eq!((index(waiting.begin()), waiting.len()), (None, 0));
}

#[actix_web::test]
async fn a_wallet_followed_later_is_watched_on_the_same_socket() {
    let mut it = watching("leader").await;
    it.setup.follow(&wallet_of("another")).await;
    it.watcher.send(DirectoryChanged(it.setup.directory().await)).await.unwrap();
    it.subscribed(2).await;
    let (first, second) = (it.fill("another"), it.fill("leader"));
    while it.setup.jobs(Queue::Reconcile).await.len() < 2 {
        within(it.jobs.notified()).await;
    }
    let mut seen: Vec<String> = it.rows().await.into_iter().map(|(tx_hash, _)| tx_hash).collect();
    let mut filled = vec![first, second];
    seen.sort_unstable();
    filled.sort_unstable();
    assert_eq!(seen, filled);
    assert_eq!(it.setup.exchange.with(|exchange| exchange.chain.n_sockets_ever()), 1);
}

#[actix_web::test]
async fn a_closed_socket_is_opened_again_and_the_gap_is_read_from_the_data_api() {
    let mut it = watching("leader").await;
    let before = it.setup.clock.now();
    it.setup.exchange.with(|exchange| exchange.chain.close_all());
    let ReconcileAll { since } = it.reconciled.next().await;
    assert!(before.millis_since(since) >= OUT_OF_SIGHT_MS - 60_000);
    it.subscribed(1).await;
    let tx_hash = it.fill("leader");
    within(it.jobs.notified()).await;
    assert_eq!(it.rows().await, [(tx_hash, false)]);
    let mut said = Vec::new();
    while said.len() < 3 {
        for fact in it.setup.announced.next().await.0 {
            if let LiveFact::HealthChanged(change) = fact {
                said.push(change.healthy);
            }
        }
    }
    assert_eq!(said, [true, false, true]);
}
