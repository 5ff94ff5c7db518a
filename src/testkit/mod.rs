//! What tests share: a database, an exchange, a whole bot, and made-up facts.
//!
//! Compiled for the unit tests and, by the feature `testkit`, for the integration tests and the benchmarks.
//! `Cargo.toml` turns the feature on for tests only, so that a release never contains this module.
//!
//! - [`TestDb`]: a fresh SQLite or PostgreSQL database.
//! - [`TestExchange`]: the simulated exchange on loopback.
//! - [`TestRedis`]: a Redis server.
//! - [`TestBot`]: everything that a whole bot needs, in this process; [`running_bot::RunningBot`] has started one.
//! - [`copy_setup::CopySetup`] and [`feed_setup::FeedSetup`]: what a test of one actor needs.
//! - [`simulation`]: a machine that runs the whole bot in virtual time.
//! - [`facts`]: a group and an attempt.

pub mod bot;
pub mod copy_setup;
pub mod db;
pub mod exchange;
pub mod facts;
pub mod feed_setup;
// Property tests need `proptest`, which is a development dependency: the feature alone does not bring it in.
#[cfg(test)]
pub mod malformed;
pub mod redis;
pub mod running_bot;
pub mod samples;
pub mod simulation;
pub mod wait;

/// Returns the client with which a test visits its servers.
pub fn test_client() -> awc::Client {
    crate::http_client::http_client(std::time::Duration::from_secs(5))
}

pub use bot::TestBot;
pub use db::TestDb;
pub use exchange::TestExchange;
pub use redis::TestRedis;
pub use wait::eventually;
