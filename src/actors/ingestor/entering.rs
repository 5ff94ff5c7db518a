//! One row as it enters the shadow: what late rows take back, and why positions must be checked.

use std::collections::BTreeSet;

use super::IngestorDeps;
use crate::actors::ledger_writer::{RecordEntries, Refused};
use crate::domain::accounting::shadow::cause::Cause;
use crate::domain::accounting::shadow::correction::{Booked, Correction, Entered, enter};
use crate::domain::accounting::shadow::exactness::InexactCause;
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::queue::JobFence;

/// A reason to check the positions of a leader within two minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suspicion {
    pub why: &'static str,
    /// Set when the books are not exact until a check agrees.
    pub harm: Option<InexactCause>,
}

impl Suspicion {
    pub const LATE: Self = Self { why: "a row came late", harm: None };
    pub const BEYOND_HOLDING: Self = Self { why: "a row moved shares that were not known", harm: None };
    pub const CONVERSION: Self = Self { why: "a conversion", harm: None };
    pub const UNKNOWN_KIND: Self = Self { why: "a row of an unknown kind", harm: Some(InexactCause::UnknownKind) };
    pub const UNRESOLVED: Self =
        Self { why: "positions that do not show a row", harm: Some(InexactCause::UnresolvedConversion) };
    pub const NOT_APPLIED: Self = Self { why: "a row that cannot be booked", harm: Some(InexactCause::RowNotApplied) };
}

/// Returns the checkpoints of some suspicions; of several, all causes are kept.
///
/// # Errors
/// When the database fails.
pub(super) async fn checkpoints(
    deps: &IngestorDeps,
    user: FollowedUserId,
    suspicions: &[Suspicion],
) -> Result<Vec<(String, String)>, String> {
    let strongest = suspicions.iter().max_by_key(|suspicion| suspicion.harm.is_some());
    let Some(suspicion) = strongest else { return Ok(Vec::new()) };
    let written = deps.db.suspicion(user, suspicion.why, suspicion.harm, deps.clock.now()).await;
    written.map_err(|error| error.to_string())
}

/// Returns the openings and adjustments of some assets.
///
/// # Errors
/// When the database fails.
pub(super) async fn corrections(
    deps: &IngestorDeps,
    user: FollowedUserId,
    assets: impl IntoIterator<Item = &AssetId>,
) -> Result<Vec<Correction>, String> {
    let mut corrections = Vec::new();
    for asset in assets.into_iter().collect::<BTreeSet<_>>() {
        corrections.extend(deps.db.corrections(user, asset).await.map_err(|error| error.to_string())?);
    }
    Ok(corrections)
}

/// Returns the entries of a row with those that take its shares back. The caller holds the lock of the leader until they
/// are written.
///
/// # Errors
/// When the database fails, or an amount does not fit.
pub(super) async fn entered(deps: &IngestorDeps, cause: &Cause, booked: Booked) -> Result<Entered, String> {
    let assets: Vec<AssetId> = booked.entries.iter().filter_map(|entry| entry.asset.clone()).collect();
    let corrections = corrections(deps, cause.leader, &assets).await?;
    enter(cause, booked, &corrections).map_err(|error| error.to_string())
}

/// Writes a row that has entered, and finishes its job. A row that another worker does now is left to it.
///
/// # Errors
/// When it was not written; a retry may help.
pub(super) async fn write(
    deps: &IngestorDeps,
    cause: &Cause,
    entered: Entered,
    fence: JobFence,
    mut suspicions: Vec<Suspicion>,
) -> Result<(), String> {
    if let Some(harm) = entered.inexact {
        suspicions.push(Suspicion { why: "a row whose amounts are assumed", harm: Some(harm) });
    }
    let request = RecordEntries {
        entries: entered.entries,
        corrections: entered.corrections,
        checkpoints: checkpoints(deps, cause.leader, &suspicions).await?,
        finishes: vec![fence],
        ..RecordEntries::default()
    };
    match deps.ledger.send(request).await.unwrap_or(Err(Refused::Restarted)) {
        Ok(_) | Err(Refused::FenceLost) => Ok(()),
        Err(refused) => Err(refused.to_string()),
    }
}
