//! A transfer: cash that is put into or taken out of one of our accounts on request (spec 4, accounts). It is a job of
//! `q_portfolio_apply` until the running bot has booked it.

use serde::{Deserialize, Serialize};

use super::job::{Job, NewJob, Queue};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::sql::error::DbError;

/// What keys of transfers have behind the account, and keys of other jobs have not.
const MARKER: &str = ":transfer:";

/// A requested transfer. Requests of one account with the same `id` are one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The account, not a shadow.
    pub portfolio: PortfolioId,
    pub id: String,
    /// Below zero for a withdrawal.
    pub cash: UsdcMicros,
    /// An e-mail or `command line`.
    pub who: String,
}

/// The payload of the job: all that the ledger does not know yet.
#[derive(Serialize, Deserialize)]
struct Payload {
    portfolio: String,
    id: String,
    cash_micros: i64,
    who: String,
}

impl Transfer {
    /// Returns the `ref_id` of the ledger entry, by which a transfer is booked once.
    pub fn ref_id(&self) -> String {
        format!("transfer:{}", self.id)
    }

    /// Returns the key of the job.
    pub fn key(&self) -> String {
        format!("{}{MARKER}{}", self.portfolio, self.id)
    }

    /// Returns the job that has the running bot book it.
    pub fn job(&self, now: Timestamp) -> NewJob {
        let payload = Payload {
            portfolio: self.portfolio.to_string(),
            id: self.id.clone(),
            cash_micros: self.cash.0,
            who: self.who.clone(),
        };
        NewJob {
            queue: Queue::PortfolioApply,
            key: self.key(),
            followed_user: self.portfolio.owner(),
            payload: serde_json::to_string(&payload).unwrap_or_default(),
            due: now,
        }
    }

    /// Returns the transfer of a job; `None` for a job of another kind.
    ///
    /// # Errors
    /// `DbError::Impossible` when the payload is not that of a transfer.
    pub fn of_job(job: &Job) -> Result<Option<Self>, DbError> {
        if !job.key.contains(MARKER) {
            return Ok(None);
        }
        let unreadable = |problem: String| DbError::impossible("job", job.id, "payload", problem);
        let payload: Payload = serde_json::from_str(&job.payload).map_err(|error| unreadable(error.to_string()))?;
        let portfolio = payload.portfolio.parse().map_err(|error| unreadable(format!("{error}")))?;
        Ok(Some(Self { portfolio, id: payload.id, cash: UsdcMicros(payload.cash_micros), who: payload.who }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::ids::FollowedUserId;

    fn claimed(new: NewJob) -> Job {
        let at = Timestamp::from_millis(5);
        let NewJob { queue, key, followed_user, payload, due } = new;
        Job {
            id: 1,
            queue,
            key,
            followed_user,
            payload,
            attempts: 1,
            failures: 0,
            due,
            created_at: at,
            last_error: None,
        }
    }

    #[test]
    fn a_transfer_reads_back_from_its_job_and_other_jobs_are_none() {
        let now = Timestamp::from_millis(5);
        for portfolio in [PortfolioId::ExecGlobal, PortfolioId::ExecUser(FollowedUserId(7))] {
            let cash = UsdcMicros(-1_500_000);
            let transfer = Transfer { portfolio, id: "rent:may".to_owned(), cash, who: "a@b.example".to_owned() };
            let job = transfer.job(now);
            assert_eq!(
                (job.key.as_str(), job.followed_user),
                (format!("{portfolio}:transfer:rent:may").as_str(), portfolio.owner())
            );
            assert_eq!(Transfer::of_job(&claimed(job)).unwrap(), Some(transfer));
        }
        let other = NewJob::for_portfolio(PortfolioId::ExecGlobal, now);
        assert_eq!(Transfer::of_job(&claimed(other.clone())).unwrap(), None);
        let broken = Job { key: "EXEC_GLOBAL:transfer:x".to_owned(), ..claimed(other) };
        assert!(Transfer::of_job(&broken).is_err());
    }
}
