use super::*;
use crate::actors::ledger_writer::{LedgerWriter, ReadView, RecordEntries};
use crate::domain::accounting::ledger::PortfolioId;
use crate::simulator::{Host, Quotes};
use crate::testkit::copy_setup::{CopySetup, fill};
use crate::testkit::exchange::OneMarketExchange;

fn deps(setup: &CopySetup, exchange: &OneMarketExchange, writer: &Addr<LedgerWriter>) -> PriceRefresherDeps {
    PriceRefresherDeps {
        db: setup.db.clone(),
        clock: setup.clock,
        scope: JobScope::All,
        polymarket: exchange.polymarket.clone(),
        held: writer.clone().recipient(),
        prices: writer.clone().recipient(),
    }
}

#[actix_web::test]
async fn held_assets_are_priced_once_each_half_minute() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &exchange, &writer);
    let bucket = bucket_of(setup.clock.now());
    let idle = refresh(&deps, &RefCell::default(), bucket).await.unwrap().unwrap();
    assert_eq!((idle.held, exchange.n_asked(Host::Clob, "/midpoints")), (0, 0));

    let shadow = PortfolioId::ShadowUser(setup.alice);
    let (market, asset) = (exchange.market.id.clone(), exchange.asset(0));
    let entries = vec![fill(shadow, setup.alice, &market, &asset, 100_000_000, -50_000_000, "event:1")];
    writer.send(RecordEntries { entries, ..RecordEntries::default() }).await.unwrap().unwrap();
    let quotes = Quotes::of(&[(700_000, 1_000_000)], &[(720_000, 1_000_000)]);
    exchange.simulator.with(|exchange| exchange.set_book(&asset, quotes));
    let next = bucket.plus_millis(BUCKET_MS);
    let priced = refresh(&deps, &RefCell::default(), next).await.unwrap().unwrap();
    assert_eq!((priced.bucket, priced.held, priced.priced), (next, 1, 1));
    let stored = setup.db.newest_prices(std::slice::from_ref(&asset)).await.unwrap();
    assert_eq!(stored[&asset].0, next);
    assert_eq!(stored[&asset].1.micros(), 710_000);
    let read = ReadView { portfolio: shadow, leader: setup.alice, market, asset: None, outcomes: Vec::new() };
    assert_eq!(writer.send(read).await.unwrap().unwrap().equity.0, 21_000_000);
    assert_eq!(queue::peek_open(&setup.db, Queue::Prices).await.unwrap().len(), 0);
}

/// Books `shares` of outcome 0 of a market for alice's copies and the global portfolio, bought at `cents`.
async fn hold(
    setup: &CopySetup,
    writer: &Addr<LedgerWriter>,
    market: &crate::domain::market::facts::Market,
    (shares, cents): (i64, i64),
) {
    let (portfolio, asset) = (PortfolioId::ExecUser(setup.alice), market.outcomes[0].asset.clone());
    let cash = -(shares / 100 * cents);
    let entries = vec![fill(portfolio, setup.alice, &market.id, &asset, shares, cash, &format!("copy:{}", market.id))];
    writer.send(RecordEntries { entries, ..RecordEntries::default() }).await.unwrap().unwrap();
}

#[actix_web::test]
async fn twenty_open_markets_are_priced_beside_a_hundred_and_twenty_closed_ones() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &exchange, &writer);
    exchange.simulator.with(|exchange| exchange.refuses_batches = true);
    for n in 0..140 {
        let market = exchange.simulator.add_market(&format!("question-{n}")).facts;
        setup.db.save_market(&market).await.unwrap();
        hold(&setup, &writer, &market, (1_000_000, 50)).await;
        // The database does not know yet that these are closed.
        if n % 7 != 0 {
            exchange.simulator.with(|exchange| exchange.close_market(&market.id));
        }
    }
    let (memory, bucket) = (RefCell::default(), bucket_of(setup.clock.now()));
    let first = refresh(&deps, &memory, bucket).await.unwrap().unwrap();
    assert_eq!((first.held, first.priced), (140, 20));
    let asked = |path| exchange.n_asked(Host::Clob, path);
    let (midpoints, spreads) = (asked("/midpoints"), asked("/spreads"));
    assert!(midpoints <= 10, "{midpoints} requests found the closed markets");
    assert_eq!(spreads, 1);
    // The next round asks for the open ones alone.
    let second = refresh(&deps, &memory, bucket.plus_millis(BUCKET_MS)).await.unwrap().unwrap();
    assert_eq!((second.held, second.priced), (140, 20));
    assert_eq!((asked("/midpoints"), asked("/spreads")), (midpoints + 1, spreads + 1));
}

#[actix_web::test]
async fn closed_markets_that_no_route_names_are_found_by_halving() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &exchange, &writer);
    exchange.simulator.with(|exchange| {
        exchange.refuses_batches = true;
        exchange.faults.plan(
            crate::simulator::Fault::once(Host::Data, "/v2/tokens", crate::simulator::FaultKind::Status(404))
                .times(crate::simulator::Times::Next(1_000)),
        );
    });
    for n in 0..40 {
        let market = exchange.simulator.add_market(&format!("question-{n}")).facts;
        hold(&setup, &writer, &market, (1_000_000, 50)).await;
        if n % 8 != 0 {
            exchange.simulator.with(|exchange| exchange.close_market(&market.id));
        }
    }
    let first = refresh(&deps, &RefCell::default(), bucket_of(setup.clock.now())).await.unwrap().unwrap();
    assert_eq!((first.held, first.priced), (40, 5));
    assert!(exchange.n_asked(Host::Clob, "/midpoints") < 80, "at most two for each asset");
}

#[actix_web::test]
async fn assets_with_a_payout_or_of_a_closed_market_are_never_asked_for() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &exchange, &writer);
    let (paid, closed) = (exchange.market.clone(), exchange.simulator.add_market("closed").facts);
    for market in [&paid, &closed] {
        hold(&setup, &writer, market, (1_000_000, 50)).await;
    }
    setup.db.save_market(&paid).await.unwrap();
    setup.db.save_market(&crate::domain::market::facts::Market { active: false, ..closed }).await.unwrap();
    let payouts: Vec<_> =
        paid.outcomes.iter().map(|outcome| (outcome.asset.clone(), crate::testkit::samples::price(500_000))).collect();
    setup.db.set_payouts(&paid.id, &payouts, setup.clock.now()).await.unwrap();
    let round = refresh(&deps, &RefCell::default(), bucket_of(setup.clock.now())).await.unwrap().unwrap();
    assert_eq!((round.held, round.priced, exchange.n_asked(Host::Clob, "/")), (0, 0, 0));
}

#[actix_web::test]
async fn a_book_that_loses_its_bids_is_valued_at_its_ask_within_ninety_seconds() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &exchange, &writer);
    let (market, asset) = (exchange.market.clone(), exchange.asset(0));
    hold(&setup, &writer, &market, (147_060_000, 51)).await;
    let set = |quotes: Quotes| exchange.simulator.with(|exchange| exchange.set_book(&asset, quotes));
    let memory = RefCell::default();
    let portfolio = PortfolioId::ExecUser(setup.alice);
    let equity = async || {
        let read =
            ReadView { portfolio, leader: setup.alice, market: market.id.clone(), asset: None, outcomes: Vec::new() };
        writer.send(read).await.unwrap().unwrap().equity.0
    };
    let cash = 10_000_000_000 - 75_000_600;
    set(Quotes::of(&[(500_000, 1_000_000)], &[(520_000, 1_000_000)]));
    let mut bucket = bucket_of(setup.clock.now());
    refresh(&deps, &memory, bucket).await.unwrap();
    assert_eq!(equity().await, cash + 75_000_600);
    set(Quotes::of(&[], &[(20_000, 1_000_000)]));
    for _ in 0..3 {
        bucket = bucket.plus_millis(BUCKET_MS);
        refresh(&deps, &memory, bucket).await.unwrap();
    }
    assert_eq!(equity().await, cash + 2_941_200);
    assert_eq!(exchange.n_asked(Host::Clob, "/books"), 2, "at once, and again a minute later");
    // The same after a start that has the stored prices only.
    let read = setup.db.running_portfolio(portfolio, bucket).await.unwrap().portfolio;
    assert_eq!(read.figures().equity.0, cash + 2_941_200);
    let lots: Vec<_> = read.lots().collect();
    let sold = crate::domain::accounting::sold_now::sold_now(read.figures().cash, &lots, |_| Some(market.fee)).unwrap();
    assert_eq!(sold, read.figures().cash, "there is no bid");
}

#[actix_web::test]
async fn two_hundred_and_fifty_held_assets_cost_four_requests_a_minute() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &exchange, &writer);
    for n in 0..250 {
        let market = exchange.simulator.add_market(&format!("question-{n}")).facts;
        hold(&setup, &writer, &market, (1_000_000, 50)).await;
    }
    let (memory, bucket) = (RefCell::default(), bucket_of(setup.clock.now()));
    for n in 0..2 {
        let round = refresh(&deps, &memory, bucket.plus_millis(n * BUCKET_MS)).await.unwrap().unwrap();
        assert_eq!((round.held, round.priced), (250, 250));
    }
    assert_eq!(exchange.n_asked(Host::Clob, "/"), 4);
}
