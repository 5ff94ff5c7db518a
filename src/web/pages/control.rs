//! The switch that pauses copying.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::db::Db;
use crate::domain::config::effective::{ConfigPatch, SystemPatch};
use crate::web::auth::csrf::CsrfForm;
use crate::web::server::error::WebError;
use crate::web::server::middleware::Hosts;
use crate::web::shell::flash::Flash;

/// The body of `POST /api/control/pause`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseForm {
    /// True to pause copying, false to go on.
    paused: bool,
}

/// The answer of `POST /api/control/pause`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EngineState {
    /// Whether copying is paused.
    pub paused: bool,
}

/// Answers `POST /control/pause`: the switch on every page.
///
/// # Errors
/// [`WebError::Ours`] when the database fails.
pub async fn pause(
    submitted: CsrfForm<PauseForm>,
    db: Data<Db>,
    clock: Data<Clock>,
    hosts: Data<Hosts>,
    request: HttpRequest,
) -> Result<HttpResponse, WebError> {
    let paused = set_paused(&db, &clock, &submitted).await?;
    let (text, back) = match paused {
        true => ("Copying is paused. Leaders are still watched; every group is skipped with ENGINE_PAUSED.", "false"),
        false => ("Copying goes on from the next group.", "true"),
    };
    let flash = Flash::new(text).undo("/control/pause", &[("paused", back)]);
    flash.then(&submitted.session, &hosts.path_of_referer(request.headers()))
}

/// Answers `POST /api/control/pause`.
///
/// # Errors
/// [`WebError::Ours`] when the database fails.
pub async fn pause_json(
    submitted: CsrfForm<PauseForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<Json<EngineState>, WebError> {
    Ok(Json(EngineState { paused: set_paused(&db, &clock, &submitted).await? }))
}

async fn set_paused(db: &Db, clock: &Clock, submitted: &CsrfForm<PauseForm>) -> Result<bool, WebError> {
    let paused = submitted.form.paused;
    let system = SystemPatch { copy_engine_enabled: Some(!paused), ..SystemPatch::default() };
    let patch = ConfigPatch { system, ..ConfigPatch::default() };
    db.save_global(&patch, &submitted.visitor.who, clock.now()).await?;
    Ok(paused)
}
