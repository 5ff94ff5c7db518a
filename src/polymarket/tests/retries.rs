//! Retries, Retry-After, breaker, limits and counts, over real sockets.

use std::time::Duration;

use super::server::{Answer, Server};
use crate::clock::Clock;
use crate::domain::money::ids::AssetId;
use crate::polymarket::http::client::Polymarket;
use crate::polymarket::http::endpoint::Priority;
use crate::polymarket::http::error::PolymarketError;

const BOOK: &str = r#"{"bids":[],"asks":[]}"#;

fn asset() -> AssetId {
    AssetId::parse("84").unwrap()
}

async fn book(polymarket: &Polymarket) -> Result<(), PolymarketError> {
    polymarket.book(&asset(), Priority::Interactive).await.map(|_| ())
}

#[actix_web::test]
async fn transient_failures_are_retried_and_the_answer_is_returned() {
    for failure in [
        Answer::Body(429, "<html>Too Many Requests</html>".to_owned()),
        Answer::Later(429, "0", ""),
        Answer::Later(429, "Sun, 06 Nov 1994 08:49:37 GMT", "slow down"),
        Answer::Body(425, r#"{"error":"engine restarting"}"#.to_owned()),
        Answer::Body(500, String::new()),
        Answer::Body(502, "<html>".to_owned()),
        Answer::Later(503, "0", r#"{"error":"trading paused"}"#),
        Answer::Body(200, String::new()),
        Answer::Body(200, r#"{"bids":[{"pri"#.to_owned()),
        Answer::Body(200, "<!DOCTYPE html>".to_owned()),
    ] {
        let server = Server::start().await;
        server.on("book", failure.clone()).on_body("book", BOOK);
        assert_eq!(book(&server.client()).await, Ok(()), "{failure:?}");
        assert_eq!(server.urls().len(), 2, "{failure:?}");
    }
}

#[actix_web::test]
async fn refusals_are_not_retried() {
    for status in [400, 401, 404, 422] {
        let server = Server::start().await;
        server.on("book", Answer::Body(status, r#"{"error":"no"}"#.to_owned()));
        let error = book(&server.client()).await.unwrap_err();
        assert!(matches!(&error, PolymarketError::Refused { message, .. } if message == "no"), "{error}");
        assert_eq!(server.urls().len(), 1);
    }
}

#[actix_web::test]
async fn retry_after_is_returned_and_the_upstream_is_left_alone_for_as_long() {
    let server = Server::start().await;
    server.on("book", Answer::Later(429, "70", "<html>"));
    let polymarket = server.client();
    let error = book(&polymarket).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(70)));
    assert!(error.is_transient());
    let error = book(&polymarket).await.unwrap_err();
    assert!(matches!(error, PolymarketError::Resting { .. }), "{error}");
    assert!(error.retry_after().unwrap() > Duration::from_secs(60));
    assert_eq!(server.urls().len(), 1, "no other request was sent");
}

#[actix_web::test]
async fn the_breaker_opens_after_repeated_failures_probes_and_closes() {
    let server = Server::start().await;
    let polymarket = server.client_of_one_try();
    for _ in 0..5 {
        server.on("book", Answer::Body(500, String::new()));
        assert!(book(&polymarket).await.is_err());
    }
    let state = || polymarket.observe().upstreams[1].breaker.state;
    assert_eq!(state(), "open");
    // Another upstream is not affected.
    assert_eq!(polymarket.observe().upstreams[0].breaker.state, "closed");
    // The next call waits for the end of the open state, is sent as the probe, and closes the breaker.
    server.on_body("book", BOOK);
    assert_eq!(book(&polymarket).await, Ok(()));
    assert_eq!((state(), server.urls().len()), ("closed", 6));
}

#[actix_web::test]
async fn an_open_breaker_refuses_calls_that_cannot_wait() {
    let server = Server::start().await;
    let mut settings = server.settings();
    settings.limits.tries = 1;
    settings.limits.breaker.open_for = Duration::from_secs(30);
    let polymarket = Polymarket::new(settings, Clock::System);
    for _ in 0..5 {
        server.on("book", Answer::Body(500, String::new()));
        assert!(book(&polymarket).await.is_err());
    }
    let error = book(&polymarket).await.unwrap_err();
    assert!(matches!(error, PolymarketError::Resting { .. }), "{error}");
    assert_eq!(server.urls().len(), 5);
}

#[actix_web::test]
async fn a_server_that_hangs_costs_a_timeout_and_one_that_is_gone_an_error() {
    let server = Server::start().await;
    server.on("book", Answer::Hang);
    let mut settings = server.settings();
    settings.limits.tries = 1;
    settings.limits.interactive_budget = Duration::from_millis(50);
    let polymarket = Polymarket::new(settings.clone(), Clock::System);
    let error = book(&polymarket).await.unwrap_err();
    assert!(matches!(error, PolymarketError::TimedOut { .. }) && error.is_transient(), "{error}");

    settings.clob_base = "http://127.0.0.1:1".to_owned();
    let error = book(&Polymarket::new(settings, Clock::System)).await.unwrap_err();
    assert!(matches!(error, PolymarketError::Unreachable { .. }) && error.is_transient(), "{error}");
}

#[actix_web::test]
async fn large_answers_are_read_and_endless_ones_refused() {
    let server = Server::start().await;
    let level = r#"{"price":"0.5","size":"1"}"#;
    let large = format!(r#"{{"bids":[{}],"asks":[]}}"#, vec![level; 120_000].join(","));
    assert!(large.len() > 3 * 1024 * 1024);
    server.on_body("book", &large).on_body("book", &large);
    assert_eq!(book(&server.client()).await, Ok(()), "awc alone would stop at 2 MiB");
    let mut settings = server.settings();
    settings.limits.body_limit = 1024;
    let error = book(&Polymarket::new(settings, Clock::System)).await.unwrap_err();
    assert_eq!(
        error,
        PolymarketError::TooLarge { endpoint: crate::polymarket::http::endpoint::Endpoint::Book, limit: 1024 }
    );
}

#[actix_web::test]
async fn every_request_is_counted_where_it_went() {
    let server = Server::start().await;
    server
        .on("book", Answer::Later(429, "0", ""))
        .on("book", Answer::Body(500, String::new()))
        .on_body("book", BOOK)
        .on("time", Answer::Body(400, String::new()));
    let polymarket = server.client();
    book(&polymarket).await.unwrap();
    polymarket.server_time().await.unwrap_err();
    let counted: Vec<(&str, u64, u64, u64)> = polymarket
        .observe()
        .endpoints
        .iter()
        .map(|traffic| {
            let sum =
                |of: fn(&crate::polymarket::http::traffic::MinuteCounts) -> u64| traffic.minutes.iter().map(of).sum();
            (traffic.endpoint.as_str(), sum(|m| m.requests), sum(|m| m.errors), sum(|m| m.rate_limited))
        })
        .collect();
    assert_eq!(counted, [("book", 3, 2, 1), ("time", 1, 1, 0)]);
    assert!(serde_json::to_string(&polymarket.observe()).unwrap().contains(r#""endpoint":"book""#));
}

#[actix_web::test]
async fn clients_behind_one_gate_share_breakers_and_counts() {
    let server = Server::start().await;
    let first = server.client();
    let second = Polymarket::behind(first.gate().clone(), server.settings(), Clock::System);
    server.on("book", Answer::Later(429, "70", ""));
    book(&first).await.unwrap_err();
    assert!(matches!(book(&second).await, Err(PolymarketError::Resting { .. })));
    assert_eq!(second.observe(), first.observe());
}
