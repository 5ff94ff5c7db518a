//! The current user: the visitor of a session or a token, looked up once per request and checked against the database
//! (spec 12).

use std::future::{Ready, ready};
use std::time::Duration;

use actix_session::SessionExt;
use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{AUTHORIZATION, HeaderMap},
    },
    middleware::Next,
    web::Data,
};

use super::refusals::Refusals;
use super::session::SignedIn;
use super::token_uses::TokenUses;
use crate::clock::Clock;
use crate::db::{Audit, Db, DbError, TokenScope};
use crate::domain::money::units::Timestamp;
use crate::metrics::Metrics;
use crate::token;
use crate::web::server::error::WebError;
use crate::web::server::rate_limit::Limits;

/// The authenticated visitor of a request. As an extractor it refuses a request without one.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    /// The name in the audit log: an e-mail, `login link`, or `token:` and the name of the token.
    pub who: String,
    pub credential: Credential,
}

/// What the visitor authenticated with.
#[derive(Debug, Clone)]
pub enum Credential {
    Session(SignedIn),
    Token { id: i64, scope: TokenScope },
}

impl CurrentUser {
    /// Checks the CSRF token of a changing request. A request with an API token needs none, because no page of another
    /// site can send it.
    ///
    /// # Errors
    /// [`WebError::Forbidden`] when `token` is not that of the session.
    pub fn check_csrf(&self, token: &str) -> Result<(), WebError> {
        match &self.credential {
            Credential::Session(signed_in) if !token::same(&signed_in.csrf, token) => {
                Err(WebError::Forbidden("this form is too old, open the page again"))
            }
            Credential::Session(_) | Credential::Token { .. } => Ok(()),
        }
    }

    /// Returns whether the session or token is still valid, for a connection that stays open.
    ///
    /// # Errors
    /// [`DbError`] when the database does not answer.
    pub async fn is_still_valid(&self, db: &Db, has_provider: bool, now: Timestamp) -> Result<bool, DbError> {
        match &self.credential {
            Credential::Session(signed_in) => signed_in.is_valid(db, has_provider, now).await,
            Credential::Token { id, .. } => db.token_works(*id).await,
        }
    }

    /// Returns the CSRF token for the forms of a page; empty for a visitor with an API token, which needs none.
    pub fn csrf(&self) -> &str {
        match &self.credential {
            Credential::Session(signed_in) => &signed_in.csrf,
            Credential::Token { .. } => "",
        }
    }
}

impl FromRequest for CurrentUser {
    type Error = WebError;
    type Future = Ready<Result<Self, WebError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<Self>().cloned().ok_or(WebError::NotSignedIn))
    }
}

/// How long `/api/health` waits to learn who asks; its answer must come within two seconds.
const HEALTH_PATIENCE: Duration = Duration::from_millis(900);

/// Whether people sign in with a provider (GitHub) or by a one-time link.
#[derive(Debug, Clone, Copy)]
pub struct HasProvider(pub bool);

/// Returns whether the request has a bearer token. A session of the same request is then ignored. Other authorization
/// schemes belong to a proxy in front of us.
pub fn has_token(headers: &HeaderMap) -> bool {
    token_of(headers).is_some()
}

fn token_of(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Middleware: finds the current user and stores it in the request. Skips `/assets/`, which are public.
///
/// # Errors
/// [`WebError::BadToken`], [`WebError::TooMany`], or [`WebError::NoDatabase`] when the database does not answer.
pub async fn authenticate<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    if request.path().starts_with("/assets/") {
        return next.call(request).await;
    }
    let visitor = async {
        match token_of(request.headers()) {
            Some(token) => by_token(&request, token).await.map(Some),
            None => by_session(&request).await,
        }
    };
    let visitor = match request.path() {
        // `/api/health` answers that the database is down. An error or a wait here would hide that from a monitor.
        "/api/health" => match tokio::time::timeout(HEALTH_PATIENCE, visitor).await {
            Err(_) | Ok(Err(WebError::Ours(_) | WebError::NoDatabase(_))) => None,
            Ok(known) => known?,
        },
        _ => visitor.await?,
    };
    if let Some(visitor) = visitor {
        request.extensions_mut().insert(visitor);
    }
    next.call(request).await
}

/// Middleware: refuses a request without a current user, a change with a read-only token, and too many changes.
///
/// # Errors
/// [`WebError::NotSignedIn`], [`WebError::Forbidden`] or [`WebError::TooMany`].
pub async fn require_auth<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let visitor = request.extensions().get::<CurrentUser>().cloned().ok_or(WebError::NotSignedIn)?;
    if !is_read_only(request.method()) {
        if matches!(visitor.credential, Credential::Token { scope: TokenScope::Read, .. }) {
            return Err(WebError::Forbidden("this token may only read").into());
        }
        data::<Limits>(&request)?.check_change(&visitor.who)?;
    }
    next.call(request).await
}

/// Returns whether a request with this method changes nothing.
pub fn is_read_only(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

async fn by_session(request: &ServiceRequest) -> Result<Option<CurrentUser>, WebError> {
    let (now, HasProvider(has_provider)) = (data::<Clock>(request)?.now(), *data::<HasProvider>(request)?.get_ref());
    let signed_in = SignedIn::load(&request.get_session(), data::<Db>(request)?, has_provider, now).await?;
    Ok(signed_in.map(|signed_in| CurrentUser {
        who: signed_in.who.as_str().to_owned(),
        credential: Credential::Session(signed_in),
    }))
}

async fn by_token(request: &ServiceRequest, given: &str) -> Result<CurrentUser, WebError> {
    let (limits, db) = (data::<Limits>(request)?, data::<Db>(request)?);
    let now = data::<Clock>(request)?.now();
    let known = db.find_token(&token::hex(&token::hash(given))).await?;
    let Some(known) = known else {
        let address = limits.client_address(request.request());
        data::<Metrics>(request)?.refused_attempts.increment();
        let refusals = data::<Refusals>(request)?;
        let first = Refusals::note(refusals, db, data::<Clock>(request)?, &address, "token_refused");
        if let Some(who) = first {
            let (audit, db) = (Audit::bare(&who, "token_refused", request.path()), db.clone());
            // Beside the answer, which must not wait for a write. There is one of an address a minute.
            actix_web::rt::spawn(async move {
                if let Err(error) = db.record(audit, now).await {
                    tracing::warn!(service = "web", %error, "a refused token is not in the audit log");
                }
            });
        }
        limits.check_attempt(&address)?;
        return Err(WebError::BadToken);
    };
    limits.check_token(known.id)?;
    TokenUses::note(data::<TokenUses>(request)?, db, &known, now);
    Ok(CurrentUser {
        who: format!("token:{}", known.name),
        credential: Credential::Token { id: known.id, scope: known.scope },
    })
}

fn data<T: 'static>(request: &ServiceRequest) -> Result<&Data<T>, WebError> {
    request.app_data::<Data<T>>().ok_or(WebError::Busy)
}
