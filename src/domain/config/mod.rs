//! The configuration of decisions.

pub mod effective;
pub(super) mod field;
pub mod follow_state;
pub(super) mod value;
