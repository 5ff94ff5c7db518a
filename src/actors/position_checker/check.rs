//! Holds the shadow of one leader against the venue's positions, and ends what drifts (spec 5, Position check).

use super::shadow::{ShadowNow, drained, readings, shadow, waiting_markets};
use super::{Done, PositionCheckerDeps};
use crate::actors::ledger_writer::{RecordEntries, Refused};
use crate::db::{Audit, DbError, FollowedUser, PositionCheck};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::shadow::check::{Adjusted, CONFIRMED_AFTER_MS, CheckCase, adjust, standing};
use crate::domain::accounting::shadow::exactness::CheckOutcome;
use crate::domain::accounting::shadow::reading::{Drift, Readings};
use crate::domain::money::ids::PositionCheckId;
use crate::domain::money::units::{PriceMicros, Timestamp, UnitError, UsdcMicros};

/// Earlier checks in which a drift is looked for: more than there are in the minutes that it must stand.
const EARLIER_MAX: i64 = 50;

/// Reads the positions of a leader and compares the shadow with them.
///
/// # Errors
/// When the database fails.
pub(super) async fn check(deps: &PositionCheckerDeps, user: &FollowedUser) -> Result<Done, DbError> {
    let at = deps.clock.now();
    let readings = match readings(deps, user).await {
        Ok(readings) => readings,
        Err(problem) => return unreadable(deps, user, &problem, at).await,
    };
    drained(deps, user.id).await?;
    let _guard = deps.lock.of(user.id).await;
    let outcome = compared(deps, user, &readings).await?;
    Ok(Done { user: user.id, opened: false, outcome, at: readings.checked_at() })
}

/// Records that the positions of a leader cannot be read.
///
/// # Errors
/// When the database fails.
pub(super) async fn unreadable(
    deps: &PositionCheckerDeps,
    user: &FollowedUser,
    problem: &str,
    at: Timestamp,
) -> Result<Done, DbError> {
    tracing::warn!(user_id = %user.id, problem, "the positions of a leader cannot be read: the books are not exact");
    let check =
        PositionCheck { problem: Some(problem.to_owned()), ..row(user, at, 0, CheckOutcome::Unreadable, Vec::new()) };
    deps.db.insert_position_check(&check).await?;
    Ok(Done { user: user.id, opened: false, outcome: Some(CheckOutcome::Unreadable), at })
}

/// Compares the shadow with the positions, ends the drifts that stand, and writes the check. The caller holds the lock
/// of the leader. `None` when the books changed meanwhile: then nothing is written.
///
/// # Errors
/// When the database fails.
pub(super) async fn compared(
    deps: &PositionCheckerDeps,
    user: &FollowedUser,
    readings: &Readings,
) -> Result<Option<CheckOutcome>, DbError> {
    let at = readings.checked_at();
    let waiting = waiting_markets(deps, user.id).await?;
    let now = match shadow((&deps.db, &deps.holdings), user.id, readings).await {
        Ok(now) => now,
        Err(error) => {
            tracing::warn!(user_id = %user.id, error, "the shadow cannot be read");
            return Ok(None);
        }
    };
    let drifts = match readings.drifts(&now.counted, &waiting) {
        Ok(drifts) => drifts,
        Err(error) => {
            tracing::error!(user_id = %user.id, %error, "the drift of a leader's books cannot be computed");
            return Ok(None);
        }
    };
    let n_assets = i64::try_from(now.counted.len()).unwrap_or(i64::MAX);
    let valued: Vec<(Drift, UsdcMicros)> = drifts.iter().map(|drift| (drift.clone(), value(drift, &now))).collect();
    let earlier = deps.db.position_checks(user.id, EARLIER_MAX).await?;
    let ended = standing_since(&earlier, &drifts, at).and_then(|standing| ended(user, at, &standing, &now));
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(user_id = %user.id, %error, "the adjustment of a leader's books cannot be computed");
            Adjusted::default()
        }
    };
    if ended.entries.is_empty() {
        let outcome = if drifts.is_empty() { CheckOutcome::Exact } else { CheckOutcome::Drifting };
        if outcome == CheckOutcome::Drifting {
            tracing::warn!(user_id = %user.id, assets = drifts.len(), "the books differ from the venue's positions");
        }
        deps.db.insert_position_check(&row(user, at, n_assets, outcome, valued)).await?;
        return Ok(Some(outcome));
    }
    let is_whole = ended.corrections.iter().fold(0_i64, |sum, part| sum.saturating_add(part.shares.0.saturating_abs()))
        == drifts.iter().fold(0_i64, |sum, drift| sum.saturating_add(drift.shares.0.saturating_abs()));
    let value = ended.value;
    let outcome = if is_whole { CheckOutcome::Adjusted { value } } else { CheckOutcome::PartlyAdjusted { value } };
    let check = row(user, at, n_assets, outcome, valued);
    adjusted(deps, user, check, ended, now.version).await
}

/// Books the adjustment with its check.
async fn adjusted(
    deps: &PositionCheckerDeps,
    user: &FollowedUser,
    check: PositionCheck,
    ended: Adjusted,
    version: u64,
) -> Result<Option<CheckOutcome>, DbError> {
    let outcome = check.outcome;
    let about = serde_json::json!({
        "check": check.id,
        "value_micros": ended.value,
        "entries": ended.entries.iter().map(|entry| serde_json::json!({
            "asset_id": entry.asset,
            "share_delta_micros": entry.shares,
            "cash_delta_micros": entry.cash,
        })).collect::<Vec<_>>(),
    });
    let audit = Audit {
        after_json: Some(about.to_string()),
        ..Audit::bare("position_checker", "POSITIONS_ADJUSTED", &format!("user:{}", user.id))
    };
    tracing::warn!(user_id = %user.id, entries = ended.entries.len(), value_micros = ended.value.0, "the books are adjusted to the venue's positions");
    let request = RecordEntries {
        entries: ended.entries,
        corrections: ended.corrections,
        audits: vec![audit],
        check: Some(check),
        made_on: Some((PortfolioId::ShadowUser(user.id), version)),
        ..RecordEntries::default()
    };
    match deps.record.send(request).await {
        Ok(Ok(_)) => Ok(Some(outcome)),
        Ok(Err(Refused::Stale)) | Err(_) => Ok(None),
        Ok(Err(refused)) => {
            tracing::warn!(user_id = %user.id, %refused, "an adjustment was refused and is tried again");
            Ok(None)
        }
    }
}

/// Returns the entries that end the drifts.
fn ended(user: &FollowedUser, at: Timestamp, standing: &[Drift], now: &ShadowNow) -> Result<Adjusted, UnitError> {
    let case = CheckCase { check: PositionCheckId::of(user.id, at.millis()), leader: user.id, checked_at: at };
    let mut all = Adjusted::default();
    for drift in standing {
        let mark = now.lots.get(&drift.asset).and_then(|lot| lot.mark);
        let ended = adjust(&case, drift, now.position(&drift.asset), mark)?;
        all.entries.extend(ended.entries);
        all.corrections.extend(ended.corrections);
        all.value = all.value.plus(ended.value)?;
    }
    Ok(all)
}

/// Returns the drifts that a check at least 5 minutes ago found too, and every check since then.
fn standing_since(earlier: &[PositionCheck], drifts: &[Drift], at: Timestamp) -> Result<Vec<Drift>, UnitError> {
    let mut still = drifts.to_vec();
    for check in earlier.iter().filter(|check| check.outcome != CheckOutcome::Unreadable) {
        if !check.outcome.is_drifting() {
            return Ok(Vec::new());
        }
        let found: Vec<Drift> = check.drifts.iter().map(|(drift, _)| drift.clone()).collect();
        if at.millis_since(check.checked_at) >= CONFIRMED_AFTER_MS {
            return standing(&found, check.checked_at, &still, at);
        }
        still.retain(|drift| found.iter().any(|before| before.asset == drift.asset));
    }
    Ok(Vec::new())
}

/// Returns the absolute value of a drift at the mark of its asset, or else at the price of the position.
fn value(drift: &Drift, now: &ShadowNow) -> UsdcMicros {
    let mark = now.lots.get(&drift.asset).and_then(|lot| lot.mark).or(drift.price).unwrap_or(PriceMicros::ZERO);
    let value = drift.shares.magnitude().and_then(|shares| mark.proceeds_of(shares));
    value.unwrap_or(UsdcMicros(i64::MAX))
}

fn row(
    user: &FollowedUser,
    at: Timestamp,
    n_assets: i64,
    outcome: CheckOutcome,
    drifts: Vec<(Drift, UsdcMicros)>,
) -> PositionCheck {
    let id = PositionCheckId::of(user.id, at.millis());
    PositionCheck { id, user: user.id, checked_at: at, n_assets, outcome, drifts, problem: None }
}
