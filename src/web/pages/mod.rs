//! The pages: one file for each, with its JSON route and the forms on it.

pub(super) mod access;
pub(super) mod control;
pub(super) mod dead_letters;
pub(super) mod exactness;
pub(super) mod explanation;
pub(super) mod follow;
pub(super) mod market;
pub(super) mod markets;
pub(super) mod overview;
pub(super) mod portfolio;
pub(super) mod status;
pub(super) mod trades;
pub(super) mod user;
pub(super) mod users;
