//! Polls: rows once, jobs once, checkpoints with them.

use polymarketspy::db::{DeadRow, Inserted, PollWrite};
use polymarketspy::domain::event::{ActivityEvent, ActivityKind, ActivityPayload, Side, TradeEvent};
use polymarketspy::domain::group::Member;
use polymarketspy::domain::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use polymarketspy::domain::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use polymarketspy::queue::{self, Queue};

use super::harness::{number, on_both, sql};

pub const NOW: Timestamp = Timestamp::from_millis(1_768_478_400_000);

pub fn wallet(n: u32) -> Wallet {
    Wallet::parse(&format!("0x{n:040x}")).unwrap()
}

pub fn market_id(n: u32) -> MarketId {
    MarketId::parse(&format!("0x{n:064x}")).unwrap()
}

pub fn asset(n: u32) -> AssetId {
    AssetId::parse(&format!("9{n:077}")).unwrap()
}

pub async fn follow(db: &polymarketspy::db::Db, n: u32) -> FollowedUserId {
    match db.follow(&format!("leader {n}"), &wallet(n), "a test", NOW).await.unwrap() {
        Inserted::New(user) => user,
        Inserted::Known => panic!("leader {n} is followed already"),
    }
}

pub fn trade(user: FollowedUserId, n: u32) -> TradeEvent {
    let source_id = format!("{}:0x{n:064x}:TRADE", wallet(1));
    TradeEvent {
        id: EventId::of("DATA_API", &source_id),
        source_id,
        tx_hash: format!("0x{n:064x}"),
        profile_wallet: wallet(1),
        proxy_wallet: Some(wallet(1001)),
        followed_user: user,
        market: market_id(n % 7),
        asset: asset(n % 7),
        side: if n.is_multiple_of(3) { Side::Sell } else { Side::Buy },
        price: PriceMicros::new(320_000).unwrap(),
        shares: ShareMicros(2_000_000),
        notional: UsdcMicros(640_000),
        fee: n.is_multiple_of(2).then_some(UsdcMicros(1_200)),
        event_time: NOW.plus_millis(-2_000),
        detect_time: NOW.plus_millis(i64::from(n)),
    }
}

pub fn merge(user: FollowedUserId, n: u32) -> ActivityEvent {
    let source_id = format!("{}:0x{n:064x}:MERGE", wallet(1));
    ActivityEvent {
        id: EventId::of("DATA_API", &source_id),
        source_id,
        profile_wallet: wallet(1),
        proxy_wallet: None,
        followed_user: user,
        kind: ActivityKind::Merge,
        payload: ActivityPayload {
            tx_hash: format!("0x{n:064x}"),
            condition_id: Some(market_id(n)),
            token_id: None,
            share_micros: ShareMicros(5_000_000),
            cash_micros: UsdcMicros(5_000_000),
            row: "{\"type\":\"MERGE\",\"title\":\"<b>'; drop table job; --\\u0000\"}".to_owned(),
        },
        event_time: NOW.plus_millis(-1_000),
        detect_time: NOW,
    }
}

pub fn poll(user: FollowedUserId, trades: Vec<TradeEvent>) -> PollWrite {
    PollWrite {
        user,
        trades,
        activities: Vec::new(),
        dead: Vec::new(),
        new_wallets: Vec::new(),
        checkpoints: Vec::new(),
        now: NOW,
    }
}

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
            let jobs = queue::claim(db, queue, None, NOW, 30_000, 10).await.unwrap();
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
}
