//! Who is asking: one-time login links, the session cookie, and the visitor it names.
//!
//! Without a sign-in provider whoever can read the program's output may come in: it prints a link that works once,
//! from a browser on the same machine. The cookie is signed and encrypted; it holds no secret of ours.

use std::sync::{Arc, Mutex, PoisonError};

use actix_session::{
    Session, SessionExt, SessionMiddleware,
    config::{CookieContentSecurity, PersistentSession, TtlExtensionPolicy},
    storage::CookieSessionStore,
};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    cookie::{Key, SameSite, time::Duration},
    dev::Payload,
    http::header::LOCATION,
    web::{Data, Path},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rand::{TryRngCore, rngs::OsRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    error::WebError,
    posted::{Nothing, Posted},
    render::{self, Templates},
};
use crate::{clock::Clock, config::Secret, domain::units::Timestamp};

/// A session ends this long after its sign-in, whatever the cookie says.
const SESSION_DAYS: i64 = 7;
const SESSION_MILLIS: i64 = SESSION_DAYS * 86_400_000;
const KEY: &str = "visitor";

/// A signed-in visitor. As an extractor it refuses everybody else.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Visitor {
    /// What the audit log writes down.
    pub who: String,
    /// Must come back with every request that changes something.
    pub csrf: String,
    signed_in_at: Timestamp,
}

/// The links that still let somebody in. Only their hashes are kept.
pub struct LoginLinks {
    open: Mutex<Vec<[u8; 32]>>,
    wrong: DefaultDirectRateLimiter,
}

/// The session settings that a plain-http loopback server and one behind TLS do not share.
#[derive(Clone)]
pub struct CookieSettings {
    pub key: Key,
    pub secure: bool,
    /// Browsers send a cookie to every port of a host; two bots on one machine must not sign each other out.
    pub name: String,
}

/// The operating system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness(#[source] rand::rand_core::OsError);

impl LoginLinks {
    pub fn new() -> Arc<Self> {
        let ten_a_minute = Quota::per_minute(std::num::NonZeroU32::new(10).expect("ten is not zero"));
        Arc::new(Self { open: Mutex::default(), wrong: RateLimiter::direct(ten_a_minute) })
    }

    /// A new token of 256 random bits that works once.
    pub fn mint(&self) -> Result<String, NoRandomness> {
        let token = random_text()?;
        self.hashes().push(hash(&token));
        Ok(token)
    }

    /// True for an open token, which is closed by it. Takes equally long for every wrong one.
    fn redeem(&self, token: &str) -> bool {
        let given = hash(token);
        let mut open = self.hashes();
        let before = open.len();
        open.retain(|known| !equal_in_constant_time(known, &given));
        open.len() < before
    }

    fn hashes(&self) -> std::sync::MutexGuard<'_, Vec<[u8; 32]>> {
        // Nothing in here panics half way, so a poisoned list is still whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CookieSettings {
    /// # Errors
    /// `NoRandomness` when there is no secret and none can be made.
    pub fn new(secret: Option<&Secret>, secure: bool, port: u16) -> Result<Self, NoRandomness> {
        let key = match secret {
            // `Key` wants 64 bytes; the hash also spreads a secret that is text.
            Some(secret) => Key::from(&sha2::Sha512::digest(secret.reveal().as_bytes())),
            None => {
                let mut bytes = [0; 64];
                OsRng.try_fill_bytes(&mut bytes).map_err(NoRandomness)?;
                Key::from(&bytes)
            }
        };
        let name = if secure { "__Host-polymarketspy".to_owned() } else { format!("polymarketspy-{port}") };
        Ok(Self { key, secure, name })
    }

    pub fn middleware(&self) -> SessionMiddleware<CookieSessionStore> {
        SessionMiddleware::builder(CookieSessionStore::default(), self.key.clone())
            .cookie_name(self.name.clone())
            .cookie_secure(self.secure)
            .cookie_http_only(true)
            .cookie_same_site(SameSite::Lax)
            .cookie_path("/".to_owned())
            .cookie_content_security(CookieContentSecurity::Private)
            .session_lifecycle(
                PersistentSession::default()
                    .session_ttl(Duration::days(SESSION_DAYS))
                    .session_ttl_extension_policy(TtlExtensionPolicy::OnStateChanges),
            )
            .build()
    }
}

impl Visitor {
    /// Who the request's cookie names, if it is one of ours and not too old.
    pub fn of(session: &Session, now: Timestamp) -> Option<Self> {
        let visitor: Self = session.get(KEY).ok()??;
        (0..SESSION_MILLIS).contains(&now.millis_since(visitor.signed_in_at)).then_some(visitor)
    }

    /// When this session ends, for connections that outlive a request.
    pub fn ends_at(&self) -> Timestamp {
        self.signed_in_at.plus_millis(SESSION_MILLIS)
    }

    /// # Errors
    /// `WebError::Forbidden` when the form did not come from one of our pages.
    pub fn check(&self, proof: &str) -> Result<(), WebError> {
        if equal_in_constant_time(&hash(&self.csrf), &hash(proof)) {
            Ok(())
        } else {
            Err(WebError::Forbidden("this form is too old, open the page again"))
        }
    }
}

impl FromRequest for Visitor {
    type Error = WebError;
    type Future = std::future::Ready<Result<Self, WebError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let now = request.app_data::<Data<Clock>>().map(|clock| clock.now());
        let visitor = now.and_then(|now| Self::of(&request.get_session(), now));
        std::future::ready(visitor.ok_or(WebError::NotSignedIn))
    }
}

/// `GET /login`: where those who are not signed in learn how to be.
pub async fn login_page(visitor: Option<Visitor>, templates: Data<Templates>) -> Result<HttpResponse, WebError> {
    match visitor {
        Some(_) => Ok(to("/")),
        None => render::page(&templates, "pages/login.html", &serde_json::Map::new()),
    }
}

/// `GET /login/{token}`: the one-time link.
pub async fn login(
    token: Path<String>,
    visitor: Option<Visitor>,
    session: Session,
    links: Data<LoginLinks>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    if visitor.is_some() {
        return Ok(to("/"));
    }
    if !links.redeem(&token) {
        return Err(match links.wrong.check() {
            Ok(()) => WebError::Forbidden(
                "this login link is wrong or was used before; start polymarketspy again for a new one",
            ),
            Err(_) => WebError::TooMany,
        });
    }
    session.renew();
    let visitor = Visitor {
        who: "login link".to_owned(),
        csrf: random_text().map_err(WebError::ours)?,
        signed_in_at: clock.now(),
    };
    session.insert(KEY, visitor).map_err(WebError::ours)?;
    tracing::info!("a visitor signed in by the login link");
    Ok(to("/"))
}

/// `POST /logout`.
pub async fn logout(posted: Posted<Nothing>) -> HttpResponse {
    posted.session.purge();
    to("/login")
}

fn to(path: &'static str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

/// 256 random bits as text that fits in an address.
fn random_text() -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes).map_err(NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn equal_in_constant_time(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let different = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_link_works_once_and_others_stay_open() {
        let links = LoginLinks::new();
        let (first, second) = (links.mint().unwrap(), links.mint().unwrap());
        assert_ne!(first, second);
        assert_eq!(first.len(), 43, "256 bits in base64");
        assert!(!links.redeem("wrong"));
        assert!(links.redeem(&first));
        assert!(!links.redeem(&first), "a link works once");
        assert!(links.redeem(&second));
    }

    #[test]
    fn a_session_secret_gives_the_same_key_after_a_restart_and_none_gives_another() {
        let key = |secret: Option<&Secret>| CookieSettings::new(secret, false, 1).unwrap().key;
        let secret = Secret::new("s".repeat(64));
        assert!(key(Some(&secret)) == key(Some(&secret)));
        assert!(key(None) != key(None));
    }
}
