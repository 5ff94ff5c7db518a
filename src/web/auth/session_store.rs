//! The session store: sessions live in the cookie itself, or in Redis with only their key in the cookie (spec 12).
//!
//! Errors are of type `anyhow::Error` because the trait `SessionStore` asks for it.
//! The cookie is signed and encrypted in both cases. Redis stores a session under the hash of its key, so a copy of the
//! memory of Redis is no use for signing in.

use std::collections::HashMap;

use actix_session::storage::{
    CookieSessionStore, LoadError, SaveError, SessionKey, SessionStore, UpdateError, generate_session_key,
};
use actix_web::cookie::time::Duration;
use redis::{Client, Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};
use tokio::sync::Mutex;

use crate::config::{RedisSettings, Secret};
use crate::token::{hash, hex};

type State = HashMap<String, String>;

/// The session store of one web thread.
pub enum Sessions {
    InCookies(CookieSessionStore),
    InRedis(RedisSessions),
}

/// Connects on first use and again after an error, so that Redis may restart.
pub struct RedisSessions {
    url: Secret,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Sessions {
    /// Uses Redis if the settings name one.
    pub fn new(settings: &RedisSettings) -> Self {
        match &settings.url {
            None => Self::InCookies(CookieSessionStore::default()),
            Some(url) => Self::InRedis(RedisSessions { url: url.clone(), connection: Mutex::default() }),
        }
    }
}

impl RedisSessions {
    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<T> {
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
        let (name, state) = (name(key), serde_json::to_string(state)?);
        let mut command = cmd("SET");
        command.arg(name).arg(state).arg(only_if).arg("EX").arg(ttl.whole_seconds());
        Ok(self.query::<Option<String>>(&command).await?.is_some())
    }
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
