//! Decides groups in order and has the ledger writer record what was decided: the trade of both executors.
//!
//! Takes   `DirectoryChanged` from the root, rings of its queue.
//! Sends   `KnowMarket` and `FetchBook` to the book fetcher, `ReadView` and `RecordAttempt` to the ledger writer.
//! Timer   one, for the moment the next job is due; a slow one looks for places whose job is gone.
//! Truth   its open jobs. A group takes its place in line when its row is seen, due or not, and is decided when it is
//!         first in line and its book is there. The next one does not wait for its commit, only for its acceptance.
//!
//! `user_executor` and `global_executor` say for which jobs. The line keeps the spec's global order; one leader's
//! copies keep it as well, so that the same events give the same ledger whatever their books' speed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, MailboxError, Recipient, SpawnHandle, Supervised,
    WrapFuture,
};

use self::pending_groups::{Facts, PendingGroups};
use super::{
    book_fetcher::{FetchBook, FetchFailed, KnowMarket},
    directory::DirectoryChanged,
    ledger_writer::{ReadView, RecordAttempt},
    supervise::{ActorName, IoResult, Observed, SupervisorContext, observable, spawn_io, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Db, Directory};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::view::{Baselines, PortfolioView};
use crate::domain::config::effective::{EffectiveConfig, effective};
use crate::domain::decision::decide::{Situation, precheck};
use crate::domain::events::group::GroupAction;
use crate::domain::money::ids::{FollowedUserId, GroupId};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::metrics::Metrics;
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{JobScope, Queue};

/// How often places are checked against the open jobs.
const SWEEP: Duration = Duration::from_secs(60);

/// Rest after a commit failed for a reason that passes.
const REST: Duration = Duration::from_millis(250);

/// What an executor needs of the house.
#[derive(Clone)]
pub struct ExecutorDeps {
    pub db: Db,
    pub clock: Clock,
    /// How often the queue is looked at although no bell rang.
    pub look_every: Duration,
    pub wakeups: Wakeups,
    /// As it stands at the start; `DirectoryChanged` replaces it.
    pub directory: Arc<Directory>,
    pub market: Recipient<KnowMarket>,
    pub book: Recipient<FetchBook>,
    pub view: Recipient<ReadView>,
    pub record: Recipient<RecordAttempt>,
    pub metrics: Arc<Metrics>,
}

/// Which jobs, and whose money.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExecutorRole {
    pub portfolio: PortfolioId,
    pub queue: Queue,
    /// Only the jobs of this leader.
    pub leader: Option<FollowedUserId>,
}

impl ExecutorRole {
    fn scope(self) -> JobScope {
        self.leader.map_or(JobScope::All, JobScope::OfUser)
    }
}

pub struct Executor {
    deps: ExecutorDeps,
    post: ExecutorRole,
    pending: PendingGroups,
    configs: BTreeMap<FollowedUserId, EffectiveConfig>,
    /// Counts changes of the directory: facts gathered before one, a blacklist among them, are not decided on.
    directory_changes: u64,
    /// Groups of before it may be decided.
    horizon: Timestamp,
    /// The newest job that has been seen, due or not.
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

/// Why a group has no facts to decide on.
#[derive(Debug, thiserror::Error)]
enum Unprepared {
    #[error(transparent)]
    Fetch(#[from] FetchFailed),
    #[error("the book fetcher does not answer: {0}")]
    Mailbox(#[from] MailboxError),
}

impl Executor {
    pub(super) fn start(
        post: ExecutorRole,
        name: ActorName,
        deps: ExecutorDeps,
        supervisor: &SupervisorContext,
    ) -> Addr<Self> {
        start_supervised(supervisor, name, Self::new(post, deps))
    }

    fn new(post: ExecutorRole, deps: ExecutorDeps) -> Self {
        Self {
            deps,
            post,
            pending: PendingGroups::default(),
            configs: BTreeMap::new(),
            directory_changes: 0,
            horizon: Timestamp::EPOCH,
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
                "portfolio": self.post.portfolio.to_string(),
                "in_line": self.pending.len(),
                "claimed": self.pending.n_claimed(),
                "committing": self.pending.n_committing(),
                "counts": self.counts,
            }),
            last_activity: self.counts.last_decision,
        }
    }

    /// Gathers what the decision on a group looks at.
    fn prepare(&mut self, id: GroupId, ctx: &mut Context<Self>) {
        let Some(work) = self.pending.work(id) else { return };
        let group = work.group.clone();
        let config = self.config(group.followed_user);
        let user_enabled = self.user_enabled(group.followed_user);
        let (deps, portfolio, asked_at) = (self.deps.clone(), self.post.portfolio, self.directory_changes);
        let gather = async move {
            let market = deps.market.send(KnowMarket(group.market.clone())).await??;
            let blank = nothing_known(portfolio);
            let now = deps.clock.now();
            let market_ref = market.as_ref();
            let situation =
                Situation { group: &group, market: market_ref, portfolio: &blank, config: &config, user_enabled, now };
            let book = match &group.action {
                GroupAction::Trade { asset, .. } if matches!(precheck(&situation), Ok(None)) => {
                    Some(deps.book.send(FetchBook { group: group.id, asset: asset.clone() }).await??)
                }
                _ => None,
            };
            Ok(Facts { market, book })
        };
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

    fn config(&mut self, leader: FollowedUserId) -> EffectiveConfig {
        let (directory, scope) = (&self.deps.directory, self.post.portfolio.scope());
        let work_out = || effective(&directory.config, directory.overrides.get(&leader), scope);
        *self.configs.entry(leader).or_insert_with(work_out)
    }

    fn user_enabled(&self, leader: FollowedUserId) -> bool {
        self.deps.directory.users.iter().any(|user| user.id == leader && user.enabled)
    }
}

/// Step 1 of a decision looks at no portfolio, and must not wait for one.
fn nothing_known(id: PortfolioId) -> PortfolioView {
    PortfolioView {
        id,
        version: 0,
        cash: UsdcMicros::ZERO,
        equity: UsdcMicros::ZERO,
        exposure_total: UsdcMicros::ZERO,
        exposure_market: UsdcMicros::ZERO,
        exposure_leader: UsdcMicros::ZERO,
        held: ShareMicros::ZERO,
        held_sets: Vec::new(),
        baselines: Baselines::default(),
    }
}

impl Actor for Executor {
    type Context = Context<Self>;

    /// Leases of an earlier self are given back first; until then nothing is taken, and mail waits.
    fn started(&mut self, ctx: &mut Context<Self>) {
        let (db, post) = (self.deps.db.clone(), self.post);
        let release = async move { queue::release(&db, post.queue, &post.scope()).await };
        ctx.wait(release.into_actor(self).map(|released, executor, ctx| {
            if let Err(error) = released {
                tracing::warn!(portfolio = %executor.post.portfolio, %error, "old leases must run out by themselves");
            }
            executor.listen(executor.deps.wakeups.listen(executor.post.queue), ctx);
            executor.look(ctx);
            ctx.run_interval(SWEEP, |executor, ctx| executor.sweep(ctx));
            ctx.run_interval(executor.deps.look_every, |executor, ctx| executor.look(ctx));
        }));
    }
}

impl Supervised for Executor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.post, self.deps.clone());
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
    }
}

mod claim;
mod decide;
mod pending_groups;
#[cfg(test)]
mod tests;
