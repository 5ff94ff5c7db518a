//! The decision on one group in one portfolio, and every check it is made of.

pub mod attempt;
pub mod breaker;
pub mod check;
pub mod decide;
pub mod guardrail;
mod outcome;
pub mod sizing;
#[cfg(test)]
mod tests;
