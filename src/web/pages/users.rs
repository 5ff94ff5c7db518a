//! `/users`: the followed users, each with their own PnL and the PnL of copying them.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web::Data};
use serde::Serialize;

use super::exactness::ExactnessView;
use crate::clock::Clock;
use crate::db::{Db, FollowedUser, SeenFill};
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::analysis::attempt_stats::AttemptStats;
use crate::domain::config::effective::{StoredConfig, UserOverrides, effective};
use crate::domain::config::follow_state::FollowState;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::{Bps, Timestamp, UsdcMicros};
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::page::{Page, PageContext};
use crate::web::views::pnl::{PnlSummary, at_share};

const DAY_MS: i64 = 24 * 3_600_000;

/// The page, and `/api/users`: all followed users, in the order they were added.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UsersView {
    /// The rows.
    pub data: Vec<UserRow>,
    /// Always null: the list is not split into pages.
    pub next_cursor: Option<String>,
    /// The sums over all rows.
    pub sums: UserTotals,
}

/// A row of `followed_user` with its figures, which are null before the first snapshot.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct UserRow {
    /// The followed user.
    pub id: FollowedUserId,
    /// Hostile text.
    pub label: String,
    /// The wallet of the trader, as their profile shows it.
    pub profile_wallet: Wallet,
    /// False when the trader is stopped: neither read nor copied.
    pub enabled: bool,
    /// How the trader is followed: `ACTIVE`, `WINDING_DOWN` (exits are copied, nothing is opened) or `STOPPED`.
    pub state: FollowState,
    /// When we began to follow them.
    pub created_at: Timestamp,
    /// The part of the leader's notional that a copy aims for.
    pub copy_pct_notional_bps: Bps,
    /// The total PnL of the leader's shadow, in millionths of a USDC.
    pub shadow_pnl_total_micros: Option<UsdcMicros>,
    /// The shadow's PnL times the copied share: the PnL of a perfect copy.
    pub shadow_pnl_at_share_micros: Option<UsdcMicros>,
    /// The PnL since 00:00 UTC, in millionths of a USDC.
    pub pnl_today_micros: Option<UsdcMicros>,
    /// The PnL of the last 7 days, in millionths of a USDC.
    pub pnl_7d_micros: Option<UsdcMicros>,
    /// Realized and unrealized PnL, in millionths of a USDC.
    pub pnl_total_micros: Option<UsdcMicros>,
    /// Cash and the value of the positions, in millionths of a USDC.
    pub equity_micros: Option<UsdcMicros>,
    /// Cash, and the holdings at the best bid (0 without one) less fees, in millionths of a USDC.
    pub if_sold_now_micros: Option<UsdcMicros>,
    /// Number of held assets without a price of the last hour.
    pub stale_assets: Option<i64>,
    /// The value of the open positions, in millionths of a USDC.
    pub exposure_micros: Option<UsdcMicros>,
    /// Number of open lots.
    pub open_positions: usize,
    /// The attempts of the last 24 hours.
    pub last_24h: AttemptCounts,
    /// The attempts of the last 7 days.
    pub last_7d: AttemptCounts,
    /// The newest fill of the leader.
    pub last_fill: Option<SeenFill>,
    /// The median over the attempts of the last 24 hours, in the steps in which lags are counted.
    pub detection_lag_median_seconds: Option<i64>,
    /// Whether the leader's books are true to the venue.
    pub exactness: ExactnessView,
}

/// The attempts in the EXEC_USER portfolio of the leader, counted from a full hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AttemptCounts {
    /// Number of copy attempts.
    pub attempts: u64,
    /// Number of copies, wholly or in part.
    pub copied: u64,
    /// The copied part of the attempts, in hundredths of a percent.
    pub copied_bps: Option<Bps>,
}

/// The sums over all rows. The shadows' PnL is not summed, because each leader trades with their own bankroll.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
pub struct UserTotals {
    /// The shadow's PnL times the copied share, in millionths of a USDC.
    pub shadow_pnl_at_share_micros: UsdcMicros,
    /// The PnL since 00:00 UTC, in millionths of a USDC.
    pub pnl_today_micros: UsdcMicros,
    /// The PnL of the last 7 days, in millionths of a USDC.
    pub pnl_7d_micros: UsdcMicros,
    /// Realized and unrealized PnL, in millionths of a USDC.
    pub pnl_total_micros: UsdcMicros,
    /// Cash and the value of the positions, in millionths of a USDC.
    pub equity_micros: UsdcMicros,
    /// Cash, and the holdings at the best bid (0 without one) less fees, in millionths of a USDC. Null while it is not
    /// known of one of the portfolios.
    pub if_sold_now_micros: Option<UsdcMicros>,
    /// The value of the open positions, in millionths of a USDC.
    pub exposure_micros: UsdcMicros,
    /// Number of open lots.
    pub open_positions: usize,
    /// The attempts of the last 24 hours.
    pub last_24h: AttemptCounts,
    /// The attempts of the last 7 days.
    pub last_7d: AttemptCounts,
}

type StatsByUser = BTreeMap<FollowedUserId, AttemptStats>;

impl UsersView {
    /// Reads all followed users with their figures.
    ///
    /// # Errors
    /// [`WebError::Ours`] when the database fails.
    pub async fn load(db: &Db, now: Timestamp) -> Result<Self, WebError> {
        let directory = db.directory().await?;
        let tallies = async |back: i64| {
            let since = now.plus_millis(-back);
            db.attempt_tallies(PortfolioScope::ExecUser, None, since).await
        };
        let (day, week) = (tallies(DAY_MS).await?, tallies(7 * DAY_MS).await?);
        let mut data = Vec::with_capacity(directory.users.len());
        for user in &directory.users {
            let share = copied_share(&directory.config, directory.overrides.get(&user.id));
            data.push(UserRow::load(db, user, share, (&day, &week), now).await?);
        }
        Ok(Self { sums: UserTotals::of(&data), data, next_cursor: None })
    }
}

/// Returns the part of the leader's notional that a copy in their EXEC_USER portfolio aims for.
pub fn copied_share(config: &StoredConfig, overrides: Option<&UserOverrides>) -> Bps {
    effective(config, overrides, PortfolioScope::ExecUser).sizing.copy_pct_notional
}

impl UserRow {
    async fn load(
        db: &Db,
        user: &FollowedUser,
        share: Bps,
        (day, week): (&StatsByUser, &StatsByUser),
        now: Timestamp,
    ) -> Result<Self, WebError> {
        let copies = PortfolioId::ExecUser(user.id);
        let shadow = db.newest_snapshot(PortfolioId::ShadowUser(user.id)).await?;
        let shadow = shadow.and_then(|point| point.realized_pnl.plus(point.unrealized_pnl).ok());
        let results = PnlSummary::load(db, copies, now).await?;
        let held = db.unmarked_portfolio(copies).await?;
        let day = day.get(&user.id);
        Ok(Self {
            id: user.id,
            label: user.label.clone(),
            profile_wallet: user.profile_wallet.clone(),
            enabled: user.enabled(),
            state: user.state,
            created_at: user.created_at,
            copy_pct_notional_bps: share,
            shadow_pnl_total_micros: shadow,
            shadow_pnl_at_share_micros: shadow.map(|pnl| at_share(pnl, share)),
            pnl_today_micros: results.and_then(|results| results.pnl_today_micros),
            pnl_7d_micros: results.map(|results| results.pnl_7d_micros),
            pnl_total_micros: results.map(|results| results.pnl_total_micros),
            equity_micros: results.map(|results| results.equity_micros),
            if_sold_now_micros: results.and_then(|results| results.if_sold_now_micros),
            stale_assets: results.map(|results| results.stale_assets),
            exposure_micros: results.map(|results| results.exposure_micros),
            open_positions: held.portfolio.lots().count(),
            last_24h: AttemptCounts::of(day),
            last_7d: AttemptCounts::of(week.get(&user.id)),
            last_fill: db.newest_fill_seen_of(user.id).await?,
            detection_lag_median_seconds: day.and_then(AttemptStats::lag_median_seconds),
            exactness: ExactnessView::load(db, user.id).await?,
        })
    }
}

impl AttemptCounts {
    fn of(tally: Option<&AttemptStats>) -> Self {
        tally.map_or(Self::default(), |tally| Self::new(tally.attempts(), tally.executed()))
    }

    fn new(attempts: u64, copied: u64) -> Self {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let copied_bps = (attempts > 0).then(|| Bps::of(whole(copied), whole(attempts)).ok()).flatten();
        Self { attempts, copied, copied_bps }
    }

    fn plus(self, other: Self) -> Self {
        Self::new(self.attempts.saturating_add(other.attempts), self.copied.saturating_add(other.copied))
    }
}

impl UserTotals {
    fn of(rows: &[UserRow]) -> Self {
        let add = |sum: &mut UsdcMicros, more: Option<UsdcMicros>| {
            sum.0 = sum.0.saturating_add(more.unwrap_or_default().0);
        };
        let mut sums = Self::default();
        for row in rows {
            add(&mut sums.shadow_pnl_at_share_micros, row.shadow_pnl_at_share_micros);
            add(&mut sums.pnl_today_micros, row.pnl_today_micros);
            add(&mut sums.pnl_7d_micros, row.pnl_7d_micros);
            add(&mut sums.pnl_total_micros, row.pnl_total_micros);
            add(&mut sums.equity_micros, row.equity_micros);
            add(&mut sums.exposure_micros, row.exposure_micros);
            sums.open_positions += row.open_positions;
            sums.last_24h = sums.last_24h.plus(row.last_24h);
            sums.last_7d = sums.last_7d.plus(row.last_7d);
        }
        let open = || rows.iter().filter(|row| row.equity_micros.is_some());
        let sold: Option<Vec<UsdcMicros>> = open().map(|row| row.if_sold_now_micros).collect();
        sums.if_sold_now_micros =
            sold.map(|sold| UsdcMicros(sold.iter().fold(0, |sum, one| one.0.saturating_add(sum))));
        sums
    }
}

/// Answers `GET /users`.
///
/// # Errors
/// Those of [`UsersView::load`].
pub async fn page(context: PageContext) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = UsersView::load(&context.db, context.now()).await?;
    context.page(Page::Users, &position, &view).await
}

/// Answers `GET /api/users`.
///
/// # Errors
/// Those of [`UsersView::load`].
pub async fn json(db: Data<Db>, clock: Data<Clock>) -> Result<Json<UsersView>, WebError> {
    Ok(Json(UsersView::load(&db, clock.now()).await?))
}
