use super::*;
use crate::actors::book_fetcher::{BookFetcher, BookFetcherDeps};
use crate::actors::ledger_writer::{LedgerWriter, LedgerWriterDeps};
use crate::db::FollowedUser;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::events::event::Side;
use crate::domain::events::lease::Leases;
use crate::domain::money::ids::{AssetId, Wallet};
use crate::domain::money::units::ShareMicros;
use crate::simulator::{Fault, FaultKind, Fill, Host, NewMarket, SimMarket, Times, price, wallet_of};
use crate::testkit::feed_setup::FeedSetup;

struct Ingesting {
    setup: FeedSetup,
    wallet: Wallet,
    user: FollowedUser,
    market: SimMarket,
}

async fn ingesting() -> Ingesting {
    let setup = FeedSetup::new().await;
    let wallet = wallet_of("leader");
    let user = setup.follow(&wallet).await;
    let market = setup.market("rain");
    Ingesting { setup, wallet, user, market }
}

impl Ingesting {
    fn start(&self) -> Addr<Ingestor> {
        let FeedSetup { db, clock, wakeups, supervisor, live, .. } = &self.setup;
        let polymarket = self.setup.polymarket();
        let (db, wakeups, live, leases) = (db.clone(), wakeups.clone(), live.clone(), std::sync::Arc::new(Leases::All));
        let metrics = std::sync::Arc::<crate::metrics::Metrics>::default();
        let (wakeups, clock) = (wakeups.clone(), *clock);
        let ledger = LedgerWriterDeps {
            db: db.clone(),
            clock,
            wakeups: wakeups.clone(),
            live,
            leases,
            metrics: metrics.clone(),
        };
        let ledger = LedgerWriter::start(ledger, supervisor);
        let markets = BookFetcherDeps { db: db.clone(), clock, polymarket: polymarket.clone(), metrics };
        let deps = IngestorDeps {
            db: db.clone(),
            polymarket,
            clock,
            scope: JobScope::All,
            wakeups: wakeups.clone(),
            ledger: ledger.clone().recipient(),
            holdings: ledger.recipient(),
            markets: BookFetcher::start(markets, supervisor).recipient(),
            lock: crate::actors::books_lock::BooksLock::default(),
        };
        Ingestor::start(deps, supervisor)
    }

    fn asset(&self, index: usize) -> AssetId {
        self.market.asset(index).unwrap().clone()
    }

    fn fill(&self, asset: &AssetId, side: Side, shares: i64, seconds: i64) {
        let fill = Fill::maker(&self.wallet, asset, side, 500_000, shares).at(self.at(seconds));
        self.setup.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
    }

    /// Returns the time `seconds` after two minutes ago.
    fn at(&self, seconds: i64) -> Timestamp {
        self.setup.clock.now().plus_millis(-120_000 + seconds * 1_000)
    }

    /// Stores the rows that the exchange shows, waits until all are in the ledger, and returns kind, asset, shares and
    /// cash of the entries.
    async fn ingested(&self) -> Vec<(EntryType, usize, i64, i64)> {
        self.setup.read(&self.user).await;
        self.setup.drained(Queue::IngestEvents).await;
        self.ledger().await
    }

    async fn ledger(&self) -> Vec<(EntryType, usize, i64, i64)> {
        let shadow = PortfolioId::ShadowUser(self.user.id);
        let entries = self.setup.db.entries_after(shadow, 0, 1_000).await.unwrap();
        let index = |asset: &Option<AssetId>| asset.as_ref().and_then(|a| self.market.index_of(a)).unwrap_or(9);
        let row = |entry: &LedgerEntry| (entry.kind, index(&entry.asset), entry.shares.0, entry.cash.0);
        entries.iter().map(|placed| row(&placed.entry)).collect()
    }
}

#[actix_web::test]
async fn fills_sets_and_redemptions_become_the_shadow_ledger_in_order() {
    let it = ingesting().await;
    let (wallet, market) = (it.wallet.clone(), it.market.id().clone());
    let _ingestor = it.start();
    it.fill(&it.asset(0), Side::Buy, 10_000_000, 0);
    let (split, merge) = (it.at(1), it.at(2));
    it.setup.exchange.with(|exchange| {
        exchange.split(&wallet, &market, ShareMicros(4_000_000), split).unwrap();
        exchange.merge(&wallet, &market, ShareMicros(1_000_000), merge).unwrap();
    });
    it.fill(&it.asset(1), Side::Sell, 3_000_000, 3);
    use EntryType::{Merge, Settlement, Split, TradeFill};
    let before = [
        (TradeFill, 0, 10_000_000, -5_000_000),
        (Split, 0, 4_000_000, -2_000_000),
        (Split, 1, 4_000_000, -2_000_000),
        (Merge, 0, -1_000_000, 500_000),
        (Merge, 1, -1_000_000, 500_000),
        (TradeFill, 1, -3_000_000, 1_500_000),
    ];
    assert_eq!(it.ingested().await, before);
    let redeemed = it.at(100);
    it.setup.exchange.with(|exchange| {
        exchange.resolve(&market, &[price(1_000_000), price(0)]);
        exchange
            .redeem(&wallet, &market, false, exchange.now())
            .unwrap_or_else(|error| panic!("{error} at {redeemed}"));
    });
    let after = it.ingested().await;
    assert_eq!(after[..6], before);
    assert_eq!(after[6..], [(Settlement, 0, -13_000_000, 13_000_000)]);
    assert_eq!(it.ingested().await, after, "rows read again change nothing");
}

#[actix_web::test]
async fn a_row_that_waits_for_facts_holds_back_its_own_condition_and_no_other() {
    let it = ingesting().await;
    let (wallet, market) = (it.wallet.clone(), it.market.id().clone());
    let other = it.setup.market("snow").asset(0).unwrap().clone();
    let split = it.at(0);
    it.setup.exchange.with(|exchange| {
        // The first try gets no facts of the market.
        for (host, route) in [(Host::Gamma, "/markets"), (Host::Clob, "/clob-markets")] {
            let times = Times::Next(1);
            exchange.fault(Fault::once(host, route, FaultKind::Status(400)).times(times));
        }
        exchange.split(&wallet, &market, ShareMicros(4_000_000), split).unwrap();
    });
    it.fill(&it.asset(0), Side::Sell, 1_000_000, 1);
    it.setup.read(&it.user).await;
    let first_try = it.setup.jobs(Queue::IngestEvents).await;
    assert_eq!(first_try.len(), 2);
    let _ingestor = it.start();
    // The failed try is on its way to being tried again.
    crate::testkit::wait::within(async {
        while it.setup.jobs(Queue::IngestEvents).await.iter().all(|job| job.failures == 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(it.ledger().await, [], "the sale waits behind the split");
    it.fill(&other, Side::Buy, 2_000_000, 2);
    let all = it.ingested().await;
    use EntryType::{Split, TradeFill};
    assert_eq!(
        all,
        [
            (TradeFill, 9, 2_000_000, -1_000_000),
            (Split, 0, 4_000_000, -2_000_000),
            (Split, 1, 4_000_000, -2_000_000),
            (TradeFill, 0, -1_000_000, 500_000),
        ]
    );
}

#[actix_web::test]
async fn a_row_of_an_unknown_market_is_audited_and_moves_nothing() {
    let it = ingesting().await;
    let row = serde_json::json!({
        "proxy_wallet": it.wallet, "timestamp": it.at(0).seconds(), "type": "SPLIT", "token_id": "", "side": "",
        "condition_id": format!("0x{}", "cd".repeat(32)), "size": 5, "usdc_size": 5, "price": 0,
        "transaction_hash": format!("0x{}", "ef".repeat(32)), "outcome_index": 999,
    });
    it.setup.exchange.with(|exchange| exchange.push_row(&row)).unwrap();
    let _ingestor = it.start();
    assert_eq!(it.ingested().await, []);
    let audits = it.setup.db.audits(Some("MERGE_SPLIT_NOT_APPLICABLE"), None, 10).await.unwrap();
    assert_eq!(audits.len(), 1);
    assert!(audits[0].audit.subject.starts_with("event:"));
}

/// Returns a test with one of two markets of an event, and outcome 0 of the other market.
async fn electing() -> (Ingesting, AssetId) {
    let mut it = ingesting().await;
    let candidate =
        |slug: &str| NewMarket { neg_risk: true, event_slug: "who-wins".to_owned(), ..NewMarket::binary(slug) };
    let (first, second) = it
        .setup
        .exchange
        .with(|exchange| (exchange.add_market(candidate("first-wins")), exchange.add_market(candidate("second-wins"))));
    it.market = first;
    (it, second.asset(0).unwrap().clone())
}

impl Ingesting {
    /// Lets the job of the one activity fail until one try is left.
    async fn fail_until_the_last_try(&self, why: &str) {
        let (db, now, long_ago) = (&self.setup.db, self.setup.clock.now(), self.at(0));
        let claimed = queue::claim(db, Queue::IngestEvents, &JobScope::All, now, 0, 10).await.unwrap();
        let mut job = claimed.into_iter().find(|job| job.payload.starts_with("activity:")).unwrap();
        for failures in 1..=queue::RETRIES {
            let failed = queue::fail(db, &job, why, long_ago, &mut crate::chance::Chance).await;
            assert!(matches!(failed, Ok(Failed::Retry(_))), "{failed:?}");
            job.failures = failures;
        }
    }

    fn convert(&self, shares: i64, seconds: i64) {
        let (wallet, market, at) = (self.wallet.clone(), self.market.id().clone(), self.at(seconds));
        self.setup.exchange.with(|exchange| exchange.convert(&wallet, &[market], ShareMicros(shares), at)).unwrap();
    }
}

#[actix_web::test]
async fn a_conversion_moves_the_shadow_to_the_leaders_positions_in_every_market_of_the_event() {
    let (it, other_yes) = electing().await;
    it.fill(&it.asset(1), Side::Buy, 10_000_000, 0);
    it.convert(4_000_000, 1);
    // The positions contain these fills already, and their rows follow: they must not be counted twice.
    it.fill(&it.asset(1), Side::Buy, 1_000_000, 2);
    it.fill(&other_yes, Side::Sell, 1_500_000, 3);
    let _ingestor = it.start();
    use EntryType::{Conversion, TradeFill};
    // An asset of the other market has index 9 here.
    assert_eq!(
        it.ingested().await,
        [
            (TradeFill, 1, 10_000_000, -5_000_000),
            (Conversion, 1, -4_000_000, 2_000_000),
            (Conversion, 9, 4_000_000, -2_000_000),
            (TradeFill, 1, 1_000_000, -500_000),
            (TradeFill, 9, -1_500_000, 750_000),
        ]
    );
}

/// The contract keeps the event's fee from the cash and from each YES.
#[actix_web::test]
async fn a_conversion_in_an_event_with_a_fee_is_booked_less_the_fee() {
    let (it, _) = electing().await;
    let candidate = NewMarket::binary("third-wins").of_event("who-wins");
    it.setup.exchange.with(|exchange| exchange.add_market(candidate));
    let members: Vec<SimMarket> = it
        .setup
        .exchange
        .with(|exchange| exchange.markets().filter(|market| market.event.slug == "who-wins").cloned().collect());
    for market in &members {
        it.setup.exchange.with(|exchange| {
            exchange.change_market(market.id(), |market| market.conversion_fee_bips = 30);
        });
    }
    let others: Vec<&SimMarket> = members.iter().filter(|market| market.id() != it.market.id()).collect();
    it.fill(&it.asset(1), Side::Buy, 10_000_000, 0);
    it.fill(others[0].asset(1).unwrap(), Side::Buy, 10_000_000, 0);
    let (wallet, from, at) = (it.wallet.clone(), [it.market.id().clone(), others[0].id().clone()], it.at(1));
    it.setup.exchange.with(|exchange| exchange.convert(&wallet, &from, ShareMicros(4_000_000), at)).unwrap();
    let _ingestor = it.start();
    let mut converted = it.ingested().await.split_off(2);
    converted.sort();
    // 0.3 % of 4 shares is 0.012. The two NO cost 4.00, and 3.988 came back: what is left is the cost of the YES.
    use EntryType::Conversion;
    let mut expected = [
        (Conversion, 1, -4_000_000, 2_000_000),
        (Conversion, 9, -4_000_000, 2_000_000),
        (Conversion, 9, 3_988_000, -12_000),
    ];
    expected.sort();
    assert_eq!(converted, expected);
    let audits = it.setup.db.audits(Some("MERGE_SPLIT_NOT_APPLICABLE"), None, 10).await.unwrap();
    assert_eq!(audits, [], "nothing is left to a check");
}

/// A single market would make the conversion a loss of all that the NO had cost.
#[actix_web::test]
async fn a_conversion_whose_event_is_not_known_is_not_booked_and_the_books_are_not_exact() {
    let (it, _) = electing().await;
    it.fill(&it.asset(1), Side::Buy, 10_000_000, 0);
    it.convert(4_000_000, 1);
    it.setup.exchange.with(|exchange| {
        exchange.change_market(it.market.id(), |market| market.quirks.unknown_to_gamma = true);
    });
    it.setup.read(&it.user).await;
    it.fail_until_the_last_try("the event is not known").await;
    let _ingestor = it.start();
    it.setup.drained(Queue::IngestEvents).await;
    assert_eq!(it.ledger().await, [(EntryType::TradeFill, 1, 10_000_000, -5_000_000)]);
    let audits = it.setup.db.audits(Some("MERGE_SPLIT_NOT_APPLICABLE"), None, 10).await.unwrap();
    assert!(audits[0].audit.after_json.as_ref().unwrap().contains("Gamma does not know the event"), "{audits:?}");
    assert!(it.setup.db.suspected_at(it.user.id).await.unwrap().is_some(), "a check is due");
}

/// A conversion used to count only the later rows that were claimed with it, so that a backlog longer than one claim
/// was in the ledger twice.
#[actix_web::test]
async fn a_conversion_with_a_long_backlog_behind_it_counts_no_row_twice() {
    let (it, _) = electing().await;
    it.fill(&it.asset(1), Side::Buy, 10_000_000, 0);
    it.convert(4_000_000, 1);
    let n_later = usize::try_from(JOBS_AT_ONCE).unwrap() + 50;
    for _ in 0..n_later {
        it.fill(&it.asset(1), Side::Buy, 1_000_000, 2);
    }
    let _ingestor = it.start();
    let ledger = it.ingested().await;
    use EntryType::{Conversion, TradeFill};
    let before = [
        (TradeFill, 1, 10_000_000, -5_000_000),
        (Conversion, 1, -4_000_000, 2_000_000),
        (Conversion, 9, 4_000_000, -2_000_000),
    ];
    assert_eq!(ledger[..3], before);
    assert_eq!(ledger[3..], vec![(TradeFill, 1, 1_000_000, -500_000); n_later]);
}

/// Positions may hold a fill that the activity feed has not shown yet.
#[actix_web::test]
async fn a_conversion_waits_until_the_feed_has_caught_up_with_the_positions() {
    let (it, _) = electing().await;
    it.fill(&it.asset(1), Side::Buy, 10_000_000, 0);
    it.convert(4_000_000, 1);
    it.setup.read(&it.user).await;
    it.fill(&it.asset(1), Side::Buy, 1_000_000, 2);
    let _ingestor = it.start();
    crate::testkit::wait::within(async {
        while it.setup.jobs(Queue::Reconcile).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    use EntryType::{Conversion, TradeFill};
    let bought = (TradeFill, 1, 10_000_000, -5_000_000);
    assert_eq!(it.ledger().await, [bought], "the positions are a second ahead of the rows");
    let moved = [
        (Conversion, 1, -4_000_000, 2_000_000),
        (Conversion, 9, 4_000_000, -2_000_000),
        (TradeFill, 1, 1_000_000, -500_000),
    ];
    assert_eq!(it.ingested().await[1..], moved);
}

#[actix_web::test]
async fn a_conversion_that_the_positions_do_not_show_is_not_booked_after_all_retries_and_the_books_are_not_exact() {
    let (it, _) = electing().await;
    it.fill(&it.asset(1), Side::Buy, 10_000_000, 0);
    it.convert(4_000_000, 1);
    it.setup.read(&it.user).await;
    // This one is never read.
    it.fill(&it.asset(1), Side::Buy, 1_000_000, 2);
    it.fail_until_the_last_try("behind").await;
    let _ingestor = it.start();
    it.setup.drained(Queue::IngestEvents).await;
    assert_eq!(it.ledger().await, [(EntryType::TradeFill, 1, 10_000_000, -5_000_000)]);
    let audits = it.setup.db.audits(Some("MERGE_SPLIT_NOT_APPLICABLE"), None, 10).await.unwrap();
    assert_eq!(audits.len(), 1);
    assert!(it.setup.db.suspected_at(it.user.id).await.unwrap().is_some(), "a check is due");
}

/// Counts the requests for facts.
struct Facts(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Actor for Facts {
    type Context = Context<Self>;
}

impl Handler<KnowMarket> for Facts {
    type Result = actix::Response<
        Result<std::sync::Arc<crate::domain::market::facts::Market>, crate::actors::book_fetcher::FetchFailed>,
    >;

    fn handle(&mut self, KnowMarket(id): KnowMarket, _: &mut Context<Self>) -> Self::Result {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        actix::Response::reply(Ok(crate::domain::market::facts::Market::unknown(id).into()))
    }
}

/// Facts read hours ago may be wrong now, and the copy is decided three seconds after the fill.
#[actix_web::test]
async fn the_facts_of_a_market_are_requested_again_for_a_trade_a_minute_later() {
    let it = ingesting().await;
    tokio::time::pause();
    let clock = Clock::starting_at(it.setup.clock.now());
    let FeedSetup { db, wakeups, supervisor, live, .. } = &it.setup;
    let ledger = LedgerWriterDeps {
        db: db.clone(),
        clock,
        wakeups: wakeups.clone(),
        live: live.clone(),
        leases: std::sync::Arc::new(Leases::All),
        metrics: std::sync::Arc::default(),
    };
    let ledger = LedgerWriter::start(ledger, supervisor);
    let asked = std::sync::Arc::default();
    let facts = Facts(std::sync::Arc::clone(&asked)).start();
    let deps = IngestorDeps {
        db: db.clone(),
        polymarket: it.setup.polymarket(),
        clock,
        scope: JobScope::All,
        wakeups: wakeups.clone(),
        ledger: ledger.clone().recipient(),
        holdings: ledger.recipient(),
        markets: facts.clone().recipient(),
        lock: crate::actors::books_lock::BooksLock::default(),
    };
    let mut ingestor = Ingestor::new(deps);
    let mut requested_after = async |seconds: u64| {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        ingestor.request_facts(it.market.id());
        facts.send(KnowMarket(it.market.id().clone())).await.unwrap().unwrap();
        // The test's own request is not to be counted; it was handled after the ingestor's.
        asked.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        asked.load(std::sync::atomic::Ordering::SeqCst)
    };
    assert_eq!(requested_after(0).await, 1);
    assert_eq!(requested_after(59).await, 1);
    assert_eq!(requested_after(1).await, 2);
}
