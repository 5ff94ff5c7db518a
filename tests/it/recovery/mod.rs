//! Kills, failing upstreams, several workers, older databases: nothing is lost, and the work goes on.

pub(super) mod backup;
mod content;
mod database_file;
mod database_server;
pub(super) mod faults;
pub(super) mod kill;
pub(super) mod opening;
pub(super) mod process;
pub(super) mod redis;
pub(super) mod roles;
pub(super) mod room;
pub(super) mod upgrade;
pub(super) mod upgraded_books;
