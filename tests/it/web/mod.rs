//! What people and supervisors get over HTTP.

pub(super) mod health;
pub(super) mod secrets;
pub(super) mod sign_in;
