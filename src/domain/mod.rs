//! The pure core: no clock, no I/O, no actor, no randomness. It follows the spec section by section.
// Tests may use plain arithmetic; the lints check the library build, which contains no tests.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::float_arithmetic, clippy::as_conversions))]
#![warn(clippy::missing_errors_doc)]

pub mod accounting;
pub mod analysis;
pub mod config;
pub mod decision;
pub mod events;
pub mod market;
pub mod money;
#[cfg(test)]
mod tests;
