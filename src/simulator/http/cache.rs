//! The cache of the network in front of the exchange.

use std::collections::BTreeMap;

use crate::domain::money::units::Timestamp;

use super::request::{Host, Request};
use super::response::Response;

/// How long the cache serves a response for the identical URL, in milliseconds; 0 turns it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    pub activity: i64,
    pub trades: i64,
    pub positions: i64,
    /// Of the lists of Gamma.
    pub lists: i64,
}

impl CacheSettings {
    /// No cache.
    pub const OFF: Self = Self { activity: 0, trades: 0, positions: 0, lists: 0 };
    /// The times in the response headers of September 2026.
    pub const RECORDED: Self = Self { activity: 15_000, trades: 300_000, positions: 5_000, lists: 300_000 };

    fn max_age(&self, request: &Request) -> i64 {
        match (request.host, request.path.as_str()) {
            (Host::Data, "/v2/activity") => self.activity,
            (Host::Data, "/v2/trades") => self.trades,
            (Host::Data, "/v2/positions") => self.positions,
            (Host::Gamma, "/markets" | "/events") => self.lists,
            _ => 0,
        }
    }
}

/// Responses by URL until they are too old, with all their headers, the trace id among them.
#[derive(Debug)]
pub struct Cache {
    pub settings: CacheSettings,
    kept: BTreeMap<String, (Timestamp, Response)>,
}

impl Cache {
    pub fn new(settings: CacheSettings) -> Self {
        Self { settings, kept: BTreeMap::new() }
    }

    /// Returns the cached response to this request, if it is not too old.
    pub fn find(&mut self, request: &Request, now: Timestamp) -> Option<Response> {
        if request.post || self.settings.max_age(request) == 0 {
            return None;
        }
        let key = format!("{:?} {}", request.host, request.url());
        let (until, answer) = self.kept.get(&key)?;
        let age = self.settings.max_age(request) - until.millis_since(now);
        let cached = || answer.clone().with_header("X-Cache", "Hit from cloudfront".to_owned());
        (now < *until).then(|| cached().with_header("Age", (age / 1000).max(0).to_string()))
    }

    /// Keeps a response with status 200 and adds the headers that state for how long.
    pub fn keep(&mut self, request: &Request, answer: Response, now: Timestamp) -> Response {
        let max_age = self.settings.max_age(request);
        if request.post || max_age == 0 || answer.status != 200 {
            return answer;
        }
        let answer = answer.with_header("Cache-Control", format!("public, max-age={}", max_age / 1000));
        if self.kept.len() >= 4_096 {
            self.kept.retain(|_, (until, _)| now < *until);
        }
        let key = format!("{:?} {}", request.host, request.url());
        self.kept.insert(key, (now.plus_millis(max_age), answer.clone()));
        answer.with_header("X-Cache", "Miss from cloudfront".to_owned())
    }
}
