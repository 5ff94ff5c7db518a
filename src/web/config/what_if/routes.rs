//! The test of a candidate, asked for by a form or a JSON body: its routes, and the part of the form that is about it.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web::{Data, Json, Path},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::request::{Candidate, DAY_MS};
use super::runner::{WhatIfRuns, WhatIfView};
use crate::clock::Clock;
use crate::db::{Db, FollowedUser};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::web::auth::csrf::{CsrfForm, Nothing};
use crate::web::config::editor::Typed;
use crate::web::config::page::{Shown, render};
use crate::web::server::error::WebError;
use crate::web::server::render::Templates;
use crate::web::shell::page::PageContext;

const HOUR_MS: i64 = 3_600_000;

/// How the form of a test stands.
#[derive(Debug, Serialize)]
pub struct Choices {
    pub windows: Vec<Choice>,
    pub portfolios: Vec<Choice>,
    pub from: String,
    pub to: String,
}

#[derive(Debug, Serialize)]
pub struct Choice {
    pub value: &'static str,
    pub name: &'static str,
    pub is_chosen: bool,
}

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
    submitted: CsrfForm<Nothing>,
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
    _: CsrfForm<Nothing>,
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

impl Choices {
    pub fn of(typed: &Typed, user: Option<&FollowedUser>) -> Self {
        let window = typed.get("window").unwrap_or("24h");
        let portfolio = typed.get("portfolio").unwrap_or(if user.is_some() { "user" } else { "global" });
        let choose = |chosen: &str, all: &[(&'static str, &'static str)]| -> Vec<Choice> {
            all.iter().map(|(value, name)| Choice { value, name, is_chosen: *value == chosen }).collect()
        };
        let portfolios: &[_] = match user {
            Some(_) => &[("user", "Their own portfolio"), ("global", "Global portfolio")],
            None => &[("global", "Global portfolio")],
        };
        Self {
            windows: choose(window, &WINDOWS),
            portfolios: choose(portfolio, portfolios),
            from: typed.get("from").unwrap_or_default().to_owned(),
            to: typed.get("to").unwrap_or_default().to_owned(),
        }
    }
}

const WINDOWS: [(&str, &str); 5] = [
    ("1h", "Last hour"),
    ("24h", "Last 24 h"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("custom", "From – to"),
];

impl Typed {
    /// Whose form it is.
    ///
    /// # Errors
    /// `WebError::Mistake` for what is no id.
    pub fn user(&self) -> Result<Option<FollowedUserId>, WebError> {
        let text = self.get("user").filter(|text| !text.is_empty());
        let id = text.map(str::parse).transpose();
        id.map(|id| id.map(FollowedUserId))
            .map_err(|_| WebError::Mistake("`user` is no id of a followed user".to_owned()))
    }

    /// The window of a test, or in words what is wrong with it. Times are typed in UTC.
    pub(crate) fn window(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), String> {
        let back = match self.get("window").unwrap_or("24h") {
            "1h" => HOUR_MS,
            "24h" => DAY_MS,
            "7d" => 7 * DAY_MS,
            "30d" => 30 * DAY_MS,
            "custom" => {
                let (from, to) = (self.time("from")?, self.time("to")?.min(now));
                return if from < to {
                    Ok((from, to))
                } else {
                    Err("From must be before to, and before now".to_owned())
                };
            }
            _ => return Err("Choose a window".to_owned()),
        };
        Ok((now.plus_millis(-back), now))
    }

    /// `2026-11-26T07:09`, as browsers send it.
    fn time(&self, name: &str) -> Result<Timestamp, String> {
        let text = self.get(name).unwrap_or_default().trim();
        let seconds = if text.len() == 16 { ":00Z" } else { "Z" };
        Timestamp::parse_iso(&format!("{text}{seconds}"))
            .map_err(|_| format!("`{name}` must be a time such as 2026-01-15T12:00"))
    }
}
