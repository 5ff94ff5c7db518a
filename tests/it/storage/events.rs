//! Polls: each row and each job is written once, together with the checkpoints.

use polymarketspy::db::Inserted;
use polymarketspy::db::{ChainTrade, DeadRow, PollWrite};
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::events::group::Member;
use polymarketspy::domain::money::units::{ShareMicros, UsdcMicros};
use polymarketspy::queue::{self, JobScope, NewJob, Queue};

use super::facts::{NOW, asset, follow, merge, poll, price, trade, wallet};
use super::harness::{number, on_both, sql};

on_both! {
    async fn a_poll_seen_twice_is_written_once(db: &Db) {
        let user = follow(db, 1).await;
        let trades: Vec<_> = (0..150).map(|n| trade(user, n)).collect();
        let write = PollWrite {
            activities: vec![merge(user, 900), merge(user, 901)],
            dead: vec![DeadRow { text: "{\"size\":\"\0\"}".into(), reason: "`size` is no number".into() }],
            new_wallets: vec![wallet(1001), wallet(1002)],
            checkpoints: vec![("api:lastTradeTime:1".into(), "{\"time\":\"2026-01-15T12:00:00Z\"}".into())],
            ..poll(user, trades.clone())
        };
        let first = db.record_poll(write.clone()).await.unwrap();
        assert_eq!(first.new_trades, trades.iter().map(|trade| trade.id).collect::<Vec<_>>());
        assert_eq!((first.new_activities.len(), first.dead), (2, 1));
        let again = db.record_poll(write).await.unwrap();
        assert_eq!((again.new_trades.len(), again.new_activities.len(), again.dead), (0, 0, 0));

        assert_eq!(number!(db, "select count(*) from trade_event"), 150);
        assert_eq!(number!(db, "select count(*) from job"), 304);
        assert_eq!(number!(db, "select count(*) from dead_letter"), 1);
        assert!(db.checkpoint("api:lastTradeTime:1").await.unwrap().is_some());
        assert_eq!(db.followed_users().await.unwrap()[0].wallets, [wallet(1001), wallet(1002)]);
        assert_eq!(db.followed_user_by_wallet(&wallet(1002)).await.unwrap().map(|found| found.id), Some(user));
    }

    async fn events_are_read_back_as_they_were_written(db: &Db) {
        let user = follow(db, 1).await;
        let trades: Vec<_> = (0..5).map(|n| trade(user, n)).collect();
        let activities = vec![merge(user, 7)];
        let write = PollWrite { activities: activities.clone(), ..poll(user, trades.clone()) };
        db.record_poll(write).await.unwrap();
        let ids: Vec<_> = trades.iter().map(|trade| trade.id).collect();
        let mut read = db.trades_by_id(&ids).await.unwrap();
        read.sort_by_key(|trade| trade.detect_time);
        assert_eq!(read, trades);
        assert_eq!(db.activities_by_id(&[activities[0].id]).await.unwrap(), activities);
        assert_eq!(db.trades_by_id(&[activities[0].id]).await.unwrap(), []);
    }

    async fn a_row_that_comes_twice_in_one_poll_counts_once(db: &Db) {
        let user = follow(db, 1).await;
        let outcome = db.record_poll(poll(user, vec![trade(user, 1), trade(user, 1)])).await.unwrap();
        assert_eq!(outcome.new_trades.len(), 1);
        assert_eq!(number!(db, "select count(*) from job"), 2);
    }

    async fn each_event_owes_one_entry_in_the_ledger_and_one_place_in_a_group(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
        for queue in [Queue::IngestEvents, Queue::GroupEvents] {
            let jobs = queue::claim(db, queue, &JobScope::All, NOW, 30_000, 10).await.unwrap();
            assert_eq!(jobs.len(), 1);
            assert_eq!(jobs[0].event().unwrap(), Member::Trade(trade(user, 1).id));
            assert_eq!(jobs[0].followed_user, Some(user));
        }
    }

    async fn events_cannot_be_changed_or_deleted(db: &Db) {
        let user = follow(db, 1).await;
        let write = PollWrite { activities: vec![merge(user, 7)], ..poll(user, vec![trade(user, 1)]) };
        db.record_poll(write).await.unwrap();
        let refused = [
            "update trade_event set price_micros = 1",
            "update trade_event set removed = true",
            "delete from trade_event",
            "update activity_event set type = 'SPLIT'",
            "delete from activity_event",
        ];
        for text in refused {
            let error = sql!(db, text).unwrap_err().to_string();
            assert!(error.contains("append-only"), "{text}: {error}");
        }
    }

    async fn a_log_of_the_chain_changes_no_portfolio_and_polls_the_canonical_source(db: &Db) {
        let user = follow(db, 1).await;
        let log = ChainTrade {
            tx_hash: "0xab".into(),
            log_index: 4,
            block_hash: Some("0xb1".into()),
            profile_wallet: wallet(1),
            proxy_wallet: None,
            followed_user: user,
            asset: Some(asset(1)),
            side: Side::Buy,
            price: price(500_000),
            shares: ShareMicros(2_000_000),
            notional: UsdcMicros(1_000_000),
            fee: None,
            event_time: NOW,
            detect_time: NOW,
        };
        let job = NewJob {
            queue: Queue::Reconcile,
            key: "chain:0xab".into(),
            followed_user: Some(user),
            payload: user.to_string(),
            due: NOW,
        };
        let insert = async |log: &ChainTrade| db.insert_chain_trade(log, &job, &[], NOW).await.unwrap();
        assert!(matches!(insert(&log).await, Inserted::New(_)));
        assert_eq!(insert(&log).await, Inserted::Known);
        let again = ChainTrade { block_hash: Some("0xb2".into()), ..log.clone() };
        assert!(matches!(insert(&again).await, Inserted::New(_)), "the same log in another block");
        let blockless = ChainTrade { block_hash: None, ..log.clone() };
        assert!(matches!(insert(&blockless).await, Inserted::New(_)));
        assert_eq!(insert(&blockless).await, Inserted::Known, "a missing block hash is still one block");

        assert!(db.mark_removed("0xab", 4, Some("0xb1")).await.unwrap());
        assert!(!db.mark_removed("0xab", 4, Some("0xb1")).await.unwrap());
        let error = sql!(db, "update trade_event set removed = false where removed").unwrap_err().to_string();
        assert!(error.contains("append-only"), "a removed log cannot come back: {error}");
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_reconcile'"), 1);
        assert_eq!(number!(db, "select count(*) from job"), 1);
    }
}

#[tokio::test]
async fn closing_leaves_one_file_with_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/nested/one.db", folder.path().display());
    let db = polymarketspy::db::Db::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    let user = follow(&db, 1).await;
    // Enough commits to wake the checkpointer several times.
    for n in 0..200 {
        db.record_poll(poll(user, vec![trade(user, n)])).await.unwrap();
    }
    db.close().await;
    let names: Vec<_> =
        std::fs::read_dir(folder.path().join("nested")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["one.db"]);
    let db = polymarketspy::db::Db::connect(&url).await.unwrap();
    assert_eq!(number!(&db, "select count(*) from trade_event"), 200);
    db.close().await;
}
