//! Where sessions are kept: in the cookie itself, or in Redis with only their key in the cookie (spec section 12).
//!
//! Errors are `anyhow`'s because the store's trait wants them so.
//! Either way the cookie is signed and encrypted. Redis knows a session by the hash of its key: a copy of Redis's memory
//! lets nobody in.

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

/// The store of one web thread.
pub enum Sessions {
    InCookies(CookieSessionStore),
    InRedis(RedisSessions),
}

/// Connects when first needed and anew after an error, so that Redis may come and go.
pub struct RedisSessions {
    url: Secret,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Sessions {
    pub fn new(settings: &RedisSettings) -> Self {
        match &settings.url {
            None => Self::InCookies(CookieSessionStore::default()),
            Some(url) => Self::InRedis(RedisSessions { url: url.clone(), connection: Mutex::default() }),
        }
    }
}

impl RedisSessions {
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<T> {
        let kept = self.connection.lock().await.clone();
        if let Some(mut connection) = kept
            && let Ok(answer) = command.query_async(&mut connection).await
        {
            return Ok(answer);
        }
        // That one was closed meanwhile, which is noticed only now. What is asked here may be asked twice.
        let mut connection = Client::open(self.url.reveal())?.get_multiplexed_async_connection().await?;
        *self.connection.lock().await = Some(connection.clone());
        Ok(command.query_async(&mut connection).await?)
    }

    async fn set(&self, key: &SessionKey, state: &State, ttl: &Duration, only_if: &str) -> anyhow::Result<bool> {
        let (name, state) = (name(key), serde_json::to_string(state)?);
        let mut command = cmd("SET");
        command.arg(name).arg(state).arg(only_if).arg("EX").arg(ttl.whole_seconds());
        Ok(self.ask::<Option<String>>(&command).await?.is_some())
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
        let text: Option<String> = redis.ask(cmd("GET").arg(name(key))).await.map_err(LoadError::Other)?;
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
            false => Err(SaveError::Other(anyhow::anyhow!("two sessions have one key"))),
        }
    }

    async fn update(&self, key: SessionKey, state: State, ttl: &Duration) -> Result<SessionKey, UpdateError> {
        let redis = match self {
            Self::InCookies(cookies) => return cookies.update(key, state, ttl).await,
            Self::InRedis(redis) => redis,
        };
        // One that was deleted meanwhile stays so: its visitor signed out beside this request.
        redis.set(&key, &state, ttl, "XX").await.map_err(UpdateError::Other)?;
        Ok(key)
    }

    async fn update_ttl(&self, key: &SessionKey, ttl: &Duration) -> anyhow::Result<()> {
        match self {
            Self::InCookies(cookies) => cookies.update_ttl(key, ttl).await,
            Self::InRedis(redis) => redis.ask(cmd("EXPIRE").arg(name(key)).arg(ttl.whole_seconds())).await,
        }
    }

    async fn delete(&self, key: &SessionKey) -> anyhow::Result<()> {
        match self {
            Self::InCookies(cookies) => cookies.delete(key).await,
            Self::InRedis(redis) => redis.ask(cmd("DEL").arg(name(key))).await,
        }
    }
}
