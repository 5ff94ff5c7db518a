//! The stored state of a portfolio between two starts, in `system_checkpoint` under `portfolio:<PortfolioId>` (spec 9).
//!
//! Sums over lots are not stored but computed again, so a checkpoint cannot contradict itself. Only the marks of held
//! assets are stored; the caller that restores the portfolio sets the marks that are known by then.

use serde::{Deserialize, Serialize};

use super::closed_lots::ClosedLots;
use super::equity_history::EquityHistory;
use super::ledger::PortfolioId;
use super::lot::Position;
use super::mark::{Marks, Quote, Seen};
use super::portfolio::{HeldLot, Portfolio, PortfolioError};
use super::totals::Totals;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// The JSON of a checkpoint; its shape is a contract with the databases that hold one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortfolioCheckpoint {
    /// The id of the last ledger entry that is included; zero before the first.
    pub position: i64,
    pub version: u64,
    pub cash_micros: UsdcMicros,
    pub realized_micros: UsdcMicros,
    pub deposits_micros: UsdcMicros,
    /// By asset.
    pub holdings: Vec<HoldingCheckpoint>,
    #[serde(rename = "closings")]
    pub closed_lots: ClosedLots,
    pub history: EquityHistory,
}

/// One held asset: its marks and its lots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingCheckpoint {
    pub asset: AssetId,
    pub market: Option<MarketId>,
    pub payout_micros: Option<PriceMicros>,
    pub midpoint_micros: Option<PriceMicros>,
    pub last_trade_micros: Option<PriceMicros>,
    /// The times of the two prices. A checkpoint of an older program has none: its prices count as stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub midpoint_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trade_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_micros: Option<PriceMicros>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_micros: Option<PriceMicros>,
    /// By leader.
    pub lots: Vec<LotCheckpoint>,
}

/// One lot of a held asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotCheckpoint {
    pub leader: FollowedUserId,
    pub share_micros: ShareMicros,
    pub cost_micros: UsdcMicros,
    pub realized_micros: UsdcMicros,
}

impl HoldingCheckpoint {
    fn marks(&self) -> Marks {
        let seen = |price: Option<PriceMicros>, at: Option<Timestamp>| {
            price.map(|price| Seen { price, at: at.unwrap_or(Timestamp::EPOCH) })
        };
        Marks {
            payout: self.payout_micros,
            midpoint: seen(self.midpoint_micros, self.midpoint_at),
            last_trade: seen(self.last_trade_micros, self.last_trade_at),
            quote: self.quote,
            floor: self.floor_micros,
            cap: self.cap_micros,
        }
    }

    fn newest(&self) -> Option<Timestamp> {
        self.midpoint_at.max(self.last_trade_at).max(self.quote.map(|quote| quote.at))
    }
}

impl Portfolio {
    /// Returns the state to store. `position` is the id of the last entry applied.
    pub fn checkpoint(&self, position: i64) -> PortfolioCheckpoint {
        let held = self.holdings.iter().filter(|(_, holding)| !holding.lots.is_empty());
        let lot = |lot: &HeldLot| LotCheckpoint {
            leader: lot.leader,
            share_micros: lot.position.shares,
            cost_micros: lot.position.cost,
            realized_micros: lot.realized,
        };
        let holdings = held.map(|(asset, holding)| HoldingCheckpoint {
            asset: asset.clone(),
            market: self.market_of(holding).cloned(),
            payout_micros: holding.marks.payout,
            midpoint_micros: holding.marks.midpoint.map(|seen| seen.price),
            last_trade_micros: holding.marks.last_trade.map(|seen| seen.price),
            midpoint_at: holding.marks.midpoint.map(|seen| seen.at),
            last_trade_at: holding.marks.last_trade.map(|seen| seen.at),
            quote: holding.marks.quote,
            floor_micros: holding.marks.floor,
            cap_micros: holding.marks.cap,
            lots: holding.lots.iter().map(lot).collect(),
        });
        PortfolioCheckpoint {
            position,
            version: self.version,
            cash_micros: self.totals.cash,
            realized_micros: self.totals.realized,
            deposits_micros: self.totals.deposits,
            holdings: holdings.collect(),
            closed_lots: self.closed_lots.clone(),
            history: self.history,
        }
    }

    /// Returns the portfolio at `checkpoint.position`. The caller applies the entries after it.
    ///
    /// # Errors
    /// [`PortfolioError::Checkpoint`] when the cost of the lots does not match the cash; [`PortfolioError::Unit`].
    pub fn restore(id: PortfolioId, checkpoint: &PortfolioCheckpoint) -> Result<Self, PortfolioError> {
        let mut portfolio = Self::new(id);
        portfolio.version = checkpoint.version;
        portfolio.history = checkpoint.history;
        portfolio.closed_lots = checkpoint.closed_lots.clone();
        portfolio.totals = Totals {
            cash: checkpoint.cash_micros,
            realized: checkpoint.realized_micros,
            deposits: checkpoint.deposits_micros,
            ..Totals::default()
        };
        // Valued at the time of the newest fact in it; the caller ages the marks further.
        let times = checkpoint.holdings.iter().filter_map(HoldingCheckpoint::newest);
        portfolio.now = times.max().unwrap_or(Timestamp::EPOCH);
        for holding in &checkpoint.holdings {
            let marks = holding.marks();
            for lot in &holding.lots {
                let position = Position { shares: lot.share_micros, cost: lot.cost_micros };
                portfolio.restore_lot(
                    &holding.asset,
                    holding.market.as_ref(),
                    marks,
                    lot.leader,
                    (position, lot.realized_micros),
                )?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
    use crate::domain::accounting::mark::Mark;
    use crate::domain::money::units::Timestamp;
    use crate::testkit::samples::{ALICE, BOB, asset, deposit, entry, price};

    const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;
    const SEEN: Timestamp = Timestamp::from_millis(1_795_343_400_000);

    fn sample() -> Portfolio {
        let mut portfolio = Portfolio::new(GLOBAL);
        let of = |leader, entry| LedgerEntry { attributed_user: Some(leader), ..entry };
        for entry in [
            deposit(GLOBAL, 10_000),
            of(BOB, entry(GLOBAL, EntryType::TradeFill, 10, 300, -90)),
            of(ALICE, entry(GLOBAL, EntryType::TradeFill, 10, 100, -50)),
            of(ALICE, entry(GLOBAL, EntryType::TradeFill, 10, -50, 30)),
            LedgerEntry { market: None, ..of(ALICE, entry(GLOBAL, EntryType::Conversion, 21, 7, 0)) },
        ] {
            portfolio.apply(&entry).unwrap();
        }
        portfolio.set_mark(&asset(10), Mark::Midpoint(price(500_000), SEEN)).unwrap();
        portfolio.set_mark(&asset(99), Mark::Midpoint(price(500_000), SEEN)).unwrap();
        portfolio.note_snapshot(
            Timestamp::parse_iso("2026-11-22T10:30:00Z").unwrap(),
            portfolio.figures().equity,
            true,
        );
        portfolio
    }

    #[test]
    fn the_text_of_a_checkpoint_is_a_contract() {
        let expected = concat!(
            r#"{"position":17,"version":5,"cash_micros":9890,"realized_micros":5,"deposits_micros":10000,"#,
            r#""holdings":[{"asset":"1010","market":"0x0000000000000000000000000000000000000000000000000000000000000001","#,
            r#""payout_micros":null,"midpoint_micros":500000,"last_trade_micros":null,"#,
            r#""midpoint_at":"2026-11-22T10:30:00.000Z","#,
            r#""lots":[{"leader":7,"share_micros":50,"cost_micros":25,"realized_micros":5},"#,
            r#"{"leader":8,"share_micros":300,"cost_micros":90,"realized_micros":0}]},"#,
            r#"{"asset":"1021","market":null,"payout_micros":null,"midpoint_micros":null,"last_trade_micros":null,"#,
            r#""lots":[{"leader":7,"share_micros":7,"cost_micros":0,"realized_micros":0}]}],"#,
            r#""closings":{"counted":{"won":0,"lost":0,"even":0},"last":null},"#,
            r#""history":{"opening_micros":10000,"peak_micros":10065,"#,
            r#""day":{"time":"2026-11-22T00:00:00.000Z","equity_micros":10000},"#,
            r#""week":{"time":"2026-11-16T00:00:00.000Z","equity_micros":10000},"#,
            r#""last":{"time":"2026-11-22T10:30:00.000Z","equity_micros":10065}}}"#,
        );
        assert_eq!(serde_json::to_string(&sample().checkpoint(17)).unwrap(), expected);
        let read: PortfolioCheckpoint = serde_json::from_str(expected).unwrap();
        assert_eq!(read, sample().checkpoint(17));
    }

    #[test]
    fn a_restored_portfolio_equals_the_one_before() {
        let before = sample();
        let restored = Portfolio::restore(GLOBAL, &before.checkpoint(17)).unwrap();
        assert_eq!(restored.checkpoint(17), before.checkpoint(17));
        assert_eq!(restored.figures(), before.figures());
        assert!(restored.lots().eq(before.lots()));
        assert_eq!(restored.closed_lots(), before.closed_lots());
        assert_eq!((restored.version(), restored.exposure_of(ALICE)), (5, before.exposure_of(ALICE)));
    }

    #[test]
    fn a_checkpoint_whose_lots_and_cash_disagree_is_refused() {
        let mut damaged = sample().checkpoint(17);
        damaged.cash_micros = UsdcMicros(9891);
        let refused = Portfolio::restore(GLOBAL, &damaged).err();
        assert!(matches!(refused, Some(PortfolioError::Checkpoint { .. })), "{refused:?}");
    }
}
