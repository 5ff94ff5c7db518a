//! How Polymarket is asked: one client, one rate limit, a breaker for each upstream, and what went out.

pub mod backoff;
pub mod breaker;
pub mod client;
pub mod endpoint;
pub mod error;
pub mod gate;
pub mod limiter;
pub mod settings;
pub mod traffic;
