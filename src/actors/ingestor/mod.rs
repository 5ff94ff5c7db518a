//! Writes every canonical event to the shadow ledger of its leader, in order (spec 5).
//!
//! Takes   q_ingest_events jobs.
//! Sends   [`RecordEntries`] to the ledger writer; [`KnowMarket`] for the market of a trade, at most once a minute.
//! Timer   only the slow sweep.
//! Truth   its open jobs: an event with an open job is not in the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient, Supervised};
use tracing::field::display;

use super::{
    book_fetcher::KnowMarket,
    ledger_writer::{Holdings, RecordEntries},
    queue_worker::{Look, look_at},
    supervise::{Incarnation, IoResult, Observed, SupervisorContext, back_off, observable, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Audit, Db, DbError};
use crate::domain::accounting::shadow::conversion::StoredRows;
use crate::domain::accounting::shadow::entries_for_trade;
use crate::domain::events::event::{ActivityEvent, ActivityKind};
use crate::domain::events::group::Member;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::Timestamp;
use crate::polymarket::Polymarket;
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::{Failed, Job, JobScope, Queue};

mod batch;
mod lanes;

use batch::{Ready, record};
use lanes::{ClaimedJob, Event, LaneKey, Lanes, Work};
use resolve::{Effect, effect_of};

const SWEEP: Duration = Duration::from_secs(2);
/// Long enough for an activity to fetch its facts with all retries.
const LEASE_MS: i64 = 300_000;
const JOBS_AT_ONCE: i64 = 512;
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// A trade in a market after this long requests its facts again: they may be outdated, and there are some seconds to
/// renew them before the copy is decided.
const REQUEST_AGAIN_MS: i64 = 60_000;
/// Markets to remember; when there are more, all are forgotten.
const REQUESTED_MAX: usize = 20_000;

#[derive(Clone)]
pub struct IngestorDeps {
    pub db: Db,
    pub polymarket: Polymarket,
    pub clock: Clock,
    /// The users whose jobs this worker claims.
    pub scope: JobScope,
    pub wakeups: Wakeups,
    pub ledger: Recipient<RecordEntries>,
    pub holdings: Recipient<Holdings>,
    pub markets: Recipient<KnowMarket>,
}

pub struct Ingestor {
    deps: IngestorDeps,
    /// A failure starts a new one too.
    incarnation: Incarnation,
    /// The leases of an earlier incarnation have been released.
    released: bool,
    look: bool,
    /// A request to the queue or the ledger writer is running. There is only one at a time, so that entries are written
    /// in the order of their events.
    busy: bool,
    batch: Vec<Ready>,
    lanes: Lanes,
    /// Lanes whose first row may fetch its facts, as soon as the rows before it are in the ledger.
    to_resolve: BTreeSet<LaneKey>,
    /// When the facts of each market were last requested.
    requested_markets: BTreeMap<MarketId, Timestamp>,
    failures: u32,
    n_events: u64,
    last_activity: Option<Timestamp>,
}

enum Answer {
    Released,
    Claimed(Claimed),
    Recorded(usize),
}

/// Claimed jobs with their events, in order.
#[derive(Default)]
struct Claimed {
    works: Vec<Work>,
    /// The claim returned as many jobs as it may, so there may be more.
    more: bool,
}

impl Ingestor {
    pub fn start(deps: IngestorDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "ingestor", Self::new(deps))
    }

    fn new(deps: IngestorDeps) -> Self {
        Self {
            deps,
            incarnation: Incarnation::default(),
            released: false,
            look: true,
            busy: false,
            batch: Vec::new(),
            lanes: Lanes::default(),
            to_resolve: BTreeSet::new(),
            requested_markets: BTreeMap::new(),
            failures: 0,
            n_events: 0,
            last_activity: None,
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "events": self.n_events,
                "batch": self.batch.len(),
                "waiting_for_facts": self.lanes.n_waiting(),
                "failures": self.failures,
            }),
            last_activity: self.last_activity,
        }
    }

    /// Starts the next step, unless one is running. First the ready events go to the ledger, then the rows that waited
    /// for that fetch their facts, then jobs are claimed.
    fn next(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        let deps = self.deps.clone();
        if !self.released {
            return self.ask(ctx, async move {
                queue::release(&deps.db, Queue::IngestEvents, &deps.scope).await.map_err(|error| error.to_string())?;
                Ok(Answer::Released)
            });
        }
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            return self.ask(ctx, async move { record(&deps, batch).await.map(Answer::Recorded) });
        }
        for lane in std::mem::take(&mut self.to_resolve) {
            self.resolve(lane, ctx);
        }
        if std::mem::take(&mut self.look) {
            self.ask(ctx, async move { claim(&deps).await.map(Answer::Claimed).map_err(|error| error.to_string()) });
        }
    }

    fn ask(&mut self, ctx: &mut Context<Self>, work: impl Future<Output = Result<Answer, String>> + 'static) {
        self.busy = true;
        self.incarnation.spawn_io(ctx, work, Self::answered);
    }

    /// Adds the work to the batch or to a lane.
    fn take(&mut self, work: Work) {
        let Some(work) = self.lanes.enter(work) else { return };
        match &work.event {
            Event::Trade(trade) => {
                self.request_facts(&trade.market);
                let entries = entries_for_trade(trade).map_err(|error| error.to_string());
                self.batch.push(Ready { job: work.job, entries, audits: Vec::new() });
            }
            Event::Activity(activity) => match (&activity.kind, &activity.payload.condition_id) {
                // It stays stored as an event, but moves no ledger.
                (ActivityKind::Combo | ActivityKind::Other(_), _) => self.batch.push(Ready::empty(work.job)),
                (_, Some(_)) => {
                    let lane = work.lane();
                    self.to_resolve.insert(lane.clone());
                    self.lanes.hold(lane, work);
                }
                (_, None) => {
                    let audit = not_applicable(activity, "the row names no condition");
                    self.batch.push(Ready { audits: vec![audit], ..Ready::empty(work.job) });
                }
            },
        }
    }

    /// Requests the facts of a market in the background: the shadow ledger needs none for a trade, but its copy will
    /// soon.
    fn request_facts(&mut self, market: &MarketId) {
        let now = self.deps.clock.now();
        if self.requested_markets.get(market).is_some_and(|requested| now.millis_since(*requested) < REQUEST_AGAIN_MS) {
            return;
        }
        if self.requested_markets.len() >= REQUESTED_MAX {
            self.requested_markets.clear();
        }
        self.deps.markets.do_send(KnowMarket(market.clone()));
        self.requested_markets.insert(market.clone(), now);
    }

    /// Fetches the facts for the first row of a lane, if no earlier row waits.
    fn resolve(&self, lane: LaneKey, ctx: &mut Context<Self>) {
        // It is called again when the last lane before it opens.
        if !self.lanes.is_next(&lane) {
            return;
        }
        let Some(Work { event: Event::Activity(activity), job }) = self.lanes.first(&lane).cloned() else { return };
        let (deps, id) = (self.deps.clone(), job.id);
        let effect = async move { effect_of(&deps, &job, &activity).await };
        self.incarnation.spawn_io(ctx, effect, move |ingestor: &mut Self, effect, ctx| {
            ingestor.resolved(lane, id, effect, ctx);
        });
    }

    fn answered(&mut self, result: IoResult<Answer, String>, ctx: &mut Context<Self>) {
        self.busy = false;
        match result {
            Ok(Answer::Released) => self.released = true,
            Ok(Answer::Claimed(claimed)) => {
                self.look |= claimed.more;
                for work in claimed.works {
                    match self.lanes.renew(&work.job) {
                        ClaimedJob::Unknown => self.take(work),
                        ClaimedJob::Waiting => {}
                        ClaimedJob::First(lane) => drop(self.to_resolve.insert(lane)),
                    }
                }
            }
            Ok(Answer::Recorded(n_events)) => {
                self.failures = 0;
                self.n_events += u64::try_from(n_events).unwrap_or(u64::MAX);
                self.last_activity = Some(self.deps.clock.now());
            }
            Err(error) => return self.begin_again(&error.to_string(), ctx),
        }
        self.next(ctx);
    }

    /// Handles the effect of the first row of a lane, which waited for facts.
    fn resolved(&mut self, lane: LaneKey, job: i64, effect: IoResult<Effect, String>, ctx: &mut Context<Self>) {
        // A job that was claimed twice, because its lease ended, gets two answers.
        let Some(first) = self.lanes.first(&lane).filter(|first| first.job.id == job) else { return };
        match effect {
            Ok(effect) => {
                self.settle(&lane, effect);
                self.next(ctx);
            }
            Err(error) => {
                let (deps, job, error) = (self.deps.clone(), first.job.clone(), error.to_string());
                let event = job.event_id().map(display);
                tracing::warn!(job = job.id, event, user_id = %lane.0, condition = lane.1.as_ref().map(display), error, "the facts for a row could not be fetched");
                let failed = async move {
                    queue::fail(&deps.db, &job, &error, deps.clock.now(), &mut rand::rngs::ThreadRng::default()).await
                };
                self.incarnation.spawn_io(ctx, failed, move |ingestor: &mut Self, failed, ctx| {
                    ingestor.given_back(&lane, failed, ctx);
                });
            }
        }
    }

    /// Handles the end of a job that failed: its lane waits for the retry, or opens without it.
    fn given_back(&mut self, lane: &LaneKey, failed: IoResult<Failed, DbError>, ctx: &mut Context<Self>) {
        match failed {
            // The lane stays closed until the job is claimed again.
            Ok(Failed::Retry(due)) => {
                let wait = due.millis_since(self.deps.clock.now()).max(0).unsigned_abs();
                ctx.notify_later(Look, Duration::from_millis(wait));
            }
            Ok(Failed::Dead | Failed::FenceLost) => {
                self.open(lane);
                self.next(ctx);
            }
            Err(error) => self.begin_again(&error.to_string(), ctx),
        }
    }

    /// Adds the first row of the lane to the batch, because its effect is known, and then the rows behind it.
    fn settle(&mut self, lane: &LaneKey, effect: Effect) {
        let Some(Work { job, event: Event::Activity(activity) }) = self.lanes.first(lane).cloned() else { return };
        let ready = match effect {
            Effect::Entries(entries) => Ready { job, entries: Ok(entries), audits: Vec::new() },
            Effect::NotApplicable(reason) => {
                tracing::warn!(event = %activity.id, user_id = %activity.followed_user, reason, "row not applicable");
                Ready { audits: vec![not_applicable(&activity, &reason)], ..Ready::empty(job) }
            }
        };
        self.batch.push(ready);
        self.open(lane);
    }

    /// Opens a lane: the rows behind the first one are taken.
    fn open(&mut self, lane: &LaneKey) {
        for work in self.lanes.open(lane).into_iter().skip(1) {
            self.take(work);
        }
        self.to_resolve.insert((lane.0, None));
    }

    /// Drops all state, and starts again from the queue after a pause.
    fn begin_again(&mut self, error: &str, ctx: &mut Context<Self>) {
        let failures = self.failures.saturating_add(1);
        if failures == 1 {
            tracing::warn!(error, "events cannot be written to the ledger and will be retried");
        }
        let requested_markets = std::mem::take(&mut self.requested_markets);
        *self = Self { failures, requested_markets, busy: true, ..Self::new(self.deps.clone()) };
        ctx.run_later(back_off(RETRY, RETRY_MOST, failures), |ingestor, ctx| {
            ingestor.busy = false;
            ingestor.next(ctx);
        });
    }
}

impl Actor for Ingestor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        look_at(ctx, &self.deps.wakeups, Queue::IngestEvents, SWEEP);
        self.next(ctx);
    }
}

impl Supervised for Ingestor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone());
    }
}

observable!(Ingestor);

impl Handler<Look> for Ingestor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.look = true;
        self.next(ctx);
    }
}

/// Returns the audit record for a row that could not be applied; the event itself stays stored.
fn not_applicable(activity: &ActivityEvent, reason: &str) -> Audit {
    let about = serde_json::json!({
        "user": activity.followed_user,
        "type": activity.kind.as_str(),
        "condition_id": activity.payload.condition_id,
        "reason": reason,
    });
    Audit {
        who: "ingestor".to_owned(),
        action: "MERGE_SPLIT_NOT_APPLICABLE".to_owned(),
        subject: format!("event:{}", activity.id),
        before_json: None,
        after_json: Some(about.to_string()),
    }
}

/// Claims jobs and reads their events. A job whose event cannot be read is returned to the queue as failed.
///
/// # Errors
/// When the database fails.
async fn claim(deps: &IngestorDeps) -> Result<Claimed, DbError> {
    let IngestorDeps { db, clock, .. } = deps;
    let jobs = queue::claim(db, Queue::IngestEvents, &deps.scope, clock.now(), LEASE_MS, JOBS_AT_ONCE).await?;
    let more = i64::try_from(jobs.len()).is_ok_and(|n| n >= JOBS_AT_ONCE);
    let StoredRows { trades, activities } = events_of(db, &jobs).await?;
    let mut events: BTreeMap<Member, Event> = BTreeMap::new();
    events.extend(trades.into_iter().map(|trade| (Member::Trade(trade.id), Event::Trade(Box::new(trade)))));
    events.extend(activities.into_iter().map(|row| (Member::Activity(row.id), Event::Activity(Box::new(row)))));
    let mut works = Vec::with_capacity(jobs.len());
    for job in jobs {
        match job.event().ok().and_then(|member| events.remove(&member)) {
            Some(event) => works.push(Work { job, event }),
            None => batch::give_back(deps, &job, "the event is not in the database").await?,
        }
    }
    Ok(Claimed { works, more })
}

/// Returns the events of jobs, in no order.
///
/// # Errors
/// When the database fails.
async fn events_of(db: &Db, jobs: &[Job]) -> Result<StoredRows, DbError> {
    let (mut trades, mut activities) = (Vec::new(), Vec::new());
    for member in jobs.iter().filter_map(|job| job.event().ok()) {
        match member {
            Member::Trade(id) => trades.push(id),
            Member::Activity(id) => activities.push(id),
        }
    }
    Ok(StoredRows { trades: db.trades_by_id(&trades).await?, activities: db.activities_by_id(&activities).await? })
}

mod resolve;
#[cfg(test)]
mod tests;
