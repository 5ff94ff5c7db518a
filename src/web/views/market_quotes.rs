//! The state of a market: its last book beside our limits, and the holdings of portfolios in it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::db::{Db, DbError};
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::accounting::portfolio::{Lot, Portfolio};
use crate::domain::config::effective::Guardrails;
use crate::domain::decision::guardrail::quote;
use crate::domain::events::event::Side;
use crate::domain::market::book::{Level, OrderBook};
use crate::domain::market::book_walk::depth_within;
use crate::domain::market::facts::{Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::web::shell::display_names::Names;

/// The last stored book of an outcome. It was fetched for a decision, so it may be old.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct QuoteView {
    /// The outcome token.
    pub asset_id: AssetId,
    /// The name of the outcome; hostile text.
    pub outcome: String,
    /// When the book was fetched.
    pub fetched_at: Timestamp,
    /// The age of the book, in milliseconds.
    pub age_ms: i64,
    /// Null where a side is empty.
    pub best_bid_micros: Option<PriceMicros>,
    /// The lowest price at which shares are offered, in millionths of a USDC.
    pub best_ask_micros: Option<PriceMicros>,
    /// The middle between best bid and best ask, in millionths of a USDC.
    pub mid_micros: PriceMicros,
    /// Best ask less best bid, in millionths of a USDC.
    pub spread_micros: PriceMicros,
    /// True above maxSpreadMicros: nothing would be copied.
    pub spread_too_wide: bool,
    /// The notional that could be bought, and sold, within our price limits for a leader's fill at the mid.
    pub buy_depth_micros: Option<UsdcMicros>,
    /// The notional that could be sold within our price limits, in millionths of a USDC.
    pub sell_depth_micros: Option<UsdcMicros>,
}

/// One lot of one portfolio in a market.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct MarketPositionView {
    /// The kind of portfolio.
    pub portfolio_scope: PortfolioScope,
    /// The leader.
    pub followed_user_id: FollowedUserId,
    /// The name of the leader; hostile text.
    pub followed_user_label: String,
    /// The outcome token.
    pub asset_id: AssetId,
    /// The name of the outcome; hostile text.
    pub outcome: Option<String>,
    /// Negative where a leader sold more than is known to be held, until the next position check.
    pub share_micros: ShareMicros,
    /// The average cost of one share, in millionths of a USDC.
    pub average_cost_micros: Option<PriceMicros>,
    /// The value of one share, in millionths of a USDC; null when only its cost is known.
    pub mark_micros: Option<PriceMicros>,
    /// True when no price of the last hour is known.
    pub mark_is_stale: bool,
    /// The value of the lot, in millionths of a USDC.
    pub value_micros: UsdcMicros,
    /// The value of the open shares less their cost, in millionths of a USDC.
    pub unrealized_pnl_micros: Option<UsdcMicros>,
}

impl QuoteView {
    /// Reads the newest book of `outcome`; `None` when none was ever fetched or the stored one cannot be used.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn load(
        db: &Db,
        outcome: &OutcomeAsset,
        guardrails: &Guardrails,
        now: Timestamp,
    ) -> Result<Option<Self>, DbError> {
        let Some(found) = db.newest_book(&outcome.asset).await? else { return Ok(None) };
        let Ok(book) = found.book else { return Ok(None) };
        let pairs = |levels: &[Level]| -> Vec<(PriceMicros, ShareMicros)> {
            levels.iter().map(|level| (level.price, level.shares)).collect()
        };
        // A stored answer that is not a valid book is left out; the page of the decision it was fetched for explains it.
        let Ok(book) = OrderBook::from_levels(pairs(&book.bids), pairs(&book.asks)) else { return Ok(None) };
        Ok(Some(Self::new(&book, outcome, found.fetched_at, guardrails, now)))
    }

    fn new(
        book: &OrderBook,
        outcome: &OutcomeAsset,
        fetched_at: Timestamp,
        guardrails: &Guardrails,
        now: Timestamp,
    ) -> Self {
        let depth = |side| depth_within(book, side, quote(book, side, book.mid(), guardrails).limit).ok();
        Self {
            asset_id: outcome.asset.clone(),
            outcome: outcome.outcome.clone(),
            fetched_at,
            age_ms: now.millis_since(fetched_at).max(0),
            best_bid_micros: book.bids().first().map(|level| level.price),
            best_ask_micros: book.asks().first().map(|level| level.price),
            mid_micros: book.mid(),
            spread_micros: book.spread(),
            spread_too_wide: book.spread() > guardrails.max_spread,
            buy_depth_micros: depth(Side::Buy),
            sell_depth_micros: depth(Side::Sell),
        }
    }

    /// Returns the newest quote of the outcomes of `market`. The other outcome of a pair mirrors it.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn freshest(
        db: &Db,
        market: &Market,
        guardrails: &Guardrails,
        now: Timestamp,
    ) -> Result<Option<Self>, DbError> {
        let mut freshest: Option<Self> = None;
        for outcome in &market.outcomes {
            let found = Self::load(db, outcome, guardrails, now).await?;
            freshest = freshest.into_iter().chain(found).max_by_key(|quote| quote.fetched_at);
        }
        Ok(freshest)
    }
}

impl MarketPositionView {
    fn new(portfolio: PortfolioId, lot: Lot, names: &Names) -> Self {
        let outcome = lot.market.as_ref().and_then(|market| names.outcome(market, &lot.asset));
        let shares = lot.shares.magnitude().ok();
        let cost = lot.cost.0.checked_abs().map(UsdcMicros);
        Self {
            portfolio_scope: portfolio.scope(),
            followed_user_id: lot.leader,
            followed_user_label: names.label(lot.leader),
            outcome,
            share_micros: lot.shares,
            average_cost_micros: cost.zip(shares).and_then(|(cost, shares)| PriceMicros::average(cost, shares).ok()),
            mark_micros: lot.mark,
            mark_is_stale: lot.is_stale,
            value_micros: lot.value,
            unrealized_pnl_micros: lot.value.minus(lot.cost).ok(),
            asset_id: lot.asset,
        }
    }

    /// Returns the lots of `portfolio` in `market`.
    pub fn in_market(portfolio: &Portfolio, market: &MarketId, names: &Names) -> Vec<Self> {
        let lots = portfolio.lots_in(market).into_iter().filter(|lot| lot.shares != ShareMicros::ZERO);
        lots.map(|lot| Self::new(portfolio.id(), lot, names)).collect()
    }

    /// Returns the lots of `portfolio` by market.
    pub fn by_market(portfolio: &Portfolio, names: &Names) -> BTreeMap<MarketId, Vec<Self>> {
        let mut positions: BTreeMap<MarketId, Vec<Self>> = BTreeMap::new();
        for lot in portfolio.lots().filter(|lot| lot.shares != ShareMicros::ZERO) {
            if let Some(market) = lot.market.clone() {
                positions.entry(market).or_default().push(Self::new(portfolio.id(), lot, names));
            }
        }
        positions
    }
}
