//! The routes of the sign-in: its page, the one-time link, GitHub, and signing out in this browser or everywhere
//! (spec 12). The audit log has the result of each.

use actix_session::{Session, SessionExt};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{Data, Path, Query},
};
use serde::Serialize;

use super::csrf::{CsrfForm, EmptyForm};
use super::refusals::Refusals;
use super::session::{SignedIn, Who};
use super::sign_in::github::{Github, GithubError, OAuthCallback, PendingSignIn};
use super::sign_in::links::LoginLinks;
use super::user::{Credential, CurrentUser, HasProvider};
use crate::clock::Clock;
use crate::db::{Audit, Db};
use crate::domain::money::units::Timestamp;
use crate::metrics::Metrics;
use crate::web::server::error::WebError;
use crate::web::server::rate_limit::Limits;
use crate::web::server::render;
use crate::web::server::render::Templates;

pub mod github;
pub mod links;

/// The path that GitHub redirects to after a sign-in.
pub const CALLBACK: &str = "/login/github/callback";
const KEY: &str = "sign_in";

#[derive(Serialize)]
struct LoginPage {
    with_github: bool,
}

/// The data of a sign-in request.
pub struct SignInContext {
    db: Data<Db>,
    limits: Data<Limits>,
    refusals: Data<Refusals>,
    metrics: Data<Metrics>,
    clock: Data<Clock>,
    session: Session,
    address: String,
    now: Timestamp,
}

/// `GET /login`: the page that explains how to sign in.
///
/// # Errors
/// [`WebError::Ours`] when the page does not render.
pub async fn page(
    visitor: Option<CurrentUser>,
    templates: Data<Templates>,
    provider: Data<HasProvider>,
) -> Result<HttpResponse, WebError> {
    match visitor {
        Some(_) => Ok(redirect("/")),
        None => render::page(&templates, "pages/login.html", &LoginPage { with_github: provider.0 }),
    }
}

/// `GET /login/{token}`: the one-time link.
///
/// # Errors
/// [`WebError::Forbidden`] for a wrong or used link, [`WebError::TooMany`] after many of them, [`WebError::Ours`].
pub async fn by_link(
    token: Path<String>,
    visitor: Option<CurrentUser>,
    links: Data<LoginLinks>,
    context: SignInContext,
) -> Result<HttpResponse, WebError> {
    if visitor.is_some() {
        return Ok(redirect("/"));
    }
    if !links.redeem(&token) {
        context.record_guess("wrong link").await?;
        context.limits.check_attempt(&context.address)?;
        return Err(WebError::Forbidden(
            "this login link is wrong or was used before; start polymarketspy again for a new one",
        ));
    }
    context.sign_in(Who::Link).await
}

/// `GET /login/github`: begins a sign-in and redirects to GitHub.
///
/// # Errors
/// [`WebError::NotFound`] without a provider, [`WebError::TooMany`], [`WebError::Ours`].
pub async fn begin(github: Option<Data<Github>>, context: SignInContext) -> Result<HttpResponse, WebError> {
    let github = github.ok_or(WebError::NotFound)?;
    context.limits.check_attempt(&context.address)?;
    let (url, begun) = github.begin(context.now);
    context.session.insert(KEY, begun)?;
    Ok(HttpResponse::SeeOther().insert_header((LOCATION, url)).finish())
}

/// `GET /login/github/callback`: the redirect back from GitHub.
///
/// # Errors
/// [`WebError::Forbidden`] when the sign-in is refused, [`WebError::Unanswered`] when GitHub does not answer,
/// [`WebError::NotFound`] without a provider, [`WebError::TooMany`], [`WebError::Ours`].
pub async fn finish(
    github: Option<Data<Github>>,
    callback: Query<OAuthCallback>,
    context: SignInContext,
) -> Result<HttpResponse, WebError> {
    let github = github.ok_or(WebError::NotFound)?;
    // A sign-in is used up by its callback, even if it fails.
    let begun: Option<PendingSignIn> = context.session.get(KEY).ok().flatten();
    context.session.remove(KEY);
    if begun.is_none() {
        // A sign-in that was begun was counted then.
        context.limits.check_attempt(&context.address)?;
    }
    let emails = match github.finish(begun, &callback, context.now).await {
        Ok(emails) => emails,
        Err(error) => return Err(context.failure(error).await?),
    };
    for email in &emails {
        if context.db.is_admin(email).await? {
            return context.sign_in(email.clone().into()).await;
        }
    }
    context.record_refusal("no verified e-mail that may come in", emails.first().map(|email| email.as_str())).await?;
    Err(WebError::Forbidden(
        "none of your verified e-mails at GitHub may come in here; whoever runs this server can add one",
    ))
}

/// `POST /logout`
///
/// # Errors
/// [`WebError::Mistake`] for a visitor with a token, [`WebError::Ours`].
pub async fn sign_out(
    submitted: CsrfForm<EmptyForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    let signed_in = session_of(&submitted.visitor)?;
    signed_in.end(&submitted.session, &db, clock.now()).await?;
    Ok(redirect("/login"))
}

/// `POST /logout/everywhere`
///
/// # Errors
/// [`WebError::Mistake`] for a visitor with a token, [`WebError::Ours`].
pub async fn sign_out_everywhere(
    submitted: CsrfForm<EmptyForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    session_of(&submitted.visitor)?;
    db.end_sessions(&submitted.visitor.who, clock.now()).await?;
    submitted.session.purge();
    Ok(redirect("/login"))
}

fn session_of(visitor: &CurrentUser) -> Result<&SignedIn, WebError> {
    match &visitor.credential {
        Credential::Session(signed_in) => Ok(signed_in),
        Credential::Token { .. } => {
            Err(WebError::Mistake("a token has no session to end; `token revoke` ends it".to_owned()))
        }
    }
}

impl SignInContext {
    /// Begins a session and records the sign-in.
    async fn sign_in(&self, who: Who) -> Result<HttpResponse, WebError> {
        let name = who.as_str().to_owned();
        SignedIn::begin(&self.session, who, self.now)?;
        self.record(&name, "sign_in", &serde_json::json!({ "address": self.address })).await?;
        tracing::info!(service = "web", who = %name, "signed in");
        Ok(redirect("/"))
    }

    /// Counts an attempt that any stranger can make without an account: the first of an address in a minute is recorded.
    async fn record_guess(&self, reason: &str) -> Result<(), WebError> {
        self.metrics.refused_attempts.increment();
        let first = Refusals::note(&self.refusals, &self.db, &self.clock, &self.address, "sign_in_refused");
        if first.is_some() { self.record_refusal(reason, None).await } else { Ok(()) }
    }

    async fn record_refusal(&self, reason: &str, email: Option<&str>) -> Result<(), WebError> {
        let details = serde_json::json!({ "reason": reason, "address": self.address, "email": email });
        self.record(&format!("address:{}", self.address), "sign_in_refused", &details).await
    }

    /// Records a failed sign-in at GitHub. Returns the error for the visitor.
    async fn failure(&self, error: GithubError) -> Result<WebError, WebError> {
        match error {
            GithubError::Forged => self.record_guess(&error.to_string()).await?,
            _ => self.record_refusal(&error.to_string(), None).await?,
        }
        Ok(match error {
            GithubError::Forged => {
                WebError::Forbidden("this sign-in was not begun in this browser, or too long ago; begin again")
            }
            GithubError::Cancelled => WebError::Forbidden("the sign-in was cancelled at GitHub; you can begin again"),
            GithubError::Refused => {
                WebError::Forbidden("GitHub does not accept this sign-in, it may have been used before; begin again")
            }
            GithubError::Unanswered(cause) => {
                tracing::warn!(service = "web", error = %chain(cause.as_ref()), "sign-in failed: GitHub gave no valid answer");
                WebError::Unanswered("GitHub does not answer as it should; try again in a moment".to_owned())
            }
        })
    }

    async fn record(&self, who: &str, action: &str, details: &serde_json::Value) -> Result<(), WebError> {
        let audit = Audit { after_json: Some(details.to_string()), ..Audit::bare(who, action, "session") };
        Ok(self.db.record(audit, self.now).await?)
    }
}

/// Returns the texts of an error and all its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn redirect(path: &'static str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

impl actix_web::FromRequest for SignInContext {
    type Error = WebError;
    type Future = std::future::Ready<Result<Self, WebError>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let context = || {
            let limits = request.app_data::<Data<Limits>>()?.clone();
            let clock = request.app_data::<Data<Clock>>()?.clone();
            Some(Self {
                refusals: request.app_data::<Data<Refusals>>()?.clone(),
                metrics: request.app_data::<Data<Metrics>>()?.clone(),
                db: request.app_data::<Data<Db>>()?.clone(),
                address: limits.client_address(request),
                limits,
                session: request.get_session(),
                now: clock.now(),
                clock,
            })
        };
        std::future::ready(context().ok_or(WebError::Busy))
    }
}
