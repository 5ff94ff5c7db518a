//! Helpers that several tests share. Compiled for tests only.

pub(crate) mod actor_db;
pub(crate) mod actor_stage;
pub(crate) mod malformed;
pub(crate) mod samples;
pub(crate) mod worker_bot;
