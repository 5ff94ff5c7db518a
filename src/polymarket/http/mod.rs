//! How requests are sent: one client, one rate limit, a circuit breaker per upstream, and counts of the traffic.

pub mod backoff;
pub mod breaker;
pub mod client;
pub mod endpoint;
pub mod error;
pub mod gate;
pub mod limiter;
pub mod settings;
#[cfg(any(test, feature = "testkit"))]
pub mod tests;
pub mod traffic;
