//! Audits the database: rebuilds every portfolio from its whole ledger and compares it with the stored state, and checks
//! that the facts agree with each other (spec 9).
//!
//! In    a database, while a bot runs on it or not.
//! Out   [`Report`]: what was compared, and every difference in words.
//! Fails [`AuditError`] when the database cannot be read, or an entry cannot be applied.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::db::{Db, DbError, FollowedUser};
use crate::domain::accounting::checkpoint::PortfolioCheckpoint;
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::accounting::portfolio::{Lot, Portfolio, PortfolioError};
use crate::domain::accounting::shadow::exactness::{Exactness, ExactnessState, InexactCause};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

/// Entries read at a time.
const STRETCH: i64 = 2_000;
/// Stretches that are read while an earlier one is applied: reading takes longer than applying.
const AHEAD: usize = 3;

/// The audit could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("entry `{position}` of {portfolio} cannot be applied")]
    Entry { position: i64, portfolio: PortfolioId, source: PortfolioError },
}

/// The result of an audit; if `problems` is empty, the books add up. Whether they also agree with the venue is in `venue`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub entries: u64,
    pub portfolios: Vec<Proof>,
    pub problems: Vec<String>,
    /// Stored states that could not be compared, although nothing is wrong with them.
    pub notes: Vec<String>,
    /// Whether the books of each followed leader agree with the venue, by the newest position checks.
    pub venue: Vec<AtVenue>,
}

/// The books of one leader beside the venue's positions.
#[derive(Debug, Clone, Serialize)]
pub struct AtVenue {
    /// Hostile text.
    pub leader: String,
    pub followed_user_id: FollowedUserId,
    pub state: ExactnessState,
    /// Since when they do not agree, and why.
    pub since: Option<Timestamp>,
    pub cause: Option<InexactCause>,
}

/// One portfolio, rebuilt from its whole ledger.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    pub portfolio: String,
    pub entries: u64,
    pub cash_micros: UsdcMicros,
    pub realized_pnl_micros: UsdcMicros,
    pub n_lots: usize,
    /// Whether there was a stored state to compare with.
    pub compared: bool,
}

/// The same portfolio, computed in two ways.
struct Both {
    /// Rebuilt from the whole ledger.
    full: Portfolio,
    /// Restored from the stored state at a position, with the entries after that position applied.
    stored: Option<(i64, Portfolio)>,
    n_entries: u64,
}

/// Audits the whole database.
///
/// # Errors
/// [`AuditError`]; differences are not errors but [`Report::problems`].
pub async fn audit(db: &Db) -> Result<Report, AuditError> {
    let mut report = Report::default();
    // Stored states first: entries that are written meanwhile come after their positions and are applied to both.
    let mut books = stored_states(db, &mut report).await?;
    let last = db.row_numbers().await?.ledger_entry;
    let starts = (0..).map(|n| n * STRETCH).take_while(|after| *after < last);
    let stretch = |after: i64| db.all_entries_within(after, last.min(after + STRETCH));
    let mut stretches = stream::iter(starts).map(stretch).buffered(AHEAD);
    while let Some(stretch) = stretches.next().await {
        for placed in &stretch? {
            let id = placed.entry.portfolio;
            let both = books.entry(id).or_insert_with(|| Both::new(id));
            both.apply(placed.position, &placed.entry).map_err(|source| AuditError::Entry {
                position: placed.position,
                portfolio: id,
                source,
            })?;
            report.entries += 1;
        }
    }
    for (id, both) in &books {
        both.compare(*id, &mut report);
    }
    for rule in db.integrity().await?.into_iter().filter(|rule| rule.off_by != 0) {
        report.problems.push(format!("does not hold: {} (off by {})", rule.rule, rule.off_by));
    }
    for user in db.followed_users().await?.into_iter().filter(FollowedUser::enabled) {
        let exactness = db.books_record(user.id).await?.exactness();
        let (since, cause) = match exactness {
            Exactness::NotExact { since, cause } => (Some(since), Some(cause)),
            Exactness::Exact | Exactness::Adjusted { .. } => (None, None),
        };
        let (leader, followed_user_id) = (user.label, user.id);
        report.venue.push(AtVenue { leader, followed_user_id, state: exactness.state(), since, cause });
    }
    Ok(report)
}

async fn stored_states(db: &Db, report: &mut Report) -> Result<BTreeMap<PortfolioId, Both>, AuditError> {
    let mut books = BTreeMap::new();
    for (key, text, _) in db.checkpoints_with_prefix("portfolio:").await? {
        let Ok(id) = key.trim_start_matches("portfolio:").parse::<PortfolioId>() else {
            report.problems.push(format!("checkpoint `{key}` belongs to no portfolio"));
            continue;
        };
        let mut both = Both::new(id);
        match restored(id, &text) {
            Ok(stored) => both.stored = Some(stored),
            Err(Unusable::OtherVersion) => report.notes.push(format!(
                "the stored state of {id} is of another version: a bot rebuilds it from the whole ledger and stores a new one"
            )),
            Err(Unusable::Damaged(why)) => {
                report.problems.push(format!("the stored state of {id} cannot be restored: {why}"));
            }
        }
        books.insert(id, both);
    }
    Ok(books)
}

/// Why a stored state cannot be compared.
enum Unusable {
    /// It is JSON, but with other fields than this version writes.
    OtherVersion,
    Damaged(String),
}

fn restored(id: PortfolioId, text: &str) -> Result<(i64, Portfolio), Unusable> {
    let stored: PortfolioCheckpoint = serde_json::from_str(text).map_err(|error| match error.is_data() {
        true => Unusable::OtherVersion,
        false => Unusable::Damaged(error.to_string()),
    })?;
    let portfolio = Portfolio::restore(id, &stored).map_err(|error| Unusable::Damaged(error.to_string()))?;
    Ok((stored.position, portfolio))
}

impl Both {
    fn new(id: PortfolioId) -> Self {
        Self { full: Portfolio::new(id), stored: None, n_entries: 0 }
    }

    fn apply(&mut self, position: i64, entry: &LedgerEntry) -> Result<(), PortfolioError> {
        self.n_entries += 1;
        self.full.apply(entry)?;
        match &mut self.stored {
            Some((stored_at, stored)) if position > *stored_at => stored.apply(entry),
            _ => Ok(()),
        }
    }

    fn compare(&self, id: PortfolioId, report: &mut Report) {
        let figures = self.full.figures();
        report.portfolios.push(Proof {
            portfolio: id.to_string(),
            entries: self.n_entries,
            cash_micros: figures.cash,
            realized_pnl_micros: figures.realized,
            n_lots: self.full.lots().count(),
            compared: self.stored.is_some(),
        });
        let Some((_, stored)) = &self.stored else { return };
        let stored_figures = stored.figures();
        let mut differs = |what: &str, full: i64, stored: i64| {
            if full != stored {
                report
                    .problems
                    .push(format!("{id}: {what} is {full} by the whole ledger and {stored} in the stored state"));
            }
        };
        differs("cash in micros", figures.cash.0, stored_figures.cash.0);
        differs("realized PnL in micros", figures.realized.0, stored_figures.realized.0);
        differs("the number of lots", as_i64(self.full.lots().count()), as_i64(stored.lots().count()));
        for lot in self.full.lots() {
            let (shares, cost) = holding(stored, &lot);
            differs(&format!("shares of {} (leader {})", lot.asset, lot.leader), lot.shares.0, shares.0);
            differs(&format!("cost of {} (leader {})", lot.asset, lot.leader), lot.cost.0, cost.0);
        }
    }
}

fn holding(portfolio: &Portfolio, lot: &Lot) -> (ShareMicros, UsdcMicros) {
    let position = portfolio.position(&lot.asset, lot.leader);
    (position.shares, position.cost)
}

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
