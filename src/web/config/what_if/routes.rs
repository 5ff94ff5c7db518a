//! The test of a candidate, asked for by a form or a JSON body: its routes.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web::{Data, Json, Path},
};
use serde_json::value::RawValue;

use super::request::Candidate;
use super::runner::{WhatIfRuns, WhatIfView};
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::accounting::ledger::PortfolioId;
use crate::web::auth::csrf::{CsrfForm, EmptyForm};
use crate::web::config::editor::Typed;
use crate::web::config::form_page::{Shown, render};
use crate::web::server::error::WebError;
use crate::web::server::render::Templates;
use crate::web::shell::page::PageContext;

/// `POST /config/test`: the form as it is, without saving it.
pub async fn begin(
    submitted: CsrfForm<Vec<(String, String)>>,
    context: PageContext,
    trials: Data<WhatIfRuns>,
) -> Result<HttpResponse, WebError> {
    let typed = Typed::new(submitted.form);
    let user = typed.user()?;
    let change = match typed.change(user.is_some()) {
        Ok(change) => change,
        Err(wrong) => return render(&context, Shown { user, typed, wrong: &wrong, ..Shown::default() }).await,
    };
    let (from, to) = match typed.window(context.now()) {
        Ok(window) => window,
        Err(problem) => {
            let is_test_wrong = Some(problem);
            return render(&context, Shown { user, typed, is_test_wrong, ..Shown::default() }).await;
        }
    };
    let portfolio = match (user, typed.get("portfolio")) {
        (Some(user), Some("user") | None) => PortfolioId::ExecUser(user),
        _ => PortfolioId::ExecGlobal,
    };
    let candidate = Candidate { change, user, portfolio, from, to };
    let trial = candidate.begin(&context.db, &context.clock, &trials, Some(typed)).await?;
    Ok(see(trial.id))
}

/// `GET /config/test/{id}`: the page with the test beside its form. A script of the page asks for the test alone.
pub async fn show(
    id: Path<u64>,
    context: PageContext,
    trials: Data<WhatIfRuns>,
    request: HttpRequest,
) -> Result<HttpResponse, WebError> {
    let (trial, typed) = trials.view(*id).ok_or(WebError::NotFound)?;
    if request.headers().get("hx-target").is_some_and(|target| target.as_bytes().ends_with(b"trial")) {
        return part(&context.templates, context.visitor.csrf(), &trial);
    }
    let (user, trial) = (trial.asked.user, Some(trial));
    render(&context, Shown { user, typed: typed.unwrap_or_default(), trial, ..Shown::default() }).await
}

/// `POST /config/test/{id}/cancel`.
pub async fn cancel(
    submitted: CsrfForm<EmptyForm>,
    id: Path<u64>,
    trials: Data<WhatIfRuns>,
) -> Result<HttpResponse, WebError> {
    tracing::info!(test = *id, who = submitted.visitor.who, "a configuration test is cancelled");
    trials.cancel(*id).ok_or(WebError::NotFound)?;
    Ok(see(*id))
}

/// `POST /api/config/test`: `{guardrails?, sizing?, system?, user?, portfolio?, from?, to?}`. 202 with how it stands.
pub async fn json_begin(
    submitted: CsrfForm<Box<RawValue>>,
    db: Data<Db>,
    clock: Data<Clock>,
    trials: Data<WhatIfRuns>,
) -> Result<HttpResponse, WebError> {
    let candidate = Candidate::parse(submitted.form.get(), clock.now())?;
    let trial = candidate.begin(&db, &clock, &trials, None).await?;
    let location = format!("/api/config/test/{}", trial.id);
    Ok(HttpResponse::build(StatusCode::ACCEPTED).insert_header((LOCATION, location)).json(trial))
}

/// `GET /api/config/test/{id}`.
pub async fn json_show(id: Path<u64>, trials: Data<WhatIfRuns>) -> Result<Json<WhatIfView>, WebError> {
    trials.view(*id).map(|(trial, _)| Json(trial)).ok_or(WebError::NotFound)
}

/// `DELETE /api/config/test/{id}` and `POST /api/config/test/{id}/cancel`.
pub async fn json_cancel(
    _: CsrfForm<EmptyForm>,
    id: Path<u64>,
    trials: Data<WhatIfRuns>,
) -> Result<Json<WhatIfView>, WebError> {
    trials.cancel(*id).map(Json).ok_or(WebError::NotFound)
}

fn see(id: u64) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, format!("/config/test/{id}"))).finish()
}

fn part(templates: &Templates, csrf: &str, trial: &WhatIfView) -> Result<HttpResponse, WebError> {
    let view = serde_json::json!({ "trial": trial, "csrf": csrf });
    let html = templates.part("trial_shown", "shown", &view)?;
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html))
}
