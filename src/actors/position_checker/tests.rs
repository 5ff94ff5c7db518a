use super::*;
use crate::actors::book_fetcher::{BookFetcher, BookFetcherDeps};
use crate::actors::ingestor::{Ingestor, IngestorDeps, RedeemDue};
use crate::actors::ledger_writer::{LedgerWriter, LedgerWriterDeps};
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::accounting::shadow::exactness::{Exactness, InexactCause};
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, Wallet};
use crate::domain::money::units::{ShareMicros, UsdcMicros};
use crate::queue::{self, JobScope, Queue};
use crate::simulator::{
    Combo, Exchange, Fault, FaultKind, Fill, Host, MarketQuirks, Movement, NewMarket, ResolutionAnswer, SimMarket,
    Times, price, wallet_of,
};
use crate::testkit::feed_setup::FeedSetup;

const SHARE: i64 = 1_000_000;

/// A leader, the actors that book their rows, and a checker that the test drives itself.
struct Books {
    setup: FeedSetup,
    wallet: Wallet,
    user: FollowedUser,
    market: SimMarket,
    ingestor: Addr<Ingestor>,
    deps: PositionCheckerDeps,
}

impl Books {
    async fn of_a_new_leader() -> Self {
        Self::of(NewMarket::binary("rain")).await
    }

    async fn of(market: NewMarket) -> Self {
        let setup = FeedSetup::new().await;
        let wallet = wallet_of("leader");
        let user = setup.follow(&wallet).await;
        let market = setup.exchange.with(|exchange| exchange.add_market(market));
        let (lock, leases) = (BooksLock::default(), Arc::new(Leases::All));
        let FeedSetup { db, clock, wakeups, supervisor, live, .. } = &setup;
        let (db, clock, wakeups, polymarket) = (db.clone(), *clock, wakeups.clone(), setup.polymarket());
        let metrics = Arc::<crate::metrics::Metrics>::default();
        let writer = LedgerWriterDeps {
            db: db.clone(),
            clock,
            wakeups: wakeups.clone(),
            live: live.clone(),
            leases: leases.clone(),
            metrics: metrics.clone(),
        };
        let ledger = LedgerWriter::start(writer, supervisor);
        let markets = BookFetcherDeps { db: db.clone(), clock, polymarket: polymarket.clone(), metrics };
        let ingestor = IngestorDeps {
            db: db.clone(),
            polymarket: polymarket.clone(),
            clock,
            scope: JobScope::All,
            wakeups,
            ledger: ledger.clone().recipient(),
            holdings: ledger.clone().recipient(),
            markets: BookFetcher::start(markets, supervisor).recipient(),
            lock: lock.clone(),
        };
        let ingestor = Ingestor::start(ingestor, supervisor);
        let (holdings, record) = (ledger.clone().recipient(), ledger.recipient());
        let deps = PositionCheckerDeps { db, clock, polymarket, leases, lock, holdings, record };
        Self { setup, wallet, user, market, ingestor, deps }
    }

    fn asset(&self, index: usize) -> AssetId {
        self.market.asset(index).unwrap().clone()
    }

    /// Returns the time so many seconds ago.
    fn ago(&self, seconds: i64) -> Timestamp {
        self.setup.clock.now().plus_millis(-seconds * 1_000)
    }

    fn exchange<T>(&self, change: impl FnOnce(&mut Exchange) -> T) -> T {
        self.setup.exchange.with(change)
    }

    /// The leader holds shares of outcome 0 from before any row.
    fn held(&self, shares: i64) {
        let (wallet, asset, at) = (self.wallet.clone(), self.asset(0), self.ago(86_400));
        self.exchange(|exchange| exchange.hold(&wallet, &asset, ShareMicros(shares), price(500_000), Some(at)));
    }

    fn fill(&self, side: Side, price_micros: i64, shares: i64, seconds_ago: i64) {
        let fill = Fill::maker(&self.wallet, &self.asset(0), side, price_micros, shares).at(self.ago(seconds_ago));
        self.exchange(|exchange| exchange.push_fill(fill)).unwrap();
    }

    /// Begins to follow so many seconds ago, unless following has begun, and reads and books every row.
    async fn read(&self, follows_from: i64) {
        let (from, now) = (self.ago(follows_from), self.setup.clock.now());
        self.setup.db.begin_following(self.user.id, from, now).await.unwrap();
        self.setup.read(&self.user).await;
        self.setup.drained(Queue::IngestEvents).await;
    }

    async fn opened(&self) -> Option<CheckOutcome> {
        let user = self.setup.db.followed_user_by_wallet(&self.wallet).await.unwrap().unwrap();
        opening::open(&self.deps, &user).await.unwrap().outcome
    }

    /// Checks as if it were so many seconds ago.
    async fn checked(&self, seconds_ago: i64) -> Option<CheckOutcome> {
        let deps = PositionCheckerDeps { clock: Clock::starting_at(self.ago(seconds_ago)), ..self.deps.clone() };
        check::check(&deps, &self.user).await.unwrap().outcome
    }

    /// Returns kind, shares and cash of the shadow's entries.
    async fn ledger(&self) -> Vec<(EntryType, i64, i64)> {
        let entries = self.entries().await;
        entries.iter().map(|entry| (entry.kind, entry.shares.0, entry.cash.0)).collect()
    }

    async fn entries(&self) -> Vec<LedgerEntry> {
        let shadow = PortfolioId::ShadowUser(self.user.id);
        let placed = self.setup.db.entries_after(shadow, 0, 1_000).await.unwrap();
        placed.into_iter().map(|placed| placed.entry).collect()
    }

    async fn cash(&self) -> i64 {
        self.ledger().await.iter().map(|(.., cash)| cash).sum()
    }

    async fn exactness(&self) -> Exactness {
        self.setup.db.books_record(self.user.id).await.unwrap().exactness()
    }

    async fn cause(&self) -> Option<InexactCause> {
        match self.exactness().await {
            Exactness::NotExact { cause, .. } => Some(cause),
            Exactness::Exact | Exactness::Adjusted { .. } => None,
        }
    }

    fn resolve(&self, payouts: [i64; 2]) {
        let market = self.market.id().clone();
        self.exchange(|exchange| exchange.resolve(&market, &payouts.map(price)));
    }

    fn redeem(&self) {
        let (wallet, market) = (self.wallet.clone(), self.market.id().clone());
        self.exchange(|exchange| exchange.redeem(&wallet, &market, false, exchange.now())).unwrap();
    }
}

use EntryType::{Adjustment, Opening, Settlement, TradeFill};

/// A leader who redeems shares bought before we followed showed a profit of the whole payout.
#[actix_web::test]
async fn a_redemption_of_shares_from_before_following_brings_nothing_that_the_mark_did_not_show() {
    let it = Books::of_a_new_leader().await;
    it.held(1_000 * SHARE);
    it.resolve([1_000_000, 0]);
    it.read(900).await;
    assert_eq!(it.cause().await, Some(InexactCause::NoOpening));
    assert_eq!(it.opened().await, Some(CheckOutcome::Exact));
    assert_eq!(it.exactness().await, Exactness::Exact);
    it.redeem();
    it.read(900).await;
    let expected = [(Opening, 1_000 * SHARE, -1_000 * SHARE), (Settlement, -1_000 * SHARE, 1_000 * SHARE)];
    assert_eq!(it.ledger().await, expected);
}

#[actix_web::test]
async fn old_shares_that_are_sold_and_redeemed_bring_what_they_gained_since_following() {
    let it = Books::of(NewMarket::binary("rain").quotes(crate::simulator::Quotes::default())).await;
    it.held(1_500 * SHARE);
    it.read(900).await;
    it.opened().await;
    let opening = it.entries().await[0].clone();
    let paid = -opening.cash.0;
    it.fill(Side::Sell, 600_000, 1_000 * SHARE, 0);
    it.read(900).await;
    it.resolve([1_000_000, 0]);
    it.redeem();
    it.read(900).await;
    let gained = 600 * SHARE + 500 * SHARE - paid;
    assert_eq!((opening.kind, opening.shares.0), (Opening, 1_500 * SHARE));
    assert_eq!(it.cash().await, gained, "{:?}", it.ledger().await);
}

#[actix_web::test]
async fn a_fill_of_the_first_window_counts_once_whether_positions_show_it_or_not() {
    let it = Books::of_a_new_leader().await;
    it.held(100 * SHARE);
    it.fill(Side::Buy, 500_000, 10 * SHARE, 60);
    it.read(900).await;
    it.opened().await;
    let shares: i64 = it.ledger().await.iter().map(|(_, shares, _)| shares).sum();
    assert_eq!(shares, 110 * SHARE, "{:?}", it.ledger().await);
    assert!(it.ledger().await.contains(&(TradeFill, 10 * SHARE, -5 * SHARE)));
    assert_eq!(it.checked(0).await, Some(CheckOutcome::Exact));
}

/// The row is in the position that the opening was read from, and its feed lags.
#[actix_web::test]
async fn a_row_that_comes_after_the_opening_that_holds_it_takes_its_shares_back() {
    let it = Books::of_a_new_leader().await;
    it.held(100 * SHARE);
    it.fill(Side::Buy, 500_000, 10 * SHARE, 60);
    let now = it.setup.clock.now();
    it.setup.db.begin_following(it.user.id, it.ago(900), now).await.unwrap();
    it.opened().await;
    let opening = it.entries().await[0].clone();
    assert_eq!(opening.shares.0, 110 * SHARE);
    it.read(900).await;
    let entries = it.entries().await;
    let shares: i64 = entries.iter().map(|entry| entry.shares.0).sum();
    assert_eq!(shares, 110 * SHARE, "{entries:?}");
    let taken = entries.iter().find(|entry| entry.ref_id.starts_with(&format!("open:{}:", it.user.id))).unwrap();
    assert_eq!((taken.kind, taken.shares.0, taken.price), (Opening, -10 * SHARE, opening.price));
    it.read(900).await;
    assert_eq!(it.entries().await, entries, "a row read again changes nothing");
    assert_eq!(it.checked(0).await, Some(CheckOutcome::Exact));
}

#[actix_web::test]
async fn a_row_from_before_following_is_stored_and_makes_no_entry_and_no_job() {
    let it = Books::of_a_new_leader().await;
    it.fill(Side::Buy, 500_000, 10 * SHARE, 1_000);
    it.fill(Side::Buy, 500_000, 5 * SHARE, 60);
    it.read(900).await;
    assert_eq!(it.ledger().await, [(TradeFill, 5 * SHARE, -5 * SHARE / 2)]);
    let stored = it.setup.db.trades_page(&Default::default(), None, 10).await.unwrap().rows;
    assert_eq!(stored.len(), 2);
    assert_eq!(it.setup.jobs(Queue::GroupEvents).await.len(), 1);
    // The opening holds what was bought before.
    it.opened().await;
    let shares: i64 = it.ledger().await.iter().map(|(_, shares, _)| shares).sum();
    assert_eq!(shares, 15 * SHARE);
    // Following began once: a wider window later moves nothing.
    it.read(5_000).await;
    assert_eq!(it.ledger().await.len(), 2);
}

#[actix_web::test]
async fn a_drift_that_stands_for_five_minutes_is_adjusted_at_the_mark_and_audited() {
    let it = Books::of_a_new_leader().await;
    it.fill(Side::Buy, 500_000, 10 * SHARE, 60);
    it.read(900).await;
    it.opened().await;
    // Shares arrive by a transfer that no row shows.
    let (wallet, asset) = (it.wallet.clone(), it.asset(0));
    it.exchange(|exchange| exchange.hold(&wallet, &asset, ShareMicros(7 * SHARE), price(500_000), None));
    let check = it.setup.db.position_checks(it.user.id, 1).await.unwrap().remove(0);
    assert_eq!(check.outcome, CheckOutcome::Exact);
    let (first, second, third) = (it.later(60).await, it.later(300).await, it.later(361).await);
    assert_eq!(
        (first, second),
        (Some(CheckOutcome::Drifting), Some(CheckOutcome::Drifting)),
        "four minutes are not five"
    );
    assert!(matches!(third, Some(CheckOutcome::Adjusted { .. })), "{third:?}");
    let adjusted: Vec<_> = it.entries().await.into_iter().filter(|entry| entry.kind == Adjustment).collect();
    assert_eq!(adjusted.len(), 1);
    assert_eq!(adjusted[0].shares.0, 7 * SHARE);
    assert!(adjusted[0].ref_id.starts_with("adjust:"));
    let audits = it.setup.db.audits(Some("POSITIONS_ADJUSTED"), None, 10).await.unwrap();
    assert_eq!(audits.len(), 1);
    let Exactness::Adjusted { n: 1, value, .. } = it.exactness().await else { panic!("{:?}", it.exactness().await) };
    assert_eq!(value.0, -adjusted[0].cash.0);
    assert_eq!(it.later(400).await, Some(CheckOutcome::Exact));
}

impl Books {
    /// Checks as it will be so many seconds from now.
    async fn later(&self, seconds: i64) -> Option<CheckOutcome> {
        self.checked(-seconds).await
    }
}

#[actix_web::test]
async fn a_sale_of_unknown_shares_is_negative_until_a_check_closes_it_without_profit() {
    let it = Books::of_a_new_leader().await;
    it.read(900).await;
    it.opened().await;
    // The position from before was not listed when it was read.
    it.fill(Side::Sell, 600_000, 10 * SHARE, 0);
    it.read(900).await;
    assert_eq!(it.ledger().await, [(TradeFill, -10 * SHARE, 6 * SHARE)]);
    assert_eq!(it.later(1).await, Some(CheckOutcome::Drifting));
    assert_eq!(it.cause().await, Some(InexactCause::Drift));
    assert!(matches!(it.later(302).await, Some(CheckOutcome::Adjusted { .. })));
    assert_eq!(it.ledger().await[1], (Adjustment, 10 * SHARE, -6 * SHARE));
    assert_eq!(it.cash().await, 0, "the false result is taken back");
}

#[actix_web::test]
async fn unreadable_positions_do_not_stop_following_and_the_opening_is_booked_when_they_are_back() {
    let it = Books::of_a_new_leader().await;
    it.held(100 * SHARE);
    let refused = Fault::once(Host::Data, "/v2/positions", FaultKind::Status(400)).times(Times::Always);
    it.exchange(|exchange| exchange.fault(refused));
    it.fill(Side::Sell, 500_000, 40 * SHARE, 60);
    it.read(900).await;
    assert_eq!(it.opened().await, Some(CheckOutcome::Unreadable));
    assert_eq!(it.cause().await, Some(InexactCause::NoOpening));
    assert_eq!(it.ledger().await, [(TradeFill, -40 * SHARE, 20 * SHARE)], "rows are booked meanwhile");
    it.exchange(Exchange::clear_faults);
    assert_eq!(it.opened().await, Some(CheckOutcome::Exact));
    assert_eq!(it.ledger().await[1].1, 100 * SHARE);
    assert_eq!(it.exactness().await, Exactness::Exact);
    assert_eq!(it.checked(0).await, Some(CheckOutcome::Exact));
}

#[actix_web::test]
async fn a_leader_followed_before_openings_gets_an_adjustment_once() {
    let it = Books::of_a_new_leader().await;
    it.held(100 * SHARE);
    it.fill(Side::Sell, 500_000, 40 * SHARE, 60);
    it.read(900).await;
    let user = FollowedUser {
        opening_entry: EntryType::Adjustment,
        ..it.setup.db.followed_user_by_wallet(&it.wallet).await.unwrap().unwrap()
    };
    let before = opening::open(&it.deps, &user).await.unwrap();
    assert!(before.opened);
    let adjusted: Vec<_> = it.ledger().await.into_iter().filter(|(kind, ..)| *kind == Adjustment).collect();
    assert_eq!(adjusted[0], (Adjustment, 40 * SHARE, -20 * SHARE), "a negative holding is closed at its cost");
    assert_eq!(adjusted.iter().map(|(_, shares, _)| shares).sum::<i64>(), 100 * SHARE);
    let entries = it.entries().await;
    opening::open(&it.deps, &user).await.unwrap();
    assert_eq!(it.entries().await, entries, "a second opening books nothing");
}

/// Resolution rows come without payouts, or not at all, while Gamma is closed and priced 1 and 0.
#[actix_web::test]
async fn a_redemption_waits_as_an_open_job_until_its_payout_is_known() {
    let quirks = MarketQuirks {
        resolution: ResolutionAnswer::NoRow,
        without_final_price: true,
        gamma_unresolved: true,
        ..MarketQuirks::default()
    };
    let it = Books::of(NewMarket::binary("rain").quirks(quirks)).await;
    it.fill(Side::Buy, 500_000, 10 * SHARE, 60);
    it.read(900).await;
    it.opened().await;
    it.resolve([1_000_000, 0]);
    it.redeem();
    it.read(900).await;
    assert_eq!(it.ledger().await.len(), 1, "nothing is booked without the payout");
    assert_eq!(it.cause().await, Some(InexactCause::WaitingRows));
    let waiting = it.setup.jobs(Queue::PortfolioApply).await;
    let waiting = waiting.iter().find(|job| crate::actors::ingestor::waits_for_payout(job)).unwrap();
    assert!(waiting.due > it.setup.clock.now(), "it is asked again in a minute");
    // A later check leaves the market alone until the row is booked.
    assert_eq!(it.checked(0).await, Some(CheckOutcome::Exact));

    let market = it.market.id().clone();
    it.exchange(|exchange| exchange.change_market(&market, |market| market.quirks.without_final_price = false));
    let later = it.setup.clock.now().plus_millis(61_000);
    let due = queue::claim(&it.setup.db, Queue::PortfolioApply, &JobScope::All, later, 60_000, 10).await.unwrap();
    let due = due.into_iter().find(crate::actors::ingestor::waits_for_payout).unwrap();
    it.ingestor.send(RedeemDue(due)).await.unwrap();
    crate::testkit::wait::within(async {
        while it.ledger().await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(it.ledger().await[1], (Settlement, -10 * SHARE, 10 * SHARE));
    let open = it.setup.jobs(Queue::PortfolioApply).await;
    assert!(!open.iter().any(crate::actors::ingestor::waits_for_payout), "its job is finished with the entries");
    assert_eq!(it.cause().await, None);
}

#[actix_web::test]
async fn a_redemption_beyond_the_holding_brings_no_profit_and_makes_a_check_due() {
    let it = Books::of_a_new_leader().await;
    it.read(900).await;
    it.opened().await;
    it.held(1_000 * SHARE);
    it.resolve([1_000_000, 0]);
    it.redeem();
    it.read(900).await;
    let expected = [(Adjustment, 1_000 * SHARE, -1_000 * SHARE), (Settlement, -1_000 * SHARE, 1_000 * SHARE)];
    assert_eq!(it.ledger().await, expected);
    assert!(it.setup.db.suspected_at(it.user.id).await.unwrap().is_some());
}

#[actix_web::test]
async fn an_unknown_kind_makes_the_books_not_exact_until_a_check_agrees_and_combos_are_left_out() {
    let it = Books::of_a_new_leader().await;
    let wallet = it.wallet.clone();
    let combo = Combo::of("parlay");
    let at = it.ago(50);
    it.exchange(|exchange| {
        exchange.push_movement(Movement::of_combo(&wallet, "TRADE", &combo).amounts(5 * SHARE, 2 * SHARE), at).unwrap();
        let redeemed = Movement::of_combo(&wallet, "REDEEM", &combo).unflagged().amounts(0, 79_375_720_000);
        exchange.push_movement(redeemed, at).unwrap();
    });
    it.read(900).await;
    it.opened().await;
    assert_eq!((it.ledger().await, it.exactness().await), (Vec::new(), Exactness::Exact));
    it.exchange(|exchange| exchange.push_movement(Movement::of(&wallet, "AIRDROP"), at)).unwrap();
    it.read(900).await;
    assert_eq!(it.cause().await, Some(InexactCause::UnknownKind));
    assert_eq!(it.later(10).await, Some(CheckOutcome::Exact));
    assert_eq!(it.exactness().await, Exactness::Exact);
    let audits = it.setup.db.audits(Some("MERGE_SPLIT_NOT_APPLICABLE"), None, 10).await.unwrap();
    assert_eq!(audits.len(), 0);
}

#[actix_web::test]
async fn a_migration_without_a_condition_is_activity_and_no_dead_letter() {
    let it = Books::of_a_new_leader().await;
    let (wallet, at) = (it.wallet.clone(), it.ago(50));
    it.exchange(|exchange| exchange.push_movement(Movement::of(&wallet, "MIGRATION").amounts(0, 12 * SHARE), at))
        .unwrap();
    it.read(900).await;
    it.opened().await;
    assert_eq!((it.ledger().await, it.exactness().await), (Vec::new(), Exactness::Exact));
    assert_eq!(it.setup.db.count_dead_letters().await.unwrap(), 0);
}

/// A market that was moved to the new ledger has a second token for each outcome, and the CLOB trades the first.
#[actix_web::test]
async fn a_position_that_moves_to_the_new_ledger_stays_the_same_asset_until_it_is_redeemed() {
    for market in [NewMarket::binary("rain"), NewMarket::binary("ann-wins").of_event("who-wins")] {
        let it = Books::of(market).await;
        it.fill(Side::Buy, 400_000, 10 * SHARE, 600);
        it.read(900).await;
        it.opened().await;
        let (wallet, at) = (it.wallet.clone(), it.ago(300));
        it.exchange(|exchange| exchange.migrate(&wallet, it.market.id(), UsdcMicros::ZERO, at)).unwrap();
        it.read(900).await;
        let bought = (EntryType::TradeFill, 10 * SHARE, -4 * SHARE);
        assert_eq!((it.ledger().await, it.checked(0).await), (vec![bought], Some(CheckOutcome::Exact)));

        // Rows that name the second token move the same asset.
        let second = it.exchange(|exchange| exchange.migrated_token(&it.market, 0));
        assert_ne!(second, it.asset(0));
        let sale = Fill::maker(&it.wallet, &second, Side::Sell, 500_000, 4 * SHARE).at(it.ago(100));
        it.exchange(|exchange| exchange.push_fill(sale)).unwrap();
        it.read(900).await;
        let sold = (EntryType::TradeFill, -4 * SHARE, 2 * SHARE);
        assert_eq!((it.ledger().await, it.checked(0).await), (vec![bought, sold], Some(CheckOutcome::Exact)));
        it.resolve([1_000_000, 0]);
        it.exchange(|exchange| exchange.redeem(&wallet, it.market.id(), true, exchange.now())).unwrap();
        it.read(900).await;
        let redeemed = (EntryType::Settlement, -6 * SHARE, 6 * SHARE);
        assert_eq!((it.ledger().await, it.checked(0).await), (vec![bought, sold, redeemed], Some(CheckOutcome::Exact)));
        assert!(it.entries().await.iter().all(|entry| entry.asset == Some(it.asset(0))), "one asset");
        assert_eq!(it.exactness().await, Exactness::Exact);
    }
}

#[actix_web::test]
async fn a_check_of_three_hundred_positions_costs_one_request() {
    let it = Books::of_a_new_leader().await;
    let wallet = it.wallet.clone();
    for n in 0..300 {
        it.exchange(|exchange| {
            let market = exchange.add_market(NewMarket::binary(&format!("market-{n}")));
            let asset = market.asset(0).unwrap().clone();
            exchange.hold(&wallet, &asset, ShareMicros(SHARE), price(500_000), None);
        });
    }
    it.read(900).await;
    let asked = || it.exchange(|exchange| exchange.n_requests(Host::Data, "/v2/positions"));
    let before = asked();
    it.opened().await;
    let opened = asked() - before;
    assert_eq!(it.checked(0).await, Some(CheckOutcome::Exact));
    let checked = asked() - before - opened;
    assert_eq!((opened, checked), (1, 1));
}

/// One drift stands for five minutes, another is found then for the first time: what is booked counts at once.
#[actix_web::test]
async fn an_adjustment_of_some_drifts_counts_although_another_drift_is_left() {
    let it = Books::of_a_new_leader().await;
    it.fill(Side::Buy, 500_000, 10 * SHARE, 60);
    it.read(900).await;
    it.opened().await;
    let arrives = |index: usize, shares: i64| {
        let (wallet, asset) = (it.wallet.clone(), it.asset(index));
        it.exchange(|exchange| exchange.hold(&wallet, &asset, ShareMicros(shares * SHARE), price(500_000), None));
    };
    arrives(0, 7);
    assert_eq!(it.later(10).await, Some(CheckOutcome::Drifting));
    arrives(1, 4);
    let partly = it.later(320).await;
    let Some(CheckOutcome::PartlyAdjusted { value }) = partly else { panic!("{partly:?}") };
    assert_eq!(it.cause().await, Some(InexactCause::Drift));
    let stored = it.setup.db.position_checks(it.user.id, 1).await.unwrap().remove(0);
    assert_eq!(stored.outcome, CheckOutcome::PartlyAdjusted { value });
    let last = it.later(640).await;
    let Some(CheckOutcome::Adjusted { value: rest }) = last else { panic!("{last:?}") };
    let Exactness::Adjusted { n: 2, value: sum, .. } = it.exactness().await else {
        panic!("{:?}", it.exactness().await)
    };
    assert_eq!(sum.0, value.0 + rest.0);
    let shares: i64 = it.ledger().await.iter().map(|(_, shares, _)| shares).sum();
    assert_eq!(shares, 21 * SHARE);
}
