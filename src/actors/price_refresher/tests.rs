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
