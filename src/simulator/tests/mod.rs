//! The simulator, checked against recorded answers and against what its documentation says.

mod chain;
mod data_api;
mod faults;
mod github;
mod holdings;
mod markets;
mod recorded;
mod settlement;
mod traders;
mod wire;

use serde_json::Value;

use crate::clock::Clock;
use crate::domain::money::ids::Wallet;
use crate::domain::money::units::Timestamp;

use super::SimulatorSettings;
use super::http::request::{Host, Request};
use super::http::response::Response;
use super::simulation::Simulation;
use super::state::exchange::wallet_of;

/// An exchange whose clock moves only by `advance`, with settings from `at_ten`.
fn simulation(settings: SimulatorSettings) -> Simulation {
    Simulation::new(settings)
}

/// Returns settings with a clock that starts at ten o'clock.
fn at_ten() -> SimulatorSettings {
    SimulatorSettings { now: Clock::starting_at(ten()), ..SimulatorSettings::default() }
}

fn ten() -> Timestamp {
    Timestamp::parse_iso("2026-11-22T10:00:00Z").unwrap()
}

fn leader() -> Wallet {
    wallet_of("a leader")
}

fn get(simulation: &mut Simulation, host: Host, path_and_query: &str) -> Response {
    simulation.answer(&Request::get(host, path_and_query)).0
}

/// Returns the rows of an answer, whose status must be 200.
fn rows(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.value()["data"].as_array().cloned().unwrap_or_default()
}

fn next_cursor(answer: &Response) -> Option<String> {
    let value = answer.value();
    let next = value["pagination"]["next_cursor"].as_str().map(str::to_owned);
    assert_eq!(value["pagination"]["has_more"].as_bool(), Some(next.is_some()));
    next
}

/// Returns the keys of an object.
fn names(object: &Value) -> Vec<&String> {
    object.as_object().map(|fields| fields.keys().collect()).unwrap_or_default()
}
