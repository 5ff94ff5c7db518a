//! The requests to pollers, and the end of the jobs that wanted them.

use std::{collections::HashSet, convert::Infallible};

use actix::{AsyncContext, Context, Handler, Message, Recipient};
use tracing::Instrument;

use super::job::ReconcileJob;
use super::rereads::DueRead;
use super::search_schedule::Search;
use super::{LEASE_MS, POLLER_COMES_MS, Reconciler, ReconcilerDeps};
use crate::actors::poller::{NotPolled, PollWindow, Polled};
use crate::actors::supervise::{IoResult, Panicked};
use crate::chance::Chance;
use crate::db::{Db, DbError};
use crate::domain::events::reading::Reader;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{Job, JobFence};

/// The next search for this user's transactions may be due.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AskDue {
    user: FollowedUserId,
}

/// The result of a search.
pub(super) struct SearchResult {
    /// `None` when a regular poll had found all transactions already.
    polled: Option<Result<Polled, NotPolled>>,
    /// The transactions that the API has not shown yet.
    unconfirmed: Result<HashSet<String>, DbError>,
}

impl Reconciler {
    /// Asks a user's poller to read a span that is due again.
    pub(super) fn read_again(&mut self, read: DueRead, ctx: &mut Context<Self>) {
        let (Some(poller), Some(span_ms)) = (self.pollers.get(&read.user).cloned(), read.by.span_ms()) else { return };
        let (asked_at, end) = (self.deps.clock.now(), self.deps.venue.now());
        self.rereads.asked(read);
        let deps = self.deps.clone();
        let ask = async move {
            let start = start_of(&deps.db, read, end, span_ms).await.map_err(|error| NotPolled(error.to_string()))?;
            let polled = ask(&poller, PollWindow { start, end, by: read.by }).await?;
            if read.by == Reader::Day {
                let value = serde_json::json!({ "time": end }).to_string();
                if let Err(error) = deps.db.put_checkpoint(&day_key(read.user), &value, asked_at).await {
                    tracing::debug!(user_id = %read.user, %error, "the next read of the last day will be longer");
                }
            }
            Ok(polled)
        };
        self.incarnation.spawn_io(ctx, ask, move |reconciler: &mut Self, polled, _| {
            let now = reconciler.deps.clock.now();
            reconciler.rereads.answered(read, polled.is_ok(), asked_at, now);
            reconciler.read(read.user, polled);
        });
    }

    /// Handles the result of the spans that were read for a user.
    fn read(&mut self, user: FollowedUserId, polled: IoResult<Polled, NotPolled>) {
        let of_panic = |panicked: Panicked| NotPolled(panicked.to_string());
        self.asked(user, polled.map_err(|error| error.into_failed(of_panic)));
    }

    /// Starts claimed jobs: spans are read one by one, transactions are searched together.
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
                    self.searches.entry(user).or_default().add(&job, tx_hash, seen);
                }
                Ok(ReconcileJob::Window { start, end }) => {
                    windows.push((job, PollWindow { start, end, by: Reader::Asked }));
                }
                Err(error) => {
                    let deps = self.deps.clone();
                    actix::spawn(async move { give_back(&deps, &job, &error).await }.in_current_span());
                }
            }
        }
        self.search(user, ctx);
        if windows.is_empty() {
            return;
        }
        let deps = self.deps.clone();
        let read = async move { read_windows(&deps, &poller, windows).await };
        self.incarnation.spawn_io(ctx, read, move |reconciler: &mut Self, polled, _| reconciler.read(user, polled));
    }

    /// Starts the search for a user's transactions when it is due, and otherwise sets a timer for it. When the timer
    /// fires and another search has run in the meantime, it has no effect.
    fn search(&mut self, user: FollowedUserId, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let (Some(schedule), Some(poller)) = (self.searches.get_mut(&user), self.pollers.get(&user)) else { return };
        let Some(due) = schedule.due(now) else { return };
        if due > now {
            let wait = std::time::Duration::from_millis(due.millis_since(now).unsigned_abs());
            ctx.notify_later(AskDue { user }, wait);
            return;
        }
        let Some(search) = schedule.begin(now) else { return };
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
        found: IoResult<SearchResult, Infallible>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.deps.clock.now();
        let (polled, unconfirmed) = match found {
            Ok(SearchResult { polled, unconfirmed }) => (polled, unconfirmed.map_err(|error| error.to_string())),
            Err(panicked) => (None, Err(panicked.to_string())),
        };
        if let Err(error) = &unconfirmed {
            tracing::debug!(user_id = %user, error, "the unconfirmed transactions cannot be read");
        }
        if let Some(schedule) = self.searches.get_mut(&user) {
            let ended = schedule.end(search, unconfirmed.as_ref().ok(), now);
            for (_, tx_hash) in &ended.given_up {
                tracing::warn!(user_id = %user, tx_hash, "the chain showed this transaction, but the Data API does not");
            }
            self.finish(
                ended.confirmed.into_iter().chain(ended.given_up.into_iter().map(|(fence, _)| fence)).collect(),
            );
        }
        if let Some(polled) = polled {
            self.asked(user, polled);
        }
        self.search(user, ctx);
    }

    /// Ends the searches and the jobs of users who are not followed any more.
    pub(super) fn forget_the_unfollowed(&mut self) {
        let gone: Vec<FollowedUserId> =
            self.searches.keys().filter(|user| !self.pollers.contains_key(user)).copied().collect();
        for user in gone {
            let jobs = self.searches.remove(&user).map(|schedule| schedule.jobs()).unwrap_or_default();
            self.finish(jobs);
        }
    }

    /// Deletes jobs that are done. On an error they are only done again later.
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
        self.search(user, ctx);
    }
}

/// Polls for the transactions of `search`, unless a regular poll has found all of them in the meantime.
async fn look_for(
    deps: &ReconcilerDeps,
    user: FollowedUserId,
    poller: &Recipient<PollWindow>,
    search: &Search,
) -> SearchResult {
    let before = deps.db.unconfirmed_transactions(user, search.stored_since).await;
    if before.as_ref().is_ok_and(|open| open.is_disjoint(&search.tx_hashes)) {
        return SearchResult { polled: None, unconfirmed: before };
    }
    let span = PollWindow { start: search.start, end: deps.venue.now(), by: Reader::Asked };
    let polled = ask(poller, span).await;
    let unconfirmed = deps.db.unconfirmed_transactions(user, search.stored_since).await;
    SearchResult { polled: Some(polled), unconfirmed }
}

/// Reads the spans of jobs one after the other, and returns the result of the last.
///
/// # Errors
/// When the last span could not be read. Each job whose span failed goes back to the queue.
async fn read_windows(
    deps: &ReconcilerDeps,
    poller: &Recipient<PollWindow>,
    windows: Vec<(Job, PollWindow)>,
) -> Result<Polled, NotPolled> {
    let mut result = Ok(Polled::default());
    for (job, window) in windows {
        // After many others, the lease of this job may have ended. Then the worker that claimed it again reads the
        // span.
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

/// Handles jobs of a user without a poller. If the user is not followed any more, the jobs are finished, because their
/// rows are not needed. If the user was followed a moment ago, the poller starts within a second or two, and the jobs
/// wait for it.
async fn without_poller(deps: &ReconcilerDeps, user: Option<FollowedUserId>, jobs: Vec<Job>) {
    let is_followed = match deps.db.followed_users().await {
        Ok(users) => users.iter().any(|known| known.enabled() && Some(known.id) == user),
        // The leases end, and the jobs are claimed again.
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
            tracing::debug!(%error, "a reconcile job is claimed again only when its lease ends");
        }
    }
}

/// After a longer gap, the positions say what is missing.
const GAP_MAX_MS: i64 = 31 * 86_400_000;

/// The checkpoint of the last read of a leader's last day, as `{"time": ISO}`.
fn day_key(user: FollowedUserId) -> String {
    format!("api:lastDayRead:{user}")
}

/// Returns where a span that is read again begins. The read of the last day begins a day before the last such read: rows
/// that were late when the machine slept or the bot was off may have been shown in the gap, and are behind the
/// checkpoints.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
async fn start_of(db: &Db, read: DueRead, end: Timestamp, span_ms: i64) -> Result<Timestamp, DbError> {
    if read.by != Reader::Day {
        return Ok(end.plus_millis(-span_ms));
    }
    #[derive(serde::Deserialize)]
    struct Read {
        time: Timestamp,
    }
    let stored = db.checkpoint(&day_key(read.user)).await?;
    let last = stored.and_then(|text| serde_json::from_str(&text).ok()).map_or(end, |read: Read| read.time);
    Ok(last.min(end).max(end.plus_millis(-GAP_MAX_MS)).plus_millis(-span_ms))
}

/// Asks a poller to read a span.
///
/// # Errors
/// When the span could not be read, or the poller is gone.
async fn ask(poller: &Recipient<PollWindow>, window: PollWindow) -> Result<Polled, NotPolled> {
    poller.send(window).await.unwrap_or_else(|error| Err(NotPolled(error.to_string())))
}

/// Returns a job to the queue as failed; after some tries it becomes a dead letter.
async fn give_back(deps: &ReconcilerDeps, job: &Job, error: &str) {
    let failed = queue::fail(&deps.db, job, error, deps.clock.now(), &mut Chance).await;
    let becomes = failed.map_or_else(|error| error.to_string(), |failed| failed.to_string());
    let user = job.followed_user.map(tracing::field::display);
    tracing::warn!(job = job.id, user_id = user, error, becomes, "a reconcile job failed");
}
