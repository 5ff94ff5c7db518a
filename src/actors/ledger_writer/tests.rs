use super::*;
use crate::actors::live_hub::LiveFact;
use crate::db::{PortfolioSnapshot, checkpoint_key};
use crate::domain::accounting::ledger::EntryType;
use crate::domain::accounting::settlement::settle;
use crate::domain::events::event::Side;
use crate::domain::money::units::ShareMicros;
use crate::queue;
use crate::queue::{JobScope, Queue};
use crate::testkit::copy_setup::{CopySetup, TakeAnnounced, attempt_and_entries, fill, group, record};
use crate::testkit::samples::{asset, market, market_id, price};

const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;
const BANKROLL: i64 = 10_000_000_000;

fn view_of(portfolio: PortfolioId, leader: FollowedUserId) -> ReadView {
    ReadView { portfolio, leader, market: market_id(1), asset: Some(asset(10)), outcomes: Vec::new() }
}

async fn view(writer: &Addr<LedgerWriter>, portfolio: PortfolioId, setup: &CopySetup) -> PortfolioView {
    writer.send(view_of(portfolio, setup.alice)).await.unwrap().unwrap()
}

/// Two actors of one test share the database; only the address of the first is let go.
async fn restarted(setup: &CopySetup, writer: Addr<LedgerWriter>) -> Addr<LedgerWriter> {
    writer.send(Flush).await.unwrap().unwrap();
    drop(writer);
    setup.ledger_writer()
}

#[actix_web::test]
async fn each_of_our_portfolios_opens_with_one_deposit_however_often_the_bot_starts() {
    let setup = CopySetup::new().await;
    let mut writer = setup.ledger_writer();
    for _ in 0..3 {
        assert_eq!(view(&writer, GLOBAL, &setup).await.cash, UsdcMicros(BANKROLL));
        assert_eq!(view(&writer, PortfolioId::ExecUser(setup.bob), &setup).await.equity, UsdcMicros(BANKROLL));
        assert_eq!(view(&writer, PortfolioId::ShadowUser(setup.bob), &setup).await.cash, UsdcMicros::ZERO);
        writer = restarted(&setup, writer).await;
    }
    let deposits = setup.entries(GLOBAL).await;
    assert_eq!(deposits.len(), 1);
    assert_eq!((deposits[0].kind, deposits[0].ref_id.as_str()), (EntryType::Deposit, "deposit:opening"));
    assert_eq!(setup.entries(PortfolioId::ExecUser(setup.alice)).await.len(), 1);
    assert_eq!(setup.entries(PortfolioId::ShadowUser(setup.alice)).await.len(), 0);
}

#[actix_web::test]
async fn a_record_based_on_an_older_version_is_refused_and_changes_nothing() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let (first, second) = (group(setup.alice, 10, Side::Buy, 1), group(setup.alice, 11, Side::Buy, 2));
    setup.close(&first).await;
    setup.close(&second).await;
    let seen = view(&writer, GLOBAL, &setup).await.version;
    let accepted = writer.send(record(GLOBAL, &first, seen, None)).await.unwrap().unwrap();
    let stale = writer.send(record(GLOBAL, &second, seen, None)).await.unwrap();
    assert_eq!(stale.map(drop), Err(Refused::Stale));
    assert_eq!(accepted.committed().await, Ok(Recorded::New));
    assert_eq!(view(&writer, GLOBAL, &setup).await.cash, UsdcMicros(BANKROLL - 5_000_000));
    assert_eq!(setup.entries(GLOBAL).await.len(), 2);
}

#[actix_web::test]
async fn the_next_decision_sees_accepted_records_and_the_answer_comes_after_the_commit() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let mut accepted = Vec::new();
    for n in 0..20 {
        let group = group(setup.alice, 10, Side::Buy, n);
        setup.close(&group).await;
        let view = view(&writer, GLOBAL, &setup).await;
        assert_eq!(view.held, ShareMicros(10_000_000 * n));
        accepted.push((group.clone(), writer.send(record(GLOBAL, &group, view.version, None)).await.unwrap().unwrap()));
    }
    for (group, accepted) in accepted {
        assert_eq!(accepted.committed().await, Ok(Recorded::New));
        let id = attempt_and_entries(GLOBAL, &group).0.id;
        assert!(setup.db.attempt(id).await.unwrap().is_some(), "answered before it was written");
    }
    assert_eq!(setup.folded(GLOBAL).await.figures(), figures(&writer, GLOBAL).await);
    let heard = setup.live.send(TakeAnnounced).await.unwrap();
    let attempts = heard.iter().filter(|fact| matches!(fact, LiveFact::AttemptRecorded(_))).count();
    assert_eq!(attempts, 20);
    assert!(queue::next_due(&setup.db, Queue::PortfolioApply, &JobScope::All).await.unwrap().is_some());
}

/// The price refresher would tell it half a minute later.
#[actix_web::test]
async fn the_book_of_a_decision_is_the_mark_from_then_on() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let group = group(setup.alice, 10, Side::Buy, 1);
    setup.close(&group).await;
    let (shadow, bob) = (PortfolioId::ShadowUser(setup.alice), PortfolioId::ExecUser(setup.bob));
    for (portfolio, cause) in [(shadow, "event:1"), (bob, "copy:1")] {
        let leader = portfolio.owner().unwrap();
        let entries = vec![fill(portfolio, leader, &group.market, &asset(10), 10_000_000, -5_000_000, cause)];
        writer.send(RecordEntries { entries, ..RecordEntries::default() }).await.unwrap().unwrap();
    }
    let quote = Quote::new(Some(price(300_000)), Some(price(340_000)), setup.clock.now());
    let version = view(&writer, GLOBAL, &setup).await.version;
    let decided = RecordAttempt { quote: Some((asset(10), quote)), ..record(GLOBAL, &group, version, None) };
    let accepted = writer.send(decided).await.unwrap().unwrap();
    // 10 shares bought for 5 USDC are worth 3.20 in the account of the decision, and in the leader's books.
    assert_eq!(view(&writer, GLOBAL, &setup).await.equity, UsdcMicros(BANKROLL - 1_800_000));
    assert_eq!(view(&writer, shadow, &setup).await.equity, UsdcMicros(-1_800_000));
    assert_eq!(view(&writer, bob, &setup).await.equity, UsdcMicros(BANKROLL));
    accepted.committed().await.unwrap();
}

#[actix_web::test]
async fn a_group_decided_twice_is_recorded_once_and_its_job_is_finished() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let (first, second) = (group(setup.alice, 10, Side::Buy, 1), group(setup.alice, 10, Side::Buy, 2));
    setup.close(&first).await;
    setup.close(&second).await;
    let version = view(&writer, GLOBAL, &setup).await.version;
    let accepted = writer.send(record(GLOBAL, &first, version, None)).await.unwrap().unwrap();
    assert_eq!(accepted.committed().await, Ok(Recorded::New));

    // The job of the first is delivered again; the second is decided on a portfolio that counts the first twice.
    let job = setup.claim(Queue::CopyAttemptGlobal).await;
    let version = view(&writer, GLOBAL, &setup).await.version;
    // Both are in the mailbox before the first is accepted, so that no commit can land between them.
    let again = writer.send(record(GLOBAL, &first, version, Some(&job)));
    let behind = writer.send(record(GLOBAL, &second, version + 1, None));
    let (again, behind) = (again.await.unwrap().unwrap(), behind.await.unwrap().unwrap());
    assert_eq!(again.committed().await, Ok(Recorded::Known));
    assert_eq!(behind.committed().await, Err(Refused::Stale));

    assert_eq!(view(&writer, GLOBAL, &setup).await.held, ShareMicros(10_000_000));
    assert_eq!(setup.entries(GLOBAL).await.len(), 2);
    let open = queue::peek_open(&setup.db, Queue::CopyAttemptGlobal).await.unwrap();
    assert_eq!(open.iter().map(|job| job.key.clone()).collect::<Vec<_>>(), [second.id.to_string()]);
}

#[actix_web::test]
async fn a_worker_that_lost_the_job_writes_nothing_and_the_portfolio_is_as_before() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let group = group(setup.alice, 10, Side::Buy, 1);
    setup.close(&group).await;
    let mut job = setup.claim(Queue::CopyAttemptGlobal).await;
    job.attempts -= 1;
    let version = view(&writer, GLOBAL, &setup).await.version;
    let late = writer.send(record(GLOBAL, &group, version, Some(&job))).await.unwrap().unwrap();
    assert_eq!(late.committed().await, Err(Refused::FenceLost));
    let view = view(&writer, GLOBAL, &setup).await;
    assert_eq!((view.held, view.cash), (ShareMicros::ZERO, UsdcMicros(BANKROLL)));
    assert!(view.version > version);
}

#[actix_web::test]
async fn a_record_that_the_database_refuses_fails_alone_and_its_portfolio_is_read_again() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let [good, unknown, behind] = [1, 2, 3].map(|n| group(setup.alice, 10, Side::Buy, n));
    setup.close(&good).await;
    setup.close(&behind).await;
    let of_alice = PortfolioId::ExecUser(setup.alice);
    let version = view(&writer, of_alice, &setup).await.version;
    let good = writer.send(record(of_alice, &good, version, None)).await.unwrap().unwrap();
    // The row of its group does not exist, so the database refuses the attempt.
    let version = view(&writer, GLOBAL, &setup).await.version;
    let bad = writer.send(record(GLOBAL, &unknown, version, None)).await.unwrap().unwrap();
    let version = view(&writer, GLOBAL, &setup).await.version;
    let behind = writer.send(record(GLOBAL, &behind, version, None)).await.unwrap().unwrap();
    assert_eq!(good.committed().await, Ok(Recorded::New));
    assert!(matches!(bad.committed().await, Err(Refused::Failed { transient: false, .. })));
    assert_eq!(behind.committed().await, Err(Refused::Stale));
    assert_eq!(view(&writer, GLOBAL, &setup).await.cash, UsdcMicros(BANKROLL));
    assert_eq!(setup.folded(GLOBAL).await.figures(), figures(&writer, GLOBAL).await);
    assert_eq!(setup.folded(of_alice).await.figures(), figures(&writer, of_alice).await);
}

#[actix_web::test]
async fn entries_that_come_twice_move_the_portfolio_once() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let shadow = PortfolioId::ShadowUser(setup.alice);
    let entries = vec![fill(shadow, setup.alice, &market_id(1), &asset(10), 100, -50, "event:1")];
    let request = || RecordEntries { entries: entries.clone(), ..RecordEntries::default() };
    assert_eq!(writer.send(request()).await.unwrap(), Ok(Recorded::New));
    assert_eq!(writer.send(request()).await.unwrap(), Ok(Recorded::Known));
    assert_eq!(view(&writer, shadow, &setup).await.held, ShareMicros(100));
    assert_eq!(setup.entries(shadow).await.len(), 1);
}

#[actix_web::test]
async fn a_settlement_closes_lot_by_lot_and_only_on_the_version_it_was_computed_from() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    for (n, leader) in [(1, setup.alice), (2, setup.bob)] {
        let group = group(leader, 10, Side::Buy, n);
        setup.close(&group).await;
        let version = view(&writer, GLOBAL, &setup).await.version;
        let accepted = writer.send(record(GLOBAL, &group, version, None)).await.unwrap().unwrap();
        accepted.committed().await.unwrap();
    }
    let holdings = Holdings { portfolio: GLOBAL, market: Some(market_id(1)) };
    let held = writer.send(holdings).await.unwrap().unwrap();
    assert_eq!(held.lots.len(), 2);
    let resolved = market(1, &[Some(1_000_000), Some(0)]);
    let entries = settle(GLOBAL, &resolved, &held.lots, setup.clock.now()).unwrap();
    let request = |version| RecordEntries {
        entries: entries.clone(),
        made_on: Some((GLOBAL, version)),
        ..RecordEntries::default()
    };
    assert_eq!(writer.send(request(held.version - 1)).await.unwrap(), Err(Refused::Stale));
    assert_eq!(writer.send(request(held.version)).await.unwrap(), Ok(Recorded::New));
    let held = writer.send(Holdings { portfolio: GLOBAL, market: None }).await.unwrap().unwrap();
    assert_eq!(held.lots.len(), 0);
    let settled: Vec<_> = setup.entries(GLOBAL).await.into_iter().skip(3).map(|entry| entry.ref_id).collect();
    let [alice, bob] = [setup.alice, setup.bob].map(|leader| format!("settle:{}:{leader}", market_id(1)));
    assert_eq!(settled, [alice, bob]);
    assert_eq!(figures(&writer, GLOBAL).await.cash, UsdcMicros(BANKROLL + 10_000_000));
}

#[actix_web::test]
async fn a_start_from_a_checkpoint_and_the_entries_behind_it_equals_a_full_fold() {
    let setup = CopySetup::new().await;
    let mut writer = setup.ledger_writer();
    // A position is the last entry of a commit, and the others' opening deposits must be in none with ours.
    writer.send(Flush).await.unwrap().unwrap();
    for n in 0..12 {
        let group = group(if n % 3 == 0 { setup.bob } else { setup.alice }, 10 + n % 4, Side::Buy, n as i64);
        setup.close(&group).await;
        let version = view(&writer, GLOBAL, &setup).await.version;
        writer.send(record(GLOBAL, &group, version, None)).await.unwrap().unwrap();
        if n == 5 {
            // Requested while commits are under way: the answer must hold only committed records.
            let wanted = TakeSnapshots { portfolios: None, bucket: Some(setup.clock.now()) };
            let snapshots = writer.send(wanted).await.unwrap().unwrap();
            assert_eq!(snapshots.len(), 5);
            let global = snapshots.iter().find(|snapshot| snapshot.portfolio == GLOBAL).unwrap();
            assert_eq!(global.checkpoint.position, setup.db.last_position(GLOBAL).await.unwrap());
            let text = serde_json::to_string(&global.checkpoint).unwrap();
            setup.db.put_checkpoint(&checkpoint_key(GLOBAL), &text, setup.clock.now()).await.unwrap();
        }
    }
    let before = (figures(&writer, GLOBAL).await, lots(&writer).await);
    writer = restarted(&setup, writer).await;
    assert_eq!((figures(&writer, GLOBAL).await, lots(&writer).await), before);
    assert_eq!(setup.folded(GLOBAL).await.figures(), before.0);

    setup.db.put_checkpoint(&checkpoint_key(GLOBAL), "{\"broken\":", setup.clock.now()).await.unwrap();
    writer = restarted(&setup, writer).await;
    assert_eq!((figures(&writer, GLOBAL).await, lots(&writer).await), before);
}

#[actix_web::test]
async fn loss_baselines_follow_the_stored_snapshots_and_marks_the_prices() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let group = group(setup.alice, 10, Side::Buy, 1);
    setup.close(&group).await;
    let version = view(&writer, GLOBAL, &setup).await.version;
    writer.send(record(GLOBAL, &group, version, None)).await.unwrap().unwrap().committed().await.unwrap();
    writer
        .send(PricesChanged(Arc::new(vec![(asset(10), Mark::Midpoint(price(600_000), setup.clock.now()))])))
        .await
        .unwrap();
    let equity = UsdcMicros(BANKROLL + 1_000_000);
    let seen = view(&writer, GLOBAL, &setup).await;
    assert_eq!((seen.equity, seen.baselines.peak), (equity, UsdcMicros(BANKROLL)));
    writer.send(SnapshotsStored { bucket: setup.clock.now(), equities: vec![(GLOBAL, equity, true)] }).await.unwrap();
    let after = view(&writer, GLOBAL, &setup).await;
    assert_eq!(after.baselines.peak, equity);
    // Neither changed the version: a decision made in between is still valid.
    assert_eq!(after.version, seen.version);
}

async fn figures(writer: &Addr<LedgerWriter>, portfolio: PortfolioId) -> Figures {
    let wanted = TakeSnapshots { portfolios: Some(vec![portfolio]), bucket: None };
    writer.send(wanted).await.unwrap().unwrap().pop().unwrap().figures
}

async fn lots(writer: &Addr<LedgerWriter>) -> Vec<Lot> {
    writer.send(Holdings { portfolio: GLOBAL, market: None }).await.unwrap().unwrap().lots
}

#[actix_web::test]
async fn a_start_without_a_checkpoint_finds_marks_and_baselines_in_the_database() {
    let setup = CopySetup::new().await;
    let writer = setup.ledger_writer();
    let group = group(setup.alice, 10, Side::Buy, 1);
    setup.close(&group).await;
    let version = view(&writer, GLOBAL, &setup).await.version;
    writer.send(record(GLOBAL, &group, version, None)).await.unwrap().unwrap().committed().await.unwrap();
    let now = setup.clock.now();
    setup.db.insert_prices(now, &[(asset(10), price(900_000))]).await.unwrap();
    let snapshot = |bucket_time, equity| PortfolioSnapshot {
        portfolio: GLOBAL,
        bucket_time,
        equity: UsdcMicros(equity),
        cash: UsdcMicros::ZERO,
        exposure: UsdcMicros::ZERO,
        unrealized_pnl: UsdcMicros::ZERO,
        realized_pnl: UsdcMicros::ZERO,
        if_sold_now: None,
        stale_assets: 0,
    };
    let midnight = now.day_start();
    let rows = [(midnight.plus_millis(-1), 7), (midnight, 8), (midnight.plus_millis(60_000), BANKROLL + 9), (now, 10)];
    let rows: Vec<_> = rows.into_iter().map(|(time, equity)| snapshot(time, equity)).collect();
    setup.db.insert_snapshots(&rows, &[], now).await.unwrap();

    let writer = restarted(&setup, writer).await;
    let view = view(&writer, GLOBAL, &setup).await;
    assert_eq!(view.equity, UsdcMicros(BANKROLL + 4_000_000));
    assert_eq!((view.baselines.day_start, view.baselines.peak), (Some(UsdcMicros(8)), UsdcMicros(BANKROLL + 9)));
}

#[actix_web::test]
async fn a_portfolio_whose_ledger_cannot_be_folded_does_not_delay_others() {
    let setup = CopySetup::new().await;
    let shadow = PortfolioId::ShadowUser(setup.bob);
    let most = |n: i64| fill(shadow, setup.bob, &market_id(1), &asset(10), i64::MAX, -1, &format!("event:{n}"));
    for n in 0..2 {
        // The running state would refuse the second entry; only a database written by another program contains it.
        let write = LedgerWrite { entries: vec![most(n)], ..LedgerWrite::default() };
        setup.db.commit(&[write], setup.clock.now()).await.unwrap();
    }
    let writer = setup.ledger_writer();
    let snapshots = writer.send(TakeSnapshots { portfolios: None, bucket: None }).await.unwrap().unwrap();
    let told: Vec<_> = snapshots.iter().map(|snapshot| snapshot.portfolio).collect();
    assert_eq!((told.len(), told.contains(&shadow)), (4, false));
}
