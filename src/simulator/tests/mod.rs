//! The simulator against what was recorded, and against its own promises.

mod chain;
mod data_api;
mod github;
mod lives;
mod markets;
mod recorded;
mod wire;

use serde_json::Value;

use crate::clock::Clock;
use crate::domain::money::ids::Wallet;
use crate::domain::money::units::Timestamp;

use super::SimulatorSettings;
use super::routes::answer::{Answer, Host, Request};
use super::state::exchange::{World, wallet_of};

/// A world at a fixed hour that moves with no clock but `advance`.
fn world(settings: SimulatorSettings) -> World {
    World::new(settings)
}

/// Settings with a clock that starts at ten o'clock.
fn at_ten() -> SimulatorSettings {
    SimulatorSettings { now: Clock::starting_at(ten()), ..SimulatorSettings::default() }
}

fn ten() -> Timestamp {
    Timestamp::parse_iso("2026-11-22T10:00:00Z").unwrap()
}

fn leader() -> Wallet {
    wallet_of("a leader")
}

fn get(world: &mut World, host: Host, path_and_query: &str) -> Answer {
    world.answer(&Request::get(host, path_and_query)).0
}

/// The rows of an answer that must be a good one.
fn rows(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.value()["data"].as_array().cloned().unwrap_or_default()
}

fn next_cursor(answer: &Answer) -> Option<String> {
    let value = answer.value();
    let next = value["pagination"]["next_cursor"].as_str().map(str::to_owned);
    assert_eq!(value["pagination"]["has_more"].as_bool(), Some(next.is_some()));
    next
}

/// The keys of an object.
fn names(object: &Value) -> Vec<&String> {
    object.as_object().map(|fields| fields.keys().collect()).unwrap_or_default()
}
