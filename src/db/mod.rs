//! All SQL of facts: what was seen, what was decided, what it did to whose money. Rows live and die here.
//!
//! Methods on `Db`, named for the fact. One method, one transaction.

mod activities;
mod admins;
mod attempt_rows;
mod attempts;
mod audit;
mod backfill;
mod books;
mod chain_sight;
mod checkpoints;
mod config;
mod curves;
mod dead_letters;
mod doings;
mod event_rows;
mod events;
mod export;
mod groups;
mod integrity;
mod leases;
mod ledger;
mod ledger_check;
mod market_lists;
mod markets;
mod migrate;
mod ownership;
mod peaks;
mod portfolio;
mod prices;
mod recorded;
mod running_portfolio;
mod sight;
mod tallies;
mod tokens;
mod trades;
mod users;

pub use crate::sql::connection::Db;
pub(crate) use crate::sql::connection::without_password;
pub use crate::sql::error::DbError;
pub use crate::sql::inserted::Inserted;
pub use crate::sql::page::{Cursor, Page};
pub use activities::{ActivityFilter, Movement};
pub use admins::{Admin, SessionStanding};
pub use attempts::{AttemptCounts, AttemptDetail, AttemptFilter, ListedAttempt};
pub use audit::{Audit, AuditRow};
pub use books::{BookOutcome, BookText, StoredBook};
pub use chain_sight::{CONFIRMED_WITHIN_MS, Lead, Leads, UnconfirmedFill};
pub use config::Directory;
pub use curves::CurvePoint;
pub use dead_letters::{DeadLetter, Origin, Replay};
pub use doings::Outcome;
pub use events::{ChainTrade, DeadRow, PollOutcome, PollWrite};
pub use export::{
    ATTEMPT_COLUMNS, Cell, Column, Kind, LEDGER_COLUMNS, LedgerFilter, Part, SNAPSHOT_COLUMNS, TRADE_COLUMNS,
};
pub use groups::{ClosedGroupWrite, GroupClosing};
pub use integrity::Integrity;
pub use leases::{HEALTH_KEY, LeaseRow, Round, health_key, random_worker_id};
pub use ledger::{Committed, LedgerOutcome, LedgerWrite, PlacedEntry};
pub use ledger_check::Standing;
pub use market_lists::{MadeCopy, MarketAttempts, TradedMarket};
pub use markets::Resolution;
pub use ownership::Ownership;
pub use peaks::PeakReset;
pub use portfolio::PortfolioSnapshot;
pub use prices::PriceAt;
pub use running_portfolio::{LoadError, RunningPortfolio, checkpoint_key};
pub use sight::{RowNumbers, SeenFill};
pub use tokens::{ApiToken, TokenScope};
pub use trades::{ListedTrade, TradeFilter};
pub use users::{FollowedUser, LABEL_CHARACTERS_MAX, label_of};

/// Every statement there is, named, as `driver` gets it: for the test that prepares each on both.
pub fn every_statement(db: &Db) -> Vec<(String, &'static str)> {
    type Texts = (
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static [(&'static str, &'static crate::sql::connection::Batch)],
    );
    let modules: &[Texts] = &[
        ("activities", activities::STATEMENTS, &[]),
        ("admins", admins::STATEMENTS, &[]),
        ("attempts", attempts::STATEMENTS, &[]),
        ("audit", audit::STATEMENTS, audit::BATCHES),
        ("backfill", backfill::STATEMENTS, &[]),
        ("books", books::STATEMENTS, books::BATCHES),
        ("chain_sight", chain_sight::STATEMENTS, &[]),
        ("checkpoints", checkpoints::STATEMENTS, checkpoints::BATCHES),
        ("config", config::STATEMENTS, &[]),
        ("curves", curves::STATEMENTS, &[]),
        ("dead_letters", dead_letters::STATEMENTS, &[]),
        ("doings", doings::STATEMENTS, doings::BATCHES),
        ("events", events::STATEMENTS, events::BATCHES),
        ("export", export::STATEMENTS, &[]),
        ("groups", groups::STATEMENTS, groups::BATCHES),
        ("integrity", integrity::STATEMENTS, &[]),
        ("leases", leases::STATEMENTS, leases::BATCHES),
        ("ledger", ledger::STATEMENTS, ledger::BATCHES),
        ("ledger_check", ledger_check::STATEMENTS, ledger_check::BATCHES),
        ("market_lists", market_lists::STATEMENTS, &[]),
        ("markets", markets::STATEMENTS, markets::BATCHES),
        ("migrate", migrate::STATEMENTS, &[]),
        ("portfolio", portfolio::STATEMENTS, portfolio::BATCHES),
        ("prices", prices::STATEMENTS, prices::BATCHES),
        ("recorded", &[], recorded::BATCHES),
        ("sight", sight::STATEMENTS, &[]),
        ("tallies", tallies::STATEMENTS, tallies::BATCHES),
        ("tokens", tokens::STATEMENTS, &[]),
        ("trades", trades::STATEMENTS, &[]),
        ("users", users::STATEMENTS, users::BATCHES),
        ("queue", crate::queue::STATEMENTS, crate::queue::BATCHES),
        ("queue.operator", crate::queue::operator::STATEMENTS, &[]),
    ];
    let mut all = Vec::new();
    for (module, statements, batches) in modules.iter().copied() {
        all.extend(statements.iter().map(|(name, text)| (format!("{module}.{name}"), *text)));
        for (name, batch) in batches {
            all.extend([1, 64].map(|rows| (format!("{module}.{name} of {rows}"), batch.text(db.driver(), rows))));
        }
    }
    all
}
