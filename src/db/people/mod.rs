//! Followed users, configuration, sign-ins and tokens; each change is audited.

pub(super) mod admins;
pub(super) mod config;
pub(super) mod follow_histories;
pub(super) mod tokens;
pub(super) mod users;
