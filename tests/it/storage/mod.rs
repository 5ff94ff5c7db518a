//! The same tests on SQLite and on PostgreSQL.

pub(crate) mod attempt_stats;
pub(crate) mod chain_confirmations;
mod config;
pub(crate) mod dead_letters;
mod events;
mod export;
mod facts;
mod groups;
pub mod harness;
mod leases;
mod ledger;
mod lists;
mod markets;
pub(crate) mod pagination;
mod queue;
mod retention;
pub mod schema;
