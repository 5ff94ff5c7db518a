//! What can go wrong for a visitor, and how it looks: problem+json under `/api`, a page elsewhere.

use actix_session::SessionInsertError;
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header::LOCATION},
};
use serde::Serialize;

use super::render::Templates;
use super::request_span::shown;
use crate::db::{DbError, LoadError};
use crate::token::NoRandomness;

/// A request that gets no good answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The visitor's mistake, in words for the visitor.
    #[error("{0}")]
    Mistake(String),
    #[error("sign in first")]
    NotSignedIn,
    #[error("this token is wrong, or was revoked")]
    BadToken,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is nothing at this address")]
    NotFound,
    /// The request came to a host name that is not ours.
    #[error("this server does not answer to that host name")]
    WrongHost,
    /// What it asks for is no longer so, or is being done already.
    #[error("{0}")]
    Conflict(String),
    /// Somebody whom we had to ask does not answer.
    #[error("{0}")]
    Unanswered(String),
    #[error("too many attempts, wait a minute")]
    TooMany,
    #[error("{0} is not taken here")]
    TooLarge(&'static str),
    #[error("the headers of this request are too long")]
    LongHeaders,
    #[error("the address of this request is too long")]
    LongAddress,
    #[error("the request took too long to arrive")]
    TooSlow,
    #[error("the server is busy, try again in a moment")]
    Busy,
    /// Ours: logged once with its chain, of which the visitor sees nothing.
    #[error("something went wrong on our side; the log has the details")]
    Ours(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// RFC 9457, and the view of the error page.
#[derive(Debug, Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

/// How a request was made that gets an error for an answer.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    /// By a script of the page, which stays as it is and shows the error as a message.
    pub in_place: bool,
}

#[derive(Serialize)]
struct ErrorPage<'a> {
    #[serde(flatten)]
    problem: &'a Problem,
    in_place: bool,
}

/// Errors that a visitor cannot cause. A handler passes them on with `?`.
macro_rules! always_ours {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for WebError {
            fn from(error: $error) -> Self {
                Self::ours(error)
            }
        })+
    };
}

always_ours!(DbError, LoadError, NoRandomness, SessionInsertError, tera::Error);

impl WebError {
    /// Wraps an error that is not the visitor's mistake but may be elsewhere, so that it has no `From`.
    pub fn ours(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Ours(Box::new(cause))
    }

    /// The nearest of our errors to a status that the framework gave, e.g. for a query that does not parse.
    pub fn of_status(status: StatusCode, detail: String) -> Self {
        match status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Self::NotFound,
            StatusCode::UNAUTHORIZED => Self::NotSignedIn,
            StatusCode::FORBIDDEN => Self::Forbidden("this is not allowed"),
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge("a body of this size"),
            status if status.is_client_error() => Self::Mistake(detail),
            _ => Self::Ours(detail.into()),
        }
    }

    /// The answer to what was asked. Writes the log line of an error that is ours.
    pub fn answer(&self, Asked { path, in_place }: &Asked, templates: &Templates) -> HttpResponse {
        self.log(path);
        let status = self.status_code();
        let problem = Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.to_string(),
        };
        if path.starts_with("/api/") || path.starts_with("/ws/") {
            return HttpResponse::build(status).content_type("application/problem+json").json(problem);
        }
        if matches!(self, Self::NotSignedIn) {
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

    fn log(&self, path: &str) {
        let Self::Ours(cause) = self else { return };
        let mut chain = cause.to_string();
        let mut next = cause.source();
        while let Some(error) = next {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            next = error.source();
        }
        tracing::error!(path = shown(path), error = chain, "a request failed");
    }
}

/// The bare form. `middleware::security_headers` replaces it by `WebError::answer`, which knows the path.
impl ResponseError for WebError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Mistake(_) => StatusCode::BAD_REQUEST,
            Self::NotSignedIn | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unanswered(_) => StatusCode::BAD_GATEWAY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::LongHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::LongAddress => StatusCode::URI_TOO_LONG,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Ours(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).finish()
    }
}
