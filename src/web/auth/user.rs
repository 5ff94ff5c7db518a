//! Who is asking: the visitor that a session or a token names, looked up once a request and checked against what the
//! database says of them now (spec section 12).

use std::future::{Ready, ready};

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

use super::session::SignedIn;
use crate::clock::Clock;
use crate::db::{Audit, Db, DbError, TokenScope};
use crate::domain::money::units::Timestamp;
use crate::token;
use crate::web::server::error::WebError;
use crate::web::server::rate_limit::Limits;

/// Somebody who may come in. As an extractor it refuses everybody else.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    /// What the audit log writes down: an e-mail, `login link`, or `token:` and its name.
    pub who: String,
    pub means: Means,
}

/// By what they come in.
#[derive(Debug, Clone)]
pub enum Means {
    Session(SignedIn),
    Token { id: i64, scope: TokenScope },
}

impl CurrentUser {
    /// Whether a page of ours made a request that changes something. A token's request needs no proof: no page of
    /// another site can send it.
    ///
    /// # Errors
    /// `WebError::Forbidden` when it did not.
    pub fn check(&self, proof: &str) -> Result<(), WebError> {
        match &self.means {
            Means::Session(require_auth) if !token::same(&require_auth.csrf, proof) => {
                Err(WebError::Forbidden("this form is too old, open the page again"))
            }
            Means::Session(_) | Means::Token { .. } => Ok(()),
        }
    }

    /// Whether a connection that they opened may go on.
    ///
    /// # Errors
    /// `DbError`.
    pub async fn may_stay(&self, db: &Db, has_provider: bool, now: Timestamp) -> Result<bool, DbError> {
        match &self.means {
            Means::Session(require_auth) => require_auth.holds(db, has_provider, now).await,
            Means::Token { id, .. } => db.token_works(*id).await,
        }
    }

    /// What forms of their pages prove themselves with; nothing for a token, which needs none.
    pub fn csrf(&self) -> &str {
        match &self.means {
            Means::Session(require_auth) => &require_auth.csrf,
            Means::Token { .. } => "",
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

/// How people sign in here.
#[derive(Debug, Clone, Copy)]
pub struct HasProvider(pub bool);

/// Whether the request comes with a token. Its session, if it has one too, then counts for nothing. Other kinds of
/// authorization are for a proxy in front of us.
pub fn has_token(headers: &HeaderMap) -> bool {
    token_of(headers).is_some()
}

fn token_of(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Finds out who asks, for everything behind it but files that are the same for everybody.
pub async fn authenticate<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    if request.path().starts_with("/assets/") {
        return next.call(request).await;
    }
    let visitor = match token_of(request.headers()) {
        Some(token) => by_token(&request, token).await.map(Some),
        None => by_session(&request).await,
    };
    let visitor = match visitor {
        // A monitor is told that the database is down by an answer, not by an error.
        Err(WebError::Ours(_)) if request.path() == "/api/health" => None,
        other => other?,
    };
    if let Some(visitor) = visitor {
        request.extensions_mut().insert(visitor);
    }
    next.call(request).await
}

/// Lets only those in who were recognised, with what they may do.
pub async fn require_auth<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let visitor = request.extensions().get::<CurrentUser>().cloned().ok_or(WebError::NotSignedIn)?;
    if !reads(request.method()) {
        if matches!(visitor.means, Means::Token { scope: TokenScope::Read, .. }) {
            return Err(WebError::Forbidden("this token may only read").into());
        }
        data::<Limits>(&request)?.check_change(&visitor.who)?;
    }
    next.call(request).await
}

pub fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

async fn by_session(request: &ServiceRequest) -> Result<Option<CurrentUser>, WebError> {
    let (now, HasProvider(has_provider)) = (data::<Clock>(request)?.now(), *data::<HasProvider>(request)?.get_ref());
    let require_auth = SignedIn::of(&request.get_session(), data::<Db>(request)?, has_provider, now).await?;
    Ok(require_auth.map(|require_auth| CurrentUser {
        who: require_auth.who.as_str().to_owned(),
        means: Means::Session(require_auth),
    }))
}

async fn by_token(request: &ServiceRequest, given: &str) -> Result<CurrentUser, WebError> {
    let (limits, db) = (data::<Limits>(request)?, data::<Db>(request)?);
    let now = data::<Clock>(request)?.now();
    let known = db.use_token(&token::hex(&token::hash(given)), now).await?;
    let Some(known) = known else {
        let address = limits.address_of(request.request());
        limits.check_attempt(&address)?;
        let audit = Audit::bare(&format!("address:{address}"), "token_refused", request.path());
        db.record(audit, now).await?;
        return Err(WebError::BadToken);
    };
    limits.check_token(known.id)?;
    Ok(CurrentUser { who: format!("token:{}", known.name), means: Means::Token { id: known.id, scope: known.scope } })
}

fn data<T: 'static>(request: &ServiceRequest) -> Result<&Data<T>, WebError> {
    request.app_data::<Data<T>>().ok_or(WebError::Busy)
}
