//! When the check of each leader is due (spec 5).

use std::collections::BTreeMap;

use super::{Done, PositionCheckerDeps};
use crate::actors::ledger_writer::Holdings;
use crate::db::{DbError, FollowedUser};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::shadow::check::CONFIRMED_AFTER_MS;
use crate::domain::accounting::shadow::exactness::CheckOutcome;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{ShareMicros, Timestamp};

/// Every leader is checked this often, whatever happens.
const EVERY_MS: i64 = 60 * 60 * 1000;
/// A check for a suspicion waits this long: the positions route shows a row some seconds after the feed. The contract
/// allows two minutes.
const SUSPECT_AFTER_MS: i64 = 45 * 1000;
/// Unreadable positions are read again after this long.
const UNREADABLE_AFTER_MS: i64 = 60 * 1000;
/// Negative holdings are looked for this often.
const NEGATIVE_EVERY_MS: i64 = 15 * 1000;
/// An opening that could not be booked, because the books changed under it, is tried again after this long.
const AGAIN_MS: i64 = 5 * 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Opening,
    Check,
}

/// When one leader was checked, and why a check is due.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Schedule {
    /// The newest check is read from the database.
    loaded: bool,
    /// The opening was booked since the list of leaders was read.
    opened: bool,
    checked: Option<(Timestamp, CheckOutcome)>,
    /// A check is due then for a suspicion; a later suspicion does not postpone it.
    suspect_due: Option<Timestamp>,
    negatives_looked: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

impl Schedule {
    /// Makes a check due at `now`.
    pub fn ask(&mut self, now: Timestamp) {
        self.suspect_due = Some(now);
        self.not_before = None;
    }

    fn suspect(&mut self, at: Timestamp) {
        let due = at.plus_millis(SUSPECT_AFTER_MS);
        self.suspect_due = Some(self.suspect_due.map_or(due, |known| known.min(due)));
    }

    /// Records the result of a check or an opening.
    pub fn done(&mut self, done: &Done, now: Timestamp) {
        self.opened |= done.opened;
        match done.outcome {
            Some(outcome) => {
                self.checked = Some((done.at, outcome));
                self.suspect_due = None;
                let unreadable = outcome == CheckOutcome::Unreadable;
                self.not_before = unreadable.then(|| now.plus_millis(UNREADABLE_AFTER_MS));
            }
            None => self.not_before = Some(now.plus_millis(AGAIN_MS)),
        }
    }

    /// Returns when the next check is due.
    fn next(&self) -> Timestamp {
        let regular = match self.checked {
            None => Timestamp::EPOCH,
            Some((at, CheckOutcome::Exact | CheckOutcome::Adjusted { .. })) => at.plus_millis(EVERY_MS),
            Some((at, CheckOutcome::Drifting | CheckOutcome::PartlyAdjusted { .. })) => {
                at.plus_millis(CONFIRMED_AFTER_MS)
            }
            Some((at, CheckOutcome::Unreadable)) => at.plus_millis(UNREADABLE_AFTER_MS),
        };
        let due = self.suspect_due.map_or(regular, |suspect| suspect.min(regular));
        self.not_before.map_or(due, |not_before| due.max(not_before))
    }
}

/// Returns the leader whose opening or check is due the longest; `None` while none is due.
///
/// # Errors
/// When the database fails.
pub(super) async fn look(
    deps: &PositionCheckerDeps,
    users: &[FollowedUser],
    schedules: &mut BTreeMap<FollowedUserId, Schedule>,
) -> Result<Option<(FollowedUser, Due)>, DbError> {
    let now = deps.clock.now();
    let mut due: Option<(Timestamp, &FollowedUser, Due)> = None;
    for user in users.iter().filter(|user| user.follows_from.is_some()) {
        let schedule = schedules.entry(user.id).or_default();
        let (at, what) = match user.opened_at {
            None if !schedule.opened => (schedule.not_before.unwrap_or(Timestamp::EPOCH), Due::Opening),
            _ => {
                notice(deps, user.id, schedule, now).await?;
                (schedule.next(), Due::Check)
            }
        };
        if at <= now && due.is_none_or(|(first, ..)| at < first) {
            due = Some((at, user, what));
        }
    }
    Ok(due.map(|(_, user, what)| (user.clone(), what)))
}

/// Reads the newest check and the suspicions of a leader, and looks for negative holdings.
async fn notice(
    deps: &PositionCheckerDeps,
    user: FollowedUserId,
    schedule: &mut Schedule,
    now: Timestamp,
) -> Result<(), DbError> {
    if !schedule.loaded {
        let newest = deps.db.position_checks(user, 1).await?.pop();
        schedule.checked = newest.map(|check| (check.checked_at, check.outcome));
        schedule.loaded = true;
    }
    let checked_at = schedule.checked.map(|(at, _)| at);
    if let Some(at) = deps.db.suspected_at(user).await?.filter(|at| checked_at.is_none_or(|checked| *at > checked)) {
        schedule.suspect(at.max(now.plus_millis(-SUSPECT_AFTER_MS)));
    }
    let looked = schedule.negatives_looked.is_some_and(|at| now.millis_since(at) < NEGATIVE_EVERY_MS);
    let agreed = schedule.checked.is_some_and(|(_, outcome)| outcome == CheckOutcome::Exact);
    if looked || !agreed {
        // A drift is being watched already.
        return Ok(());
    }
    schedule.negatives_looked = Some(now);
    let holdings = Holdings { portfolio: PortfolioId::ShadowUser(user), market: None };
    if let Ok(Ok(held)) = deps.holdings.send(holdings).await
        && held.lots.iter().any(|lot| lot.shares < ShareMicros::ZERO)
    {
        schedule.suspect(now);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::units::UsdcMicros;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn checked(seconds: i64, outcome: CheckOutcome) -> Schedule {
        Schedule { checked: Some((at(seconds), outcome)), ..Schedule::default() }
    }

    #[test]
    fn a_leader_is_checked_hourly_a_drift_after_five_minutes_and_a_suspicion_within_two() {
        assert_eq!(Schedule::default().next(), Timestamp::EPOCH);
        assert_eq!(checked(100, CheckOutcome::Exact).next(), at(3_700));
        assert_eq!(checked(100, CheckOutcome::Drifting).next(), at(400));
        let partly = CheckOutcome::PartlyAdjusted { value: UsdcMicros(5) };
        assert_eq!(checked(100, partly).next(), at(400));
        assert_eq!(checked(100, CheckOutcome::Unreadable).next(), at(160));
        let mut suspected = checked(100, CheckOutcome::Exact);
        suspected.suspect(at(200));
        suspected.suspect(at(230));
        assert_eq!(suspected.next(), at(245), "a later suspicion does not postpone it");
    }

    #[test]
    fn a_check_ends_its_suspicion_and_an_unfinished_one_is_tried_again() {
        let mut schedule = checked(100, CheckOutcome::Exact);
        schedule.suspect(at(200));
        let done = |outcome| Done { user: FollowedUserId(1), opened: false, outcome, at: at(245) };
        schedule.done(&done(None), at(246));
        assert_eq!(schedule.next(), at(251));
        schedule.done(&done(Some(CheckOutcome::Exact)), at(252));
        assert_eq!(schedule.next(), at(245 + 3_600));
    }
}
