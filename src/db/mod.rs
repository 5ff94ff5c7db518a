//! All SQL of facts: what was seen, what was decided, what it did to whose money. Rows live and die here.
//!
//! Methods on `Db`, named for the fact. One method, one transaction.

mod audit;
mod books;
mod checkpoints;
mod config;
pub(crate) mod connection;
mod error;
mod event_rows;
mod events;
mod groups;
mod ledger;
mod ledger_check;
mod markets;

mod migrate;
mod rows;
mod users;

pub use audit::{Audit, AuditRow};
pub use books::{BookOutcome, StoredBook};
pub use config::Directory;
pub use connection::Db;
pub use error::DbError;

pub use events::{ChainTrade, DeadRow, PollOutcome, PollWrite};
pub use groups::{ClosedGroupWrite, GroupClosing};
pub use ledger::{Committed, LedgerOutcome, LedgerWrite, PlacedEntry};
pub use ledger_check::Standing;
pub use users::FollowedUser;

/// What became of an insert: a new row, or one that was there already. The caller must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Inserted<T> {
    New(T),
    Known,
}

/// Every statement there is, named, as `driver` gets it: for the test that prepares each on both.
pub fn every_statement(db: &Db) -> Vec<(String, &'static str)> {
    let modules = [
        ("audit", audit::STATEMENTS, audit::BATCHES),
        ("books", books::STATEMENTS, books::BATCHES),
        ("checkpoints", checkpoints::STATEMENTS, checkpoints::BATCHES),
        ("config", config::STATEMENTS, &[]),
        ("events", events::STATEMENTS, events::BATCHES),
        ("groups", groups::STATEMENTS, groups::BATCHES),
        ("ledger", ledger::STATEMENTS, ledger::BATCHES),
        ("ledger_check", ledger_check::STATEMENTS, ledger_check::BATCHES),
        ("markets", markets::STATEMENTS, markets::BATCHES),
        ("jobs", crate::queue::STATEMENTS, crate::queue::BATCHES),
        ("users", users::STATEMENTS, users::BATCHES),
    ];
    let mut all = Vec::new();
    for (module, statements, batches) in modules {
        all.extend(statements.iter().map(|(name, text)| (format!("{module}.{name}"), *text)));
        for (name, batch) in batches {
            all.extend([1, 64].map(|rows| (format!("{module}.{name} of {rows}"), batch.text(db.driver(), rows))));
        }
    }
    all
}
