//! Does Redis answer, and is it new enough for what the bell needs.

use std::time::Duration;

use redis::{Client, RedisResult, cmd};

use super::Finding;
use crate::config::{RedisSettings, Secret};

const PATIENCE: Duration = Duration::from_secs(5);
/// The first with XAUTOCLAIM, by which a worker hears what a dead one had heard.
const OLDEST: (u32, u32) = (6, 2);

/// Errors are told by their kind alone: the address may hold a password.
pub(super) async fn finding(settings: &RedisSettings) -> Finding {
    let Some(url) = &settings.url else {
        return Finding::fine("redis", "no REDIS_URL: one process does everything, which is all it needs".to_owned());
    };
    let advice =
        "is REDIS_URL whole, does the server run, is the password right? Try: redis-cli -u \"$REDIS_URL\" ping";
    match tokio::time::timeout(PATIENCE, version(url)).await {
        Ok(Ok(version)) if is_old(&version) => Finding::wrong(
            "redis",
            format!("the server of REDIS_URL is version {version}"),
            "use Redis 6.2 or newer; the bot does not hear of work in other processes without XAUTOCLAIM",
        ),
        Ok(Ok(version)) => Finding::fine("redis", format!("the server of REDIS_URL answers, version {version}")),
        Ok(Err(error)) => {
            Finding::wrong("redis", format!("the server of REDIS_URL does not answer: {}", error.category()), advice)
        }
        Err(_) => Finding::wrong(
            "redis",
            format!("the server of REDIS_URL does not answer within {} s", PATIENCE.as_secs()),
            advice,
        ),
    }
}

async fn version(url: &Secret) -> RedisResult<String> {
    let mut connection = Client::open(url.reveal())?.get_multiplexed_async_connection().await?;
    let told: String = cmd("INFO").arg("server").query_async(&mut connection).await?;
    let version = told.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(version.unwrap_or("unknown").trim().to_owned())
}

/// A version we cannot read is not held against it.
fn is_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>());
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < OLDEST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_autoclaim_is_too_old() {
        for (version, old) in [("6.0.16", true), ("5.2", true), ("6.2.0", false), ("7.0.15", false), ("unknown", false)]
        {
            assert_eq!(is_old(version), old, "{version}");
        }
    }
}
