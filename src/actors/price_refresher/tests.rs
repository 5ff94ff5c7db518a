use super::*;
use crate::actors::ledger_writer::{LedgerWriter, ReadView, RecordEntries};
use crate::domain::accounting::ledger::PortfolioId;
use crate::simulator::{Host, Quotes};
use crate::testkit::actor_db::{Exchange, House, fill};

fn deps(house: &House, exchange: &Exchange, writer: &Addr<LedgerWriter>) -> PriceRefresherDeps {
    PriceRefresherDeps {
        db: house.db.clone(),
        clock: house.clock,
        scope: JobScope::All,
        polymarket: exchange.polymarket.clone(),
        held: writer.clone().recipient(),
        prices: writer.clone().recipient(),
    }
}

#[actix_web::test]
async fn held_assets_are_priced_once_each_half_minute() {
    let house = House::new().await;
    let exchange = Exchange::start(house.clock);
    let writer = house.ledger_writer();
    let deps = deps(&house, &exchange, &writer);
    let bucket = bucket_of(house.clock.now());
    let idle = refresh(&deps, bucket).await.unwrap().unwrap();
    assert_eq!((idle.held, exchange.n_asked(Host::Clob, "/midpoints")), (0, 0));

    let shadow = PortfolioId::ShadowUser(house.alice);
    let (market, asset) = (exchange.market.id.clone(), exchange.asset(0));
    let entries = vec![fill(shadow, house.alice, &market, &asset, 100_000_000, -50_000_000, "event:1")];
    writer.send(RecordEntries { entries, ..RecordEntries::default() }).await.unwrap().unwrap();
    let quotes = Quotes::of(&[(700_000, 1_000_000)], &[(720_000, 1_000_000)]);
    exchange.simulator.world(|world| world.set_book(&asset, quotes));
    let next = bucket.plus_millis(BUCKET_MS);
    let priced = refresh(&deps, next).await.unwrap().unwrap();
    assert_eq!((priced.bucket, priced.held, priced.priced), (next, 1, 1));
    let stored = house.db.newest_prices(std::slice::from_ref(&asset)).await.unwrap();
    assert_eq!(stored[&asset].0, next);
    assert_eq!(stored[&asset].1.micros(), 710_000);
    let read = ReadView { portfolio: shadow, leader: house.alice, market, asset: None, outcomes: Vec::new() };
    assert_eq!(writer.send(read).await.unwrap().unwrap().equity.0, 21_000_000);
    assert_eq!(queue::peek_open(&house.db, Queue::Prices).await.unwrap().len(), 0);
}
