//! The holdings of a portfolio as pages show them: its lots with names and marks, and its exposure by market and leader.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::db::{Db, UnsettledMarket};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::lot::Position;
use crate::domain::accounting::portfolio::{Lot, Portfolio};
use crate::domain::accounting::sold_now::lot_sold_now;
use crate::domain::market::facts::FeeSchedule;
use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::web::charts::histogram::bar;
use crate::web::server::error::WebError;
use crate::web::shell::display_names::Names;

/// A portfolio with the names of its markets and leaders.
pub struct Holdings {
    pub portfolio: Portfolio,
    names: Names,
    fees: BTreeMap<MarketId, FeeSchedule>,
    unsettled: BTreeMap<MarketId, UnsettledView>,
}

/// One lot with its names.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct LotView {
    /// The market, by its condition id.
    pub market_id: Option<MarketId>,
    /// The outcome token.
    pub asset_id: AssetId,
    /// The leader.
    pub followed_user_id: FollowedUserId,
    /// The name of the leader; hostile text.
    pub followed_user_label: String,
    /// The question of the market; hostile text, empty when unknown.
    pub question: String,
    /// The part of the market in the address of its page at Polymarket; hostile text.
    pub slug: String,
    /// The name of the outcome; hostile text.
    pub outcome: Option<String>,
    /// The number of shares, in millionths of a share.
    pub share_micros: ShareMicros,
    /// The average cost of one share, in millionths of a USDC.
    pub average_cost_micros: Option<PriceMicros>,
    /// Null while only the average cost is known.
    pub mark_micros: Option<PriceMicros>,
    /// True when no price of the last hour is known: the mark, and the value with it, is an old one.
    pub mark_is_stale: bool,
    /// The cost of the lot, in millionths of a USDC.
    pub cost_micros: UsdcMicros,
    /// The value of the lot, in millionths of a USDC.
    pub value_micros: UsdcMicros,
    /// The value of the open positions, in millionths of a USDC.
    pub exposure_micros: UsdcMicros,
    /// The value of the open shares less their cost, in millionths of a USDC.
    pub unrealized_pnl_micros: UsdcMicros,
    /// What the lot would bring at the best bid less the fee, in millionths of a USDC; 0 without a bid.
    pub if_sold_now_micros: Option<UsdcMicros>,
    /// The market has ended and is not settled.
    pub unsettled: Option<UnsettledView>,
}

/// A market that has ended and has no payouts yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UnsettledView {
    /// When it was first seen ended.
    pub since: Timestamp,
    /// True when the proposed result is disputed.
    pub is_disputed: bool,
    /// True when it has been so for hours.
    pub is_late: bool,
}

impl UnsettledView {
    fn of(market: &UnsettledMarket, now: Timestamp) -> Self {
        Self {
            since: market.since,
            is_disputed: market.stage == ResolutionStage::Disputed,
            is_late: market.is_late(now),
        }
    }
}

/// The exposure to one market or one leader.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ExposureView {
    /// The market, by its condition id.
    pub market_id: Option<MarketId>,
    /// The leader.
    pub followed_user_id: Option<FollowedUserId>,
    /// A question or a label; hostile text.
    pub name: String,
    /// The part of the market in the address of its page at Polymarket; hostile text.
    pub slug: String,
    /// The value of the open positions, in millionths of a USDC.
    pub exposure_micros: UsdcMicros,
    /// The part of the portfolio's equity.
    pub exposure_bps: Bps,
    /// The value of the open shares less their cost, in millionths of a USDC.
    pub unrealized_pnl_micros: UsdcMicros,
    /// The part of the largest exposure in its list, in thousandths.
    pub bar: i64,
}

impl Holdings {
    /// Reads the portfolio `id`, marked as of `now`, and the names of its markets and leaders.
    ///
    /// # Errors
    /// [`WebError::Ours`] when the database fails.
    pub async fn load(db: &Db, id: PortfolioId, now: Timestamp) -> Result<Self, WebError> {
        let portfolio = db.running_portfolio(id, now).await?.portfolio;
        let markets: Vec<MarketId> = portfolio.exposure_by_market().map(|(market, _)| market.clone()).collect();
        let names = Names::load(db, &markets).await?;
        let fees = db.markets(&markets).await?.into_iter().map(|market| (market.id, market.fee)).collect();
        let unsettled = db.unsettled_markets().await?.into_iter();
        let unsettled = unsettled.map(|market| (market.id.clone(), UnsettledView::of(&market, now))).collect();
        Ok(Self { portfolio, names, fees, unsettled })
    }

    fn fee(&self, market: Option<&MarketId>) -> Option<FeeSchedule> {
        market.and_then(|market| self.fees.get(market)).copied()
    }

    /// Returns the lots, the largest exposure first.
    pub fn positions(&self) -> Vec<LotView> {
        let mut positions: Vec<_> = self.portfolio.lots().map(|lot| self.position(lot)).collect();
        positions.sort_by(|a, b| (b.exposure_micros, &a.asset_id).cmp(&(a.exposure_micros, &b.asset_id)));
        positions
    }

    /// Returns the exposure by market, the largest first, at most `most` markets.
    pub fn by_market(&self, most: usize) -> Vec<ExposureView> {
        let mut unrealized: BTreeMap<MarketId, i64> = BTreeMap::new();
        for lot in self.portfolio.lots() {
            if let Some(market) = &lot.market {
                let sum = unrealized.entry(market.clone()).or_default();
                *sum = sum.saturating_add(pnl(&lot).0);
            }
        }
        let shares = self.portfolio.exposure_by_market().map(|(market, exposure)| {
            let (question, slug) = self.names.market(market);
            let pnl = UsdcMicros(unrealized.get(market).copied().unwrap_or_default());
            ExposureView { market_id: Some(market.clone()), slug, ..self.share(question, exposure, pnl) }
        });
        drawn(shares.collect(), most)
    }

    /// Returns the exposure by leader, the largest first.
    pub fn by_leader(&self) -> Vec<ExposureView> {
        let mut unrealized: BTreeMap<FollowedUserId, i64> = BTreeMap::new();
        for lot in self.portfolio.lots() {
            let sum = unrealized.entry(lot.leader).or_default();
            *sum = sum.saturating_add(pnl(&lot).0);
        }
        let shares = self.portfolio.exposure_by_leader().map(|(leader, exposure)| {
            let pnl = UsdcMicros(unrealized.get(&leader).copied().unwrap_or_default());
            let share = self.share(self.names.label(leader), exposure, pnl);
            ExposureView { followed_user_id: Some(leader), ..share }
        });
        drawn(shares.collect(), usize::MAX)
    }

    fn share(&self, name: String, exposure: UsdcMicros, unrealized: UsdcMicros) -> ExposureView {
        ExposureView {
            market_id: None,
            followed_user_id: None,
            name,
            slug: String::new(),
            exposure_micros: exposure,
            exposure_bps: Bps::of(exposure.0, self.portfolio.figures().equity.0).unwrap_or_default(),
            unrealized_pnl_micros: unrealized,
            bar: 0,
        }
    }

    fn position(&self, lot: Lot) -> LotView {
        let (question, slug) = lot.market.as_ref().map(|market| self.names.market(market)).unwrap_or_default();
        LotView {
            outcome: lot.market.as_ref().and_then(|market| self.names.outcome(market, &lot.asset)),
            followed_user_id: lot.leader,
            followed_user_label: self.names.label(lot.leader),
            question,
            slug,
            share_micros: lot.shares,
            average_cost_micros: Position { shares: lot.shares, cost: lot.cost }.average_cost(),
            mark_micros: lot.mark,
            mark_is_stale: lot.is_stale,
            if_sold_now_micros: lot_sold_now(&lot, self.fee(lot.market.as_ref())).ok(),
            unsettled: lot.market.as_ref().and_then(|market| self.unsettled.get(market).copied()),
            cost_micros: lot.cost,
            value_micros: lot.value,
            exposure_micros: lot.exposure,
            unrealized_pnl_micros: pnl(&lot),
            market_id: lot.market,
            asset_id: lot.asset,
        }
    }
}

fn pnl(lot: &Lot) -> UsdcMicros {
    lot.value.minus(lot.cost).unwrap_or_default()
}

/// Sorts and cuts the list, and sets each bar in proportion to the largest exposure.
fn drawn(mut shares: Vec<ExposureView>, most: usize) -> Vec<ExposureView> {
    shares.retain(|share| share.exposure_micros > UsdcMicros::ZERO);
    shares.sort_by(|a, b| (b.exposure_micros, &a.name).cmp(&(a.exposure_micros, &b.name)));
    shares.truncate(most);
    let largest = shares.first().map_or(1, |share| share.exposure_micros.0);
    for share in &mut shares {
        share.bar = bar(share.exposure_micros.0, largest);
    }
    shares
}
