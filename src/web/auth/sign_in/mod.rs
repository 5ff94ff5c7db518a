//! Coming in and going out: the sign-in page, the one-time link, GitHub, and signing out here or everywhere
//! (spec section 12). What came of it is in the audit log.

use actix_session::{Session, SessionExt};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{Data, Path, Query},
};
use serde::Serialize;

use super::csrf::{CsrfForm, Nothing};
use super::session::{SignedIn, Who};
use super::sign_in::github::{Begun, CameBack, Github, GithubError};
use super::sign_in::links::LoginLinks;
use super::user::{CurrentUser, HasProvider, Means};
use crate::clock::Clock;
use crate::db::{Audit, Db};
use crate::domain::money::units::Timestamp;
use crate::web::server::error::WebError;
use crate::web::server::rate_limit::Limits;
use crate::web::server::render;
use crate::web::server::render::Templates;

pub mod github;
pub mod links;

/// Where GitHub sends people back to.
pub const CALLBACK: &str = "/login/github/callback";
const KEY: &str = "sign_in";

#[derive(Serialize)]
struct LoginPage {
    with_github: bool,
}

/// What a sign-in handler needs.
pub struct Door {
    db: Data<Db>,
    limits: Data<Limits>,
    session: Session,
    address: String,
    now: Timestamp,
}

/// `GET /login`: where those who are not signed in learn how to be.
pub async fn page(
    visitor: Option<CurrentUser>,
    templates: Data<Templates>,
    provider: Data<HasProvider>,
) -> Result<HttpResponse, WebError> {
    match visitor {
        Some(_) => Ok(to("/")),
        None => render::page(&templates, "pages/login.html", &LoginPage { with_github: provider.0 }),
    }
}

/// `GET /login/{token}`: the one-time link.
pub async fn by_link(
    token: Path<String>,
    visitor: Option<CurrentUser>,
    links: Data<LoginLinks>,
    door: Door,
) -> Result<HttpResponse, WebError> {
    if visitor.is_some() {
        return Ok(to("/"));
    }
    if !links.redeem(&token) {
        door.limits.check_attempt(&door.address)?;
        door.refused("wrong link", None).await?;
        return Err(WebError::Forbidden(
            "this login link is wrong or was used before; start polymarketspy again for a new one",
        ));
    }
    door.open(Who::Link).await
}

/// `GET /login/github`: off to GitHub.
pub async fn begin(github: Option<Data<Github>>, door: Door) -> Result<HttpResponse, WebError> {
    let github = github.ok_or(WebError::NotFound)?;
    door.limits.check_attempt(&door.address)?;
    let (url, begun) = github.begin(door.now);
    door.session.insert(KEY, begun)?;
    Ok(HttpResponse::SeeOther().insert_header((LOCATION, url)).finish())
}

/// `GET /login/github/callback`: back from there.
pub async fn finish(github: Option<Data<Github>>, came: Query<CameBack>, door: Door) -> Result<HttpResponse, WebError> {
    let github = github.ok_or(WebError::NotFound)?;
    // Whatever comes of it, it is used up.
    let begun: Option<Begun> = door.session.get(KEY).ok().flatten();
    door.session.remove(KEY);
    if begun.is_none() {
        // Those with one were counted when they began.
        door.limits.check_attempt(&door.address)?;
    }
    let emails = match github.finish(begun, &came, door.now).await {
        Ok(emails) => emails,
        Err(error) => return Err(door.failed(error).await?),
    };
    for email in &emails {
        if door.db.is_admin(email).await? {
            return door.open(email.clone().into()).await;
        }
    }
    door.refused("no verified e-mail that may come in", emails.first().map(|email| email.as_str())).await?;
    Err(WebError::Forbidden(
        "none of your verified e-mails at GitHub may come in here; whoever runs this server can add one",
    ))
}

/// `POST /logout`
pub async fn out(submitted: CsrfForm<Nothing>, db: Data<Db>, clock: Data<Clock>) -> Result<HttpResponse, WebError> {
    let signed_in = session_of(&submitted.visitor)?;
    signed_in.end(&submitted.session, &db, clock.now()).await?;
    Ok(to("/login"))
}

/// `POST /logout/everywhere`
pub async fn out_everywhere(
    submitted: CsrfForm<Nothing>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    session_of(&submitted.visitor)?;
    db.end_sessions(&submitted.visitor.who, clock.now()).await?;
    submitted.session.purge();
    Ok(to("/login"))
}

fn session_of(visitor: &CurrentUser) -> Result<&SignedIn, WebError> {
    match &visitor.means {
        Means::Session(signed_in) => Ok(signed_in),
        Means::Token { .. } => {
            Err(WebError::Mistake("a token has no session to end; `token revoke` ends it".to_owned()))
        }
    }
}

impl Door {
    async fn open(&self, who: Who) -> Result<HttpResponse, WebError> {
        let name = who.as_str().to_owned();
        SignedIn::begin(&self.session, who, self.now)?;
        self.record(&name, "sign_in", &serde_json::json!({ "address": self.address })).await?;
        tracing::info!(service = "web", who = %name, "signed in");
        Ok(to("/"))
    }

    async fn refused(&self, reason: &str, email: Option<&str>) -> Result<(), WebError> {
        let told = serde_json::json!({ "reason": reason, "address": self.address, "email": email });
        self.record(&format!("address:{}", self.address), "sign_in_refused", &told).await
    }

    async fn failed(&self, error: GithubError) -> Result<WebError, WebError> {
        self.refused(&error.to_string(), None).await?;
        Ok(match error {
            GithubError::Forged => {
                WebError::Forbidden("this sign-in was not begun in this browser, or too long ago; begin again")
            }
            GithubError::Cancelled => WebError::Forbidden("the sign-in was cancelled at GitHub; you can begin again"),
            GithubError::Refused => {
                WebError::Forbidden("GitHub does not accept this sign-in, it may have been used before; begin again")
            }
            GithubError::Unanswered(cause) => {
                tracing::warn!(service = "web", error = %chain(cause.as_ref()), "GitHub did not answer a sign-in");
                WebError::Unanswered("GitHub does not answer as it should; try again in a moment".to_owned())
            }
        })
    }

    async fn record(&self, who: &str, action: &str, told: &serde_json::Value) -> Result<(), WebError> {
        let audit = Audit { after_json: Some(told.to_string()), ..Audit::bare(who, action, "session") };
        Ok(self.db.record(audit, self.now).await?)
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn to(path: &'static str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

impl actix_web::FromRequest for Door {
    type Error = WebError;
    type Future = std::future::Ready<Result<Self, WebError>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let door = || {
            let limits = request.app_data::<Data<Limits>>()?.clone();
            Some(Self {
                db: request.app_data::<Data<Db>>()?.clone(),
                address: limits.address_of(request),
                limits,
                session: request.get_session(),
                now: request.app_data::<Data<Clock>>()?.now(),
            })
        };
        std::future::ready(door().ok_or(WebError::Busy))
    }
}
