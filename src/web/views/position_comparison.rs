//! The leader's holdings beside the holdings of our copies, asset by asset.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::db::{Db, DbError};
use crate::domain::accounting::lot::Position;
use crate::domain::accounting::portfolio::{Lot, Portfolio};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, UsdcMicros};
use crate::web::shell::display_names::Names;

/// Number of assets that are listed, the largest first; the rest is only counted.
const SHOWN: usize = 60;

/// The holdings of a leader and of our copies of them.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PositionComparison {
    /// The largest copies first, then the leader's largest positions that are not copied.
    pub data: Vec<AssetComparison>,
    /// Number of positions that are not listed.
    pub more: usize,
    /// True when a position of the leader is below zero: more was sold than is known to be
    /// held. The next position check ends this.
    pub any_short: bool,
}

/// One asset on both sides. Names are hostile text.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AssetComparison {
    /// The outcome token.
    pub asset_id: AssetId,
    /// The market, by its condition id.
    pub market_id: Option<MarketId>,
    /// The question of the market; hostile text, empty when unknown.
    pub question: String,
    /// The part of the market in the address of its page at Polymarket; hostile text.
    pub slug: String,
    /// The name of the outcome; hostile text.
    pub outcome: Option<String>,
    /// The mark of a share; null when only its cost is known.
    pub mark_micros: Option<PriceMicros>,
    /// True when no price of the last hour is known.
    pub mark_is_stale: bool,
    /// The leader's position.
    pub theirs: Option<HeldPosition>,
    /// The copied position.
    pub ours: Option<HeldPosition>,
}

/// The holding of one asset on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HeldPosition {
    /// Below zero in a shadow that sold more than is known to be held.
    pub share_micros: ShareMicros,
    /// The average cost of one share, in millionths of a USDC.
    pub average_cost_micros: Option<PriceMicros>,
    /// The value of the position, in millionths of a USDC.
    pub value_micros: UsdcMicros,
    /// The value of the open shares less their cost, in millionths of a USDC.
    pub unrealized_pnl_micros: UsdcMicros,
}

impl PositionComparison {
    /// Compares the lots of both portfolios and reads the names of their markets.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn of(db: &Db, shadow: &Portfolio, copies: &Portfolio) -> Result<Self, DbError> {
        let mut by_asset: BTreeMap<AssetId, (Option<Lot>, Option<Lot>)> = BTreeMap::new();
        for lot in shadow.lots() {
            let (theirs, _) = by_asset.entry(lot.asset.clone()).or_default();
            *theirs = Some(lot);
        }
        for lot in copies.lots() {
            let (_, ours) = by_asset.entry(lot.asset.clone()).or_default();
            *ours = Some(lot);
        }
        let any_short = shadow.lots().any(|lot| lot.shares.0 < 0);
        let mut pairs: Vec<_> = by_asset.into_values().collect();
        let size = |lot: &Option<Lot>| lot.as_ref().map_or(0, |lot| lot.exposure.0);
        pairs.sort_by_key(|(theirs, ours)| std::cmp::Reverse((size(ours), size(theirs))));
        let more = pairs.len().saturating_sub(SHOWN);
        pairs.truncate(SHOWN);
        let markets = pairs.iter().filter_map(|(theirs, ours)| ours.as_ref().or(theirs.as_ref())?.market.as_ref());
        let names = Names::load(db, markets).await?;
        let data =
            pairs.iter().filter_map(|(theirs, ours)| AssetComparison::of(theirs.as_ref(), ours.as_ref(), &names));
        Ok(Self { data: data.collect(), more, any_short })
    }
}

impl AssetComparison {
    fn of(theirs: Option<&Lot>, ours: Option<&Lot>, names: &Names) -> Option<Self> {
        let lot = ours.or(theirs)?;
        let (question, slug) = lot.market.as_ref().map(|market| names.market(market)).unwrap_or_default();
        Some(Self {
            asset_id: lot.asset.clone(),
            outcome: lot.market.as_ref().and_then(|market| names.outcome(market, &lot.asset)),
            market_id: lot.market.clone(),
            question,
            slug,
            mark_micros: lot.mark,
            mark_is_stale: lot.is_stale,
            theirs: theirs.map(HeldPosition::of),
            ours: ours.map(HeldPosition::of),
        })
    }
}

impl HeldPosition {
    fn of(lot: &Lot) -> Self {
        Self {
            share_micros: lot.shares,
            average_cost_micros: Position { shares: lot.shares, cost: lot.cost }.average_cost(),
            value_micros: lot.value,
            unrealized_pnl_micros: UsdcMicros(lot.value.0.saturating_sub(lot.cost.0)),
        }
    }
}
