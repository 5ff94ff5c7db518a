//! Sessions: when they begin, are valid and end, and their cookie (spec 12).
//!
//! A session ends when it was not used for `IDLE_HOURS`, when it is older than `LASTS_DAYS`, when it was signed out in
//! this browser or everywhere, when its e-mail may no longer sign in, or when it began with a one-time link and a
//! provider is configured now.

use actix_session::{
    Session, SessionMiddleware,
    config::{CookieContentSecurity, PersistentSession, TtlExtensionPolicy},
};
use actix_web::cookie::{Key, SameSite, time::Duration};
use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::session_store::{Sessions, StoreFailure};
use crate::config::{RedisSettings, Secret, WebSettings};
use crate::db::{Db, DbError};
use crate::domain::money::email::Email;
use crate::domain::money::units::Timestamp;
use crate::token;
use crate::token::{NoRandomness, random_text};
use crate::web::server::error::WebError;

const HOUR_MS: i64 = 3_600_000;
const IDLE_HOURS: i64 = 24;
/// A session ends this long after its sign-in, even if it is in use.
const LASTS_DAYS: i64 = 7;
const IDLE_MS: i64 = IDLE_HOURS * HOUR_MS;
const LASTS_MS: i64 = LASTS_DAYS * 24 * HOUR_MS;
/// How often the last use is stored. Not with every request: parallel answers would race for the cookie.
const RENEWAL_MS: i64 = HOUR_MS / 4;
/// What a session is of, in the stored state: a state without it is a sign-in that only began.
pub(super) const KEY: &str = "visitor";

/// The stored state of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedIn {
    id: String,
    pub who: Who,
    /// The CSRF token. Every changing request must carry it.
    pub csrf: String,
    pub began_at: Timestamp,
    used_at: Timestamp,
}

/// The owner of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// The person who opened the one-time link.
    Link,
    /// An e-mail of the list of admins.
    Admin(String),
}

/// The cookie settings, which differ between a plain-http loopback server and a server behind TLS.
#[derive(Clone)]
pub struct CookieSettings {
    key: Key,
    secure: bool,
    /// Contains the port: browsers send a cookie to every port of a host, and two bots on one machine must not sign
    /// each other out.
    name: String,
    store: RedisSettings,
    failure: StoreFailure,
}

impl CookieSettings {
    /// Derives the cookie settings of a server on `port`.
    ///
    /// # Errors
    /// [`NoRandomness`] when no secret is configured and none can be generated.
    pub fn new(settings: &WebSettings, redis: RedisSettings, port: u16) -> Result<Self, NoRandomness> {
        // Browsers refuse a Secure cookie over plain http, which is how loopback is reached.
        let secure = settings.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
        let name = if secure { "__Host-polymarketspy".to_owned() } else { format!("polymarketspy-{port}") };
        // A person with a one-time link is at this machine and should be able to sign in while Redis is down.
        let store = if settings.github.is_some() { redis } else { RedisSettings::default() };
        Ok(Self { key: key(settings.session_secret.as_ref())?, secure, name, store, failure: StoreFailure::default() })
    }

    /// Returns the store of the sessions.
    pub fn sessions(&self) -> Sessions {
        Sessions::new(&self.store, self.failure.clone())
    }

    /// Returns the session middleware of one web thread.
    pub fn middleware(&self) -> SessionMiddleware<Sessions> {
        SessionMiddleware::builder(self.sessions(), self.key.clone())
            .cookie_name(self.name.clone())
            .cookie_secure(self.secure)
            .cookie_http_only(true)
            .cookie_same_site(SameSite::Lax)
            .cookie_path("/".to_owned())
            .cookie_content_security(CookieContentSecurity::Private)
            .session_lifecycle(
                PersistentSession::default()
                    .session_ttl(Duration::hours(IDLE_HOURS))
                    .session_ttl_extension_policy(TtlExtensionPolicy::OnStateChanges),
            )
            .build()
    }
}

/// Returns the key of the cookie: derived from the secret, or random until the next restart.
fn key(secret: Option<&Secret>) -> Result<Key, NoRandomness> {
    let Some(secret) = secret else {
        let mut bytes = [0; 64];
        token::fill(&mut bytes)?;
        return Ok(Key::from(&bytes));
    };
    // `Key` needs 64 bytes. The hash also spreads the entropy of a secret that is text.
    Ok(Key::from(&sha2::Sha512::digest(secret.reveal().as_bytes())))
}

impl Who {
    /// Returns the name in the audit log.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Link => "login link",
            Self::Admin(email) => email,
        }
    }
}

impl SignedIn {
    /// Begins a session under a new key. Replaces the session of the browser, if there is one.
    ///
    /// # Errors
    /// [`WebError::Ours`] when there is no randomness or the session cannot be stored.
    pub fn begin(session: &Session, who: Who, now: Timestamp) -> Result<(), WebError> {
        session.clear();
        session.renew();
        let (id, csrf) = (random_text()?, random_text()?);
        let begun = Self { id, who, csrf, began_at: now, used_at: now };
        Ok(session.insert(KEY, begun)?)
    }

    /// Loads the session of a request, if it is valid. Stores the time of its last use.
    ///
    /// # Errors
    /// [`WebError::Ours`] when the database does not answer or the session cannot be stored.
    pub async fn load(
        session: &Session,
        db: &Db,
        has_provider: bool,
        now: Timestamp,
    ) -> Result<Option<Self>, WebError> {
        let Ok(Some(mut signed_in)) = session.get::<Self>(KEY) else { return Ok(None) };
        if !signed_in.is_valid(db, has_provider, now).await? {
            // Cleared, not purged: a sign-in that begins with this request must be able to write into the session.
            session.clear();
            return Ok(None);
        }
        if now.millis_since(signed_in.used_at) >= RENEWAL_MS {
            signed_in.used_at = now;
            session.insert(KEY, &signed_in)?;
        }
        Ok(Some(signed_in))
    }

    /// Returns the latest end of the session.
    pub const fn ends_at(&self) -> Timestamp {
        self.began_at.plus_millis(LASTS_MS)
    }

    /// Ends the session in the database and in the browser.
    ///
    /// # Errors
    /// [`DbError`] when the database does not answer.
    pub async fn end(&self, session: &Session, db: &Db, now: Timestamp) -> Result<(), DbError> {
        db.end_session(&self.id, self.who.as_str(), self.ends_at(), now).await?;
        session.purge();
        Ok(())
    }

    /// Returns whether the session is valid, by its age and by the database.
    ///
    /// # Errors
    /// [`DbError`] when the database does not answer.
    pub async fn is_valid(&self, db: &Db, has_provider: bool, now: Timestamp) -> Result<bool, DbError> {
        let is_young = now < self.ends_at() && now.millis_since(self.used_at) < IDLE_MS;
        if !is_young || (self.who == Who::Link && has_provider) {
            return Ok(false);
        }
        let standing = db.session_standing(&self.id, self.who.as_str(), self.began_at).await?;
        Ok(!standing.is_over && (standing.is_admin || self.who == Who::Link))
    }
}

/// For an e-mail that a provider has verified.
impl From<Email> for Who {
    fn from(email: Email) -> Self {
        Self::Admin(email.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_session_ends_when_it_is_not_used_and_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}", folder.path().join("s.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let began_at = Timestamp::from_millis(1_790_619_000_000);
        let session = |who: Who, used_after: i64| SignedIn {
            id: "a".to_owned(),
            who,
            csrf: String::new(),
            began_at,
            used_at: began_at.plus_millis(used_after),
        };
        let holds = async |session: &SignedIn, after: i64| {
            session.is_valid(&db, session.who != Who::Link, began_at.plus_millis(after)).await.unwrap()
        };
        let fresh = session(Who::Link, 0);
        assert!(holds(&fresh, 24 * HOUR_MS - 1).await);
        assert!(!holds(&fresh, 24 * HOUR_MS).await, "not used for a day");
        let used = session(Who::Link, 7 * 24 * HOUR_MS - 10);
        assert!(holds(&used, 7 * 24 * HOUR_MS - 1).await);
        assert!(!holds(&used, 7 * 24 * HOUR_MS).await, "a week old");
        assert!(!fresh.is_valid(&db, true, began_at).await.unwrap(), "a link's session where there is a provider now");
        let email = Email::parse("ada@example.org").unwrap();
        let admin = session(email.clone().into(), 0);
        assert!(!holds(&admin, 1).await, "not on the list");
        assert!(matches!(db.allow_admin(&email, "test", began_at).await, Ok(crate::db::Inserted::New(()))));
        assert!(holds(&admin, 1).await);
        db.end_session("a", admin.who.as_str(), admin.ends_at(), began_at).await.unwrap();
        assert!(!holds(&admin, 1).await, "signed out");
    }

    #[test]
    fn a_session_secret_gives_the_same_key_after_a_restart_and_none_gives_another() {
        let key = |secret: Option<&Secret>| key(secret).unwrap();
        let secret = Secret::new("s".repeat(64));
        assert!(key(Some(&secret)) == key(Some(&secret)));
        assert!(key(None) != key(None));
    }
}
