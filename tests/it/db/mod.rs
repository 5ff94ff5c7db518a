//! The same tests on SQLite and on PostgreSQL, always both.

mod events;
mod harness;
mod schema;
