//! Sample leaders, assets, markets, events and ledger entries for tests.

use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::events::event::{ActivityEvent, ActivityKind, ActivityPayload, Side, TradeEvent};
use crate::domain::market::facts::{FeeSchedule, Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// The shadow portfolio of [`ALICE`].
pub const SHADOW: PortfolioId = PortfolioId::ShadowUser(FollowedUserId(7));
/// The first sample leader.
pub const ALICE: FollowedUserId = FollowedUserId(7);
/// The second sample leader.
pub const BOB: FollowedUserId = FollowedUserId(8);

/// Asset number `n`; its token id is `1000 + n`.
pub fn asset(n: usize) -> AssetId {
    AssetId::parse(&format!("{}", 1000 + n)).unwrap()
}

/// The condition id of market number `n`.
pub fn market_id(n: usize) -> MarketId {
    MarketId::parse(&format!("0x{n:064x}")).unwrap()
}

/// A price in micros.
pub fn price(micros: i64) -> PriceMicros {
    PriceMicros::new(micros).unwrap()
}

/// The time `millis` after a fixed start of the tests.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_770_000_000_000 + millis)
}

/// Market `n` with `payouts.len()` outcomes, whose assets are numbered from `10 * n`.
pub fn market(n: usize, payouts: &[Option<i64>]) -> Market {
    let outcome = |(index, payout): (usize, &Option<i64>)| OutcomeAsset {
        asset: asset(10 * n + index),
        outcome: format!("outcome {index}"),
        index: i64::try_from(index).unwrap(),
        payout: payout.map(price),
    };
    Market {
        fee: FeeSchedule::default(),
        fee_known: true,
        outcomes: payouts.iter().enumerate().map(outcome).collect(),
        ..Market::unknown(market_id(n))
    }
}

/// A fill of [`ALICE`] in market 1. Its id is derived from `name`.
pub fn trade(name: &str, asset_n: usize, side: Side, micros: i64, shares: i64, detected: i64) -> TradeEvent {
    TradeEvent {
        id: EventId::of("DATA_API", name),
        source_id: name.to_owned(),
        tx_hash: format!("0x{name}"),
        profile_wallet: Wallet::parse(&format!("0x{:040x}", 7)).unwrap(),
        proxy_wallet: None,
        followed_user: ALICE,
        market: market_id(1),
        asset: asset(asset_n),
        side,
        price: price(micros),
        shares: ShareMicros(shares),
        notional: price(micros).proceeds_of(ShareMicros(shares)).unwrap(),
        fee: None,
        event_time: Timestamp::from_seconds(at(detected).seconds()).unwrap(),
        detect_time: at(detected),
    }
}

/// An activity row of [`ALICE`] in market 1. Its id is derived from `name`.
pub fn activity(name: &str, kind: ActivityKind, shares: i64, cash: i64, token: Option<AssetId>) -> ActivityEvent {
    ActivityEvent {
        id: EventId::of("DATA_API", name),
        source_id: name.to_owned(),
        profile_wallet: Wallet::parse(&format!("0x{:040x}", 7)).unwrap(),
        proxy_wallet: None,
        followed_user: ALICE,
        kind,
        payload: ActivityPayload {
            tx_hash: "0x1".to_owned(),
            condition_id: Some(market_id(1)),
            token_id: token,
            share_micros: ShareMicros(shares),
            cash_micros: UsdcMicros(cash),
            row: "{}".to_owned(),
        },
        event_time: at(0),
        detect_time: at(500),
    }
}

/// An entry of `kind` that moves the lot of [`ALICE`] in asset `n`, which is in market `n / 10`.
pub fn entry(portfolio: PortfolioId, kind: EntryType, n: usize, shares: i64, cash: i64) -> LedgerEntry {
    LedgerEntry {
        portfolio,
        attributed_user: Some(ALICE),
        market: Some(market_id(n / 10)),
        asset: Some(asset(n)),
        kind,
        shares: ShareMicros(shares),
        cash: UsdcMicros(cash),
        price: None,
        ref_id: "event:sample".to_owned(),
        created_at: at(0),
    }
}

/// The opening deposit of `portfolio`.
pub fn deposit(portfolio: PortfolioId, cash: i64) -> LedgerEntry {
    LedgerEntry {
        attributed_user: None,
        market: None,
        asset: None,
        ref_id: "deposit:opening".to_owned(),
        ..entry(portfolio, EntryType::Deposit, 0, 0, cash)
    }
}
