//! The decision on one group in one portfolio, and the checks that it consists of.

pub mod attempt;
pub mod breaker;
pub mod check;
pub mod close_by_hand;
pub mod decide;
pub mod dust;
pub mod exit;
pub mod explanation;
mod filters;
pub mod guardrail;
pub mod outcome;
pub mod sizing;
#[cfg(test)]
mod tests;
mod venue_order;
