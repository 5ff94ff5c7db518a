//! Leaders, settings, sign-ins and tokens, each change with its audit.

pub(super) mod admins;
pub(super) mod audit;
pub(super) mod config;
pub(super) mod tokens;
pub(super) mod users;
