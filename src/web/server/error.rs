//! What can go wrong with a request, and its HTTP status. `error_page` renders the answer.

use actix_session::SessionInsertError;
use actix_web::{HttpResponse, ResponseError, http::StatusCode};

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

    /// Logs an error that is ours, once, with its whole chain of causes. Other errors need no log line.
    pub fn log(&self, path: &str) {
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

/// The bare form: a status without a body. The `security_headers` middleware replaces it with the answer of
/// `error_page`, because only the middleware knows the path.
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
