//! The HTTP and websocket routes of the simulator: Data API, CLOB, Gamma, a Polygon node, and a GitHub to sign in at.

mod clob;
mod data_api;
mod gamma;
pub mod github;
pub(super) mod node;
mod wire_time;

use serde_json::Value;

use crate::domain::money::units::Timestamp;

use self::github::GitHub;
use super::http::request::{Host, LoggedRequest, Request};
use super::http::response::{Response, http_date};
use super::rng::hex_of;
use super::state::exchange::Exchange;
use super::state::fault::{FaultKind, Wait};

/// Answers a request of any host: looks for a planned fault, then for a cached answer, then asks the route. Returns the
/// answer and how long to delay it.
pub(super) fn answer(exchange: &mut Exchange, github: &mut GitHub, request: &Request) -> (Response, Wait) {
    let now = exchange.now();
    let date = http_date(now.plus_millis(exchange.date_skew_ms));
    let fault = exchange.faults.strike(request.host, &request.url(), now);
    let replaced = fault.as_ref().is_some_and(FaultKind::replaces_answer);
    let cached = if replaced { None } else { exchange.cache.find(request, now) };
    let from_cache = cached.is_some();
    let truth = match cached {
        Some(answer) => answer,
        None if replaced => Response::json(&Value::Null),
        None => {
            let fresh = fresh_answer(exchange, github, request, now).with_header("Date", date.clone());
            exchange.cache.keep(request, fresh, now)
        }
    };
    let wait = fault.as_ref().map_or(Wait::Not, FaultKind::wait);
    let answer = match fault {
        Some(fault) => fault.apply(request.host, truth, now),
        None => truth,
    };
    exchange.log.push(LoggedRequest {
        host: request.host,
        path: request.path.clone(),
        query: request.query.clone(),
        status: answer.status,
        at: now,
        from_cache,
    });
    // An answer from the cache keeps the date at which it was made.
    let dated = answer.headers.iter().any(|(name, _)| *name == "Date");
    let answer = if dated { answer } else { answer.with_header("Date", date) };
    (answer, wait)
}

fn fresh_answer(exchange: &Exchange, github: &mut GitHub, request: &Request, now: Timestamp) -> Response {
    match request.host {
        Host::Data => {
            let answer = data_api::answer(exchange, request, now);
            let trace = hex_of(exchange.seed, "trace", exchange.log.n_ever(), 32);
            answer.with_header("X-Trace-Id", trace.chars().skip(2).take(32).collect())
        }
        Host::Clob => clob::answer(exchange, request, now),
        Host::Gamma => gamma::answer(exchange, request, now),
        Host::GitHub => github::answer(github, request, now),
    }
}
