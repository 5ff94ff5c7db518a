//! Made-up facts for the storage tests: leaders, fills, groups, attempts and entries.

use polymarketspy::db::Inserted;
use polymarketspy::db::{ClosedGroupWrite, Db, GroupClosing, LedgerWrite, PollWrite};
use polymarketspy::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use polymarketspy::domain::decision::attempt::CopyAttempt;
use polymarketspy::domain::decision::check::{Check, CheckName, CheckUnit, ReasonCode, Verdict};
use polymarketspy::domain::decision::explanation::{DecisionKind, Explanation};
use polymarketspy::domain::events::event::{ActivityEvent, ActivityKind, ActivityPayload, Side, TradeEvent};
use polymarketspy::domain::events::group::{EventGroup, GroupAction, Member};
use polymarketspy::domain::market::book_walk::LevelFill;
use polymarketspy::domain::market::facts::{FeeSchedule, Market, OutcomeAsset};
use polymarketspy::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use polymarketspy::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use polymarketspy::queue::{self, Job, JobScope, Queue};
use polymarketspy::testkit::facts::{executed_attempt, trade_group};

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

pub fn price(micros: i64) -> PriceMicros {
    PriceMicros::new(micros).unwrap()
}

pub async fn follow(db: &Db, n: u32) -> FollowedUserId {
    match db.follow(&format!("leader {n}"), &wallet(n), "a test", NOW).await.unwrap() {
        Inserted::New(user) => user,
        Inserted::Known => panic!("leader {n} is followed already"),
    }
}

/// Returns the `n`th fill: market and asset `n % 7`, detected `n` ms after `NOW`.
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
        price: price(320_000),
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
        fence: None,
        trades,
        activities: Vec::new(),
        dead: Vec::new(),
        new_wallets: Vec::new(),
        checkpoints: Vec::new(),
        now: NOW,
    }
}

/// Returns the group that this one trade makes.
pub fn group_of(trade: &TradeEvent) -> EventGroup {
    let (leader, market, asset) = (trade.followed_user, trade.market.clone(), trade.asset.clone());
    let key = format!("{leader}:{asset}:{}:{}", trade.side, trade.detect_time);
    EventGroup {
        notional: trade.notional,
        shares: trade.shares,
        reference_price: Some(trade.price),
        event_time: trade.event_time,
        ..trade_group(&key, leader, market, asset, trade.side, trade.detect_time)
    }
}

pub fn closing(trade: &TradeEvent, job: &Job) -> ClosedGroupWrite {
    ClosedGroupWrite {
        group: group_of(trade),
        members: vec![Member::Trade(trade.id)],
        finishes: vec![job.fence()],
        copy_due: NOW,
    }
}

/// Polls trades `numbers` and closes one group for each; their copy jobs are open.
pub async fn grouped(db: &Db, user: FollowedUserId, numbers: std::ops::Range<u32>) -> Vec<EventGroup> {
    let trades: Vec<_> = numbers.map(|n| trade(user, n)).collect();
    db.record_poll(poll(user, trades.clone())).await.unwrap();
    let jobs = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, 30_000, 10_000).await.unwrap();
    let closed: Vec<_> = trades
        .iter()
        .map(|trade| {
            let job = jobs.iter().find(|job| job.event().unwrap() == Member::Trade(trade.id)).unwrap();
            closing(trade, job)
        })
        .collect();
    for inserted in db.close_groups(&closed, NOW).await.unwrap() {
        assert!(matches!(inserted, GroupClosing::New(_)));
    }
    closed.into_iter().map(|write| write.group).collect()
}

/// Claims the jobs of one copy queue and returns them in the order of `groups`.
pub async fn copy_jobs(db: &Db, queue: Queue, groups: &[EventGroup]) -> Vec<Job> {
    let jobs = queue::claim(db, queue, &JobScope::All, NOW, 30_000, 10_000).await.unwrap();
    groups.iter().map(|group| jobs.iter().find(|job| job.group().unwrap() == group.id).cloned().unwrap()).collect()
}

pub fn attempt(portfolio: PortfolioId, group: &EventGroup) -> CopyAttempt {
    CopyAttempt {
        filled_notional: UsdcMicros(4_999_999),
        filled_shares: ShareMicros(15_000_000),
        vwap: Some(price(333_333)),
        filled_ratio: Bps(9_999),
        mid_at_decision: Some(price(325_000)),
        config_version: "0123456789abcdef".to_owned(),
        explanation: Explanation {
            decided_at: NOW,
            checks: vec![Check {
                name: CheckName::Spread,
                unit: CheckUnit::Price,
                value: Some(10_000),
                limit: Some(20_000),
                verdict: Verdict::Pass,
                code: ReasonCode::SpreadTooWide,
            }],
            best_bid_micros: Some(price(320_000)),
            best_ask_micros: Some(price(330_000)),
            mid_micros: Some(price(325_000)),
            raw_notional_micros: None,
            cap_notional_micros: None,
            limit_price_micros: None,
            target_share_micros: None,
            fee_micros: 0,
            ..Explanation::default()
        },
        fills: vec![
            LevelFill { price: price(330_000), shares: ShareMicros(10_000_000), notional: UsdcMicros(3_300_000) },
            LevelFill { price: price(340_000), shares: ShareMicros(5_000_000), notional: UsdcMicros(1_699_999) },
        ],
        ..executed_attempt(portfolio, group, NOW)
    }
}

pub fn skipped(portfolio: PortfolioId, group: &EventGroup, reasons: Vec<ReasonCode>) -> CopyAttempt {
    CopyAttempt {
        decision: DecisionKind::Skip,
        reasons,
        filled_notional: UsdcMicros::ZERO,
        filled_shares: ShareMicros::ZERO,
        vwap: None,
        fills: Vec::new(),
        ..attempt(portfolio, group)
    }
}

/// Returns the `TRADE_FILL` and the `FEE` entry of an executed attempt.
pub fn entries(attempt: &CopyAttempt, group: &EventGroup) -> Vec<LedgerEntry> {
    let GroupAction::Trade { asset, .. } = &group.action else { return Vec::new() };
    let fill = LedgerEntry {
        portfolio: attempt.portfolio,
        attributed_user: Some(attempt.followed_user),
        market: Some(group.market.clone()),
        asset: Some(asset.clone()),
        kind: EntryType::TradeFill,
        shares: attempt.filled_shares,
        cash: UsdcMicros(-attempt.filled_notional.0),
        price: attempt.vwap,
        ref_id: format!("copy:{}", attempt.id),
        created_at: NOW,
    };
    let fee = LedgerEntry {
        kind: EntryType::Fee,
        shares: ShareMicros::ZERO,
        cash: UsdcMicros(-1_234),
        price: None,
        ..fill.clone()
    };
    vec![fill, fee]
}

/// Returns the write of an executed attempt and its entries, which finishes `job`.
pub fn write(portfolio: PortfolioId, group: &EventGroup, job: &Job) -> LedgerWrite {
    let attempt = attempt(portfolio, group);
    LedgerWrite {
        entries: entries(&attempt, group),
        attempt: Some(attempt),
        finishes: vec![job.fence()],
        ..LedgerWrite::default()
    }
}

pub fn market(n: u32) -> Market {
    Market {
        question: format!("Will <b>{n}</b> happen?"),
        slug: format!("will-{n}-happen"),
        close_time: Some(NOW.plus_millis(3_600_000)),
        neg_risk: true,
        fee: FeeSchedule { rate_micros: 70_000, exponent: 1 },
        tick: Some(price(10_000)),
        min_shares: Some(ShareMicros(5_000_000)),
        outcomes: vec![
            OutcomeAsset { asset: asset(n), outcome: "Yes".into(), index: 0, payout: None },
            OutcomeAsset { asset: asset(n + 1_000_000), outcome: "No".into(), index: 1, payout: None },
        ],
        ..Market::unknown(market_id(n))
    }
}
