//! The answers over HTTP, for people and for supervisors.

pub(super) mod health;
pub(super) mod secrets;
pub(super) mod sign_in;
