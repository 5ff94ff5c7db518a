//! The used part of each risk limit, and the circuit breakers of every portfolio (spec 7.3, spec 7.7).

use serde::Serialize;

use super::holdings::Holdings;
use crate::db::{Db, DbError, Directory, PortfolioSnapshot};
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::accounting::view::Baselines;
use crate::domain::config::effective::{Guardrails, effective};
use crate::domain::decision::breaker::{Loss, losses};
use crate::domain::decision::check::CheckName;
use crate::domain::money::units::{Bps, Timestamp, UsdcMicros};
use crate::web::charts::histogram::bar;
use crate::web::server::error::WebError;

/// From this used part on, a limit is near.
const NEAR_BPS: i64 = 8_000;

/// One limit and its used part.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct LimitView {
    /// The check that holds the limit.
    pub name: CheckName,
    /// The leader's label or the market's question; hostile text. Empty for a limit of the portfolio itself.
    pub of: String,
    /// The used part of the limit, in millionths of a USDC.
    pub used_micros: UsdcMicros,
    /// The limit, in millionths of a USDC.
    pub limit_micros: UsdcMicros,
    /// The used part of the limit.
    pub used_bps: Bps,
    /// How much of the limit is used, as a word.
    pub state: LimitState,
    /// In thousandths of the full width.
    pub bar: i64,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitState {
    Free,
    Near,
    /// No new position is opened.
    Reached,
}

/// The three loss limits of one portfolio.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct BreakerView {
    /// The portfolio: `EXEC_GLOBAL`, `EXEC_USER:7` or `SHADOW_USER:7`.
    pub portfolio: String,
    /// A leader's label, or nothing for the global portfolio.
    pub label: Option<String>,
    /// Cash and the value of the positions, in millionths of a USDC.
    pub equity_micros: UsdcMicros,
    /// The cash, and the holdings at the best bid less fees, in millionths of a USDC; null before it was worked out.
    pub if_sold_now_micros: Option<UsdcMicros>,
    /// The highest equity so far, or since the last reset, in millionths of a USDC.
    pub peak_micros: UsdcMicros,
    /// The time of the last reset of the peak.
    pub reset_at: Option<Timestamp>,
    /// The limits: loss of the day, loss of the week, drawdown. A loss that is not known yet is not among them.
    pub losses: Vec<LimitView>,
    /// The losses that wait for the first equity of their day or week at fresh marks. Their breakers do not trip until
    /// then.
    pub waiting: Vec<CheckName>,
    /// Whether a limit is reached, so that no new position is opened.
    pub tripped: bool,
    /// True when the equity is below the peak, so that a reset of the peak would lower the drawdown.
    pub resettable: bool,
}

impl LimitView {
    fn new(name: CheckName, of: String, used: UsdcMicros, limit: UsdcMicros, reached: bool) -> Self {
        let used_bps = Bps::of(used.0.max(0), limit.0.max(1)).unwrap_or(Bps(i64::MAX));
        let state = match (reached, used_bps.0 >= NEAR_BPS) {
            (true, _) => LimitState::Reached,
            (false, true) => LimitState::Near,
            (false, false) => LimitState::Free,
        };
        Self { name, of, used_micros: used, limit_micros: limit, used_bps, state, bar: bar(used.0, limit.0.max(1)) }
    }

    fn of_loss(loss: &Loss) -> Self {
        Self::new(loss.name, String::new(), loss.lost.max(UsdcMicros::ZERO), loss.limit, loss.is_tripped())
    }
}

/// Returns the exposure limits of the global portfolio: the total, its largest market, and each leader.
///
/// # Errors
/// [`WebError::Ours`] when a sum does not fit.
pub fn exposure_limits(holdings: &Holdings, directory: &Directory) -> Result<Vec<LimitView>, WebError> {
    let figures = holdings.portfolio.figures();
    let cap = |bps: Bps| figures.equity.part(bps).map_err(WebError::ours);
    let global = effective(&directory.config, None, PortfolioScope::ExecGlobal).guardrails;
    // Equal to the cap is allowed, but leaves no room for anything.
    let limit = |name, of: String, used: UsdcMicros, cap: UsdcMicros| LimitView::new(name, of, used, cap, used >= cap);
    let total = cap(global.max_total_exposure)?;
    let mut limits = vec![limit(CheckName::TotalExposure, String::new(), figures.exposure, total)];
    if let Some(largest) = holdings.by_market(1).pop() {
        let of_market = cap(global.max_exposure_per_market)?;
        limits.push(limit(CheckName::MarketExposure, largest.name, largest.exposure_micros, of_market));
    }
    for leader in holdings.by_leader() {
        let overrides = leader.followed_user_id.and_then(|user| directory.overrides.get(&user));
        let theirs = effective(&directory.config, overrides, PortfolioScope::ExecGlobal).guardrails;
        let of_leader = cap(theirs.max_exposure_per_user)?;
        limits.push(limit(CheckName::LeaderExposure, leader.name, leader.exposure_micros, of_leader));
    }
    Ok(limits)
}

impl BreakerView {
    /// Returns the breakers of the global portfolio, then of each leader's, at their last snapshots. Portfolios without a
    /// snapshot are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn all(db: &Db, directory: &Directory, now: Timestamp) -> Result<Vec<Self>, DbError> {
        let mut views = Vec::new();
        let global = effective(&directory.config, None, PortfolioScope::ExecGlobal).guardrails;
        views.extend(Self::of(db, PortfolioId::ExecGlobal, None, &global, now).await?);
        for user in &directory.users {
            let overrides = directory.overrides.get(&user.id);
            let theirs = effective(&directory.config, overrides, PortfolioScope::ExecUser).guardrails;
            let label = Some(user.label.clone());
            views.extend(Self::of(db, PortfolioId::ExecUser(user.id), label, &theirs, now).await?);
        }
        Ok(views)
    }

    async fn of(
        db: &Db,
        portfolio: PortfolioId,
        label: Option<String>,
        guardrails: &Guardrails,
        now: Timestamp,
    ) -> Result<Option<Self>, DbError> {
        let Some((newest, baselines)) = newest_and_baselines(db, portfolio, now).await? else { return Ok(None) };
        let equity = newest.equity;
        let reset_at = db.peak_reset(portfolio).await?.map(|reset| reset.at);
        let Ok(losses) = losses(equity, baselines, guardrails) else { return Ok(None) };
        let known = |name: &CheckName| losses.iter().any(|loss| loss.name == *name);
        let waiting = [CheckName::DailyLoss, CheckName::WeeklyLoss].into_iter().filter(|name| !known(name)).collect();
        Ok(Some(Self {
            portfolio: portfolio.to_string(),
            label,
            equity_micros: equity,
            if_sold_now_micros: newest.if_sold_now,
            peak_micros: baselines.peak.max(equity),
            reset_at,
            tripped: losses.iter().any(Loss::is_tripped),
            resettable: baselines.peak > equity,
            losses: losses.iter().map(LimitView::of_loss).collect(),
            waiting,
        }))
    }
}

/// Returns the last snapshot and the baselines of its losses; `None` before the first snapshot.
///
/// # Errors
/// [`DbError`] when the database fails.
pub async fn newest_and_baselines(
    db: &Db,
    portfolio: PortfolioId,
    now: Timestamp,
) -> Result<Option<(PortfolioSnapshot, Baselines)>, DbError> {
    let Some((newest, history)) = db.equity_history(portfolio).await? else { return Ok(None) };
    let gained = UsdcMicros(newest.realized_pnl.0.saturating_add(newest.unrealized_pnl.0));
    let deposit = newest.equity.minus(gained).unwrap_or(newest.equity);
    let peak = peak(db, portfolio, deposit).await?;
    Ok(Some((newest, Baselines { peak, ..history.baselines(now) })))
}

/// Returns the equity that the drawdown is measured from: the highest since the last reset, or since the opening deposit.
///
/// # Errors
/// [`DbError`] when the database fails.
pub async fn peak(db: &Db, portfolio: PortfolioId, deposit: UsdcMicros) -> Result<UsdcMicros, DbError> {
    let is_reset = db.peak_reset(portfolio).await?.is_some();
    let peak = db.peak(portfolio).await?.unwrap_or(deposit);
    Ok(if is_reset { peak } else { peak.max(deposit) })
}
