//! Opens the books of each leader with what the leader held, and holds them against the venue's positions from then on
//! (spec 5).
//!
//! Takes   `DirectoryChanged`, `LeasesChanged`, [`CheckNow`].
//! Sends   `RecordEntries` and `Holdings` to the ledger writer.
//! Timer   one look every few seconds. One leader is checked at a time, with requests of bulk priority.
//! Truth   `position_check`, `followed_user.opened_at`, and the checkpoints `positions:suspect:<user>`.

mod check;
mod opening;
mod schedule;
pub(in crate::actors) mod shadow;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};

use self::schedule::{Due, Schedule};
use super::{
    books_lock::BooksLock,
    directory::DirectoryChanged,
    lease_keeper::LeasesChanged,
    ledger_writer::{Holdings, RecordEntries},
    supervise::{Incarnation, IoResult, Observed, SupervisorContext, observable, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Db, DbError, FollowedUser};
use crate::domain::accounting::shadow::exactness::CheckOutcome;
use crate::domain::events::lease::{LeaseName, Leases};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::polymarket::Polymarket;

/// How often the actor looks whether a check is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct PositionCheckerDeps {
    pub db: Db,
    pub clock: Clock,
    pub polymarket: Polymarket,
    /// The leases at the start; `LeasesChanged` replaces them.
    pub leases: Arc<Leases>,
    pub lock: BooksLock,
    pub holdings: Recipient<Holdings>,
    pub record: Recipient<RecordEntries>,
}

/// Makes the check of this leader due now.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct CheckNow(pub FollowedUserId);

#[derive(Message)]
#[rtype(result = "()")]
struct LookDue;

pub struct PositionChecker {
    deps: PositionCheckerDeps,
    incarnation: Incarnation,
    leases: Arc<Leases>,
    users: BTreeMap<FollowedUserId, FollowedUser>,
    schedules: BTreeMap<FollowedUserId, Schedule>,
    /// A look or a check is running.
    busy: bool,
    counts: Counts,
    last_activity: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
struct Counts {
    checks: u64,
    openings: u64,
    adjusted: u64,
    unreadable: u64,
}

/// The result of one look.
struct Looked {
    schedules: BTreeMap<FollowedUserId, Schedule>,
    done: Option<Done>,
}

/// The result of a check or an opening.
struct Done {
    user: FollowedUserId,
    opened: bool,
    /// `None` when it could not be finished and is tried again soon.
    outcome: Option<CheckOutcome>,
    at: Timestamp,
}

impl PositionChecker {
    pub fn start(deps: PositionCheckerDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        let leases = deps.leases.clone();
        start_supervised(supervisor, "position_checker", Self::new(deps, leases, BTreeMap::new()))
    }

    fn new(deps: PositionCheckerDeps, leases: Arc<Leases>, users: BTreeMap<FollowedUserId, FollowedUser>) -> Self {
        Self {
            deps,
            incarnation: Incarnation::default(),
            leases,
            users,
            schedules: BTreeMap::new(),
            busy: false,
            counts: Counts::default(),
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        let state = serde_json::json!({
            "leaders": self.users.len(),
            "counts": self.counts,
        });
        Observed { state, last_activity: self.last_activity }
    }

    /// Reads what makes checks due, and does the most urgent one.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.busy, true) {
            return;
        }
        let held = |user: &&FollowedUser| user.enabled() && self.leases.hold(LeaseName::User(user.id));
        let users: Vec<FollowedUser> = self.users.values().filter(held).cloned().collect();
        let (deps, mut schedules) = (self.deps.clone(), std::mem::take(&mut self.schedules));
        let work = async move {
            schedules.retain(|id, _| users.iter().any(|user| user.id == *id));
            let due = schedule::look(&deps, &users, &mut schedules).await?;
            let done = match due {
                None => None,
                Some((user, Due::Opening)) => Some(opening::open(&deps, &user).await?),
                Some((user, Due::Check)) => Some(check::check(&deps, &user).await?),
            };
            if let Some(done) = &done
                && let Some(schedule) = schedules.get_mut(&done.user)
            {
                schedule.done(done, deps.clock.now());
            }
            Ok(Looked { schedules, done })
        };
        self.incarnation.spawn_io(ctx, work, Self::looked);
    }

    fn looked(&mut self, looked: IoResult<Looked, DbError>, _: &mut Context<Self>) {
        self.busy = false;
        match looked {
            Ok(Looked { schedules, done }) => {
                // A check that was asked for meanwhile stays due.
                for (user, schedule) in schedules {
                    self.schedules.entry(user).or_insert(schedule);
                }
                let Some(done) = done else { return };
                self.last_activity = Some(done.at);
                self.counts.openings += u64::from(done.opened);
                match done.outcome {
                    Some(CheckOutcome::Unreadable) => self.counts.unreadable += 1,
                    Some(outcome) => {
                        self.counts.checks += 1;
                        self.counts.adjusted += u64::from(outcome.adjusted().is_some());
                    }
                    None => {}
                }
            }
            Err(error) => tracing::warn!(%error, "positions could not be checked and will be checked again"),
        }
    }
}

impl Actor for PositionChecker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(LOOK_EVERY, |_, ctx| ctx.notify(LookDue));
    }
}

impl Supervised for PositionChecker {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone(), self.leases.clone(), std::mem::take(&mut self.users));
    }
}

observable!(PositionChecker);

impl Handler<LookDue> for PositionChecker {
    type Result = ();

    fn handle(&mut self, _: LookDue, ctx: &mut Context<Self>) {
        self.look(ctx);
    }
}

impl Handler<CheckNow> for PositionChecker {
    type Result = ();

    fn handle(&mut self, CheckNow(user): CheckNow, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        self.schedules.entry(user).or_default().ask(now);
        self.look(ctx);
    }
}

impl Handler<DirectoryChanged> for PositionChecker {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, ctx: &mut Context<Self>) {
        self.users = directory.users.iter().map(|user| (user.id, user.clone())).collect();
        self.look(ctx);
    }
}

impl Handler<LeasesChanged> for PositionChecker {
    type Result = ();

    fn handle(&mut self, LeasesChanged(leases): LeasesChanged, ctx: &mut Context<Self>) {
        self.leases = leases;
        self.look(ctx);
    }
}

#[cfg(test)]
mod tests;
