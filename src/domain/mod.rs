//! The pure core: no clock, no I/O, no actor, no randomness. Reads like the spec with types.
// Tests may count plainly; the library itself is linted without them.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::float_arithmetic, clippy::as_conversions))]

pub mod attempt;
pub mod book;
pub mod breaker;
pub mod check;
pub mod closings;
mod config_field;
pub mod decision;
pub mod effective_config;
pub mod email;
pub mod equity_history;
pub mod event;
mod exposure;
pub mod fee;
pub mod figures;
pub mod fill;
pub mod group;
pub mod guardrail;
pub mod ids;
#[cfg(test)]
mod imports;
pub mod ledger;
#[cfg(test)]
pub(crate) mod ledger_samples;
pub mod lot;
pub mod mark;
pub mod market;
pub mod portfolio;
pub mod portfolio_checkpoint;
#[cfg(test)]
mod portfolio_laws;
#[cfg(test)]
mod portfolio_tables;
pub mod portfolio_view;
#[cfg(test)]
mod replays;
pub mod resync;
pub mod sequence;
pub mod settlement;
pub mod shadow;
pub mod sizing;
pub mod tally;
pub mod units;
pub mod what_if;
