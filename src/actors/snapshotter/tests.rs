use super::*;
use crate::actors::ledger_writer::{Flush, LedgerWriter, ReadView};
use crate::db::TransferState;
use crate::domain::accounting::checkpoint::PortfolioCheckpoint;
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::events::event::Side;
use crate::domain::money::units::UsdcMicros;
use crate::queue::Transfer;
use crate::testkit::copy_setup::{CopySetup, group, record};
use crate::testkit::samples::market_id;

const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;

fn deps(setup: &CopySetup, writer: &Addr<LedgerWriter>) -> SnapshotterDeps {
    SnapshotterDeps {
        db: setup.db.clone(),
        clock: setup.clock,
        scope: JobScope::All,
        wakeups: setup.wakeups.clone(),
        take: writer.clone().recipient(),
        stored: writer.clone().recipient(),
        redeem: crate::testkit::feed_setup::receiver().0,
        holdings: writer.clone().recipient(),
        record: writer.clone().recipient(),
    }
}

async fn copy(setup: &CopySetup, writer: &Addr<LedgerWriter>, n: i64) {
    let group = group(setup.alice, 10, Side::Buy, n);
    setup.close(&group).await;
    let (leader, market) = (setup.alice, market_id(1));
    let read = ReadView { portfolio: GLOBAL, leader, market, asset: None, outcomes: Vec::new() };
    let version = writer.send(read).await.unwrap().unwrap().version;
    writer.send(record(GLOBAL, &group, version, None)).await.unwrap().unwrap().committed().await.unwrap();
}

/// The checkpoint with the entries behind it, against all entries.
async fn checkpoint_holds(setup: &CopySetup) -> bool {
    let text = setup.db.checkpoint(&checkpoint_key(GLOBAL)).await.unwrap().unwrap();
    let checkpoint: PortfolioCheckpoint = serde_json::from_str(&text).unwrap();
    let mut portfolio = Portfolio::restore(GLOBAL, &checkpoint).unwrap();
    for placed in setup.db.entries_after(GLOBAL, checkpoint.position, 1000).await.unwrap() {
        portfolio.apply(&placed.entry).unwrap();
    }
    portfolio.figures() == setup.folded(GLOBAL).await.figures()
}

#[actix_web::test]
async fn every_minute_each_portfolio_has_one_row_and_a_checkpoint_that_holds() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &writer);
    copy(&setup, &writer, 1).await;
    let bucket = Timestamp::from_millis(1_770_000_000_000);
    let written = write_minute(&deps, &LastRows::new(), bucket).await.unwrap();
    assert_eq!((written.bucket, written.rows.len()), (bucket, 5));
    copy(&setup, &writer, 2).await;
    // The same minute again changes no row.
    write_minute(&deps, &LastRows::new(), bucket).await.unwrap();
    let row = setup.db.newest_snapshot(GLOBAL).await.unwrap().unwrap();
    assert_eq!((row.bucket_time, row.cash), (bucket, UsdcMicros(10_000_000_000 - 5_000_000)));
    for portfolio in [PortfolioId::ShadowUser(setup.alice), PortfolioId::ExecUser(setup.bob)] {
        assert!(setup.db.newest_snapshot(portfolio).await.unwrap().is_some(), "{portfolio}");
    }
    copy(&setup, &writer, 3).await;
    assert!(checkpoint_holds(&setup).await);
}

#[actix_web::test]
async fn a_portfolio_without_position_and_change_has_a_row_an_hour_and_its_baseline_at_midnight() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &writer);
    copy(&setup, &writer, 1).await;
    let mut written = LastRows::new();
    let midnight = Timestamp::from_millis(1_770_000_000_000).day_start();
    let mut minutes = Vec::new();
    for minute in -61..=61 {
        let done = write_minute(&deps, &written, midnight.plus_millis(minute * MINUTE_MS)).await.unwrap();
        written.extend(done.rows.iter().map(|row| (row.portfolio, *row)));
        // Bob holds nothing; alice and the global portfolio hold the copy.
        assert!(done.rows.iter().any(|row| row.portfolio == GLOBAL), "{minute}");
        minutes.extend(done.rows.iter().any(|row| row.portfolio == PortfolioId::ExecUser(setup.bob)).then_some(minute));
    }
    assert_eq!(minutes, [-61, -60, 0, 60]);
    let stored = setup.db.equity_history(PortfolioId::ExecUser(setup.bob)).await.unwrap().unwrap().1;
    let at = |minute: i64| stored.baselines(midnight.plus_millis(minute * MINUTE_MS)).day_start;
    assert_eq!(at(61), Some(UsdcMicros(10_000_000_000)));
}

#[actix_web::test]
async fn a_changed_portfolio_gets_its_checkpoint_and_its_job_is_finished() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    // The job is due in five seconds; a clock that is ahead of the ledger's sees it due at once.
    let deps =
        SnapshotterDeps { clock: Clock::starting_at(setup.clock.now().plus_millis(60_000)), ..deps(&setup, &writer) };
    // The opening deposits have jobs too.
    writer.send(Flush).await.unwrap().unwrap();
    copy(&setup, &writer, 1).await;
    let (n, next_due) = apply(&deps).await.unwrap();
    assert!(n > 0);
    assert_eq!(next_due, None);
    assert!(checkpoint_holds(&setup).await);
    assert_eq!(queue::peek_open(&setup.db, Queue::PortfolioApply).await.unwrap().len(), 0);
    copy(&setup, &writer, 2).await;
    assert_eq!(queue::peek_open(&setup.db, Queue::PortfolioApply).await.unwrap().len(), 1);
}

async fn ask(setup: &CopySetup, id: &str, micros: i64) -> Transfer {
    let (id, who) = (id.to_owned(), "a@b.example".to_owned());
    let transfer = Transfer { portfolio: GLOBAL, id, cash: UsdcMicros(micros), who };
    queue::enqueue(&setup.db, &[transfer.job(setup.clock.now())], setup.clock.now()).await.unwrap();
    transfer
}

#[actix_web::test]
async fn a_transfer_is_booked_once_and_moves_no_pnl() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let deps =
        SnapshotterDeps { clock: Clock::starting_at(setup.clock.now().plus_millis(60_000)), ..deps(&setup, &writer) };
    copy(&setup, &writer, 1).await;
    let before = setup.folded(GLOBAL).await.figures();
    let deposit = ask(&setup, "may", 500_000_000).await;
    assert_eq!(setup.db.transfer_state(&deposit).await.unwrap(), TransferState::Open);
    apply(&deps).await.unwrap();
    assert_eq!(setup.db.transfer_state(&deposit).await.unwrap(), TransferState::Booked);
    // The same request again has a job again, and no second entry.
    ask(&setup, "may", 500_000_000).await;
    ask(&setup, "out", -100_000_000).await;
    apply(&deps).await.unwrap();
    let after = setup.folded(GLOBAL).await.figures();
    assert_eq!((after.cash.0 - before.cash.0, after.deposits.0 - before.deposits.0), (400_000_000, 400_000_000));
    assert_eq!((after.realized, after.unrealized), (before.realized, before.unrealized));
    let left = queue::peek_open(&setup.db, Queue::PortfolioApply).await.unwrap();
    assert!(left.iter().all(|job| Transfer::of_job(job).unwrap().is_none()), "{left:?}");
    let audits = setup.db.audits(Some("deposit"), None, 9).await.unwrap();
    assert_eq!((audits.len(), audits[0].audit.who.as_str()), (1, "a@b.example"));
    assert!(checkpoint_holds(&setup).await);
}

#[actix_web::test]
async fn a_withdrawal_of_more_than_the_cash_is_refused_and_recorded() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &writer);
    writer.send(Flush).await.unwrap().unwrap();
    copy(&setup, &writer, 1).await;
    let cash = setup.folded(GLOBAL).await.figures().cash;
    let transfer = ask(&setup, "all", -cash.0 - 1).await;
    apply(&deps).await.unwrap();
    assert_eq!(setup.folded(GLOBAL).await.figures().cash, cash);
    assert_eq!(setup.db.transfer_state(&transfer).await.unwrap(), TransferState::Absent);
    assert_eq!(setup.db.audits(Some("withdraw_refused"), None, 9).await.unwrap().len(), 1);
    ask(&setup, "exactly", -cash.0).await;
    apply(&deps).await.unwrap();
    assert_eq!(setup.folded(GLOBAL).await.figures().cash, UsdcMicros::ZERO);
}
