//! Proves the books: every portfolio folded anew from its whole ledger against the running state that is kept, and every
//! fact against the facts that must follow from it (spec section 9).
//!
//! In    a database, beside a running bot or alone.
//! Out   `Report`: what was compared, and every difference in words.
//! Fails `AuditError` when the database cannot be read, or an entry cannot be folded at all.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::db::{Db, DbError};
use crate::domain::accounting::checkpoint::PortfolioCheckpoint;
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::accounting::portfolio::{Lot, Portfolio, PortfolioError};
use crate::domain::money::units::{ShareMicros, UsdcMicros};

/// Entries read at a time.
const PAGE: i64 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("entry `{position}` of {portfolio} cannot be folded")]
    Entry { position: i64, portfolio: PortfolioId, source: PortfolioError },
}

/// What an audit looked at and what is wrong; nothing in `problems` means that the books agree.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub entries: u64,
    pub portfolios: Vec<Proof>,
    pub problems: Vec<String>,
    /// What could not be looked at, and need not be.
    pub notes: Vec<String>,
}

/// One portfolio by full recomputation.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    pub portfolio: String,
    pub entries: u64,
    pub cash_micros: UsdcMicros,
    pub realized_pnl_micros: UsdcMicros,
    pub n_lots: usize,
    /// Whether there was a kept state to compare with.
    pub compared: bool,
}

/// The two ways to the same portfolio.
struct Both {
    full: Portfolio,
    /// Restored from the kept state, then given the entries behind its position.
    kept: Option<(i64, Portfolio)>,
    n_entries: u64,
}

/// Recomputes everything.
///
/// # Errors
/// `AuditError`; differences are no error but `problems`.
pub async fn audit(db: &Db) -> Result<Report, AuditError> {
    let mut report = Report::default();
    // Kept states first: entries that come meanwhile lie behind their positions and are folded into both.
    let mut books = kept_states(db, &mut report).await?;
    let mut position = 0;
    loop {
        let page = db.all_entries_after(position, PAGE).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        for placed in &page {
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
        report.problems.push(format!("not so: {} (off by {})", rule.rule, rule.off_by));
    }
    Ok(report)
}

async fn kept_states(db: &Db, report: &mut Report) -> Result<BTreeMap<PortfolioId, Both>, AuditError> {
    let mut books = BTreeMap::new();
    for (key, text, _) in db.checkpoints_with_prefix("portfolio:").await? {
        let Ok(id) = key.trim_start_matches("portfolio:").parse::<PortfolioId>() else {
            report.problems.push(format!("checkpoint `{key}` is of no portfolio"));
            continue;
        };
        let mut both = Both::new(id);
        match restored(id, &text) {
            Ok(kept) => both.kept = Some(kept),
            Err(Unusable::OtherVersion) => report.notes.push(format!(
                "the kept state of {id} is another version's: a bot folds the whole ledger instead, and keeps a new one"
            )),
            Err(Unusable::Damaged(why)) => {
                report.problems.push(format!("the kept state of {id} cannot be restored: {why}"));
            }
        }
        books.insert(id, both);
    }
    Ok(books)
}

/// Why there is nothing to compare with.
enum Unusable {
    /// JSON, but with other fields than ours.
    OtherVersion,
    Damaged(String),
}

fn restored(id: PortfolioId, text: &str) -> Result<(i64, Portfolio), Unusable> {
    let kept: PortfolioCheckpoint = serde_json::from_str(text).map_err(|error| match error.is_data() {
        true => Unusable::OtherVersion,
        false => Unusable::Damaged(error.to_string()),
    })?;
    let portfolio = Portfolio::restore(id, &kept).map_err(|error| Unusable::Damaged(error.to_string()))?;
    Ok((kept.position, portfolio))
}

impl Both {
    fn new(id: PortfolioId) -> Self {
        Self { full: Portfolio::new(id), kept: None, n_entries: 0 }
    }

    fn apply(&mut self, position: i64, entry: &LedgerEntry) -> Result<(), PortfolioError> {
        self.n_entries += 1;
        self.full.apply(entry)?;
        match &mut self.kept {
            Some((kept_at, kept)) if position > *kept_at => kept.apply(entry),
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
            compared: self.kept.is_some(),
        });
        let Some((_, kept)) = &self.kept else { return };
        let kept_figures = kept.figures();
        let mut differs = |what: &str, full: i64, kept: i64| {
            if full != kept {
                report
                    .problems
                    .push(format!("{id}: {what} is {full} by the whole ledger and {kept} in the kept state"));
            }
        };
        differs("cash in micros", figures.cash.0, kept_figures.cash.0);
        differs("realized PnL in micros", figures.realized.0, kept_figures.realized.0);
        differs("the number of lots", as_i64(self.full.lots().count()), as_i64(kept.lots().count()));
        for lot in self.full.lots() {
            let (shares, cost) = holding(kept, &lot);
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
