//! The overview: the figures of the global portfolio, the followed users, and the two lists that grow live.

use actix::Recipient;
use actix_web::{HttpResponse, web::Data};
use serde::Serialize;

use crate::clock::Clock;
use crate::db::{Db, DbError, PortfolioSnapshot};
use crate::domain::accounting::closed_lots::ClosedLotCounts;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::{Bps, Timestamp, UsdcMicros};
use crate::web::live::messages::{GetStreamPosition, LiveFigures, ROWS_SHOWN, StreamPosition};
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::page::{Page, PageContext};
use crate::web::views::attempts::{AttemptQuery, AttemptView};
use crate::web::views::health::HealthView;
use crate::web::views::holdings::{ExposureView, Holdings};
use crate::web::views::risk;
use crate::web::views::trades::{TradeQuery, TradeView};

const MARKETS_SHOWN: usize = 6;
const WEEK_MS: i64 = 7 * 86_400_000;

/// The page, and `/api/overview`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Overview {
    /// The figures of the global portfolio.
    pub figures: PortfolioFigures,
    /// The followed users.
    pub users: Vec<UserSummary>,
    /// The largest markets of the global portfolio, by exposure.
    pub markets: Vec<ExposureView>,
    /// The exposure of the global portfolio by leader.
    pub leaders: Vec<ExposureView>,
    /// Number of open lots of the global portfolio.
    pub n_positions: usize,
    /// The health of the bot.
    pub health: HealthView,
    /// The newest copy attempts.
    pub attempts: Vec<AttemptView>,
    /// The newest fills of leaders.
    pub trades: Vec<TradeView>,
    /// The sequence number of the last live frame that the page includes.
    pub seq: u64,
}

/// The figures of EXEC_GLOBAL. All are null before the portfolio has opened.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
pub struct PortfolioFigures {
    /// The time of the figures.
    pub as_of: Option<Timestamp>,
    /// Cash and the value of the positions, in millionths of a USDC.
    pub equity_micros: Option<UsdcMicros>,
    /// Cash, in millionths of a USDC.
    pub cash_micros: Option<UsdcMicros>,
    /// The cash as a part of the equity, in hundredths of a percent.
    pub cash_bps: Option<Bps>,
    /// The value of the open positions, in millionths of a USDC.
    pub exposure_micros: Option<UsdcMicros>,
    /// The exposure as a part of the equity, in hundredths of a percent.
    pub exposure_bps: Option<Bps>,
    /// The PnL of closed shares, fees included, in millionths of a USDC.
    pub realized_pnl_micros: Option<UsdcMicros>,
    /// The value of the open shares less their cost, in millionths of a USDC.
    pub unrealized_pnl_micros: Option<UsdcMicros>,
    /// Since the opening deposit, in millionths of a USDC.
    pub pnl_total_micros: Option<UsdcMicros>,
    /// Since 00:00 UTC, in millionths of a USDC. Null after a gap over 00:00, until all held assets had fresh marks.
    pub pnl_today_micros: Option<UsdcMicros>,
    /// The PnL since 00:00 UTC as a part of the equity then, in hundredths of a percent.
    pub pnl_today_bps: Option<Bps>,
    /// Within the last 7 days.
    pub pnl_7d_micros: Option<UsdcMicros>,
    /// The PnL of the last 7 days as a part of the equity then, in hundredths of a percent.
    pub pnl_7d_bps: Option<Bps>,
    /// The total PnL in parts of the opening deposit.
    pub pnl_total_bps: Option<Bps>,
    /// Number of closed lots at the last checkpoint, which is a few seconds old.
    pub closed_lots: Option<u64>,
    /// The part of the closed lots that made money, in hundredths of a percent.
    pub win_rate_bps: Option<Bps>,
    /// The highest equity so far, or since the last reset, in millionths of a USDC.
    pub peak_micros: Option<UsdcMicros>,
    /// The fall of the equity from the peak.
    pub drawdown_bps: Option<Bps>,
    /// Cash, and the holdings at the best bid (0 without one) less fees, at the last snapshot; in millionths of a USDC.
    pub if_sold_now_micros: Option<UsdcMicros>,
    /// Number of held assets without a price of the last hour, at the last snapshot.
    pub stale_assets: Option<i64>,
}

/// A followed user and the PnL of copying them.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct UserSummary {
    /// The followed user.
    pub id: FollowedUserId,
    /// The name in lists; hostile text.
    pub label: String,
    /// The wallet of the trader, as their profile shows it.
    pub profile_wallet: Wallet,
    /// False when the trader is no longer followed.
    pub enabled: bool,
    /// The PnL of the leader's EXEC_USER portfolio at its last snapshot.
    pub pnl_total_micros: Option<UsdcMicros>,
}

/// The totals of a portfolio at one moment, from the live hub or from its last snapshot.
#[derive(Debug, Clone, Copy)]
struct CurrentTotals {
    at: Timestamp,
    equity: UsdcMicros,
    cash: UsdcMicros,
    exposure: UsdcMicros,
    realized: UsdcMicros,
    unrealized: UsdcMicros,
}

/// The earlier values that the current totals are compared with.
#[derive(Debug, Clone, Copy, Default)]
struct FigureBaselines {
    /// `None` while it is not known.
    day: Option<UsdcMicros>,
    /// The total PnL and the equity of 7 days ago; `None` for a younger portfolio.
    week: Option<(UsdcMicros, UsdcMicros)>,
    peak: UsdcMicros,
    closings: Option<ClosedLotCounts>,
}

impl CurrentTotals {
    fn deposits(&self) -> Option<UsdcMicros> {
        self.equity.minus(self.realized.plus(self.unrealized).ok()?).ok()
    }
}

/// Returns the part of the closed lots that were won.
fn win_rate(closings: ClosedLotCounts) -> Option<Bps> {
    let [won, total] = [closings.won, closings.total()].map(|n| i64::try_from(n).ok());
    Bps::of(won?, total?).ok()
}

impl Overview {
    /// Reads everything that the page shows. The position is read before the rows, so that a live frame is never missed.
    ///
    /// # Errors
    /// [`WebError::Ours`] when the database fails.
    pub async fn load(db: &Db, position: StreamPosition, now: Timestamp) -> Result<Self, WebError> {
        let holdings = Holdings::load(db, PortfolioId::ExecGlobal, now).await?;
        Ok(Self {
            figures: PortfolioFigures::load(db, &position.figures, now).await?,
            markets: holdings.by_market(MARKETS_SHOWN),
            leaders: holdings.by_leader(),
            n_positions: holdings.portfolio.lots().count(),
            users: UserSummary::all(db).await?,
            health: HealthView::load(db, &position.figures, now).await,
            attempts: AttemptView::page(db, &AttemptQuery::default()).await?.data,
            trades: TradeView::page(db, &TradeQuery::default()).await?.data,
            seq: position.seq,
        })
    }
}

impl PortfolioFigures {
    /// Computes the figures from the live hub's last message or the last snapshot, whichever is newer.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn load(db: &Db, live: &LiveFigures, now: Timestamp) -> Result<Self, DbError> {
        let newest = db.snapshot_at_or_before(PortfolioId::ExecGlobal, now).await?;
        let snapshot = newest.map(|row| CurrentTotals {
            at: row.bucket_time,
            equity: row.equity,
            cash: row.cash,
            exposure: row.exposure,
            realized: row.realized_pnl,
            unrealized: row.unrealized_pnl,
        });
        let announced = live.global.map(|changed| CurrentTotals {
            at: changed.at,
            equity: changed.equity,
            cash: changed.cash,
            exposure: changed.exposure,
            realized: changed.realized,
            unrealized: changed.unrealized,
        });
        // Another process may have written a snapshot that is newer than the hub's last message here.
        let Some(current) = announced.into_iter().chain(snapshot).max_by_key(|current| current.at) else {
            return Ok(Self::default());
        };
        let week = db.snapshot_at_or_before(PortfolioId::ExecGlobal, now.plus_millis(-WEEK_MS)).await?;
        let history = db.equity_history(PortfolioId::ExecGlobal).await?.map(|(_, history)| history);
        let pnl = |row: PortfolioSnapshot| UsdcMicros(row.realized_pnl.0.saturating_add(row.unrealized_pnl.0));
        let since = FigureBaselines {
            day: history.map_or(current.deposits(), |history| history.baselines(now).day_start),
            week: week.map(|row| (pnl(row), row.equity)),
            peak: risk::peak(db, PortfolioId::ExecGlobal, current.deposits().unwrap_or_default()).await?,
            closings: db.closings(PortfolioId::ExecGlobal).await?,
        };
        let (if_sold_now_micros, stale_assets) =
            (newest.and_then(|row| row.if_sold_now), newest.map(|row| row.stale_assets));
        Ok(Self { if_sold_now_micros, stale_assets, ..Self::of(current, since).unwrap_or_default() })
    }

    /// Computes the figures. `None` when a sum does not fit, which no portfolio of ours reaches.
    fn of(current: CurrentTotals, since: FigureBaselines) -> Option<Self> {
        let pnl_total = current.realized.plus(current.unrealized).ok()?;
        let deposits = current.deposits()?;
        let pnl_today = since.day.map(|day| current.equity.minus(day)).transpose().ok()?;
        // Of the PnL and not of the equity, so that money put in or taken out is neither profit nor loss.
        let (pnl_before, week) = since.week.unwrap_or((UsdcMicros::ZERO, deposits));
        let pnl_7d = pnl_total.minus(pnl_before).ok()?;
        let peak = since.peak.max(current.equity);
        let closed = since.closings.map(|closings| closings.total());
        let fall = peak.minus(current.equity).ok()?;
        Some(Self {
            as_of: Some(current.at),
            equity_micros: Some(current.equity),
            cash_micros: Some(current.cash),
            cash_bps: Bps::of(current.cash.0, current.equity.0).ok(),
            exposure_micros: Some(current.exposure),
            exposure_bps: Bps::of(current.exposure.0, current.equity.0).ok(),
            realized_pnl_micros: Some(current.realized),
            unrealized_pnl_micros: Some(current.unrealized),
            pnl_total_micros: Some(pnl_total),
            pnl_today_micros: pnl_today,
            pnl_today_bps: pnl_today.zip(since.day).and_then(|(pnl, day)| Bps::of(pnl.0, day.0).ok()),
            pnl_7d_micros: Some(pnl_7d),
            pnl_7d_bps: Bps::of(pnl_7d.0, week.0).ok(),
            pnl_total_bps: Bps::of(pnl_total.0, deposits.0).ok(),
            closed_lots: closed,
            win_rate_bps: since.closings.filter(|_| closed > Some(0)).and_then(win_rate),
            peak_micros: Some(peak),
            drawdown_bps: Bps::of(fall.0, peak.0).ok(),
            if_sold_now_micros: None,
            stale_assets: None,
        })
    }
}

impl UserSummary {
    /// Returns all followed users, in the order they were added. It makes one query for each user.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn all(db: &Db) -> Result<Vec<Self>, DbError> {
        let mut views = Vec::new();
        for user in db.followed_users().await? {
            let snapshot = db.newest_snapshot(PortfolioId::ExecUser(user.id)).await?;
            views.push(Self {
                pnl_total_micros: snapshot.and_then(|row| row.realized_pnl.plus(row.unrealized_pnl).ok()),
                id: user.id,
                label: user.label,
                profile_wallet: user.profile_wallet,
                enabled: user.state.is_enabled(),
            });
        }
        Ok(views)
    }
}

/// The variables of the template: the view and the length of its lists.
#[derive(Serialize)]
struct OverviewPage<'a> {
    #[serde(flatten)]
    overview: &'a Overview,
    rows_shown: usize,
}

/// Answers `GET /`.
///
/// # Errors
/// [`WebError::Busy`] when the broadcaster does not answer.
pub async fn page(context: PageContext) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let overview = Overview::load(&context.db, position.clone(), context.now()).await?;
    let page = OverviewPage { overview: &overview, rows_shown: ROWS_SHOWN };
    context.page(Page::Overview, &position, &page).await
}

/// Answers `GET /api/overview`.
///
/// # Errors
/// [`WebError::Busy`] when the broadcaster does not answer.
pub async fn json(
    db: Data<Db>,
    stream: Data<Recipient<GetStreamPosition>>,
    clock: Data<Clock>,
) -> Result<Json<Overview>, WebError> {
    let position = stream.send(GetStreamPosition).await.map_err(|_| WebError::Busy)?;
    Ok(Json(Overview::load(&db, position, clock.now()).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(equity: i64, realized: i64, unrealized: i64, day: Option<i64>, peak: Option<i64>) -> PortfolioFigures {
        let usdc = |whole: i64| UsdcMicros(whole * 1_000_000);
        let current = CurrentTotals {
            at: Timestamp::EPOCH,
            equity: usdc(equity),
            cash: usdc(equity / 2),
            exposure: usdc(equity - equity / 2),
            realized: usdc(realized),
            unrealized: usdc(unrealized),
        };
        let peak = peak.map_or(current.deposits().unwrap(), usdc);
        let since = FigureBaselines {
            day: day.map(usdc),
            week: None,
            peak,
            closings: Some(ClosedLotCounts { won: 2, lost: 1, even: 0 }),
        };
        PortfolioFigures::of(current, since).unwrap()
    }

    #[test]
    fn a_young_portfolio_starts_from_its_deposit() {
        let young = figures(9_900, -60, -40, Some(10_000), None);
        assert_eq!(young.pnl_today_micros, Some(UsdcMicros(-100_000_000)));
        assert_eq!(young.pnl_today_bps, Some(Bps(-100)));
        assert_eq!(young.peak_micros, Some(UsdcMicros(10_000_000_000)));
        assert_eq!(young.drawdown_bps, Some(Bps(100)));
        assert_eq!((young.pnl_7d_micros, young.pnl_total_bps), (Some(UsdcMicros(-100_000_000)), Some(Bps(-100))));
        assert_eq!((young.win_rate_bps, young.closed_lots), (Some(Bps(6_666)), Some(3)));
    }

    #[test]
    fn today_counts_from_midnight_and_the_fall_from_the_peak() {
        let grown = figures(12_000, 1_500, 500, Some(11_760), Some(12_500));
        assert_eq!(grown.pnl_total_micros, Some(UsdcMicros(2_000_000_000)));
        assert_eq!(grown.pnl_today_micros, Some(UsdcMicros(240_000_000)));
        assert_eq!(grown.pnl_today_bps, Some(Bps(204)));
        assert_eq!(grown.drawdown_bps, Some(Bps(400)));
        assert_eq!((grown.cash_bps, grown.exposure_bps), (Some(Bps(5000)), Some(Bps(5000))));
        assert_eq!(figures(12_000, 1_500, 500, None, None).pnl_today_micros, None, "the equity of 00:00 is not known");
        // The current equity may be the highest yet, before any snapshot has it.
        assert_eq!(figures(12_000, 2_000, 0, None, Some(11_000)).drawdown_bps, Some(Bps(0)));
    }
}
