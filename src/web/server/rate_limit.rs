//! Rate limits: of sign-in attempts, of changes, and of requests with a token.
//!
//! Per process and in memory. They stop guessing and a script that runs wild; they are not for accounting.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
};

use actix_web::{HttpRequest, http::header::HeaderName};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::error::WebError;

/// Attempts from one address: wrong links, wrong tokens, and sign-ins that were begun or failed.
const ATTEMPTS_A_MINUTE: u32 = 20;
/// Changes by one visitor. All of them may come at once.
const CHANGES_A_MINUTE: u32 = 120;
/// Requests with one token. Twice as many may come at once.
const TOKEN_REQUESTS_A_SECOND: u32 = 20;
/// Keys that a limiter holds before it drops the idle ones.
const KEYS_KEPT: usize = 10_000;

/// The rate limiters of this process.
pub struct Limits {
    real_ip_header: Option<HeaderName>,
    attempts: DefaultKeyedRateLimiter<String>,
    changes: DefaultKeyedRateLimiter<String>,
    tokens: DefaultKeyedRateLimiter<i64>,
}

impl Limits {
    /// Creates the limiters. `real_ip_header` is the header in which a trusted proxy sends the client's address.
    pub fn new(real_ip_header: Option<HeaderName>) -> Arc<Self> {
        let number = |n| NonZeroU32::new(n).expect("no limit is zero");
        let tokens =
            Quota::per_second(number(TOKEN_REQUESTS_A_SECOND)).allow_burst(number(2 * TOKEN_REQUESTS_A_SECOND));
        Arc::new(Self {
            real_ip_header,
            attempts: RateLimiter::keyed(Quota::per_minute(number(ATTEMPTS_A_MINUTE))),
            changes: RateLimiter::keyed(Quota::per_minute(number(CHANGES_A_MINUTE))),
            tokens: RateLimiter::keyed(tokens),
        })
    }

    /// Returns the client's address: the one that the proxy reports, or else the peer of the connection.
    /// An IPv6 address is cut to its /64, because one household or one rented machine has a whole /64.
    pub fn client_address(&self, request: &HttpRequest) -> String {
        let header = self.real_ip_header.as_ref().and_then(|name| request.headers().get(name));
        let reported = header.and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse::<IpAddr>().ok());
        match reported.or_else(|| request.peer_addr().map(|peer| peer.ip())) {
            Some(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => {
                let net = address.to_bits() >> 64 << 64;
                format!("{}/64", Ipv6Addr::from_bits(net))
            }
            Some(address) => address.to_canonical().to_string(),
            None => "unknown".to_owned(),
        }
    }

    /// Counts a sign-in attempt from `address`.
    ///
    /// # Errors
    /// [`WebError::TooMany`] above the limit.
    pub fn check_attempt(&self, address: &str) -> Result<(), WebError> {
        check(&self.attempts, &address.to_owned())
    }

    /// Counts a change by the visitor `who`.
    ///
    /// # Errors
    /// [`WebError::TooMany`] above the limit.
    pub fn check_change(&self, who: &str) -> Result<(), WebError> {
        check(&self.changes, &who.to_owned())
    }

    /// Counts a request with the token `id`.
    ///
    /// # Errors
    /// [`WebError::TooMany`] above the limit.
    pub fn check_token(&self, id: i64) -> Result<(), WebError> {
        check(&self.tokens, &id)
    }
}

fn check<K: Clone + Eq + std::hash::Hash>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), WebError> {
    if limiter.len() > KEYS_KEPT {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|_| WebError::TooMany)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn address(limits: &Limits, peer: &str, header: Option<&str>) -> String {
        let request = TestRequest::get().peer_addr(peer.parse().unwrap());
        let request = match header {
            Some(text) => request.insert_header(("x-real-ip", text)),
            None => request,
        };
        limits.client_address(&request.to_http_request())
    }

    #[test]
    fn only_a_header_that_the_operator_named_is_believed() {
        let (plain, proxied) = (Limits::new(None), Limits::new(Some(HeaderName::from_static("x-real-ip"))));
        assert_eq!(address(&plain, "192.0.2.1:5", Some("203.0.113.9")), "192.0.2.1");
        assert_eq!(address(&proxied, "192.0.2.1:5", Some("203.0.113.9")), "203.0.113.9");
        assert_eq!(address(&proxied, "192.0.2.1:5", None), "192.0.2.1");
        assert_eq!(address(&proxied, "192.0.2.1:5", Some("nonsense")), "192.0.2.1");
    }

    #[test]
    fn a_net_of_ipv6_addresses_is_one_client() {
        let limits = Limits::new(None);
        assert_eq!(address(&limits, "[2001:db8:1:2:3::1]:5", None), "2001:db8:1:2::/64");
        assert_eq!(address(&limits, "[2001:db8:1:2:ffff::9]:5", None), "2001:db8:1:2::/64");
        assert_eq!(address(&limits, "[::ffff:192.0.2.1]:5", None), "192.0.2.1");
    }

    #[test]
    fn an_address_that_guesses_is_stopped_and_others_are_not() {
        let limits = Limits::new(None);
        let refused = (0..30).filter(|_| limits.check_attempt("192.0.2.1").is_err()).count();
        assert_eq!(refused, 10);
        assert!(limits.check_attempt("192.0.2.2").is_ok());
    }
}
