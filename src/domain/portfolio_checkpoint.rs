//! A portfolio as it is kept between two starts, in `system_checkpoint` under `portfolio:<PortfolioId>` (spec section 9).
//!
//! Sums over lots are not kept: they are made again, so a checkpoint cannot disagree with itself. Of the marks only
//! those of held assets are kept; who restores tells the portfolio what is known by then.

use serde::{Deserialize, Serialize};

use super::equity_history::EquityHistory;
use super::figures::Totals;
use super::ids::{AssetId, FollowedUserId, MarketId};
use super::ledger::PortfolioId;
use super::lot::Position;
use super::mark::Marks;
use super::portfolio::{HeldLot, Portfolio, PortfolioError};
use super::units::{PriceMicros, ShareMicros, UsdcMicros};

/// The JSON of a checkpoint; its shape is a contract with the databases that hold one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortfolioCheckpoint {
    /// The id of the last ledger entry that is folded in; zero before the first.
    pub position: i64,
    pub version: u64,
    pub cash_micros: UsdcMicros,
    pub realized_micros: UsdcMicros,
    pub deposits_micros: UsdcMicros,
    /// By asset.
    pub holdings: Vec<HoldingCheckpoint>,
    pub history: EquityHistory,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingCheckpoint {
    pub asset: AssetId,
    pub market: Option<MarketId>,
    pub payout_micros: Option<PriceMicros>,
    pub midpoint_micros: Option<PriceMicros>,
    pub last_trade_micros: Option<PriceMicros>,
    /// By leader.
    pub lots: Vec<LotCheckpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotCheckpoint {
    pub leader: FollowedUserId,
    pub share_micros: ShareMicros,
    pub cost_micros: UsdcMicros,
}

impl Portfolio {
    /// What must be kept to go on from here. `position` is the id of the last entry applied.
    pub fn checkpoint(&self, position: i64) -> PortfolioCheckpoint {
        let held = self.holdings.iter().filter(|(_, holding)| !holding.lots.is_empty());
        let lot = |lot: &HeldLot| LotCheckpoint {
            leader: lot.leader,
            share_micros: lot.position.shares,
            cost_micros: lot.position.cost,
        };
        let holdings = held.map(|(asset, holding)| HoldingCheckpoint {
            asset: asset.clone(),
            market: holding.market.clone(),
            payout_micros: holding.marks.payout,
            midpoint_micros: holding.marks.midpoint,
            last_trade_micros: holding.marks.last_trade,
            lots: holding.lots.iter().map(lot).collect(),
        });
        PortfolioCheckpoint {
            position,
            version: self.version,
            cash_micros: self.totals.cash,
            realized_micros: self.totals.realized,
            deposits_micros: self.totals.deposits,
            holdings: holdings.collect(),
            history: self.history,
        }
    }

    /// The portfolio as it stood at `checkpoint.position`; the entries after it are the caller's to apply.
    ///
    /// # Errors
    /// `PortfolioError::Checkpoint` when its lots cannot be what its cash says; `PortfolioError::Unit`.
    pub fn restore(id: PortfolioId, checkpoint: &PortfolioCheckpoint) -> Result<Self, PortfolioError> {
        let mut portfolio = Self::new(id);
        portfolio.version = checkpoint.version;
        portfolio.history = checkpoint.history;
        portfolio.totals = Totals {
            cash: checkpoint.cash_micros,
            realized: checkpoint.realized_micros,
            deposits: checkpoint.deposits_micros,
            ..Totals::default()
        };
        for holding in &checkpoint.holdings {
            let marks = Marks {
                payout: holding.payout_micros,
                midpoint: holding.midpoint_micros,
                last_trade: holding.last_trade_micros,
            };
            for lot in &holding.lots {
                let position = Position { shares: lot.share_micros, cost: lot.cost_micros };
                portfolio.restore_lot(&holding.asset, holding.market.as_ref(), marks, lot.leader, position)?;
            }
        }
        let cost = portfolio.totals.cost;
        let expected = checkpoint.deposits_micros.plus(checkpoint.realized_micros)?.minus(checkpoint.cash_micros)?;
        if cost != expected {
            return Err(PortfolioError::Checkpoint { portfolio: id, cost, expected });
        }
        Ok(portfolio)
    }
}
