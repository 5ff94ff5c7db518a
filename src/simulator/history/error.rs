//! Errors of writing a history.

use crate::db::DbError;
use crate::domain::accounting::portfolio::PortfolioError;
use crate::domain::accounting::settlement::SettlementError;
use crate::domain::config::effective::ConfigError;
use crate::domain::events::group::EventGroup;
use crate::domain::money::units::UnitError;

/// Why a history was not written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the database follows `{0}` already; a history needs an empty database")]
    NotEmpty(String),
    #[error("the database has {what} of the history already, or another process claimed its job")]
    AlreadyThere { what: &'static str },
    #[error("a generated row cannot be parsed: {reason}: `{text}`")]
    Row { reason: String, text: String },
    #[error("could not decide on group `{}`", group.key)]
    Undecided {
        group: Box<EventGroup>,
        #[source]
        source: UnitError,
    },
    #[error("the simulator refused a fill: {0}")]
    Simulator(String),
    #[error("a configuration change was refused")]
    Config(#[from] ConfigError),
    #[error("a checkpoint could not be written as JSON")]
    Checkpoint(#[from] serde_json::Error),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Portfolio(#[from] PortfolioError),
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error(transparent)]
    Unit(#[from] UnitError),
}
