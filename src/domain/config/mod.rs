//! The configuration of decisions.

pub mod effective;
pub(super) mod field;
pub(super) mod value;
