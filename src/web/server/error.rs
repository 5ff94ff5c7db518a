//! What can go wrong with a request, and its HTTP status. `error_page` renders the answer.

use actix_session::SessionInsertError;
use actix_web::{HttpResponse, ResponseError, http::StatusCode};

use super::request_span::loggable_path;
use crate::db::{DbError, LoadError};
use crate::domain::config::effective::ConfigError;
use crate::token::NoRandomness;

/// Why a request failed. The text of a variant is shown to the visitor.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The visitor's mistake, described for the visitor.
    #[error("{0}")]
    Mistake(String),
    /// A field of the configuration that the visitor cannot set to this value.
    #[error(transparent)]
    Field(#[from] ConfigError),
    #[error("sign in first")]
    NotSignedIn,
    #[error("this token is wrong, or was revoked")]
    BadToken,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is nothing at this address")]
    NotFound,
    /// The request names a host that is not ours.
    #[error("this server does not answer to that host name")]
    WrongHost,
    /// The request is out of date, or the same work is running already.
    #[error("{0}")]
    Conflict(String),
    /// An upstream service, such as GitHub or Polymarket, does not answer.
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
    /// The database does not work now: the text of the cause names neither a row nor a secret.
    #[error("the database does not work now: {0}")]
    NoDatabase(DbError),
    /// Redis, which keeps the sessions, does not work now.
    #[error("sign-ins are kept in Redis, and it does not work now: {0}")]
    NoSessions(String),
    /// Our failure. It is logged once with its chain of causes; the visitor sees none of them.
    #[error("something went wrong on our side; the log has the details")]
    Ours(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Declares errors that a visitor cannot cause. A handler returns them with `?`.
macro_rules! always_ours {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for WebError {
            fn from(error: $error) -> Self {
                Self::ours(error)
            }
        })+
    };
}

impl From<LoadError> for WebError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Db(error) => error.into(),
            error => Self::ours(error),
        }
    }
}

always_ours!(NoRandomness, SessionInsertError, tera::Error);

/// A configuration that contradicts itself is the visitor's mistake; a database that does not work is said as that; every
/// other failure of the database is ours.
impl From<DbError> for WebError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Config(error) => Self::Field(error),
            error if error.is_outage() => Self::NoDatabase(error),
            error => Self::ours(error),
        }
    }
}

impl WebError {
    /// Wraps an error that is our failure here. For a type that is the visitor's mistake in other places, and therefore
    /// has no `From`: for example `UnitError` of a sum that is too large.
    pub fn ours(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Ours(Box::new(cause))
    }

    /// Returns our nearest error for a status of the framework, for example of a query that does not parse.
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
        let cause: &(dyn std::error::Error + 'static) = match self {
            Self::Ours(cause) => cause.as_ref(),
            Self::NoDatabase(cause) => cause,
            _ => return,
        };
        let mut chain = cause.to_string();
        let mut next = cause.source();
        while let Some(error) = next {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            next = error.source();
        }
        tracing::error!(path = loggable_path(path), error = chain, "a request failed");
    }
}

/// The bare form: a status without a body. The `security_headers` middleware replaces it with the answer of
/// `error_page`, because only the middleware knows the path.
impl ResponseError for WebError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Mistake(_) | Self::Field(_) => StatusCode::BAD_REQUEST,
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
            Self::Busy | Self::NoDatabase(_) | Self::NoSessions(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Ours(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).finish()
    }
}
