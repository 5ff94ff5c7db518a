//! The session store: sessions live in the cookie itself, or in Redis with only their key in the cookie (spec 12).
//!
//! Errors are of type `anyhow::Error` because the trait `SessionStore` asks for it.
//! The cookie is signed and encrypted in both cases. Redis stores a session under the hash of its key, so a copy of the
//! memory of Redis is no use for signing in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration as Wait;

use actix_session::storage::{
    CookieSessionStore, LoadError, SaveError, SessionKey, SessionStore, UpdateError, generate_session_key,
};
use actix_web::cookie::time::Duration;
use redis::{Client, Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};
use tokio::sync::Mutex;

use super::sign_in::github::ATTEMPT_MS;
use crate::config::{RedisSettings, Secret};
use crate::token::{hash, hex};

type State = HashMap<String, String>;

/// How long a request waits for Redis: its visitor has the cause within two seconds.
const PATIENCE: Wait = Wait::from_millis(1_200);

/// Why Redis did not answer last; nothing after it has answered again. Shared by all web threads.
#[derive(Debug, Clone, Default)]
pub struct StoreFailure(Arc<StdMutex<Option<String>>>);

/// The session store of one web thread.
pub enum Sessions {
    InCookies(CookieSessionStore),
    InRedis(RedisSessions),
}

/// Connects on first use and again after an error, so that Redis may restart.
pub struct RedisSessions {
    url: Secret,
    connection: Mutex<Option<MultiplexedConnection>>,
    failure: StoreFailure,
}

impl Sessions {
    /// Uses Redis if the settings name one.
    pub fn new(settings: &RedisSettings, failure: StoreFailure) -> Self {
        match &settings.url {
            None => Self::InCookies(CookieSessionStore::default()),
            Some(url) => Self::InRedis(RedisSessions { url: url.clone(), connection: Mutex::default(), failure }),
        }
    }

    /// Asks Redis whether it is there. Returns the reason when it is not.
    pub async fn failure(&self) -> Option<String> {
        match self {
            Self::InCookies(_) => None,
            Self::InRedis(redis) => redis.query::<String>(&cmd("PING")).await.err().map(|error| format!("{error:#}")),
        }
    }

    /// Returns why Redis did not answer last, without asking it.
    pub fn last_failure(&self) -> Option<String> {
        match self {
            Self::InCookies(_) => None,
            Self::InRedis(redis) => redis.failure.get(),
        }
    }
}

impl RedisSessions {
    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<T> {
        let answer = match tokio::time::timeout(PATIENCE, self.ask(command)).await {
            Ok(answer) => answer,
            Err(_) => {
                // A connection that hangs is not used again.
                *self.connection.lock().await = None;
                Err(anyhow::anyhow!("no answer within {} ms", PATIENCE.as_millis()))
            }
        };
        self.failure.note(answer.as_ref().err().map(|error| format!("{error:#}")));
        answer
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<T> {
        let open = self.connection.lock().await.clone();
        if let Some(mut connection) = open
            && let Ok(answer) = command.query_async(&mut connection).await
        {
            return Ok(answer);
        }
        // The connection was closed meanwhile, which only the query shows. A command may therefore be sent twice.
        let mut connection = Client::open(self.url.reveal())?.get_multiplexed_async_connection().await?;
        *self.connection.lock().await = Some(connection.clone());
        Ok(command.query_async(&mut connection).await?)
    }

    async fn set(&self, key: &SessionKey, state: &State, ttl: &Duration, only_if: &str) -> anyhow::Result<bool> {
        let (name, text) = (name(key), serde_json::to_string(state)?);
        let mut command = cmd("SET");
        command.arg(name).arg(text).arg(only_if).arg("EX").arg(lifetime(state, ttl).whole_seconds());
        Ok(self.query::<Option<String>>(&command).await?.is_some())
    }
}

impl StoreFailure {
    fn note(&self, cause: Option<String>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&cause, last.is_some()) {
            (Some(cause), false) => {
                tracing::warn!(service = "web", %cause, "sessions cannot be read: Redis does not answer")
            }
            (None, true) => tracing::info!(service = "web", "Redis answers again; sessions can be read"),
            _ => (),
        }
        *last = cause;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns how long a state is kept: a sign-in that only began, no longer than it may take.
fn lifetime(state: &State, ttl: &Duration) -> Duration {
    if state.contains_key(super::session::KEY) { *ttl } else { (*ttl).min(Duration::milliseconds(ATTEMPT_MS)) }
}

fn name(key: &SessionKey) -> String {
    format!("polymarketspy:session:{}", hex(&hash(key.as_ref())))
}

impl SessionStore for Sessions {
    async fn load(&self, key: &SessionKey) -> Result<Option<State>, LoadError> {
        let redis = match self {
            Self::InCookies(cookies) => return cookies.load(key).await,
            Self::InRedis(redis) => redis,
        };
        let text: Option<String> = redis.query(cmd("GET").arg(name(key))).await.map_err(LoadError::Other)?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| LoadError::Deserialization(e.into()))
    }

    async fn save(&self, state: State, ttl: &Duration) -> Result<SessionKey, SaveError> {
        let redis = match self {
            Self::InCookies(cookies) => return cookies.save(state, ttl).await,
            Self::InRedis(redis) => redis,
        };
        let key = generate_session_key();
        match redis.set(&key, &state, ttl, "NX").await.map_err(SaveError::Other)? {
            true => Ok(key),
            false => Err(SaveError::Other(anyhow::anyhow!("a session with this new key exists already"))),
        }
    }

    async fn update(&self, key: SessionKey, state: State, ttl: &Duration) -> Result<SessionKey, UpdateError> {
        let redis = match self {
            Self::InCookies(cookies) => return cookies.update(key, state, ttl).await,
            Self::InRedis(redis) => redis,
        };
        // `XX`: a session that was deleted meanwhile stays deleted, because its visitor signed out during this request.
        redis.set(&key, &state, ttl, "XX").await.map_err(UpdateError::Other)?;
        Ok(key)
    }

    async fn update_ttl(&self, key: &SessionKey, ttl: &Duration) -> anyhow::Result<()> {
        match self {
            Self::InCookies(cookies) => cookies.update_ttl(key, ttl).await,
            Self::InRedis(redis) => redis.query(cmd("EXPIRE").arg(name(key)).arg(ttl.whole_seconds())).await,
        }
    }

    async fn delete(&self, key: &SessionKey) -> anyhow::Result<()> {
        match self {
            Self::InCookies(cookies) => cookies.delete(key).await,
            Self::InRedis(redis) => redis.query(cmd("DEL").arg(name(key))).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_that_only_began_is_kept_for_ten_minutes_and_a_session_for_its_time() {
        let state = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), "{}".to_owned())).collect::<State>();
        let day = Duration::hours(24);
        for began in [&["sign_in"][..], &[]] {
            assert_eq!(lifetime(&state(began), &day), Duration::minutes(10), "{began:?}");
        }
        for signed_in in [&["visitor"][..], &["visitor", "sign_in"]] {
            assert_eq!(lifetime(&state(signed_in), &day), day, "{signed_in:?}");
        }
    }

    mod on_redis {
        use super::*;
        use crate::testkit::TestRedis;

        #[actix_web::test]
        async fn a_sign_in_that_only_began_leaves_redis_after_ten_minutes() {
            let server = TestRedis::start();
            let settings = RedisSettings { url: Some(Secret::new(server.url())) };
            let sessions = Sessions::new(&settings, StoreFailure::default());
            let state = |key: &str| State::from([(key.to_owned(), "{}".to_owned())]);
            let ttl = async |key: &SessionKey| server.command::<i64>(&["TTL", &name(key)]).await;
            let day = Duration::hours(24);
            let begun = sessions.save(state("sign_in"), &day).await.unwrap();
            assert!((590..=600).contains(&ttl(&begun).await));
            let signed_in = sessions.save(state("visitor"), &day).await.unwrap();
            assert!(ttl(&signed_in).await > 86_000);
        }
    }
}
