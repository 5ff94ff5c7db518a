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

mod desk;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, MailboxError, Message, Recipient, SpawnHandle,
    Supervised, WrapFuture,
};

use self::desk::{Claim, Desk, Facts};
use super::{
    book_fetcher::{FetchBook, FetchFailed, KnowMarket},
    ledger_writer::{Accepted, ReadView, RecordAttempt, Recorded, Refused},
    root::DirectoryChanged,
    supervise::{ActorName, Guard, Observed, Panicked, observable, spawn_io, start_guarded},
};
use crate::{
    clock::Clock,
    db::{Db, DbError, Directory},
    domain::{
        decision::{self, Decision, Situation},
        effective_config::{EffectiveConfig, effective},
        group::{EventGroup, GroupAction},
        ids::{FollowedUserId, GroupId},
        ledger::PortfolioId,
        portfolio_view::{Baselines, PortfolioView},
        units::{ShareMicros, Timestamp, UsdcMicros},
    },
    queue::{self, Job, JobFence, Queue, in_process::Bell},
};

/// Longer than any wait for a book and for those before; after a restart of the actor its leases are given back.
const LEASE_MS: i64 = 120_000;
/// Jobs taken and not finished.
const CLAIMED_MAX: usize = 512;
/// Decisions accepted by the ledger writer whose commit is not known yet.
const COMMITTING_MAX: usize = 256;
/// Groups kept in line; more stay in the database until there is room.
const LINE_MAX: usize = 4096;
/// How often places are checked against the open jobs.
const SWEEP: Duration = Duration::from_secs(60);
/// A first in line that is due for so long without being claimed is checked at once.
const OVERDUE_MS: i64 = 2_000;
/// Rest after a commit failed for a reason that passes.
const REST: Duration = Duration::from_millis(250);

/// What an executor needs of the house.
#[derive(Clone)]
pub struct ExecutorDeps {
    pub db: Db,
    pub clock: Clock,
    pub bell: Bell,
    /// As it stands at the start; `DirectoryChanged` replaces it.
    pub directory: Arc<Directory>,
    pub market: Recipient<KnowMarket>,
    pub book: Recipient<FetchBook>,
    pub view: Recipient<ReadView>,
    pub record: Recipient<RecordAttempt>,
}

/// Which jobs, and whose money.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post {
    pub portfolio: PortfolioId,
    pub queue: Queue,
    /// Only the jobs of this leader.
    pub leader: Option<FollowedUserId>,
}

pub struct Executor {
    deps: ExecutorDeps,
    post: Post,
    desk: Desk,
    configs: BTreeMap<FollowedUserId, EffectiveConfig>,
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

/// What one look at the queue found.
#[derive(Debug)]
struct Look {
    opened: Vec<(Job, Option<EventGroup>)>,
    claimed: Vec<Job>,
    /// There is more than was taken.
    more: bool,
    next_due: Option<Timestamp>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Looked(Result<Result<Look, DbError>, Panicked>);

#[derive(Message)]
#[rtype(result = "()")]
struct GroupsRead {
    jobs: Vec<Job>,
    groups: Result<Result<Vec<EventGroup>, DbError>, Panicked>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Prepared {
    group: GroupId,
    facts: Result<Result<Facts, Unprepared>, Panicked>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Viewed {
    group: GroupId,
    view: Result<Result<Result<PortfolioView, Refused>, MailboxError>, Panicked>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Answered {
    group: GroupId,
    answer: Result<Result<Result<Accepted, Refused>, MailboxError>, Panicked>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Committed {
    group: GroupId,
    fence: JobFence,
    result: Result<Recorded, Refused>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Swept {
    open: Result<Result<BTreeSet<GroupId>, DbError>, Panicked>,
    /// Places taken since are not judged.
    before: i64,
}

#[derive(Message)]
#[rtype(result = "()")]
struct JobFailed(Result<Result<queue::Failed, DbError>, Panicked>);

/// Why a group has no facts to decide on.
#[derive(Debug, thiserror::Error)]
enum Unprepared {
    #[error(transparent)]
    Fetch(#[from] FetchFailed),
    #[error("the book fetcher does not answer: {0}")]
    Mailbox(#[from] MailboxError),
}

impl Executor {
    pub(super) fn start(post: Post, name: ActorName, deps: ExecutorDeps, guard: &Guard) -> Addr<Self> {
        start_guarded(guard, name, Self::new(post, deps))
    }

    fn new(post: Post, deps: ExecutorDeps) -> Self {
        Self {
            deps,
            post,
            desk: Desk::default(),
            configs: BTreeMap::new(),
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
                "in_line": self.desk.len(),
                "claimed": self.desk.n_claimed(),
                "committing": self.desk.n_committing(),
                "counts": self.counts,
            }),
            last_activity: self.counts.last_decision,
        }
    }

    /// Looks at the queue: sees what is open, takes what is due. One look at a time.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.looking, true) {
            self.look_again = true;
            return;
        }
        if let Some(timer) = self.next_look.take() {
            ctx.cancel_future(timer);
        }
        let claim_max = match self.desk.first_unclaimed() {
            // Whoever holds up the line must get through, however many were due before it.
            Some(due) if due <= self.deps.clock.now() => CLAIMED_MAX,
            _ => CLAIMED_MAX.saturating_sub(self.desk.n_claimed()),
        };
        let (deps, post, last_seen) = (self.deps.clone(), self.post, self.last_seen);
        let room = LINE_MAX.saturating_sub(self.desk.len());
        spawn_io(ctx, async move { look(&deps, post, last_seen, room, claim_max).await }, Looked);
    }

    fn looked(&mut self, look: Look, ctx: &mut Context<Self>) {
        for (job, group) in look.opened {
            self.last_seen = self.last_seen.max(job.id);
            match group {
                Some(group) => drop(self.desk.place(group, &job)),
                None => tracing::error!(job = job.id, key = job.key, "a copy job names a group that is not there"),
            }
        }
        self.claimed(look.claimed, ctx);
        self.look_again |= look.more;
        if std::mem::take(&mut self.look_again) {
            return self.look(ctx);
        }
        let now = self.deps.clock.now();
        if self.desk.first_unclaimed().is_some_and(|due| now.millis_since(due) > OVERDUE_MS) {
            self.sweep(ctx);
        }
        if let Some(due) = look.next_due {
            // A millisecond at least: what is due but was not given is being given to somebody.
            let wait = u64::try_from(due.millis_since(now)).unwrap_or(0).max(1);
            self.look_in(Duration::from_millis(wait), ctx);
        }
    }

    fn look_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.next_look.take() {
            ctx.cancel_future(timer);
        }
        self.next_look = Some(ctx.run_later(wait, |executor, ctx| executor.look(ctx)));
    }

    fn claimed(&mut self, jobs: Vec<Job>, ctx: &mut Context<Self>) {
        let mut unknown = Vec::new();
        for job in jobs {
            let id = match job.group() {
                Ok(id) => id,
                Err(error) => {
                    self.fail(job, &error.to_string(), ctx);
                    continue;
                }
            };
            match self.desk.claim(id, job) {
                Claim::Prepare => self.prepare(id, ctx),
                Claim::Renewed => {}
                Claim::Unknown(job) => unknown.push(job),
            }
        }
        if !unknown.is_empty() {
            let db = self.deps.db.clone();
            let ids: Vec<_> = unknown.iter().filter_map(|job| job.group().ok()).collect();
            let read = async move { db.groups(&ids).await };
            spawn_io(ctx, read, move |groups| GroupsRead { jobs: unknown, groups });
        }
    }

    /// Gathers what the decision on a group looks at.
    fn prepare(&mut self, id: GroupId, ctx: &mut Context<Self>) {
        let Some(work) = self.desk.work(id) else { return };
        let group = work.group.clone();
        let config = self.config(group.followed_user);
        let user_enabled = self.user_enabled(group.followed_user);
        let (deps, portfolio) = (self.deps.clone(), self.post.portfolio);
        let gather = async move {
            let market = deps.market.send(KnowMarket(group.market.clone())).await??;
            let blank = nothing_known(portfolio);
            let now = deps.clock.now();
            let market_ref = market.as_ref();
            let situation =
                Situation { group: &group, market: market_ref, portfolio: &blank, config: &config, user_enabled, now };
            let book = match &group.action {
                GroupAction::Trade { asset, .. } if matches!(decision::precheck(&situation), Ok(None)) => {
                    Some(deps.book.send(FetchBook { group: group.id, asset: asset.clone() }).await??)
                }
                _ => None,
            };
            Ok(Facts { market, book })
        };
        spawn_io(ctx, gather, move |facts| Prepared { group: id, facts });
    }

    /// Decides the first in line, if it is ready.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        if self.deciding.is_some() || self.resting {
            return;
        }
        let Some(id) = self.desk.next(COMMITTING_MAX) else { return };
        self.deciding = Some(id);
        self.view(id, ctx);
    }

    fn view(&mut self, id: GroupId, ctx: &mut Context<Self>) {
        let Some((group, facts)) = self.desk.work(id).and_then(|work| Some((&work.group, work.facts.as_ref()?))) else {
            return self.put_back(id, ctx);
        };
        let (asset, outcomes) = match &group.action {
            GroupAction::Trade { asset, .. } => (Some(asset.clone()), Vec::new()),
            _ => (None, facts.market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect()),
        };
        let (portfolio, leader, market) = (self.post.portfolio, group.followed_user, group.market.clone());
        let ask = self.deps.view.send(ReadView { portfolio, leader, market, asset, outcomes });
        spawn_io(ctx, ask, move |view| Viewed { group: id, view });
    }

    fn decide(&mut self, id: GroupId, view: &PortfolioView, ctx: &mut Context<Self>) {
        let Some((group, facts, fence)) =
            self.desk.work(id).and_then(|work| Some((work.group.clone(), work.facts.clone()?, work.job()?.fence())))
        else {
            return self.put_back(id, ctx);
        };
        let config = self.config(group.followed_user);
        let now = self.deps.clock.now();
        let situation = Situation {
            group: &group,
            market: &facts.market,
            portfolio: view,
            config: &config,
            user_enabled: self.user_enabled(group.followed_user),
            now,
        };
        let decision = match &facts.book {
            Some(fetched) => decision::decide(&situation, fetched.book.as_ref().ok()).map(Some),
            None => decision::precheck(&situation),
        };
        let record = match decision.and_then(|decision| {
            decision.map(|decision: Decision| decision.into_record(self.post.portfolio, &group, now)).transpose()
        }) {
            Ok(Some(record)) => record,
            // The switches were turned on since no book was asked for.
            Ok(None) => {
                self.deciding = None;
                self.desk.put_back_without_facts(id);
                return self.prepare(id, ctx);
            }
            Err(error) => return self.give_up(id, &error.to_string(), ctx),
        };
        let (attempt, entries) = record;
        let request = RecordAttempt { attempt, entries, portfolio_version: view.version, finishes: vec![fence] };
        spawn_io(ctx, self.deps.record.send(request), move |answer| Answered { group: id, answer });
    }

    fn accepted(&mut self, id: GroupId, accepted: Accepted, ctx: &mut Context<Self>) {
        self.deciding = None;
        self.counts.decided += 1;
        self.counts.last_decision = Some(self.deps.clock.now());
        if let Some(fence) = self.desk.work(id).and_then(|work| work.job()).map(Job::fence) {
            self.desk.is_committing(id);
            let committed = accepted.committed();
            spawn_io(ctx, committed, move |result| Committed {
                group: id,
                fence,
                result: result.unwrap_or(Err(Refused::Restarted)),
            });
        }
        self.advance(ctx);
    }

    fn refused(&mut self, id: GroupId, refused: &Refused, ctx: &mut Context<Self>) {
        match refused {
            Refused::Stale => {
                self.counts.decided_again += 1;
                self.desk.put_back(id);
            }
            Refused::Restarted | Refused::Failed { transient: true, .. } => {
                self.desk.put_back(id);
                self.rest(ctx);
            }
            Refused::FenceLost => drop(self.desk.remove(id)),
            Refused::Failed { .. } | Refused::Impossible(_) => return self.give_up(id, &refused.to_string(), ctx),
        }
        self.advance(ctx);
    }

    /// To its old place in line, from which it is taken again.
    fn put_back(&mut self, id: GroupId, ctx: &mut Context<Self>) {
        self.deciding = None;
        self.desk.put_back(id);
        self.advance(ctx);
    }

    /// Nothing is decided for a moment: the database or the ledger writer needs it.
    fn rest(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.resting, true) {
            ctx.run_later(REST, |executor, ctx| {
                executor.resting = false;
                executor.advance(ctx);
            });
        }
    }

    /// The group leaves the line, and its job comes back later or becomes a dead letter.
    fn give_up(&mut self, id: GroupId, error: &str, ctx: &mut Context<Self>) {
        if self.deciding == Some(id) {
            self.deciding = None;
        }
        if let Some(job) = self.desk.remove(id) {
            self.fail(job, error, ctx);
        }
        self.advance(ctx);
    }

    fn fail(&mut self, job: Job, error: &str, ctx: &mut Context<Self>) {
        self.counts.failed += 1;
        tracing::warn!(portfolio = %self.post.portfolio, group = job.key, failures = job.failures, error, "a copy job failed");
        let (db, now, error) = (self.deps.db.clone(), self.deps.clock.now(), error.to_owned());
        let fail = async move { queue::fail(&db, &job, &error, now, &mut rand::rng()).await };
        spawn_io(ctx, fail, JobFailed);
    }

    fn config(&mut self, leader: FollowedUserId) -> EffectiveConfig {
        let (directory, scope) = (&self.deps.directory, self.post.portfolio.scope());
        let work_out = || effective(&directory.config, directory.overrides.get(&leader), scope);
        *self.configs.entry(leader).or_insert_with(work_out)
    }

    fn user_enabled(&self, leader: FollowedUserId) -> bool {
        self.deps.directory.users.iter().any(|user| user.id == leader && user.enabled)
    }

    /// Looks whether everybody in line still has a job: one finished elsewhere would hold up the others for ever.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        let (db, post, before) = (self.deps.db.clone(), self.post, self.last_seen);
        let open = async move {
            let jobs = queue::peek_open(&db, post.queue).await?;
            let ours = jobs.iter().filter(|job| post.leader.is_none() || job.followed_user == post.leader);
            Ok(ours.filter_map(|job| job.group().ok()).collect())
        };
        spawn_io(ctx, open, move |open| Swept { open, before });
    }

    fn listen(&self, mut listener: queue::in_process::Listener, ctx: &mut Context<Self>) {
        let heard = async move {
            listener.heard().await;
            listener
        };
        ctx.spawn(heard.into_actor(self).map(|listener, executor, ctx| {
            executor.look(ctx);
            executor.listen(listener, ctx);
        }));
    }
}

/// What opened since `last_seen`, up to `room` of it, and what is due, up to `claim_max` of it.
async fn look(deps: &ExecutorDeps, post: Post, last_seen: i64, room: usize, claim_max: usize) -> Result<Look, DbError> {
    let db = &deps.db;
    let limit = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let jobs = match room {
        0 => Vec::new(),
        _ => queue::opened_after(db, post.queue, post.leader, last_seen, limit(room)).await?,
    };
    let ids: Vec<_> = jobs.iter().filter_map(|job| job.group().ok()).collect();
    let mut groups: BTreeMap<_, _> = db.groups(&ids).await?.into_iter().map(|group| (group.id, group)).collect();
    let n_opened = jobs.len();
    let opened = jobs.into_iter().map(|job| {
        let group = job.group().ok().and_then(|id| groups.remove(&id));
        (job, group)
    });
    let opened = opened.collect();
    if claim_max == 0 {
        return Ok(Look { opened, claimed: Vec::new(), more: false, next_due: None });
    }
    let now = deps.clock.now();
    let claimed = queue::claim(db, post.queue, post.leader, now, LEASE_MS, limit(claim_max)).await?;
    let more = claimed.len() == claim_max || (room > 0 && n_opened == room);
    let next_due = queue::next_due(db, post.queue, post.leader).await?;
    Ok(Look { opened, claimed, more, next_due })
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
        let release = async move {
            match post.leader {
                Some(leader) => queue::release_of_user(&db, post.queue, leader).await,
                None => queue::release(&db, post.queue).await,
            }
        };
        ctx.wait(release.into_actor(self).map(|released, executor, ctx| {
            if let Err(error) = released {
                tracing::warn!(portfolio = %executor.post.portfolio, %error, "old leases must run out by themselves");
            }
            executor.listen(executor.deps.bell.listen(executor.post.queue), ctx);
            executor.look(ctx);
            ctx.run_interval(SWEEP, |executor, ctx| {
                executor.sweep(ctx);
                executor.look(ctx);
            });
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

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, _: &mut Context<Self>) {
        self.deps.directory = directory;
        self.configs.clear();
    }
}

impl Handler<Looked> for Executor {
    type Result = ();

    fn handle(&mut self, Looked(look): Looked, ctx: &mut Context<Self>) {
        self.looking = false;
        match look {
            Ok(Ok(look)) => {
                self.looked(look, ctx);
                self.advance(ctx);
            }
            Ok(Err(error)) => {
                tracing::error!(portfolio = %self.post.portfolio, %error, "the queue cannot be read");
                self.look_in(REST, ctx);
            }
            Err(panicked) => panic!("looking at the queue: {panicked}"),
        }
    }
}

impl Handler<GroupsRead> for Executor {
    type Result = ();

    fn handle(&mut self, GroupsRead { jobs, groups }: GroupsRead, ctx: &mut Context<Self>) {
        let groups = match groups {
            Ok(Ok(groups)) => groups,
            Ok(Err(error)) => {
                for job in jobs {
                    self.fail(job, &error.to_string(), ctx);
                }
                return;
            }
            Err(panicked) => panic!("reading groups: {panicked}"),
        };
        for job in jobs {
            let group = job.group().ok().and_then(|id| groups.iter().find(|group| group.id == id));
            let Some(group) = group else {
                self.fail(job, "its group is not there", ctx);
                continue;
            };
            self.desk.place(group.clone(), &job);
            if let Claim::Prepare = self.desk.claim(group.id, job) {
                self.prepare(group.id, ctx);
            }
        }
    }
}

impl Handler<Prepared> for Executor {
    type Result = ();

    fn handle(&mut self, Prepared { group, facts }: Prepared, ctx: &mut Context<Self>) {
        match facts {
            Ok(Ok(facts)) => {
                self.desk.prepared(group, facts);
                self.advance(ctx);
            }
            Ok(Err(error)) => self.give_up(group, &error.to_string(), ctx),
            Err(panicked) => self.give_up(group, &panicked.to_string(), ctx),
        }
    }
}

impl Handler<Viewed> for Executor {
    type Result = ();

    fn handle(&mut self, Viewed { group, view }: Viewed, ctx: &mut Context<Self>) {
        if self.deciding != Some(group) {
            return;
        }
        match view {
            Ok(Ok(Ok(_))) if self.desk.is_overtaken(group) => self.put_back(group, ctx),
            Ok(Ok(Ok(view))) => self.decide(group, &view, ctx),
            // The ledger writer is not there; it will be.
            _ => {
                self.rest(ctx);
                self.put_back(group, ctx);
            }
        }
    }
}

impl Handler<Answered> for Executor {
    type Result = ();

    fn handle(&mut self, Answered { group, answer }: Answered, ctx: &mut Context<Self>) {
        if self.deciding != Some(group) {
            return;
        }
        match answer {
            Ok(Ok(Ok(accepted))) => self.accepted(group, accepted, ctx),
            Ok(Ok(Err(refused))) => {
                self.deciding = None;
                self.refused(group, &refused, ctx);
            }
            _ => {
                self.deciding = None;
                self.refused(group, &Refused::Restarted, ctx);
            }
        }
    }
}

impl Handler<Committed> for Executor {
    type Result = ();

    fn handle(&mut self, Committed { group, fence, result }: Committed, ctx: &mut Context<Self>) {
        let Some(current) = self.desk.work(group).and_then(|work| work.job()).map(Job::fence) else { return };
        match result {
            Ok(_) => {
                self.desk.remove(group);
                if self.desk.n_claimed() + 1 >= CLAIMED_MAX || self.desk.len() + 1 >= LINE_MAX {
                    self.look(ctx);
                }
                self.advance(ctx);
            }
            // The lease ran out and we took the job again: the same decision, under the new fence.
            Err(Refused::FenceLost) if current != fence => self.refused(group, &Refused::Stale, ctx),
            Err(refused) => self.refused(group, &refused, ctx),
        }
    }
}

impl Handler<Swept> for Executor {
    type Result = ();

    fn handle(&mut self, Swept { open, before }: Swept, ctx: &mut Context<Self>) {
        self.sweeping = false;
        match open {
            Ok(Ok(open)) => {
                let gone = self.desk.keep_open(&open, before);
                if gone > 0 {
                    tracing::info!(portfolio = %self.post.portfolio, gone, "places whose job is done elsewhere");
                }
                self.advance(ctx);
            }
            Ok(Err(error)) => tracing::warn!(portfolio = %self.post.portfolio, %error, "open jobs cannot be read"),
            Err(panicked) => panic!("reading open jobs: {panicked}"),
        }
    }
}

impl Handler<JobFailed> for Executor {
    type Result = ();

    fn handle(&mut self, JobFailed(failed): JobFailed, ctx: &mut Context<Self>) {
        if let Ok(Err(error)) = &failed {
            tracing::error!(%error, "a failed job keeps its lease until that runs out");
        }
        self.look(ctx);
    }
}

#[cfg(test)]
mod tests;
