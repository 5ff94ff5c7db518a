//! The configuration that a decision is made with.

pub mod effective;
pub(super) mod field;
