//! The controls that work at once: pausing copying or new positions, and closing positions by hand.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::db::{AskedClose, CloseWanted, Db};
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::config::effective::{ConfigPatch, SystemPatch};
use crate::domain::money::ids::{AssetId, FollowedUserId, GroupId, MarketId};
use crate::web::auth::csrf::CsrfForm;
use crate::web::server::error::WebError;
use crate::web::server::json::{self, Json};
use crate::web::server::middleware::Hosts;
use crate::web::shell::flash::Flash;

/// The body of `POST /api/control/pause`. At least one field is needed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseForm {
    /// True to pause copying, false to go on; unchanged when missing.
    paused: Option<bool>,
    /// True to copy exits only, false to open new positions again; unchanged when missing.
    opens_paused: Option<bool>,
}

/// The answer of `POST /api/control/pause`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EngineState {
    /// Whether copying is paused.
    pub paused: bool,
    /// Whether new positions are paused: exits are copied, nothing is opened.
    pub opens_paused: bool,
}

/// The body of `POST /api/positions/close`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseForm {
    /// The leader whose copies are closed.
    followed_user_id: FollowedUserId,
    /// Only this outcome token; all that are held of the leader when missing.
    asset_id: Option<String>,
    /// `EXEC_USER` or `EXEC_GLOBAL`: only in this account; in both when missing.
    scope: Option<String>,
}

/// The answer of `POST /api/positions/close`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CloseAnswer {
    /// The closes that were asked for, one for each outcome token; empty when nothing is held.
    pub closes: Vec<CloseView>,
}

/// A close of one outcome token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CloseView {
    /// The group whose attempts tell the result.
    pub group_id: GroupId,
    /// The market, by its condition id.
    pub market_id: MarketId,
    /// The outcome token.
    pub asset_id: AssetId,
    /// The accounts whose lots are sold.
    pub portfolio_scopes: Vec<PortfolioScope>,
    /// False when an earlier close of these lots is not decided yet; then there is no second one.
    pub is_new: bool,
}

/// Answers `POST /control/pause`: the switches on every page.
///
/// # Errors
/// [`WebError::Mistake`] without a switch; [`WebError::Ours`] when the database fails.
pub async fn pause(
    submitted: CsrfForm<PauseForm>,
    db: Data<Db>,
    clock: Data<Clock>,
    hosts: Data<Hosts>,
    request: HttpRequest,
) -> Result<HttpResponse, WebError> {
    set_switches(&db, &clock, &submitted).await?;
    let PauseForm { paused, opens_paused } = submitted.form;
    let mut sentences = Vec::new();
    let mut undo = Vec::new();
    let opposite = |on: bool| if on { "false" } else { "true" };
    if let Some(paused) = paused {
        sentences.push(match paused {
            true => "Copying is paused. Leaders are still watched; every group is skipped with ENGINE_PAUSED.",
            false => "Copying goes on from the next group.",
        });
        undo.push(("paused", opposite(paused)));
    }
    if let Some(paused) = opens_paused {
        sentences.push(match paused {
            true => "New positions are paused: exits are still copied, opens are skipped with OPENS_PAUSED.",
            false => "New positions are opened again from the next group.",
        });
        undo.push(("opens_paused", opposite(paused)));
    }
    let flash = Flash::new(sentences.join(" ")).undo("/control/pause", &undo);
    flash.then(&submitted.session, &hosts.path_of_referer(request.headers()))
}

/// Answers `POST /api/control/pause`.
///
/// # Errors
/// Those of [`pause`].
pub async fn pause_json(
    submitted: CsrfForm<PauseForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<Json<EngineState>, WebError> {
    Ok(Json(set_switches(&db, &clock, &submitted).await?))
}

async fn set_switches(db: &Db, clock: &Clock, submitted: &CsrfForm<PauseForm>) -> Result<EngineState, WebError> {
    let PauseForm { paused, opens_paused } = submitted.form;
    if paused.is_none() && opens_paused.is_none() {
        return Err(WebError::Mistake("nothing to change; send `paused` or `opens_paused`".to_owned()));
    }
    let system = SystemPatch {
        copy_engine_enabled: paused.map(|paused| !paused),
        opens_enabled: opens_paused.map(|paused| !paused),
        ..SystemPatch::default()
    };
    let patch = ConfigPatch { system, ..ConfigPatch::default() };
    let after = db.save_global(&patch, &submitted.visitor.who, clock.now()).await?.system;
    Ok(EngineState { paused: !after.copy_engine_enabled, opens_paused: !after.opens_enabled })
}

/// Answers `POST /positions/close`: sells a position, or all of a leader, into the book of now.
///
/// # Errors
/// [`WebError::Mistake`] for an invalid field; [`WebError::NotFound`] for an unknown user.
pub async fn close(
    submitted: CsrfForm<CloseForm>,
    db: Data<Db>,
    clock: Data<Clock>,
    hosts: Data<Hosts>,
    request: HttpRequest,
) -> Result<HttpResponse, WebError> {
    let closes = ask_closes(&db, &clock, &submitted).await?.closes;
    let n_new = closes.iter().filter(|close| close.is_new).count();
    let text = match (closes.len(), n_new) {
        (0, _) => "Nothing to close: no such lot is held any more.".to_owned(),
        (_, 0) => "These positions are being closed already.".to_owned(),
        (_, 1) => "1 position is being closed: it is sold into a book fetched for it.".to_owned(),
        (_, n) => format!("{n} positions are being closed: each is sold into a book fetched for it."),
    };
    let text = if n_new > 0 { format!("{text} The result is under Trades & attempts.") } else { text };
    Flash::new(text).then(&submitted.session, &hosts.path_of_referer(request.headers()))
}

/// Answers `POST /api/positions/close`: 202 with the closes, whose attempts come within seconds.
///
/// # Errors
/// Those of [`close`].
pub async fn close_json(
    submitted: CsrfForm<CloseForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    Ok(json::answer(&mut HttpResponse::Accepted(), &ask_closes(&db, &clock, &submitted).await?))
}

async fn ask_closes(db: &Db, clock: &Clock, submitted: &CsrfForm<CloseForm>) -> Result<CloseAnswer, WebError> {
    let CloseForm { followed_user_id: leader, asset_id, scope } = &submitted.form;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let asset = given(asset_id).map(|text| AssetId::parse(&text)).transpose();
    let asset = asset.map_err(|error| WebError::Mistake(format!("`asset_id`: {error}")))?;
    let scope: Option<PortfolioScope> = match given(scope).as_deref() {
        None => None,
        Some("EXEC_USER") => Some(PortfolioScope::ExecUser),
        Some("EXEC_GLOBAL") => Some(PortfolioScope::ExecGlobal),
        Some(other) => {
            return Err(WebError::Mistake(format!("`scope`: `{other}` is neither `EXEC_USER` nor `EXEC_GLOBAL`")));
        }
    };
    if !db.followed_users().await?.iter().any(|user| user.id == *leader) {
        return Err(WebError::NotFound);
    }
    let wanted = CloseWanted { leader: *leader, asset, scope };
    let asked = db.ask_closes(&wanted, &submitted.visitor.who, clock.now()).await?;
    Ok(CloseAnswer { closes: asked.into_iter().map(CloseView::of).collect() })
}

impl CloseView {
    fn of(asked: AskedClose) -> Self {
        let AskedClose { group, market, asset, portfolios, is_new } = asked;
        let portfolio_scopes = portfolios.into_iter().map(PortfolioId::scope).collect();
        Self { group_id: group, market_id: market, asset_id: asset, portfolio_scopes, is_new }
    }
}
