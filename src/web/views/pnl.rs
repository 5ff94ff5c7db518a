//! The profit and loss of a portfolio, from its minute snapshots.

use serde::Serialize;

use crate::db::{Db, DbError, PortfolioSnapshot};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Bps, Timestamp, UsdcMicros};

const WEEK_MS: i64 = 7 * 24 * 3_600_000;

/// The totals and results of one portfolio at its last snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PnlSummary {
    /// The time of the figures.
    pub as_of: Timestamp,
    /// Cash and the value of the positions, in millionths of a USDC.
    pub equity_micros: UsdcMicros,
    /// Cash, in millionths of a USDC.
    pub cash_micros: UsdcMicros,
    /// The value of the open positions, in millionths of a USDC.
    pub exposure_micros: UsdcMicros,
    /// The PnL of closed shares, fees included, in millionths of a USDC.
    pub realized_pnl_micros: UsdcMicros,
    /// The value of the open shares less their cost, in millionths of a USDC.
    pub unrealized_pnl_micros: UsdcMicros,
    /// Realized and unrealized PnL, in millionths of a USDC.
    pub pnl_total_micros: UsdcMicros,
    /// Since 00:00 UTC. Null after a gap over 00:00, until all held assets had fresh marks.
    pub pnl_today_micros: Option<UsdcMicros>,
    /// Of the last 168 hours.
    pub pnl_7d_micros: UsdcMicros,
    /// Cash, and the holdings at the best bid (0 without one) less fees, in millionths of a USDC; null when it was not
    /// worked out.
    pub if_sold_now_micros: Option<UsdcMicros>,
    /// Number of held assets without a price of the last hour.
    pub stale_assets: i64,
}

impl PnlSummary {
    /// Reads the newest snapshot of `portfolio` and those that its results are measured from; `None` before the first
    /// snapshot.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn load(db: &Db, portfolio: PortfolioId, now: Timestamp) -> Result<Option<Self>, DbError> {
        let Some((newest, history)) = db.equity_history(portfolio).await? else { return Ok(None) };
        let week = db.snapshot_at_or_before(portfolio, now.plus_millis(-WEEK_MS)).await?;
        Ok(Some(Self::of(&newest, history.baselines(now).day_start, week.as_ref())))
    }

    /// Computes the results. A portfolio younger than the week is measured from its deposit. The week is that of the PnL
    /// and not of the equity, so that money put in or taken out is neither profit nor loss. Sums that do not fit saturate,
    /// which no portfolio of ours reaches.
    fn of(newest: &PortfolioSnapshot, day: Option<UsdcMicros>, week: Option<&PortfolioSnapshot>) -> Self {
        let pnl = |point: &PortfolioSnapshot| point.realized_pnl.0.saturating_add(point.unrealized_pnl.0);
        let total = pnl(newest);
        Self {
            as_of: newest.bucket_time,
            equity_micros: newest.equity,
            cash_micros: newest.cash,
            exposure_micros: newest.exposure,
            realized_pnl_micros: newest.realized_pnl,
            unrealized_pnl_micros: newest.unrealized_pnl,
            pnl_total_micros: UsdcMicros(total),
            pnl_today_micros: day.map(|day| UsdcMicros(newest.equity.0.saturating_sub(day.0))),
            pnl_7d_micros: UsdcMicros(total.saturating_sub(week.map_or(0, pnl))),
            if_sold_now_micros: newest.if_sold_now,
            stale_assets: newest.stale_assets,
        }
    }
}

/// Returns `share` of a result, rounded down, so that a gain gets smaller and a loss larger. `None` when it does not fit.
pub fn share_of(micros: i64, share: Bps) -> Option<i64> {
    i64::try_from((i128::from(micros) * i128::from(share.0)).div_euclid(10_000)).ok()
}

/// Returns `share` of `pnl` like [`share_of`], but saturates where it does not fit.
pub fn at_share(pnl: UsdcMicros, share: Bps) -> UsdcMicros {
    UsdcMicros(share_of(pnl.0, share).unwrap_or(if pnl.0 < 0 { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(equity: i64, pnl: i64) -> PortfolioSnapshot {
        PortfolioSnapshot {
            portfolio: PortfolioId::ExecGlobal,
            bucket_time: Timestamp::EPOCH,
            equity: UsdcMicros(equity),
            cash: UsdcMicros(0),
            exposure: UsdcMicros(0),
            unrealized_pnl: UsdcMicros(pnl),
            realized_pnl: UsdcMicros(1),
            if_sold_now: None,
            stale_assets: 0,
        }
    }

    #[test]
    fn a_young_portfolio_counts_from_its_deposit_and_a_shadow_from_nothing() {
        let results = PnlSummary::of(&point(10_030, 29), Some(UsdcMicros(10_050)), None);
        assert_eq!((results.pnl_total_micros.0, results.pnl_7d_micros.0), (30, 30));
        assert_eq!(results.pnl_today_micros, Some(UsdcMicros(-20)));
        // 500 were put in within the week.
        let later = PnlSummary::of(&point(10_530, 29), None, Some(&point(10_011, 10)));
        assert_eq!((later.pnl_7d_micros.0, later.pnl_today_micros), (19, None));
        let shadow = PnlSummary::of(&point(-7, -8), Some(UsdcMicros(0)), Some(&point(-9, -10)));
        assert_eq!((shadow.pnl_today_micros, shadow.pnl_7d_micros.0), (Some(UsdcMicros(-7)), 2));
    }

    #[test]
    fn a_share_of_a_gain_or_a_loss_is_rounded_down() {
        assert_eq!(
            [at_share(UsdcMicros(199), Bps(100)), at_share(UsdcMicros(-199), Bps(100))].map(|pnl| pnl.0),
            [1, -2]
        );
        assert_eq!(at_share(UsdcMicros(i64::MAX), Bps(20_000)).0, i64::MAX);
        assert_eq!(share_of(1_000_000, Bps(100)), Some(10_000));
        assert_eq!(share_of(-99, Bps(100)), Some(-1));
        assert_eq!(share_of(i64::MAX, Bps(10_001)), None);
    }
}
