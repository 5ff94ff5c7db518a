//! Reads the trades and activities of one followed user, and stores the new ones (spec 3.1).
//!
//! Takes   [`PollNow`], [`PollWindow`] from the reconciler, [`DirectoryChanged`].
//! Sends   [`Announce`] for new rows; wakes the consumers of their jobs.
//! Timer   one, for the next regular poll.
//! Truth   its two checkpoints; a row that is read twice has the same key both times, and is stored once.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, SpawnHandle, Supervised};
use tokio::sync::oneshot;

use super::{
    directory::DirectoryChanged,
    live_hub::{Announce, HealthChanged, LiveFact},
    supervise::{
        ActorName, Incarnation, IoError, IoResult, Observed, SupervisorContext, back_off, observable, start_supervised,
    },
};
use crate::clock::Clock;
use crate::db::{Db, DbError, Directory, FollowedUser, PollWrite};
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::events::lease::Fence;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::{ShareMicros, Timestamp};
use crate::health::actor_state::PollerState;
use crate::metrics::Metrics;
use crate::polymarket::{Polymarket, PolymarketError, TradeDraft, Window};
use crate::queue::Queue;
use crate::queue::wakeup::local::Wakeups;

mod window;

use window::{Checkpoints, PollRequest, QueuedWindows};

const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// Asks for a poll at once. Several that arrive during a poll become one poll.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct PollNow;

/// Asks to read a span of time again, whatever the checkpoints are. Both ends belong to the span.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<Polled, NotPolled>")]
pub struct PollWindow {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// The counts of a span that was read, and whose new rows are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Polled {
    /// Rows that the API returned, known or not.
    pub n_rows: usize,
    pub n_new: usize,
    /// Unreadable rows that were seen for the first time; each became a dead letter.
    pub n_dead: usize,
}

/// A span could not be read. The poller has logged the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the poll failed: {0}")]
pub struct NotPolled(pub String);

#[derive(Clone)]
pub struct PollerDeps {
    pub db: Db,
    pub polymarket: Polymarket,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub live: Recipient<Announce>,
    pub metrics: Arc<Metrics>,
    /// The lease under which the user is read; `None` where this is the only worker.
    pub fence: Option<Fence>,
}

pub struct Poller {
    deps: PollerDeps,
    user: FollowedUser,
    directory: Arc<Directory>,
    incarnation: Incarnation,
    /// `None` until they are read from the database.
    checkpoints: Option<Checkpoints>,
    poll_wanted: bool,
    windows: QueuedWindows,
    polling: Option<PollRequest>,
    failures: u32,
    last_success: Option<Timestamp>,
    timer: Option<SpawnHandle>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct PollDue;

/// The rows that a poll stored.
struct Report {
    polled: Polled,
    /// The time of the newest row, known or not.
    newest: Option<Timestamp>,
    new_trades: Vec<TradeEvent>,
    new_activities: Vec<ActivityEvent>,
    checkpoints: Option<Checkpoints>,
}

#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Polymarket(#[from] PolymarketError),
    #[error("the rows could not be stored: {0}")]
    Db(#[from] DbError),
}

impl Poller {
    pub fn start(
        deps: PollerDeps,
        user: FollowedUser,
        directory: Arc<Directory>,
        supervisor: &SupervisorContext,
    ) -> Addr<Self> {
        let name = ActorName::of_user("poller", user.id);
        start_supervised(supervisor, name, Self::new(deps, user, directory))
    }

    fn new(deps: PollerDeps, user: FollowedUser, directory: Arc<Directory>) -> Self {
        Self {
            deps,
            user,
            directory,
            incarnation: Incarnation::default(),
            checkpoints: None,
            poll_wanted: true,
            windows: QueuedWindows::default(),
            polling: None,
            failures: 0,
            last_success: None,
            timer: None,
        }
    }

    fn observed(&self) -> Observed {
        let state = PollerState {
            label: self.user.label.clone(),
            since: self.checkpoints.map(|checkpoints| checkpoints.earliest()),
            polling: self.polling.is_some(),
            windows_waiting: self.windows.len(),
            failures: self.failures,
        };
        Observed::new(state, self.last_success)
    }

    /// Starts the next poll when none is running: a regular one first, then the requested windows.
    fn next(&mut self, ctx: &mut Context<Self>) {
        let Some(checkpoints) = self.checkpoints.filter(|_| self.polling.is_none()) else { return };
        let asked = if std::mem::take(&mut self.poll_wanted) {
            let end = self.deps.clock.now();
            PollRequest { start: checkpoints.earliest(), end, moves: Some(checkpoints), replies: Vec::new() }
        } else {
            let Some(window) = self.windows.pop() else { return };
            window
        };
        let (deps, user) = (self.deps.clone(), self.user.clone());
        let (start, end, moves) = (asked.start, asked.end, asked.moves);
        self.polling = Some(asked);
        let first_window = checkpoints.earliest();
        let poll = async move {
            if user.follows_from.is_none() {
                deps.db.begin_following(user.id, first_window, deps.clock.now()).await?;
            }
            poll(&deps, &user, start, end, moves).await
        };
        self.incarnation.spawn_io(ctx, poll, Self::polled);
    }

    /// Handles the stored checkpoints, from which the first poll starts.
    fn read_checkpoints(&mut self, read: IoResult<Checkpoints, PollError>, ctx: &mut Context<Self>) {
        match read {
            Ok(checkpoints) => {
                self.checkpoints = Some(checkpoints);
                self.next(ctx);
            }
            Err(error) => {
                self.failed(&error, ctx);
                let wait = back_off(RETRY, RETRY_MOST, self.failures);
                ctx.run_later(wait, |actor, ctx| actor.started(ctx));
            }
        }
    }

    fn polled(&mut self, polled: IoResult<Report, PollError>, ctx: &mut Context<Self>) {
        match polled {
            Ok(report) => self.succeeded(report, ctx),
            Err(error) => self.failed(&error, ctx),
        }
        self.next(ctx);
    }

    fn wake_in(&mut self, delay: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = Some(ctx.notify_later(PollDue, delay));
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.directory.config.system.polling_interval_ms.max(1).unsigned_abs())
    }

    /// Resets the failures, answers the requests, and announces the new rows.
    fn succeeded(&mut self, report: Report, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        if self.failures > 0 {
            tracing::info!(user_id = %self.user.id, failures = self.failures, "polling works again");
            self.tell_health(true, "polling works again".to_owned());
        }
        self.failures = 0;
        self.last_success = Some(now);
        if self.answer(&Ok(report.polled)) {
            self.checkpoints = report.checkpoints.or(self.checkpoints);
            self.wake_in(self.interval(), ctx);
        }
        if report.polled.n_dead > 0 {
            tracing::warn!(user_id = %self.user.id, n_dead = report.polled.n_dead, "unreadable rows became dead letters");
        }
        if report.polled.n_new > 0 {
            tracing::info!(user_id = %self.user.id, n_new = report.polled.n_new, newest = report.newest.map(display), "new rows");
            for trade in &report.new_trades {
                self.deps.metrics.detection.observe_millis(trade.detect_time.millis_since(trade.event_time));
            }
            let trades = report.new_trades.into_iter().map(|trade| LiveFact::TradeSeen(Arc::new(trade)));
            let activities = report.new_activities.into_iter().map(|row| LiveFact::ActivitySeen(Arc::new(row)));
            self.deps.live.do_send(Announce(trades.chain(activities).collect()));
        }
    }

    /// Answers the requests with the error. A regular poll is repeated after a pause, which grows with each failure.
    fn failed(&mut self, error: &IoError<PollError>, ctx: &mut Context<Self>) {
        self.failures = self.failures.saturating_add(1);
        let asked_to_wait = match error {
            IoError::Failed(error) => error.retry_after(),
            IoError::Panicked(_) => None,
        };
        let wait = asked_to_wait.unwrap_or_default().max(back_off(RETRY, RETRY_MOST, self.failures));
        if self.failures == 1 {
            tracing::warn!(user_id = %self.user.id, %error, "polling failed and will be retried");
            self.tell_health(false, error.to_string());
        } else {
            tracing::debug!(user_id = %self.user.id, %error, failures = self.failures, "polling failed again");
        }
        if self.answer(&Err(NotPolled(error.to_string()))) {
            self.wake_in(wait, ctx);
        }
    }

    /// Answers the requests that waited for the poll that has ended. Returns true when it was a regular one.
    fn answer(&mut self, result: &Result<Polled, NotPolled>) -> bool {
        let Some(asked) = self.polling.take() else { return false };
        for reply in asked.replies {
            // The sender may have stopped in the meantime.
            let _ = reply.send(result.clone());
        }
        asked.moves.is_some()
    }

    fn tell_health(&self, healthy: bool, detail: String) {
        let part = ActorName::of_user("poller", self.user.id).to_string();
        let change = HealthChanged { part, healthy, detail, at: self.deps.clock.now() };
        self.deps.live.do_send(Announce(vec![LiveFact::HealthChanged(change)]));
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (db, user) = (self.deps.db.clone(), self.user.id);
        let earliest = Checkpoints::at_start(&self.directory, self.deps.clock.now());
        let read = async move { Ok(Checkpoints::read(&db, user, earliest).await?) };
        self.incarnation.spawn_io(ctx, read, Self::read_checkpoints);
    }
}

impl Supervised for Poller {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone(), self.user.clone(), self.directory.clone());
    }
}

observable!(Poller);

impl Handler<PollNow> for Poller {
    type Result = ();

    fn handle(&mut self, _: PollNow, ctx: &mut Self::Context) {
        self.poll_wanted = true;
        self.next(ctx);
    }
}

impl Handler<PollDue> for Poller {
    type Result = ();

    fn handle(&mut self, _: PollDue, ctx: &mut Self::Context) {
        self.timer = None;
        ctx.notify(PollNow);
    }
}

impl Handler<PollWindow> for Poller {
    type Result = ResponseFuture<Result<Polled, NotPolled>>;

    fn handle(&mut self, window: PollWindow, ctx: &mut Self::Context) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        self.windows.push(window, reply);
        self.next(ctx);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(NotPolled("the poller restarted".to_owned()))) })
    }
}

impl Handler<DirectoryChanged> for Poller {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, ctx: &mut Self::Context) {
        let interval = self.interval();
        self.directory = directory;
        if let Some(user) = self.directory.users.iter().find(|user| user.id == self.user.id) {
            self.user = user.clone();
        }
        if self.interval() != interval && self.timer.is_some() {
            self.wake_in(self.interval(), ctx);
        }
    }
}

impl PollError {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Polymarket(error) => error.retry_after(),
            Self::Db(_) => None,
        }
    }
}

/// Reads every page of the span, then stores the new rows, their jobs and the checkpoints in one transaction.
///
/// # Errors
/// When a page cannot be read or the rows cannot be stored. Nothing is stored then.
async fn poll(
    deps: &PollerDeps,
    user: &FollowedUser,
    start: Timestamp,
    end: Timestamp,
    moves: Option<Checkpoints>,
) -> Result<Report, PollError> {
    let mut window = deps.polymarket.activity_window(&user.profile_wallet, start, end).await?;
    settle_large_fees(&deps.db, &mut window).await?;
    let repeated = window.repeated();
    if !repeated.is_empty() {
        let stored = (deps.db.trades_by_id(&repeated).await?, deps.db.activities_by_id(&repeated).await?);
        window.keep_ordinals(&stored.0, &stored.1);
    }
    let now = deps.clock.now();
    let trade = |draft: crate::polymarket::TradeDraft| draft.into_event(user.id, user.profile_wallet.clone(), now);
    let row = |draft: crate::polymarket::ActivityDraft| draft.into_event(user.id, user.profile_wallet.clone(), now);
    let trades: Vec<TradeEvent> = window.trades.into_iter().map(trade).collect();
    let activities: Vec<ActivityEvent> = window.activities.into_iter().map(row).collect();
    let times = trades.iter().map(|trade| trade.event_time).chain(activities.iter().map(|row| row.event_time));
    let newest = times.max();
    let checkpoints = moves.map(|before| before.after(newest, now));
    let n_rows = trades.len() + activities.len() + window.bad.len();
    let known = |wallet: &_| *wallet == user.profile_wallet || user.wallets.contains(wallet);
    let write = PollWrite {
        user: user.id,
        fence: deps.fence,
        trades: trades.clone(),
        activities: activities.clone(),
        dead: window.bad.into_iter().map(|bad| crate::db::DeadRow { text: bad.text, reason: bad.reason }).collect(),
        new_wallets: window.wallets.into_iter().filter(|wallet| !known(wallet)).collect(),
        checkpoints: checkpoints.map(|checkpoints| checkpoints.rows(user.id)).unwrap_or_default(),
        now,
    };
    let outcome = deps.db.record_poll(write).await?;
    let n_new = outcome.new_trades.len() + outcome.new_activities.len();
    if n_new > 0 {
        deps.wakeups.notify(Queue::IngestEvents);
        deps.wakeups.notify(Queue::GroupEvents);
    }
    Ok(Report {
        polled: Polled { n_rows, n_new, n_dead: outcome.dead },
        newest,
        new_trades: trades.into_iter().filter(|trade| outcome.new_trades.contains(&trade.id)).collect(),
        new_activities: activities.into_iter().filter(|row| outcome.new_activities.contains(&row.id)).collect(),
        checkpoints,
    })
}

/// Above this many shares, the price of a row has too few digits for the fifth decimal of the fee. Then the fee comes
/// from the market's own schedule, where that is known and agrees with the row.
const LARGE: ShareMicros = ShareMicros(100_000_000_000);

/// Replaces the fees of rows with more than [`LARGE`] shares by those of the market's fee schedule.
///
/// # Errors
/// When the database fails.
async fn settle_large_fees(db: &Db, window: &mut Window) -> Result<(), DbError> {
    let large = |draft: &TradeDraft| draft.shares > LARGE;
    let mut markets: Vec<MarketId> =
        window.trades.iter().filter(|draft| large(draft)).map(|draft| draft.market.clone()).collect();
    markets.sort();
    markets.dedup();
    if markets.is_empty() {
        return Ok(());
    }
    let known = db.markets(&markets).await?;
    let settled = std::mem::take(&mut window.trades).into_iter().map(|draft| {
        let market = known.iter().find(|market| large(&draft) && market.id == draft.market);
        match market {
            Some(market) => draft.with_schedule(market.fee),
            None => draft,
        }
    });
    window.trades = settled.collect();
    Ok(())
}

#[cfg(test)]
mod tests;
