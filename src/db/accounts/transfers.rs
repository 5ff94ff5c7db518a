//! Deposits into our accounts and withdrawals from them (spec 4, accounts).

use super::ledger::{EntryRow, PlacedEntry};
use crate::domain::accounting::ledger::PortfolioId;
use crate::queue::{self, Queue, Transfer};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::owner_key;
use crate::sql::error::DbError;

/// What became of a requested transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferState {
    /// Its job is open.
    Open,
    /// It is in the ledger.
    Booked,
    /// It has neither a job nor an entry: it was refused, or never asked for.
    Absent,
}

statements! {
    CASH_MOVEMENTS = "select id, portfolio_scope, followed_user_id, attributed_user_id, market_id, asset_id, entry_type,
            share_delta_micros, cash_delta_micros, price_micros, ref_id, created_at
        from ledger_entry where entry_type in ('DEPOSIT', 'WITHDRAWAL') and portfolio_scope <> 'SHADOW_USER'
        order by id desc limit $1";
    COUNT_BOOKED = "select count(*) from ledger_entry where portfolio_scope = $1
        and coalesce(followed_user_id, 0) = $2 and ref_id = $3 and entry_type in ('DEPOSIT', 'WITHDRAWAL')";
}

impl Db {
    /// Returns the newest deposits and withdrawals of all our accounts, the opening deposits too.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn cash_movements(&self, limit: i64) -> Result<Vec<PlacedEntry>, DbError> {
        let rows: Vec<EntryRow> = on!(db self, c => sqlx::query_as(CASH_MOVEMENTS).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(PlacedEntry::try_from).collect()
    }

    /// Returns what became of a transfer.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn transfer_state(&self, transfer: &Transfer) -> Result<TransferState, DbError> {
        // The job first: it is finished in the transaction that books the entry.
        let open = queue::open_of(self, &[(Queue::PortfolioApply, transfer.key())]).await?;
        if !open.is_empty() {
            return Ok(TransferState::Open);
        }
        let booked = self.is_booked(transfer.portfolio, &transfer.ref_id()).await?;
        Ok(if booked { TransferState::Booked } else { TransferState::Absent })
    }

    async fn is_booked(&self, portfolio: PortfolioId, ref_id: &str) -> Result<bool, DbError> {
        let n: i64 = on!(db self, c => {
            sqlx::query_scalar(COUNT_BOOKED)
                .bind(portfolio.scope().as_str())
                .bind(owner_key(portfolio))
                .bind(ref_id)
                .fetch_one(c)
                .await
        })?;
        Ok(n > 0)
    }
}
