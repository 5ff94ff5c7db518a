//! `/portfolio`: what the global portfolio holds, how much of each limit is used, and the breakers of every portfolio.

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};

use super::overview::Figures;
use crate::clock::Clock;
use crate::db::{Db, PeakReset};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::web::auth::csrf::CsrfForm;
use crate::web::live::messages::LiveFigures;
use crate::web::server::error::WebError;
use crate::web::shell::flash::Flash;
use crate::web::shell::page::{Page, PageContext};
use crate::web::views::holdings::{Holdings, PositionView, ShareView};
use crate::web::views::risk::{BreakerView, LimitView, exposure_limits, standing};

/// A page shows no more lots than this, the largest; the JSON has all.
const POSITIONS_SHOWN: usize = 200;
const MARKETS_SHOWN: usize = 10;

/// The page, and `/api/portfolio/global`.
#[derive(Debug, Serialize)]
pub struct PortfolioView {
    pub figures: Figures,
    pub limits: Vec<LimitView>,
    pub breakers: Vec<BreakerView>,
    pub by_market: Vec<ShareView>,
    pub by_leader: Vec<ShareView>,
    pub positions: Vec<PositionView>,
}

impl PortfolioView {
    pub async fn load(db: &Db, live: &LiveFigures, now: Timestamp) -> Result<Self, WebError> {
        let holdings = Holdings::load(db, PortfolioId::ExecGlobal).await?;
        let directory = db.directory().await?;
        Ok(Self {
            figures: Figures::load(db, live, now).await?,
            limits: exposure_limits(&holdings, &directory)?,
            breakers: BreakerView::all(db, &directory, now).await?,
            by_market: holdings.by_market(MARKETS_SHOWN),
            by_leader: holdings.by_leader(),
            positions: holdings.positions(),
        })
    }
}

/// What the template needs beside the view.
#[derive(Serialize)]
struct PortfolioPage<'a> {
    #[serde(flatten)]
    view: &'a PortfolioView,
    shown: &'a [PositionView],
    n_positions: usize,
    n_hidden: usize,
}

/// `GET /portfolio`.
pub async fn page(context: PageContext) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = PortfolioView::load(&context.db, &position.figures, context.now()).await?;
    let shown = &view.positions[..view.positions.len().min(POSITIONS_SHOWN)];
    let n_positions = view.positions.len();
    let page = PortfolioPage { view: &view, shown, n_positions, n_hidden: n_positions - shown.len() };
    context.page(Page::Portfolio, &position, &page).await
}

/// `GET /api/portfolio/global`.
pub async fn json(context: PageContext) -> Result<Json<PortfolioView>, WebError> {
    let position = context.position().await?;
    Ok(Json(PortfolioView::load(&context.db, &position.figures, context.now()).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeakForm {
    /// `EXEC_GLOBAL` or `EXEC_USER:7`.
    portfolio: String,
    /// The equity that counts as the peak from now on; as it stands when missing.
    peak_micros: Option<i64>,
}

/// What `/api/control/peak` answers.
#[derive(Debug, Serialize)]
pub struct PeakAnswer {
    pub portfolio: String,
    pub before_micros: UsdcMicros,
    pub peak_micros: UsdcMicros,
}

/// `POST /portfolio/peak`: the drawdown is measured anew, which is what ends its breaker.
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

/// `POST /api/control/peak`.
pub async fn reset_peak_json(
    submitted: CsrfForm<PeakForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<Json<PeakAnswer>, WebError> {
    Ok(Json(set_peak(&db, &clock, &submitted).await?))
}

async fn set_peak(db: &Db, clock: &Clock, submitted: &CsrfForm<PeakForm>) -> Result<PeakAnswer, WebError> {
    let asked = &submitted.form;
    let unknown = || WebError::Mistake(format!("`portfolio`: `{}` is none of ours", asked.portfolio));
    let portfolio: PortfolioId = asked.portfolio.parse().map_err(|_| unknown())?;
    let now = clock.now();
    let found = standing(db, portfolio, now).await?;
    let unwritten = || WebError::Mistake(format!("`portfolio`: no equity of `{portfolio}` is written down yet"));
    let (equity, baselines) = found.ok_or_else(unwritten)?;
    let peak = asked.peak_micros.map_or(equity, UsdcMicros);
    if peak < equity {
        return Err(WebError::Mistake("`peak_micros` is below the equity of now".to_owned()));
    }
    let reset = PeakReset { at: now, equity_micros: peak };
    let former = baselines.peak.max(equity);
    db.reset_peak(portfolio, reset, (Some(former), &submitted.visitor.who)).await?;
    Ok(PeakAnswer { portfolio: portfolio.to_string(), before_micros: former, peak_micros: peak })
}
