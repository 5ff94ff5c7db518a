//! The routes of a test, by form and by JSON.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web::{Data, Path},
};
use serde_json::value::RawValue;

use super::request::Candidate;
use super::runner::{WhatIfRuns, WhatIfView};
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::accounting::ledger::PortfolioId;
use crate::web::auth::csrf::{CsrfForm, EmptyForm};
use crate::web::config::editor::TypedForm;
use crate::web::config::form_page::{FormPage, render};
use crate::web::server::error::WebError;
use crate::web::server::json::{self, Json};
use crate::web::server::render::Templates;
use crate::web::shell::page::PageContext;

/// Answers `POST /config/test`: tests the form as it is, without saving it.
///
/// # Errors
/// [`WebError::Mistake`] and [`WebError::NotFound`] for a `user` who is not followed; [`WebError::Conflict`] while the
/// maximum number of tests runs. Invalid fields are no error: the form is shown again.
pub async fn begin(
    submitted: CsrfForm<Vec<(String, String)>>,
    context: PageContext,
    runs: Data<WhatIfRuns>,
) -> Result<HttpResponse, WebError> {
    let typed = TypedForm::new(submitted.form);
    let user = typed.user()?;
    let change = match typed.change(user.is_some()) {
        Ok(change) => change,
        Err(wrong) => return render(&context, FormPage { user, typed, wrong: &wrong, ..FormPage::default() }).await,
    };
    let (from, to) = match typed.window(context.now()) {
        Ok(window) => window,
        Err(problem) => {
            let is_test_wrong = Some(problem);
            return render(&context, FormPage { user, typed, is_test_wrong, ..FormPage::default() }).await;
        }
    };
    let portfolio = match (user, typed.get("portfolio")) {
        (Some(user), Some("user") | None) => PortfolioId::ExecUser(user),
        _ => PortfolioId::ExecGlobal,
    };
    let candidate = Candidate { change, user, portfolio, from, to };
    let run = candidate.begin(&context.db, &context.clock, &runs, Some(typed)).await?;
    Ok(see(run.id))
}

/// Answers `GET /config/test/{id}`: the page with the test beside its form. The script of the page asks for the part
/// with the test alone.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown test.
pub async fn show(
    id: Path<u64>,
    context: PageContext,
    runs: Data<WhatIfRuns>,
    request: HttpRequest,
) -> Result<HttpResponse, WebError> {
    let (run, typed) = runs.view(*id).ok_or(WebError::NotFound)?;
    if request.headers().get("hx-target").is_some_and(|target| target.as_bytes().ends_with(b"trial")) {
        return part(&context.templates, context.visitor.csrf(), &run);
    }
    let (user, run) = (run.asked.user, Some(run));
    render(&context, FormPage { user, typed: typed.unwrap_or_default(), run, ..FormPage::default() }).await
}

/// Answers `POST /config/test/{id}/cancel`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown test.
pub async fn cancel(
    submitted: CsrfForm<EmptyForm>,
    id: Path<u64>,
    runs: Data<WhatIfRuns>,
) -> Result<HttpResponse, WebError> {
    tracing::info!(test = *id, who = submitted.visitor.who, "a configuration test is cancelled");
    runs.cancel(*id).ok_or(WebError::NotFound)?;
    Ok(see(*id))
}

/// Answers `POST /api/config/test` with `{guardrails?, sizing?, system?, user?, portfolio?, from?, to?}`: 202 and the
/// state of the test.
///
/// # Errors
/// Those of [`Candidate::parse`] and [`Candidate::begin`].
pub async fn json_begin(
    submitted: CsrfForm<Box<RawValue>>,
    db: Data<Db>,
    clock: Data<Clock>,
    runs: Data<WhatIfRuns>,
) -> Result<HttpResponse, WebError> {
    let candidate = Candidate::parse(submitted.form.get(), clock.now())?;
    let run = candidate.begin(&db, &clock, &runs, None).await?;
    let location = format!("/api/config/test/{}", run.id);
    Ok(json::answer(HttpResponse::build(StatusCode::ACCEPTED).insert_header((LOCATION, location)), &run))
}

/// Answers `GET /api/config/test/{id}`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown test.
pub async fn json_show(id: Path<u64>, runs: Data<WhatIfRuns>) -> Result<Json<WhatIfView>, WebError> {
    runs.view(*id).map(|(run, _)| Json(run)).ok_or(WebError::NotFound)
}

/// Answers `DELETE /api/config/test/{id}` and `POST /api/config/test/{id}/cancel`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown test.
pub async fn json_cancel(
    _: CsrfForm<EmptyForm>,
    id: Path<u64>,
    runs: Data<WhatIfRuns>,
) -> Result<Json<WhatIfView>, WebError> {
    runs.cancel(*id).map(Json).ok_or(WebError::NotFound)
}

fn see(id: u64) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, format!("/config/test/{id}"))).finish()
}

fn part(templates: &Templates, csrf: &str, run: &WhatIfView) -> Result<HttpResponse, WebError> {
    let view = serde_json::json!({ "trial": run, "csrf": csrf });
    let html = templates.part("trial_shown", "shown", &view)?;
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html))
}
