//! Writes every canonical event into its leader's shadow ledger, in order.
//!
//! Takes   q_ingest_events jobs.
//! Sends   `RecordEntries` to the ledger writer; `KnowMarket` when a market is traded in, at most once a minute.
//! Timer   none but the slow sweep.
//! Truth   its open jobs: an event whose job is open is not in the ledger.

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
use crate::domain::accounting::position_resync::StoredRows;
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
use lanes::{Event, LaneKey, Lanes, Seen, Work};
use resolve::{Effect, effect_of};

const SWEEP: Duration = Duration::from_secs(2);
/// Long enough for an activity to get its facts with all its retries.
const LEASE_MS: i64 = 300_000;
const JOBS_AT_ONCE: i64 = 512;
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// A market that is traded in after this long is named again: its facts may have grown old meanwhile, and there are some
/// seconds to renew them until the copy is decided.
const NAME_AGAIN_MS: i64 = 60_000;
/// Markets remembered as seen; beyond it the memory starts anew.
const SEEN_MAX: usize = 20_000;

#[derive(Clone)]
pub struct IngestorDeps {
    pub db: Db,
    pub polymarket: Polymarket,
    pub clock: Clock,
    /// Whose jobs are ours.
    pub scope: JobScope,
    pub wakeups: Wakeups,
    pub ledger: Recipient<RecordEntries>,
    pub holdings: Recipient<Holdings>,
    pub markets: Recipient<KnowMarket>,
}

pub struct Ingestor {
    deps: IngestorDeps,
    /// A failure begins a new one too.
    incarnation: Incarnation,
    /// Leases of an earlier life are given back.
    released: bool,
    look: bool,
    /// One thing at a time is asked of queue and ledger, so that entries go in the order of their events.
    busy: bool,
    batch: Vec<Ready>,
    lanes: Lanes,
    /// Lanes whose first may ask for its facts, once what came before it is in the ledger.
    to_resolve: BTreeSet<LaneKey>,
    /// When each was last named to whoever keeps facts.
    seen_markets: BTreeMap<MarketId, Timestamp>,
    failures: u32,
    n_events: u64,
    last_activity: Option<Timestamp>,
}

enum Answer {
    Released,
    Claimed(Claimed),
    Recorded(usize),
}

/// Jobs taken from the queue with their events, in order.
#[derive(Default)]
struct Claimed {
    works: Vec<Work>,
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
            seen_markets: BTreeMap::new(),
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

    /// Does the next thing, unless one is under way: what is ready goes to the ledger first, then those who waited for
    /// that ask for their facts, then the queue is looked at.
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

    fn take(&mut self, work: Work) {
        let Some(work) = self.lanes.enter(work) else { return };
        match &work.event {
            Event::Trade(trade) => {
                self.name(&trade.market);
                let entries = entries_for_trade(trade).map_err(|error| error.to_string());
                self.batch.push(Ready { job: work.job, entries, audits: Vec::new() });
            }
            Event::Activity(activity) => match (&activity.kind, &activity.payload.condition_id) {
                // Kept as an event; the ledgers are left alone.
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

    /// In the background: the shadow ledger of a plain trade needs no facts, but its copy soon will.
    fn name(&mut self, market: &MarketId) {
        let now = self.deps.clock.now();
        if self.seen_markets.get(market).is_some_and(|named| now.millis_since(*named) < NAME_AGAIN_MS) {
            return;
        }
        if self.seen_markets.len() >= SEEN_MAX {
            self.seen_markets.clear();
        }
        self.deps.markets.do_send(KnowMarket(market.clone()));
        self.seen_markets.insert(market.clone(), now);
    }

    fn resolve(&self, lane: LaneKey, ctx: &mut Context<Self>) {
        // Its turn comes when the last lane before it opens.
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
                        Seen::Never => self.take(work),
                        Seen::Waiting => {}
                        Seen::First(lane) => drop(self.to_resolve.insert(lane)),
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

    /// Handles the facts that the first row of a lane waited for.
    fn resolved(&mut self, lane: LaneKey, job: i64, effect: IoResult<Effect, String>, ctx: &mut Context<Self>) {
        // A job that came twice, because its lease ended, is answered twice.
        let Some(first) = self.lanes.first(&lane).filter(|first| first.job.id == job) else { return };
        match effect {
            Ok(effect) => {
                self.settle(&lane, effect);
                self.next(ctx);
            }
            Err(error) => {
                let (deps, job, error) = (self.deps.clone(), first.job.clone(), error.to_string());
                let event = job.event_id().map(display);
                tracing::warn!(job = job.id, event, user_id = %lane.0, condition = lane.1.as_ref().map(display), error, "facts of a row could not be had");
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
            // The lane stays closed until the job comes again from the queue.
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

    /// The first of the lane is worked out: it goes to the ledger, and those behind it follow.
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

    fn open(&mut self, lane: &LaneKey) {
        for work in self.lanes.open(lane).into_iter().skip(1) {
            self.take(work);
        }
        self.to_resolve.insert((lane.0, None));
    }

    /// Forgets everything and begins again from the queue, a little later.
    fn begin_again(&mut self, error: &str, ctx: &mut Context<Self>) {
        let failures = self.failures.saturating_add(1);
        if failures == 1 {
            tracing::warn!(error, "events cannot be written to the ledger and will be tried again");
        }
        let seen_markets = std::mem::take(&mut self.seen_markets);
        *self = Self { failures, seen_markets, busy: true, ..Self::new(self.deps.clone()) };
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

/// The record that a row could not be applied; the event itself stays.
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

/// Takes jobs from the queue and reads their events. A job whose event cannot be read is given back.
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

/// The events that jobs are about, in no order.
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
