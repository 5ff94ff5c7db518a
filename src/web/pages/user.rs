//! One leader: their result beside that of copying them, and where the two part.

use actix_web::{
    HttpResponse,
    web::{Data, Json, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::users::copied_share;
use crate::clock::Clock;
use crate::db::{Db, FollowedUser};
use crate::domain::accounting::closed_lots::ClosedLotCounts;
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::analysis::attempt_stats::AttemptStats;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::{Bps, Timestamp, UsdcMicros};
use crate::web::charts::distributions::{Lags, ReasonShare, Slippage, whole};
use crate::web::charts::series::Range;
use crate::web::live::broadcaster::ROWS_SHOWN;
use crate::web::server::error::WebError;
use crate::web::shell::page::{Page, PageContext};
use crate::web::views::leader_feed;
use crate::web::views::leader_feed::FeedRow;
use crate::web::views::pnl::{Results, at_share};
use crate::web::views::position_comparison::Sides;

const HOUR_MS: i64 = 3_600_000;

/// The page, and `/api/users/{id}`.
#[derive(Debug, Serialize)]
pub struct UserView {
    pub id: FollowedUserId,
    /// Hostile text.
    pub label: String,
    pub profile_wallet: Wallet,
    /// Others seen in their rows.
    pub proxy_wallets: Vec<Wallet>,
    pub enabled: bool,
    pub created_at: Timestamp,
    pub copy_pct_notional_bps: Bps,
    pub shadow: Option<Results>,
    pub copies: Option<Results>,
    /// The shadow's total at the copied share.
    pub shadow_pnl_at_share_micros: Option<UsdcMicros>,
    /// The copies' total less that: below zero is what copying lost on the way.
    pub tracking_gap_micros: Option<UsdcMicros>,
    pub win_rate: WinRate,
    /// What `attempts` and the distributions cover, from the start of its hour.
    pub range: Range,
    pub attempts: Rates,
    pub slippage: Slippage,
    pub detection_lag: Lags,
    pub skip_reasons: Vec<ReasonShare>,
    pub positions: Sides,
    pub feed: Vec<FeedRow>,
}

/// Closed lots of our copies, since the beginning.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WinRate {
    #[serde(flatten)]
    pub closings: ClosedLotCounts,
    pub closed: u64,
    pub won_bps: Option<Bps>,
}

/// Attempts in the leader's own portfolio.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rates {
    pub attempts: u64,
    /// For each day of the range.
    pub attempts_per_day: u64,
    pub copied: u64,
    pub partly: u64,
    pub skipped: u64,
    /// Copied wholly or in part, of all attempts.
    pub fill_rate_bps: Option<Bps>,
    /// In part, of those that were copied.
    pub partial_rate_bps: Option<Bps>,
    pub filled_micros: UsdcMicros,
}

/// `?range=7d`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserQuery {
    #[serde(default)]
    range: Range,
}

impl UserView {
    pub async fn load(db: &Db, id: FollowedUserId, range: Range, now: Timestamp) -> Result<Self, WebError> {
        let directory = db.directory().await.map_err(WebError::ours)?;
        let share = copied_share(&directory.config, directory.overrides.get(&id));
        let user = directory.users.into_iter().find(|user| user.id == id).ok_or(WebError::NotFound)?;
        let since = since(range, &user, now);
        let tally = db.attempt_tally(PortfolioScope::ExecUser, id, since).await.map_err(WebError::ours)?;
        let shadow = Results::load(db, PortfolioId::ShadowUser(id), now).await.map_err(WebError::ours)?;
        let copies = Results::load(db, PortfolioId::ExecUser(id), now).await.map_err(WebError::ours)?;
        let theirs = db.running_portfolio(PortfolioId::ShadowUser(id)).await.map_err(WebError::ours)?.portfolio;
        let ours = db.running_portfolio(PortfolioId::ExecUser(id)).await.map_err(WebError::ours)?.portfolio;
        let at_share = shadow.map(|shadow| at_share(shadow.pnl_total_micros, share));
        let gap = copies.zip(at_share).and_then(|(made, could)| made.pnl_total_micros.minus(could).ok());
        Ok(Self {
            id,
            copy_pct_notional_bps: share,
            shadow,
            copies,
            shadow_pnl_at_share_micros: at_share,
            tracking_gap_micros: gap,
            win_rate: WinRate::of(ours.closed_lots()),
            range,
            attempts: Rates::of(&tally, now.millis_since(since)),
            slippage: Slippage::of(&tally),
            detection_lag: Lags::of(&tally),
            skip_reasons: ReasonShare::all(&tally),
            positions: Sides::of(db, &theirs, &ours).await.map_err(WebError::ours)?,
            feed: leader_feed::feed(db, id, ROWS_SHOWN).await?,
            proxy_wallets: user.wallets.into_iter().filter(|wallet| *wallet != user.profile_wallet).collect(),
            label: user.label,
            profile_wallet: user.profile_wallet,
            enabled: user.enabled,
            created_at: user.created_at,
        })
    }
}

/// The start of the range, never before they were followed.
fn since(range: Range, user: &FollowedUser, now: Timestamp) -> Timestamp {
    let hours = match range {
        Range::Hour => 1,
        Range::Day => 24,
        Range::Week => 7 * 24,
        Range::Month => 30 * 24,
        Range::All => return user.created_at,
    };
    now.plus_millis(-hours * HOUR_MS)
}

impl WinRate {
    fn of(closings: ClosedLotCounts) -> Self {
        let closed = closings.total();
        Self { closings, closed, won_bps: share(closings.won, closed) }
    }
}

impl Rates {
    fn of(tally: &AttemptStats, covers_ms: i64) -> Self {
        let hours = u64::try_from(covers_ms / HOUR_MS).unwrap_or(0).max(1);
        Self {
            attempts: tally.attempts(),
            attempts_per_day: tally.attempts().saturating_mul(24) / hours.max(24),
            copied: tally.copied,
            partly: tally.partly,
            skipped: tally.skipped,
            fill_rate_bps: share(tally.executed(), tally.attempts()),
            partial_rate_bps: share(tally.partly, tally.executed()),
            filled_micros: tally.filled_micros,
        }
    }
}

/// `None` of nothing.
fn share(part: u64, of: u64) -> Option<Bps> {
    if of == 0 { None } else { Bps::of(whole(part), whole(of)).ok() }
}

/// The view under the name that parts of the page take it by.
#[derive(Serialize)]
struct UserPage<'a> {
    user: &'a UserView,
}

/// `GET /users/{id}`.
pub async fn page(
    context: PageContext,
    id: Path<FollowedUserId>,
    query: Query<UserQuery>,
) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = UserView::load(&context.db, *id, query.range, context.now()).await?;
    context.page(Page::User, &position, &UserPage { user: &view }).await
}

/// `GET /api/users/{id}`.
pub async fn json(
    db: Data<Db>,
    clock: Data<Clock>,
    id: Path<FollowedUserId>,
    query: Query<UserQuery>,
) -> Result<Json<UserView>, WebError> {
    Ok(Json(UserView::load(&db, *id, query.range, clock.now()).await?))
}
