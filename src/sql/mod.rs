//! The layer under `queue` and `db`: connections, transactions and statement texts for both databases. It knows no
//! table.
#![warn(clippy::missing_errors_doc)]

pub(crate) mod batch;
pub(crate) mod connection;
pub(crate) mod database_file;
pub(crate) mod decode;
pub(crate) mod error;
pub(crate) mod inserted;
pub(crate) mod open;
pub(crate) mod packing;
pub(crate) mod page;
pub(crate) mod server;
pub(crate) mod storage;
#[cfg(any(test, feature = "testkit"))]
pub mod tests;
pub(crate) mod wal_checkpointer;
pub(crate) mod write_state;
