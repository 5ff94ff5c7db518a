//! The answer to a failed request: problem+json (RFC 9457) under `/api` and `/ws`, an HTML page elsewhere.

use actix_web::{HttpResponse, ResponseError, http::header::LOCATION};
use serde::Serialize;

use super::error::WebError;
use super::render::Templates;

/// The body of a problem+json answer, and the view of the error page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::web) struct Problem {
    /// Always `about:blank`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The name of the status.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The reason, in words for the caller.
    detail: String,
}

/// What the middleware remembers of a request, in case it fails.
#[derive(Debug, Clone)]
pub struct FailedRequest {
    pub path: String,
    /// A script of the page sent it. The page stays as it is and shows the error as a message.
    pub in_place: bool,
}

#[derive(Serialize)]
struct ErrorPage<'a> {
    #[serde(flatten)]
    problem: &'a Problem,
    in_place: bool,
}

/// Returns the answer to a request that failed with `error`. Logs an error that is ours.
pub fn answer(error: &WebError, request: &FailedRequest, templates: &Templates) -> HttpResponse {
    let FailedRequest { path, in_place } = request;
    error.log(path);
    let status = error.status_code();
    let problem = Problem {
        kind: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: error.to_string(),
    };
    if path.starts_with("/api/") || path.starts_with("/ws/") {
        return HttpResponse::build(status).content_type("application/problem+json").json(problem);
    }
    if matches!(error, WebError::NotSignedIn) {
        return HttpResponse::SeeOther().insert_header((LOCATION, "/login")).finish();
    }
    match templates.page("pages/error.html", &ErrorPage { problem: &problem, in_place: *in_place }) {
        Ok(html) => {
            let mut answer = HttpResponse::build(status);
            if *in_place {
                answer.insert_header(("hx-reswap", "none"));
            }
            answer.content_type("text/html; charset=utf-8").body(html)
        }
        Err(_) => HttpResponse::build(status).body(problem.detail),
    }
}
