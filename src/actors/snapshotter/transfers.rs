//! Books the deposits and withdrawals that were asked for (spec 4, accounts). They are jobs of `q_portfolio_apply`,
//! which this actor consumes; the ledger writer writes the entries.

use super::SnapshotterDeps;
use crate::actors::ledger_writer::{Holdings, RecordEntries, Recorded, Refused};
use crate::chance::Chance;
use crate::db::Audit;
use crate::domain::accounting::ledger::LedgerEntry;
use crate::domain::money::units::UsdcMicros;
use crate::queue::{self, Job, Transfer};

/// Tries to book one transfer while decisions change its account.
const TRIES: usize = 5;

/// Books the transfers among `jobs`. Returns the other jobs. A transfer that fails is tried again later.
///
/// # Errors
/// The text of the failure when a failed job cannot be put back.
pub(super) async fn book(deps: &SnapshotterDeps, jobs: Vec<Job>) -> Result<Vec<Job>, String> {
    let mut others = Vec::with_capacity(jobs.len());
    for job in jobs {
        let booked = match Transfer::of_job(&job) {
            Ok(None) => {
                others.push(job);
                continue;
            }
            Ok(Some(transfer)) => book_one(deps, &job, &transfer).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = booked {
            tracing::warn!(job = job.id, key = job.key, error, "a transfer could not be booked");
            let failed = queue::fail(&deps.db, &job, &error, deps.clock.now(), &mut Chance).await;
            failed.map_err(|error| error.to_string())?;
        }
    }
    Ok(others)
}

/// Books one transfer with its audit, and finishes its job; or finishes the job with the audit of the refusal.
///
/// # Errors
/// The text of the failure when the ledger writer does not answer or refuses.
async fn book_one(deps: &SnapshotterDeps, job: &Job, transfer: &Transfer) -> Result<(), String> {
    for _ in 0..TRIES {
        let wanted = Holdings { portfolio: transfer.portfolio, market: None };
        let held = deps.holdings.send(wanted).await.map_err(|error| error.to_string())?;
        let held = held.map_err(|refused| refused.to_string())?;
        let after = held.cash.plus(transfer.cash).map_err(|error| error.to_string())?;
        // The cash may have gone into copies since the command looked.
        let is_refused = transfer.cash < UsdcMicros::ZERO && after < UsdcMicros::ZERO;
        let entry = LedgerEntry::transfer(transfer.portfolio, transfer.cash, transfer.ref_id(), deps.clock.now());
        let request = RecordEntries {
            entries: if is_refused { Vec::new() } else { vec![entry] },
            finishes: vec![job.fence()],
            audits: vec![audit(transfer, held.cash, is_refused)],
            made_on: Some((transfer.portfolio, held.version)),
            ..RecordEntries::default()
        };
        match deps.record.send(request).await.map_err(|error| error.to_string())? {
            // Another worker took the job over: it books it.
            Ok(Recorded::New | Recorded::Known) | Err(Refused::FenceLost) => return Ok(()),
            Err(Refused::Stale) => {}
            Err(refused) => return Err(refused.to_string()),
        }
    }
    Err(Refused::Stale.to_string())
}

/// Returns the audit of a booked or refused transfer. Its amounts are those of the cash before and after.
fn audit(transfer: &Transfer, cash: UsdcMicros, is_refused: bool) -> Audit {
    let action = match (is_refused, transfer.cash < UsdcMicros::ZERO) {
        (true, _) => "withdraw_refused",
        (false, true) => "withdraw",
        (false, false) => "deposit",
    };
    let after = if is_refused { cash.0 } else { cash.0.saturating_add(transfer.cash.0) };
    Audit {
        who: transfer.who.clone(),
        action: action.to_owned(),
        subject: format!("portfolio:{}", transfer.portfolio),
        before_json: Some(cash.0.to_string()),
        after_json: Some(after.to_string()),
    }
}
