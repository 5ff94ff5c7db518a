//! `/users/{id}`: one leader's PnL beside the PnL of copying them, and the reasons for the gap.

use actix_web::{
    HttpResponse,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::exactness::{ExactnessView, PositionCheckView};
use super::users::copied_share;
use crate::clock::Clock;
use crate::db::{Db, FollowedUser};
use crate::domain::accounting::closed_lots::ClosedLotCounts;
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::analysis::attempt_stats::AttemptStats;
use crate::domain::config::follow_state::FollowState;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::{Bps, Timestamp, UsdcMicros};
use crate::web::charts::distributions::{Lags, ReasonShare, Slippage, whole};
use crate::web::charts::series::Range;
use crate::web::live::messages::ROWS_SHOWN;
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::page::{Page, PageContext};
use crate::web::views::leader_feed;
use crate::web::views::leader_feed::FeedRow;
use crate::web::views::pnl::{PnlSummary, at_share};
use crate::web::views::position_comparison::PositionComparison;

const HOUR_MS: i64 = 3_600_000;

/// The page, and `/api/users/{id}`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UserDetail {
    /// The followed user.
    pub id: FollowedUserId,
    /// Hostile text.
    pub label: String,
    /// The wallet of the trader, as their profile shows it.
    pub profile_wallet: Wallet,
    /// Other wallets seen in their rows.
    pub proxy_wallets: Vec<Wallet>,
    /// False when the trader is stopped: neither read nor copied.
    pub enabled: bool,
    /// How the trader is followed: `ACTIVE`, `WINDING_DOWN` (exits are copied, nothing is opened) or `STOPPED`.
    pub state: FollowState,
    /// When we began to follow them.
    pub created_at: Timestamp,
    /// The part of the leader's notional that a copy aims for, in hundredths of a percent.
    pub copy_pct_notional_bps: Bps,
    /// The leader's own trades, from when we began to follow them.
    pub shadow: Option<PnlSummary>,
    /// Our copies of the leader, in the EXEC_USER portfolio.
    pub copies: Option<PnlSummary>,
    /// The shadow's total PnL times the copied share: the PnL of a perfect copy.
    pub shadow_pnl_at_share_micros: Option<UsdcMicros>,
    /// The copies' total PnL less that of a perfect copy. Below zero, copying has lost money against the leader.
    pub tracking_gap_micros: Option<UsdcMicros>,
    /// The closed lots of our copies.
    pub win_rate: WinRate,
    /// The time that `attempts` and the distributions cover. It begins at a full hour.
    pub range: Range,
    /// The attempts of the range.
    pub attempts: AttemptRates,
    /// Our prices compared with the leader's, over the range.
    pub slippage: Slippage,
    /// The time from a fill to its detection, over the range.
    pub detection_lag: Lags,
    /// The reasons of the skips in the range.
    pub skip_reasons: Vec<ReasonShare>,
    /// The start of the first window that was read: what the leader did before is part of the opening. Null until then.
    pub follows_from: Option<Timestamp>,
    /// Whether the leader's books are true to the venue.
    pub exactness: ExactnessView,
    /// The newest comparison of the books with the venue's positions; null before the first.
    pub position_check: Option<PositionCheckView>,
    /// The holdings of the leader beside ours.
    pub positions: PositionComparison,
    /// The newest rows of the leader.
    pub feed: Vec<FeedRow>,
}

/// Closed lots of our copies, since the beginning.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct WinRate {
    #[serde(flatten)]
    pub closings: ClosedLotCounts,
    /// Number of closed lots.
    pub closed: u64,
    /// The part of the closed lots that made money, in hundredths of a percent.
    pub won_bps: Option<Bps>,
}

/// The attempts in the EXEC_USER portfolio of the leader.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct AttemptRates {
    /// Number of copy attempts.
    pub attempts: u64,
    /// The average for each day of the range.
    pub attempts_per_day: u64,
    /// Number of copies that filled the whole target.
    pub copied: u64,
    /// Number of copies that filled a part of the target.
    pub partly: u64,
    /// Number of skipped groups.
    pub skipped: u64,
    /// The part of all attempts that was copied, wholly or in part.
    pub fill_rate_bps: Option<Bps>,
    /// The part of the copied attempts that was filled only in part.
    pub partial_rate_bps: Option<Bps>,
    /// The filled size, in millionths of a USDC.
    pub filled_micros: UsdcMicros,
}

/// `?range=7d`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserQuery {
    #[serde(default)]
    range: Range,
}

impl UserDetail {
    /// Reads the leader `id` with the figures of `range`.
    ///
    /// # Errors
    /// [`WebError::NotFound`] for an unknown user.
    pub async fn load(db: &Db, id: FollowedUserId, range: Range, now: Timestamp) -> Result<Self, WebError> {
        let directory = db.directory().await?;
        let share = copied_share(&directory.config, directory.overrides.get(&id));
        let user = directory.users.into_iter().find(|user| user.id == id).ok_or(WebError::NotFound)?;
        let since = since(range, &user, now);
        let tally = db.attempt_tally(PortfolioScope::ExecUser, id, since).await?;
        let shadow = PnlSummary::load(db, PortfolioId::ShadowUser(id), now).await?;
        let copies = PnlSummary::load(db, PortfolioId::ExecUser(id), now).await?;
        let theirs = db.running_portfolio(PortfolioId::ShadowUser(id), now).await?.portfolio;
        let ours = db.running_portfolio(PortfolioId::ExecUser(id), now).await?.portfolio;
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
            attempts: AttemptRates::of(&tally, now.millis_since(since)),
            slippage: Slippage::of(&tally),
            detection_lag: Lags::of(&tally),
            skip_reasons: ReasonShare::all(&tally),
            positions: PositionComparison::of(db, &theirs, &ours).await?,
            feed: leader_feed::feed(db, id, ROWS_SHOWN).await?,
            follows_from: user.follows_from,
            exactness: ExactnessView::load(db, id).await?,
            position_check: PositionCheckView::load(db, id).await?,
            proxy_wallets: user.wallets.into_iter().filter(|wallet| *wallet != user.profile_wallet).collect(),
            enabled: user.state.is_enabled(),
            label: user.label,
            profile_wallet: user.profile_wallet,
            state: user.state,
            created_at: user.created_at,
        })
    }
}

/// Returns the start of the range. The whole range starts when the leader was followed.
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

impl AttemptRates {
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

/// Returns `part` of `of` in bps; `None` when `of` is zero.
fn share(part: u64, of: u64) -> Option<Bps> {
    if of == 0 { None } else { Bps::of(whole(part), whole(of)).ok() }
}

/// The variables of the template: its parts expect the view as `user`.
#[derive(Serialize)]
struct UserPage<'a> {
    user: &'a UserDetail,
}

/// Answers `GET /users/{id}`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown user.
pub async fn page(
    context: PageContext,
    id: Path<FollowedUserId>,
    query: Query<UserQuery>,
) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = UserDetail::load(&context.db, *id, query.range, context.now()).await?;
    context.page(Page::User, &position, &UserPage { user: &view }).await
}

/// Answers `GET /api/users/{id}`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown user.
pub async fn json(
    db: Data<Db>,
    clock: Data<Clock>,
    id: Path<FollowedUserId>,
    query: Query<UserQuery>,
) -> Result<Json<UserDetail>, WebError> {
    Ok(Json(UserDetail::load(&db, *id, query.range, clock.now()).await?))
}
