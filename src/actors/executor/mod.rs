//! Decides groups in the global order, and has the ledger writer record the decisions (spec 7). Both executors run this
//! actor.
//!
//! Takes   [`DirectoryChanged`] from the root, wake-ups of its queue.
//! Sends   [`KnowMarket`] and [`FetchBook`] to the book fetcher, [`ReadView`] and [`RecordAttempt`] to the ledger
//!         writer.
//! Timer   one for the time when the next job is due; a slow one to find groups whose job is gone.
//! Truth   its open jobs. A group is queued when its job is read, due or not, and is decided when it is the head and
//!         its book is there. The next group waits only for the acceptance of the decision, not for its commit.
//!
//! `user_executor` and `global_executor` choose the jobs. The global executor decides in the global order of the spec.
//! The copies of one leader follow it too, so that the same events lead to the same ledger, however fast their books
//! arrive.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture,
};

use self::facts::{Unprepared, gather};
use self::pending_groups::{Facts, PendingGroups};
use super::{
    book_fetcher::{FetchBook, KnowMarket},
    directory::DirectoryChanged,
    ledger_writer::{ReadView, RecordAttempt},
    supervise::{ActorName, IoResult, Observed, SupervisorContext, observable, spawn_io, start_supervised},
};
use crate::clock::{Clock, VenueClock};
use crate::db::{Db, Directory};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::config::effective::{EffectiveConfig, effective};
use crate::domain::config::follow_state::FollowState;
use crate::domain::money::ids::{FollowedUserId, GroupId};
use crate::domain::money::units::Timestamp;
use crate::metrics::Metrics;
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{JobScope, Queue};

/// How often the pending groups are compared with the open jobs.
const SWEEP: Duration = Duration::from_secs(60);

/// How long to rest after a temporary failure of the database or the ledger writer.
const REST: Duration = Duration::from_millis(250);

/// The parts of the worker that an executor uses.
#[derive(Clone)]
pub struct ExecutorDeps {
    pub db: Db,
    pub clock: Clock,
    /// How often the queue is read without a wake-up.
    pub look_every: Duration,
    pub wakeups: Wakeups,
    /// The directory at the start; [`DirectoryChanged`] replaces it.
    pub directory: Arc<Directory>,
    pub market: Recipient<KnowMarket>,
    pub book: Recipient<FetchBook>,
    pub view: Recipient<ReadView>,
    pub record: Recipient<RecordAttempt>,
    pub metrics: Arc<Metrics>,
    /// The age of a signal is by the venue's clock, as its fills are.
    pub venue: VenueClock,
}

/// The jobs of an executor, and the portfolio it copies into.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExecutorRole {
    pub portfolio: PortfolioId,
    pub queue: Queue,
    /// The leader whose jobs are claimed; `None` for all leaders.
    pub leader: Option<FollowedUserId>,
}

impl ExecutorRole {
    fn scope(self) -> JobScope {
        self.leader.map_or(JobScope::All, JobScope::OfUser)
    }
}

pub struct Executor {
    deps: ExecutorDeps,
    role: ExecutorRole,
    pending: PendingGroups,
    configs: BTreeMap<FollowedUserId, Arc<EffectiveConfig>>,
    /// Counts changes of the directory. Facts fetched before a change are not used, because the blacklist may have
    /// changed.
    directory_changes: u64,
    /// Groups detected before this time may be decided.
    horizon: Timestamp,
    /// At the last read of the queue every stored event was in a group.
    all_grouped: bool,
    /// The id of the newest job that was read, due or not.
    last_seen: i64,
    looking: bool,
    look_again: bool,
    next_look: Option<SpawnHandle>,
    sweeping: bool,
    deciding: Option<GroupId>,
    resting: bool,
    counts: Counts,
}

#[derive(Debug, Clone, Default, serde::Serialize)]
struct Counts {
    decided: u64,
    decided_again: u64,
    failed: u64,
    #[serde(skip)]
    last_decision: Option<Timestamp>,
}

impl Executor {
    pub(super) fn start(
        role: ExecutorRole,
        name: ActorName,
        deps: ExecutorDeps,
        supervisor: &SupervisorContext,
    ) -> Addr<Self> {
        start_supervised(supervisor, name, Self::new(role, deps))
    }

    fn new(role: ExecutorRole, deps: ExecutorDeps) -> Self {
        Self {
            deps,
            role,
            pending: PendingGroups::default(),
            configs: BTreeMap::new(),
            directory_changes: 0,
            horizon: Timestamp::EPOCH,
            all_grouped: false,
            last_seen: 0,
            looking: false,
            look_again: false,
            next_look: None,
            sweeping: false,
            deciding: None,
            resting: false,
            counts: Counts::default(),
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "portfolio": self.role.portfolio.to_string(),
                "in_line": self.pending.len(),
                "claimed": self.pending.n_claimed(),
                "committing": self.pending.n_committing(),
                "counts": self.counts,
            }),
            last_activity: self.counts.last_decision,
        }
    }

    /// Fetches the facts for the decision on a group.
    fn prepare(&mut self, id: GroupId, ctx: &mut Context<Self>) {
        let Some(work) = self.pending.work(id) else { return };
        let (group, due) = (work.group.clone(), work.due);
        let (config, leader) = (self.config(group.followed_user), self.leader(group.followed_user));
        let (deps, portfolio, asked_at) = (self.deps.clone(), self.role.portfolio, self.directory_changes);
        let gather = async move { gather(&deps, portfolio, &group, &config, leader, due).await };
        spawn_io(ctx, gather, move |executor: &mut Self, facts, ctx| {
            if asked_at == executor.directory_changes {
                executor.prepared(id, facts, ctx);
            }
        });
    }

    fn prepared(&mut self, group: GroupId, facts: IoResult<Facts, Unprepared>, ctx: &mut Context<Self>) {
        match facts {
            Ok(facts) => {
                self.pending.prepared(group, facts);
                self.advance(ctx);
            }
            Err(error) => self.give_up(group, &error.to_string(), ctx),
        }
    }

    /// Returns the configuration for a leader.
    fn config(&mut self, leader: FollowedUserId) -> Arc<EffectiveConfig> {
        let (directory, scope) = (&self.deps.directory, self.role.portfolio.scope());
        let work_out = || Arc::new(effective(&directory.config, directory.overrides.get(&leader), scope));
        self.configs.entry(leader).or_insert_with(work_out).clone()
    }

    /// Returns how a leader is followed; one who is not in the directory any more counts as stopped.
    fn leader(&self, leader: FollowedUserId) -> FollowState {
        let user = self.deps.directory.users.iter().find(|user| user.id == leader);
        user.map_or(FollowState::Stopped, |user| user.state)
    }
}

impl Actor for Executor {
    type Context = Context<Self>;

    /// Releases the leases of an earlier incarnation first. Until then no job is claimed, and messages wait.
    fn started(&mut self, ctx: &mut Context<Self>) {
        let (db, role) = (self.deps.db.clone(), self.role);
        let release = async move { queue::release(&db, role.queue, &role.scope()).await };
        ctx.wait(release.into_actor(self).map(|released, executor, ctx| {
            if let Err(error) = released {
                tracing::warn!(portfolio = %executor.role.portfolio, %error, "old leases cannot be released; their jobs wait until the leases end");
            }
            executor.listen(executor.deps.wakeups.listen(executor.role.queue), ctx);
            executor.look(ctx);
            ctx.run_interval(SWEEP, |executor, ctx| executor.sweep(ctx));
            ctx.run_interval(executor.deps.look_every, |executor, ctx| executor.look(ctx));
        }));
    }
}

impl Supervised for Executor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.role, self.deps.clone());
    }
}

observable!(Executor);

impl Handler<DirectoryChanged> for Executor {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, ctx: &mut Context<Self>) {
        self.deps.directory = directory;
        self.configs.clear();
        self.directory_changes += 1;
        for group in self.pending.forget_facts(self.deciding) {
            self.prepare(group, ctx);
        }
        // A close by hand comes from a page or the command line, without a wake-up in this process.
        self.look(ctx);
    }
}

mod claim;
mod decide;
mod facts;
mod pending_groups;
#[cfg(test)]
mod tests;
