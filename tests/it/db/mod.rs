//! The same tests on SQLite and on PostgreSQL, always both.

mod chain_sight;
mod config;
mod events;
mod export;
mod facts;
mod groups;
pub mod harness;
mod leases;
mod ledger;
mod lists;
mod markets;
mod operator;
mod pages;
mod queue;
pub mod schema;
mod tallies;
