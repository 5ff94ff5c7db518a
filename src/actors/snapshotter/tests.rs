use super::*;
use crate::actors::ledger_writer::{Flush, LedgerWriter, ReadView};
use crate::domain::accounting::checkpoint::PortfolioCheckpoint;
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::events::event::Side;
use crate::domain::money::units::UsdcMicros;
use crate::testkit::actor_db::{House, group, record};
use crate::testkit::samples::market_id;

const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;

fn deps(house: &House, writer: &Addr<LedgerWriter>) -> SnapshotterDeps {
    SnapshotterDeps {
        db: house.db.clone(),
        clock: house.clock,
        scope: JobScope::All,
        wakeups: house.wakeups.clone(),
        take: writer.clone().recipient(),
        stored: writer.clone().recipient(),
    }
}

async fn copy(house: &House, writer: &Addr<LedgerWriter>, n: i64) {
    let group = group(house.alice, 10, Side::Buy, n);
    house.close(&group).await;
    let (leader, market) = (house.alice, market_id(1));
    let read = ReadView { portfolio: GLOBAL, leader, market, asset: None, outcomes: Vec::new() };
    let version = writer.send(read).await.unwrap().unwrap().version;
    writer.send(record(GLOBAL, &group, version, None)).await.unwrap().unwrap().committed().await.unwrap();
}

/// Compares the checkpoint and the entries after it with the sum of all entries.
async fn checkpoint_holds(house: &House) -> bool {
    let text = house.db.checkpoint(&checkpoint_key(GLOBAL)).await.unwrap().unwrap();
    let checkpoint: PortfolioCheckpoint = serde_json::from_str(&text).unwrap();
    let mut portfolio = Portfolio::restore(GLOBAL, &checkpoint).unwrap();
    for placed in house.db.entries_after(GLOBAL, checkpoint.position, 1000).await.unwrap() {
        portfolio.apply(&placed.entry).unwrap();
    }
    portfolio.figures() == house.folded(GLOBAL).await.figures()
}

#[actix_web::test]
async fn every_minute_each_portfolio_has_one_row_and_a_checkpoint_that_holds() {
    let house = House::new().await;
    let writer = house.ledger_writer();
    let deps = deps(&house, &writer);
    copy(&house, &writer, 1).await;
    let bucket = Timestamp::from_millis(1_770_000_000_000);
    assert_eq!(write_minute(&deps, bucket).await, Ok(bucket));
    copy(&house, &writer, 2).await;
    // Writing the same minute again changes no row.
    write_minute(&deps, bucket).await.unwrap();
    let row = house.db.newest_snapshot(GLOBAL).await.unwrap().unwrap();
    assert_eq!((row.bucket_time, row.cash), (bucket, UsdcMicros(10_000_000_000 - 5_000_000)));
    for portfolio in [PortfolioId::ShadowUser(house.alice), PortfolioId::ExecUser(house.bob)] {
        assert!(house.db.newest_snapshot(portfolio).await.unwrap().is_some(), "{portfolio}");
    }
    copy(&house, &writer, 3).await;
    assert!(checkpoint_holds(&house).await);
}

#[actix_web::test]
async fn a_changed_portfolio_gets_its_checkpoint_and_its_job_is_finished() {
    let house = House::new().await;
    let writer = house.ledger_writer();
    // The job is due in five seconds; for a clock that is ahead of the ledger's it is due at once.
    let deps =
        SnapshotterDeps { clock: Clock::starting_at(house.clock.now().plus_millis(60_000)), ..deps(&house, &writer) };
    // The opening deposits have jobs too.
    writer.send(Flush).await.unwrap().unwrap();
    copy(&house, &writer, 1).await;
    let (n, next_due) = apply(&deps).await.unwrap();
    assert!(n > 0);
    assert_eq!(next_due, None);
    assert!(checkpoint_holds(&house).await);
    assert_eq!(queue::peek_open(&house.db, Queue::PortfolioApply).await.unwrap().len(), 0);
    copy(&house, &writer, 2).await;
    assert_eq!(queue::peek_open(&house.db, Queue::PortfolioApply).await.unwrap().len(), 1);
}
