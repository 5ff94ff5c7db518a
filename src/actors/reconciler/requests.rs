//! The asking itself: spans read through pollers, and what became of the jobs that wanted them.

use std::{collections::HashSet, convert::Infallible};

use actix::{AsyncContext, Context, Handler, Message, Recipient};
use tracing::Instrument;

use super::job::ReconcileJob;
use super::search_schedule::Search;
use super::{LEASE_MS, POLLER_COMES_MS, Reconciler, ReconcilerDeps};
use crate::actors::poller::{NotPolled, PollWindow, Polled};
use crate::actors::supervise::{IoResult, Panicked};
use crate::db::DbError;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{Job, JobFence};

/// Something of this user may be sought by now.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AskDue {
    user: FollowedUserId,
}

/// What an ask brought; `None` where it was not needed.
pub(super) struct Found {
    polled: Option<Result<Polled, NotPolled>>,
    unconfirmed: Result<HashSet<String>, DbError>,
}

impl Reconciler {
    /// Asks one user's poller for a span; the answer only counts as progress.
    pub(super) fn ask(
        &self,
        user: FollowedUserId,
        poller: &Recipient<PollWindow>,
        start: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        let window = PollWindow { start, end: self.deps.clock.now() };
        let poller = poller.clone();
        let read = async move { ask(&poller, window).await };
        self.incarnation.spawn_io(ctx, read, move |reconciler: &mut Self, polled, _| reconciler.read(user, polled));
    }

    /// Handles the end of reading spans of a user's time.
    fn read(&mut self, user: FollowedUserId, polled: IoResult<Polled, NotPolled>) {
        let of_panic = |panicked: Panicked| NotPolled(panicked.to_string());
        self.asked(user, polled.map_err(|error| error.into_failed(of_panic)));
    }

    /// Takes jobs: spans are read one by one, transactions are sought together.
    pub(super) fn work_on(&mut self, user: Option<FollowedUserId>, jobs: Vec<Job>, ctx: &mut Context<Self>) {
        let poller = user.and_then(|user| self.pollers.get(&user).cloned().map(|poller| (user, poller)));
        let Some((user, poller)) = poller else {
            let deps = self.deps.clone();
            actix::spawn(async move { without_poller(&deps, user, jobs).await }.in_current_span());
            return;
        };
        let mut windows = Vec::new();
        for job in jobs {
            match ReconcileJob::parse(&job.payload) {
                Ok(ReconcileJob::Transaction { tx_hash, seen }) => {
                    self.seeking.entry(user).or_default().add(&job, tx_hash, seen);
                }
                Ok(ReconcileJob::Window { start, end }) => windows.push((job, PollWindow { start, end })),
                Err(error) => {
                    let deps = self.deps.clone();
                    actix::spawn(async move { give_back(&deps, &job, &error).await }.in_current_span());
                }
            }
        }
        self.seek(user, ctx);
        if windows.is_empty() {
            return;
        }
        let deps = self.deps.clone();
        let read = async move { read_windows(&deps, &poller, windows).await };
        self.incarnation.spawn_io(ctx, read, move |reconciler: &mut Self, polled, _| reconciler.read(user, polled));
    }

    /// Asks for what is sought of a user when that is due, and otherwise sets the timer for it. A timer that something
    /// else has overtaken finds nothing to do.
    fn seek(&mut self, user: FollowedUserId, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let (Some(seeking), Some(poller)) = (self.seeking.get_mut(&user), self.pollers.get(&user)) else { return };
        let Some(due) = seeking.due(now) else { return };
        if due > now {
            let wait = std::time::Duration::from_millis(due.millis_since(now).unsigned_abs());
            ctx.notify_later(AskDue { user }, wait);
            return;
        }
        let Some(search) = seeking.begin(now) else { return };
        let (deps, poller, sought) = (self.deps.clone(), poller.clone(), search.clone());
        let look = async move { Ok(look_for(&deps, user, &poller, &sought).await) };
        self.incarnation.spawn_io(ctx, look, move |reconciler: &mut Self, found, ctx| {
            reconciler.searched(user, &search, found, ctx);
        });
    }

    /// Handles the end of one search for a user's transactions.
    fn searched(
        &mut self,
        user: FollowedUserId,
        search: &Search,
        found: IoResult<Found, Infallible>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.deps.clock.now();
        let (polled, unconfirmed) = match found {
            Ok(Found { polled, unconfirmed }) => (polled, unconfirmed.map_err(|error| error.to_string())),
            Err(panicked) => (None, Err(panicked.to_string())),
        };
        if let Err(error) = &unconfirmed {
            tracing::debug!(user_id = %user, error, "whether transactions are confirmed could not be read");
        }
        if let Some(seeking) = self.seeking.get_mut(&user) {
            let over = seeking.end(search, unconfirmed.as_ref().ok(), now);
            for (_, tx_hash) in &over.given_up {
                tracing::warn!(user_id = %user, tx_hash, "seen on chain, but the Data API does not show it");
            }
            self.finish(over.confirmed.into_iter().chain(over.given_up.into_iter().map(|(fence, _)| fence)).collect());
        }
        if let Some(polled) = polled {
            self.asked(user, polled);
        }
        self.seek(user, ctx);
    }

    /// Lets go what is sought of users who are not followed any more.
    pub(super) fn forget_the_unfollowed(&mut self) {
        let gone: Vec<FollowedUserId> =
            self.seeking.keys().filter(|user| !self.pollers.contains_key(user)).copied().collect();
        for user in gone {
            let jobs = self.seeking.remove(&user).map(|seeking| seeking.jobs()).unwrap_or_default();
            self.finish(jobs);
        }
    }

    fn finish(&self, fences: Vec<JobFence>) {
        if fences.is_empty() {
            return;
        }
        let db = self.deps.db.clone();
        let finish = async move {
            if let Err(error) = queue::finish(&db, &fences).await {
                tracing::debug!(%error, "reconcile jobs will be done once more");
            }
        };
        actix::spawn(finish.in_current_span());
    }
}

impl Handler<AskDue> for Reconciler {
    type Result = ();

    fn handle(&mut self, AskDue { user }: AskDue, ctx: &mut Self::Context) {
        self.seek(user, ctx);
    }
}

/// Asks, unless a regular poll has found everything meanwhile.
async fn look_for(
    deps: &ReconcilerDeps,
    user: FollowedUserId,
    poller: &Recipient<PollWindow>,
    search: &Search,
) -> Found {
    let before = deps.db.unconfirmed_transactions(user, search.kept_since).await;
    if before.as_ref().is_ok_and(|open| open.is_disjoint(&search.tx_hashes)) {
        return Found { polled: None, unconfirmed: before };
    }
    let polled = ask(poller, PollWindow { start: search.start, end: deps.clock.now() }).await;
    let unconfirmed = deps.db.unconfirmed_transactions(user, search.kept_since).await;
    Found { polled: Some(polled), unconfirmed }
}

async fn read_windows(
    deps: &ReconcilerDeps,
    poller: &Recipient<PollWindow>,
    windows: Vec<(Job, PollWindow)>,
) -> Result<Polled, NotPolled> {
    let mut result = Ok(Polled::default());
    for (job, window) in windows {
        // Late in a long line a job may have been taken again: whoever took it asks.
        let until = deps.clock.now().plus_millis(LEASE_MS);
        if matches!(queue::renew(&deps.db, job.fence(), until).await, Ok(false)) {
            continue;
        }
        result = ask(poller, window).await;
        match &result {
            Ok(_) => {
                if let Err(error) = queue::finish(&deps.db, &[job.fence()]).await {
                    tracing::debug!(%error, "a span will be read once more");
                }
            }
            Err(error) => give_back(deps, &job, &error.to_string()).await,
        }
    }
    result
}

/// Work for somebody who has no poller. Not followed any more: what they did is nobody's business now. Followed a
/// moment ago: the poller comes within a second or two, and the jobs wait for it.
async fn without_poller(deps: &ReconcilerDeps, user: Option<FollowedUserId>, jobs: Vec<Job>) {
    let is_followed = match deps.db.followed_users().await {
        Ok(users) => users.iter().any(|known| known.enabled && Some(known.id) == user),
        // Then the leases end, and they come again.
        Err(_) => return,
    };
    if !is_followed {
        let fences: Vec<_> = jobs.iter().map(Job::fence).collect();
        if let Err(error) = queue::finish(&deps.db, &fences).await {
            tracing::debug!(%error, "reconcile jobs will be done once more");
        }
        return;
    }
    let until = deps.clock.now().plus_millis(POLLER_COMES_MS);
    for job in jobs {
        if let Err(error) = queue::renew(&deps.db, job.fence(), until).await {
            tracing::debug!(%error, "a reconcile job comes again only when its lease ends");
        }
    }
}

async fn ask(poller: &Recipient<PollWindow>, window: PollWindow) -> Result<Polled, NotPolled> {
    poller.send(window).await.unwrap_or_else(|error| Err(NotPolled(error.to_string())))
}

async fn give_back(deps: &ReconcilerDeps, job: &Job, error: &str) {
    let failed = queue::fail(&deps.db, job, error, deps.clock.now(), &mut rand::rng()).await;
    let becomes = failed.map_or_else(|error| error.to_string(), |failed| failed.to_string());
    let user = job.followed_user.map(tracing::field::display);
    tracing::warn!(job = job.id, user_id = user, error, becomes, "a reconcile job failed");
}
