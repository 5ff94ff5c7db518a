//! The same tests on SQLite and on PostgreSQL, always both.

mod config;
mod events;
mod facts;
mod groups;
mod harness;
mod ledger;
mod markets;
mod operator;
mod pages;
mod queue;
mod schema;
