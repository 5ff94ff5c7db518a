//! All SQL of facts: detected events, decisions, ledgers, users and settings.
//!
//! Methods on [`Db`], named for the fact. One method is one transaction. The rooms lie in layers, and each imports only
//! the rooms before it: `system`, `accounts`, `people`, `events`, `decisions`. This file is for callers outside of
//! `db`.
#![warn(clippy::missing_errors_doc)]

mod accounts;
mod decisions;
mod events;
mod people;
mod system;

pub use crate::sql::connection::Db;
pub use crate::sql::database_file::{DatabaseFile, FilePlace};
pub use crate::sql::error::DbError;
pub use crate::sql::inserted::Inserted;
pub(crate) use crate::sql::open::without_password;
pub use crate::sql::page::{Cursor, Page};
#[cfg(any(test, feature = "testkit"))]
pub use crate::sql::tests::driven::{Disk, DiskStep, Fate};
pub use crate::sql::write_state::WriteFailure;
pub use accounts::curves::CurvePoint;
pub use accounts::drawdown_resets::PeakReset;
pub use accounts::integrity::Integrity;
pub use accounts::ledger::PlacedEntry;
pub use accounts::ledger_request::{Committed, LedgerOutcome, LedgerWrite, Standing};
pub use accounts::portfolio_snapshots::PortfolioSnapshot;
pub use accounts::position_checks::{PositionCheck, suspect_key};
pub use accounts::prices::{BookPrice, PriceAt};
pub use accounts::running_portfolio::{LoadError, RunningPortfolio, checkpoint_key};
pub use accounts::transfers::TransferState;
pub use decisions::attempt_rows::ListedAttempt;
pub use decisions::attempts::{AttemptCounts, AttemptDetail, AttemptFilter};
pub use decisions::book_samples::{BookSample, DecidedBook};
pub use decisions::books::{BookOutcome, BookText, StoredBook};
pub use decisions::closes::{AskedClose, CloseWanted};
pub use decisions::event_outcomes::EventOutcome;
pub use decisions::export::{
    ATTEMPT_COLUMNS, CHECK_COLUMNS, CORRECTION_COLUMNS, Cell, Column, CorrectionKey, Kind, LEDGER_COLUMNS,
    LedgerFilter, Part, PositionFilter, SNAPSHOT_COLUMNS, TRADE_COLUMNS,
};
pub use decisions::groups::{ClosedGroupWrite, GroupClosing};
pub use events::activities::{ActivityFilter, Movement};
pub use events::chain_confirmations::{CONFIRMED_WITHIN_MS, ChainLag, ChainLags, UnconfirmedFill};
pub use events::polls::{ChainTrade, DeadRow, PollOutcome, PollWrite};
pub use events::trades::{ListedTrade, TradeFilter};
pub use people::admins::{Admin, SessionStanding};
pub use people::config::Directory;
pub use people::tokens::{ApiToken, TokenScope};
pub use people::users::FollowedUser;
pub use system::audit::{Audit, AuditRow};
pub use system::dead_letters::{DeadLetter, Origin, Replay};
pub use system::file_lock::Ownership;
pub use system::latency_stats::{RowNumbers, SeenFill};
pub use system::leases::{HEALTH_KEY, LeaseRow, Round, health_key, random_worker_id};
pub use system::market_lists::{MadeCopy, MarketAttempts, TradedMarket};
pub use system::market_resolutions::UnsettledMarket;
pub use system::markets::Resolution;
pub use system::page_check::PagesRead;
pub use system::retention::{Packable, Step, Thinning};
pub use system::storage::StorageState;

/// The name of a module, its statements and its batches, each with its name.
type Texts = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static crate::sql::batch::Batch)],
);

/// Returns every statement with its name, in the text for the driver of `db`, for the test that prepares each on both
/// drivers.
pub fn every_statement(db: &Db) -> Vec<(String, &'static str)> {
    let modules: &[Texts] = &[
        ("activities", events::activities::STATEMENTS, &[]),
        ("admins", people::admins::STATEMENTS, &[]),
        ("attempts", decisions::attempts::STATEMENTS, &[]),
        ("audit", system::audit::STATEMENTS, system::audit::BATCHES),
        ("backfill", system::backfill::STATEMENTS, &[]),
        ("baselines", accounts::baselines::STATEMENTS, &[]),
        ("book_samples", decisions::book_samples::STATEMENTS, &[]),
        ("books", decisions::books::STATEMENTS, decisions::books::BATCHES),
        ("chain_confirmations", events::chain_confirmations::STATEMENTS, &[]),
        ("checkpoints", system::checkpoints::STATEMENTS, system::checkpoints::BATCHES),
        ("config", people::config::STATEMENTS, &[]),
        ("closes", decisions::closes::STATEMENTS, &[]),
        ("corrections", accounts::corrections::STATEMENTS, accounts::corrections::BATCHES),
        ("curves", accounts::curves::STATEMENTS, &[]),
        ("dead_letters", system::dead_letters::STATEMENTS, &[]),
        ("event_outcomes", decisions::event_outcomes::STATEMENTS, decisions::event_outcomes::BATCHES),
        ("polls", events::polls::STATEMENTS, events::polls::BATCHES),
        ("export", decisions::export::STATEMENTS, &[]),
        ("exported_positions", decisions::export::positions::STATEMENTS, &[]),
        ("follow_histories", people::follow_histories::STATEMENTS, &[]),
        ("groups", decisions::groups::STATEMENTS, decisions::groups::BATCHES),
        ("integrity", accounts::integrity::STATEMENTS, &[]),
        ("leader_holding", decisions::leader_holding::STATEMENTS, decisions::leader_holding::BATCHES),
        ("leases", system::leases::STATEMENTS, system::leases::BATCHES),
        ("ledger", accounts::ledger::STATEMENTS, accounts::ledger::BATCHES),
        ("ledger_check", accounts::ledger_check::STATEMENTS, accounts::ledger_check::BATCHES),
        ("market_lists", system::market_lists::STATEMENTS, &[]),
        ("market_resolutions", system::market_resolutions::STATEMENTS, &[]),
        ("markets", system::markets::STATEMENTS, system::markets::BATCHES),
        ("migrate", system::migrate::STATEMENTS, &[]),
        ("portfolio_snapshots", accounts::portfolio_snapshots::STATEMENTS, accounts::portfolio_snapshots::BATCHES),
        ("position_checks", accounts::position_checks::STATEMENTS, &[]),
        ("prices", accounts::prices::STATEMENTS, accounts::prices::BATCHES),
        ("what_if_cases", &[], decisions::what_if_cases::BATCHES),
        ("latency_stats", system::latency_stats::STATEMENTS, &[]),
        ("attempt_stats", decisions::attempt_stats::STATEMENTS, decisions::attempt_stats::BATCHES),
        ("retention", system::retention::STATEMENTS, &[]),
        ("tokens", people::tokens::STATEMENTS, &[]),
        ("trades", events::trades::STATEMENTS, &[]),
        ("transfers", accounts::transfers::STATEMENTS, &[]),
        ("users", people::users::STATEMENTS, people::users::BATCHES),
        ("queue", crate::queue::jobs::STATEMENTS, crate::queue::jobs::BATCHES),
        ("queue.claim", crate::queue::claim::STATEMENTS, &[]),
        ("queue.depth", crate::queue::depth::STATEMENTS, &[]),
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
