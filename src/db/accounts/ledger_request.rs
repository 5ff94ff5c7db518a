//! What one request writes to the ledger, and the possible outcomes.

use super::position_checks::PositionCheck;
use crate::db::system::audit::Audit;
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::accounting::shadow::correction::Correction;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue::{JobFence, NewJob};

/// The rows that one request writes: all of them or none.
#[derive(Debug, Clone, Default)]
pub struct LedgerWrite {
    pub attempt: Option<CopyAttempt>,
    pub entries: Vec<LedgerEntry>,
    /// Jobs that this write finishes.
    pub finishes: Vec<JobFence>,
    pub audits: Vec<Audit>,
    /// Jobs that this write makes necessary.
    pub jobs: Vec<NewJob>,
    /// Key and JSON.
    pub checkpoints: Vec<(String, String)>,
    /// Openings and adjustments that are new, or from which a late row took shares back.
    pub corrections: Vec<Correction>,
    /// The position check whose entries these are.
    pub check: Option<PositionCheck>,
    /// The leader whose opening this is, and when it was booked.
    pub opened: Option<(FollowedUserId, Timestamp)>,
}

impl LedgerWrite {
    /// Returns the portfolios that it changes or was decided on; some may be listed more than once.
    pub fn portfolios(&self) -> impl Iterator<Item = PortfolioId> {
        let decided_on = self.attempt.as_ref().map(|attempt| attempt.portfolio);
        self.entries.iter().map(|entry| entry.portfolio).chain(decided_on)
    }
}

/// The outcome of one [`LedgerWrite`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerOutcome {
    /// `last_entry` is the id of its last entry, if it has any.
    Written { last_entry: Option<i64> },
    /// Its attempt, or one of its entries, is already stored. Its jobs are finished; nothing else of it was written.
    Known,
    /// Another worker holds one of its jobs, or finished it. Nothing of it was written.
    FenceLost,
}

/// The outcome of writes that are written all or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// `last_entry` is the highest id of all new entries, if there is any.
    All { last_entry: Option<i64> },
    /// Nothing was written, because of the writes that are not [`Standing::New`]. One value for each write.
    Nothing(Vec<Standing>),
}

/// Whether a write is new, compared with the database and with the writes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    New,
    /// Its attempt, or one of its entries, is already stored.
    Known,
    /// Another worker holds one of its jobs, or its portfolio's lease.
    FenceLost,
}
