//! The addresses of Polymarket's hosts, and our limits on requests to them.

use std::time::Duration;

use super::breaker::BreakerSettings;

/// Base URLs without a trailing slash, and the limits.
#[derive(Debug, Clone)]
pub struct PolymarketSettings {
    pub data_api_base: String,
    pub clob_base: String,
    pub gamma_base: String,
    pub limits: LimitSettings,
    /// Answers requests in the place of the network.
    #[cfg(any(test, feature = "testkit"))]
    pub in_process: Option<super::tests::in_process::InProcess>,
}

/// Limits for all Polymarket hosts together (spec 3.3).
#[derive(Debug, Clone)]
pub struct LimitSettings {
    pub requests_per_second: u32,
    pub burst: u32,
    /// Timeout of one request, from the connection to the last byte.
    pub request_timeout: Duration,
    /// When a second request is sent beside an interactive one that has no answer yet.
    pub second_request_after: Duration,
    /// One interactive call with its retries: an answer that takes up to five seconds is used (spec 7.4). A little more
    /// is left for the way and for the wait for a permit.
    pub interactive_budget: Duration,
    /// One bulk call with its retries.
    pub bulk_budget: Duration,
    /// How many requests one call may make, retries included.
    pub tries: u32,
    /// The wait before the first retry; it doubles, and half of it is random.
    pub backoff_base: Duration,
    pub backoff_max: Duration,
    /// Largest answer we accept; awc's default of 2 MiB is too small for a page of a thousand rows.
    pub body_limit: usize,
    /// Rows per page of activity or positions; the API allows 1000.
    pub page_rows: u32,
    /// A window of activity that has this many rows, or rows of this many bytes, ends there: it is held in memory.
    pub window_rows: usize,
    pub window_bytes: usize,
    pub breaker: BreakerSettings,
}

impl PolymarketSettings {
    /// Returns settings with these base URLs and the default limits.
    pub fn new(data_api_base: &str, clob_base: &str, gamma_base: &str) -> Self {
        let base = |text: &str| text.trim_end_matches('/').to_owned();
        Self {
            data_api_base: base(data_api_base),
            clob_base: base(clob_base),
            gamma_base: base(gamma_base),
            limits: LimitSettings::default(),
            #[cfg(any(test, feature = "testkit"))]
            in_process: None,
        }
    }
}

/// Polymarket's public hosts.
impl Default for PolymarketSettings {
    fn default() -> Self {
        Self::new("https://data-api.polymarket.com", "https://clob.polymarket.com", "https://gamma-api.polymarket.com")
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            requests_per_second: 20,
            burst: 40,
            request_timeout: Duration::from_secs(10),
            second_request_after: Duration::from_secs(2),
            interactive_budget: Duration::from_millis(5_400),
            bulk_budget: Duration::from_secs(30),
            tries: 4,
            backoff_base: Duration::from_millis(250),
            backoff_max: Duration::from_secs(15),
            body_limit: 16 * 1024 * 1024,
            page_rows: 500,
            window_rows: 20_000,
            window_bytes: 32 * 1024 * 1024,
            breaker: BreakerSettings::default(),
        }
    }
}
