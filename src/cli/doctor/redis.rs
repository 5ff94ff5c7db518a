//! Checks that Redis answers, and that it is new enough for the wake-ups between processes.

use std::time::Duration;

use redis::{Client, RedisResult, cmd};

use super::Finding;
use crate::config::{RedisSettings, Secret};

const PATIENCE: Duration = Duration::from_secs(5);
/// The first version with XAUTOCLAIM, with which a worker takes over the wake-ups of a worker that died.
const OLDEST: (u32, u32) = (6, 2);

/// Reports only the category of an error: its text may contain the address, and that a password.
pub(super) async fn finding(settings: &RedisSettings) -> Finding {
    let Some(url) = &settings.url else {
        return Finding::fine("redis", "no REDIS_URL: fine for a single process, which does not need Redis".to_owned());
    };
    let advice =
        "is REDIS_URL complete, is the server running, is the password right? Try: redis-cli -u \"$REDIS_URL\" ping";
    match tokio::time::timeout(PATIENCE, version(url)).await {
        Ok(Ok(version)) if is_old(&version) => Finding::wrong(
            "redis",
            format!("the server of REDIS_URL is version {version}"),
            "use Redis 6.2 or newer; without XAUTOCLAIM the bot misses wake-ups from other processes",
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
    let info: String = cmd("INFO").arg("server").query_async(&mut connection).await?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(version.unwrap_or("unknown").trim().to_owned())
}

/// A version that cannot be parsed counts as new enough.
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
