//! `/portfolio`: the holdings of the global portfolio, the used part of each limit, and the breakers of every portfolio.

use actix_web::{HttpResponse, web::Data};
use serde::{Deserialize, Serialize};

use super::overview::PortfolioFigures;
use crate::clock::Clock;
use crate::db::{Db, Directory, PeakReset, PlacedEntry};
use crate::domain::accounting::ledger::{EntryType, OPENING_DEPOSIT, PortfolioId, PortfolioScope};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::web::auth::csrf::CsrfForm;
use crate::web::live::messages::LiveFigures;
use crate::web::server::error::WebError;
use crate::web::server::json::{Json, safe_number};
use crate::web::shell::flash::Flash;
use crate::web::shell::page::{Page, PageContext};
use crate::web::views::holdings::{ExposureView, Holdings, LotView};
use crate::web::views::risk::{BreakerView, LimitView, exposure_limits, newest_and_baselines};

/// Number of lots on the page, the largest first; the JSON has all.
const POSITIONS_SHOWN: usize = 200;
const MARKETS_SHOWN: usize = 10;
const CASH_MOVEMENTS_SHOWN: i64 = 50;

/// The page, and `/api/portfolio/global`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GlobalPortfolioView {
    /// The figures of the global portfolio.
    pub figures: PortfolioFigures,
    /// The exposure limits and their used parts.
    pub limits: Vec<LimitView>,
    /// The loss limits of each portfolio.
    pub breakers: Vec<BreakerView>,
    /// The exposure by market, the largest first.
    pub by_market: Vec<ExposureView>,
    /// The exposure by leader, the largest first.
    pub by_leader: Vec<ExposureView>,
    /// The open lots.
    pub positions: Vec<LotView>,
    /// The newest deposits and withdrawals of all our accounts, their opening deposits too.
    pub cash_movements: Vec<CashMovementView>,
}

/// A deposit into one of our accounts or a withdrawal from it. It is neither profit nor loss.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CashMovementView {
    /// The kind of account.
    pub portfolio_scope: PortfolioScope,
    /// The leader whom the account copies; null for the global one.
    pub followed_user_id: Option<FollowedUserId>,
    /// The name of the leader; hostile text, null for the global account.
    pub followed_user_label: Option<String>,
    /// DEPOSIT or WITHDRAWAL.
    pub entry_type: EntryType,
    /// True for the deposit that the account was opened with.
    pub is_opening: bool,
    /// The change of cash in millionths of a USDC; below zero for a withdrawal.
    pub cash_micros: UsdcMicros,
    /// When it was booked.
    pub created_at: Timestamp,
}

impl GlobalPortfolioView {
    /// Reads the portfolio; `live` may be newer than its last snapshot.
    ///
    /// # Errors
    /// [`WebError::Ours`] when the database fails or a sum does not fit.
    pub async fn load(db: &Db, live: &LiveFigures, now: Timestamp) -> Result<Self, WebError> {
        let holdings = Holdings::load(db, PortfolioId::ExecGlobal, now).await?;
        let directory = db.directory().await?;
        Ok(Self {
            figures: PortfolioFigures::load(db, live, now).await?,
            limits: exposure_limits(&holdings, &directory)?,
            breakers: BreakerView::all(db, &directory, now).await?,
            by_market: holdings.by_market(MARKETS_SHOWN),
            by_leader: holdings.by_leader(),
            positions: holdings.positions(),
            cash_movements: cash_movements(db, &directory).await?,
        })
    }
}

/// Returns the newest deposits and withdrawals.
async fn cash_movements(db: &Db, directory: &Directory) -> Result<Vec<CashMovementView>, WebError> {
    let label = |id: FollowedUserId| directory.users.iter().find(|user| user.id == id).map(|user| user.label.clone());
    let placed = db.cash_movements(CASH_MOVEMENTS_SHOWN).await?;
    let view = |PlacedEntry { entry, .. }| CashMovementView {
        portfolio_scope: entry.portfolio.scope(),
        followed_user_id: entry.portfolio.owner(),
        followed_user_label: entry.portfolio.owner().and_then(label),
        entry_type: entry.kind,
        is_opening: entry.ref_id == OPENING_DEPOSIT,
        cash_micros: entry.cash,
        created_at: entry.created_at,
    };
    Ok(placed.into_iter().map(view).collect())
}

/// The variables of the template: the view and the lots that the page shows.
#[derive(Serialize)]
struct PortfolioPage<'a> {
    #[serde(flatten)]
    view: &'a GlobalPortfolioView,
    shown: &'a [LotView],
    n_positions: usize,
    n_hidden: usize,
}

/// Answers `GET /portfolio`.
///
/// # Errors
/// Those of [`GlobalPortfolioView::load`].
pub async fn page(context: PageContext) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = GlobalPortfolioView::load(&context.db, &position.figures, context.now()).await?;
    let shown = &view.positions[..view.positions.len().min(POSITIONS_SHOWN)];
    let n_positions = view.positions.len();
    let page = PortfolioPage { view: &view, shown, n_positions, n_hidden: n_positions - shown.len() };
    context.page(Page::Portfolio, &position, &page).await
}

/// Answers `GET /api/portfolio/global`.
///
/// # Errors
/// Those of [`GlobalPortfolioView::load`].
pub async fn json(context: PageContext) -> Result<Json<GlobalPortfolioView>, WebError> {
    let position = context.position().await?;
    Ok(Json(GlobalPortfolioView::load(&context.db, &position.figures, context.now()).await?))
}

/// The body of `POST /api/control/peak`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeakForm {
    /// `EXEC_GLOBAL` or `EXEC_USER:7`.
    portfolio: String,
    /// The equity that counts as the peak from now on; the current equity when missing.
    #[serde(default, deserialize_with = "safe_number")]
    peak_micros: Option<i64>,
}

/// The answer of `POST /api/control/peak`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PeakAnswer {
    /// The portfolio: `EXEC_GLOBAL`, `EXEC_USER:7` or `SHADOW_USER:7`.
    pub portfolio: String,
    /// The peak before the reset, in millionths of a USDC.
    pub before_micros: UsdcMicros,
    /// The new peak, in millionths of a USDC.
    pub peak_micros: UsdcMicros,
}

/// Answers `POST /portfolio/peak`: resets the peak that the drawdown is measured from, which ends its breaker.
///
/// # Errors
/// [`WebError::Mistake`] for an unknown portfolio, one without a snapshot, or a peak below the equity.
pub async fn reset_peak(
    submitted: CsrfForm<PeakForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    let done = set_peak(&db, &clock, &submitted).await?;
    let text = match submitted.form.peak_micros {
        None => format!("The drawdown of {} is measured from its equity of now.", done.portfolio),
        Some(_) => format!("The peak of {} counts as before.", done.portfolio),
    };
    let former = done.before_micros.0.to_string();
    let undo = [("portfolio", done.portfolio.as_str()), ("peak_micros", former.as_str())];
    Flash::new(text).undo("/portfolio/peak", &undo).then(&submitted.session, "/portfolio")
}

/// Answers `POST /api/control/peak`.
///
/// # Errors
/// Those of [`reset_peak`].
pub async fn reset_peak_json(
    submitted: CsrfForm<PeakForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<Json<PeakAnswer>, WebError> {
    Ok(Json(set_peak(&db, &clock, &submitted).await?))
}

async fn set_peak(db: &Db, clock: &Clock, submitted: &CsrfForm<PeakForm>) -> Result<PeakAnswer, WebError> {
    let asked = &submitted.form;
    let unknown = || {
        WebError::Mistake(format!(
            "`portfolio`: `{}` is neither `EXEC_GLOBAL` nor `EXEC_USER:` and the id of a user",
            asked.portfolio
        ))
    };
    let portfolio: PortfolioId = asked.portfolio.parse().map_err(|_| unknown())?;
    let now = clock.now();
    let found = newest_and_baselines(db, portfolio, now).await?;
    let no_snapshot = || WebError::Mistake(format!("`portfolio`: `{portfolio}` has no snapshot yet"));
    let (newest, baselines) = found.ok_or_else(no_snapshot)?;
    let equity = newest.equity;
    let peak = asked.peak_micros.map_or(equity, UsdcMicros);
    if peak < equity {
        return Err(WebError::Mistake("`peak_micros` is below the equity of now".to_owned()));
    }
    let reset = PeakReset { at: now, equity_micros: peak };
    let former = baselines.peak.max(equity);
    db.reset_peak(portfolio, reset, (Some(former), &submitted.visitor.who)).await?;
    Ok(PeakAnswer { portfolio: portfolio.to_string(), before_micros: former, peak_micros: peak })
}
