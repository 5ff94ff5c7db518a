//! Reads the trades and activities of one followed user, and stores the new ones (spec 3.1).
//!
//! Takes   [`PollNow`], [`PollWindow`] from the reconciler, [`DirectoryChanged`].
//! Sends   [`Announce`] for new rows, [`SpanRead`] to the reconciler; wakes the consumers of their jobs.
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
use crate::db::{Db, Directory, FollowedUser};
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::events::lease::Fence;
use crate::domain::events::reading::Reader;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::health::actor_state::PollerState;
use crate::metrics::Metrics;
use crate::polymarket::Polymarket;
use crate::queue::wakeup::local::Wakeups;

mod answer;
mod error;
mod late_rows;
mod pace;
mod read;
mod window;

use answer::ForeignRows;
use error::PollError;
pub use pace::ReadingPace;
use window::{Checkpoints, PollRequest, QueuedWindows, SeenSpan};

const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// A span that ends less than this before the venue's present has no end: rows may be dated a little ahead.
const PRESENT_MS: i64 = 5_000;
/// A step of the venue's clock against ours, after which the checkpoints are read again: the spans were wrong.
const CLOCK_STEP_MS: i64 = 2_000;

/// Asks for a poll at once. Several that arrive during a poll become one poll.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct PollNow;

/// Asks to read a span of time again, whatever the checkpoints are. Both ends belong to the span, by the venue's clock.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<Polled, NotPolled>")]
pub struct PollWindow {
    pub start: Timestamp,
    pub end: Timestamp,
    pub by: Reader,
}

/// A span that reaches the present was read, and its rows are committed. The span began `back_ms` before the read.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct SpanRead {
    pub user: FollowedUserId,
    pub back_ms: i64,
}

/// The counts of a span that was read, and whose new rows are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Polled {
    /// Rows that the API returned, known or not.
    pub n_rows: usize,
    pub n_new: usize,
    /// Unreadable rows that were seen for the first time; each became a dead letter.
    pub n_dead: usize,
    /// Unreadable rows, known or not, that were not kept because there are too many.
    pub n_left_out: usize,
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
    pub pace: ReadingPace,
    /// The reconciler, which counts every read; `None` in tests without one.
    pub reads: Option<Recipient<SpanRead>>,
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
    /// `None` before the first read of a leader of whom nothing was read before.
    seen: Option<SeenSpan>,
    /// The offset of the venue's clock with which the checkpoints were read.
    clock_offset_ms: i64,
    /// The wallets of an answer that was not taken, until an answer is taken again.
    refused: Option<ForeignRows>,
    failures: u32,
    last_success: Option<Timestamp>,
    timer: Option<SpawnHandle>,
}

/// The part of health that says whether answers have rows of other wallets.
const ANSWERS: &str = "answers";

#[derive(Message)]
#[rtype(result = "()")]
struct PollDue;

/// The rows that a poll stored.
#[derive(Default)]
struct Report {
    polled: Polled,
    /// When the span was asked for, by the venue's clock, and its bounds.
    asked_at: Timestamp,
    start: Timestamp,
    reaches_present: bool,
    /// The time of the newest row, known or not.
    newest: Option<Timestamp>,
    /// The times of all new rows.
    new_times: Vec<Timestamp>,
    /// The new rows to announce: of a very long span, those of its end.
    new_trades: Vec<TradeEvent>,
    new_activities: Vec<ActivityEvent>,
    checkpoints: Option<Checkpoints>,
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
            seen: None,
            clock_offset_ms: 0,
            refused: None,
            failures: 0,
            last_success: None,
            timer: None,
        }
    }

    fn observed(&self) -> Observed {
        let state = PollerState {
            label: self.user.label.clone(),
            since: self.checkpoints.map(|checkpoints| checkpoints.start()),
            polling: self.polling.is_some(),
            windows_waiting: self.windows.len(),
            failures: self.failures,
            refused: self.refused.as_ref().map(ToString::to_string),
        };
        Observed::new(state, self.last_success)
    }

    /// Starts the next poll when none is running: a regular one first, then the requested windows.
    fn next(&mut self, ctx: &mut Context<Self>) {
        let Some(checkpoints) = self.checkpoints.filter(|_| self.polling.is_none()) else { return };
        let asked = if std::mem::take(&mut self.poll_wanted) {
            let (start, moves) = (checkpoints.start(), Some(checkpoints));
            PollRequest { start, end: None, by: Reader::Poll, moves, replies: Vec::new() }
        } else {
            let Some(window) = self.windows.pop() else { return };
            window
        };
        let (deps, user, directory) = (self.deps.clone(), self.user.clone(), self.directory.clone());
        let span = read::Span::of(&asked, checkpoints.earliest());
        self.polling = Some(asked);
        let poll = async move { read::poll(&deps, &user, &directory, span).await };
        self.incarnation.spawn_io(ctx, poll, Self::polled);
    }

    /// Handles the stored checkpoints, from which the first poll starts.
    fn read_checkpoints(&mut self, read: IoResult<Checkpoints, PollError>, ctx: &mut Context<Self>) {
        match read {
            Ok(checkpoints) => {
                self.checkpoints = Some(checkpoints);
                if checkpoints.were_stored && self.seen.is_none() {
                    self.seen = Some(SeenSpan::new(self.user.created_at, checkpoints.latest()));
                }
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
        let every_ms = self.directory.config.system.polling_interval_ms.max(1);
        Duration::from_millis(self.deps.pace.stretched_ms(every_ms, every_ms).unsigned_abs())
    }

    /// Returns the start of a span that is read again: what the leader did before the first window is in the opening.
    fn not_before_following(&self, window: PollWindow) -> Timestamp {
        match window.by {
            Reader::Poll | Reader::Asked => window.start,
            Reader::Recent | Reader::Hour | Reader::Day => {
                window.start.max(Checkpoints::at_start(&self.directory, self.user.created_at))
            }
        }
    }

    /// Returns the venue's time.
    fn venue_now(&self) -> Timestamp {
        self.deps.polymarket.venue().now()
    }

    /// Resets the failures, answers the requests, and announces the new rows.
    fn succeeded(&mut self, report: Report, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        if self.refused.take().is_some() {
            self.tell(ANSWERS, true, "the answers have the rows of this leader again".to_owned());
        }
        self.count_read(&report);
        if self.failures > 0 {
            tracing::info!(user_id = %self.user.id, failures = self.failures, "polling works again");
            self.tell_health(true, "polling works again".to_owned());
        }
        self.failures = 0;
        self.last_success = Some(now);
        if self.answer(&Ok(report.polled)) {
            self.checkpoints = report.checkpoints.or(self.checkpoints);
            self.wake_in(self.interval(), ctx);
            self.mind_the_clock(ctx);
        }
        let Polled { n_dead, n_left_out, .. } = report.polled;
        self.deps.metrics.unreadable_left_out.add(u64::try_from(n_left_out).unwrap_or(u64::MAX));
        if n_dead > 0 {
            tracing::warn!(user_id = %self.user.id, n_dead, n_left_out, "unreadable rows became dead letters");
        } else if n_left_out > 0 {
            tracing::debug!(user_id = %self.user.id, n_left_out, "unreadable rows were not kept: there are too many");
        }
        if report.polled.n_new > 0 {
            tracing::info!(user_id = %self.user.id, n_new = report.polled.n_new, newest = report.newest.map(display), "new rows");
            let trades = report.new_trades.into_iter().map(|trade| LiveFact::TradeSeen(Arc::new(trade)));
            let activities = report.new_activities.into_iter().map(|row| LiveFact::ActivitySeen(Arc::new(row)));
            self.deps.live.do_send(Announce(trades.chain(activities).collect()));
        }
    }

    /// Counts the read, and its late rows: rows that were not there when their time was read before.
    fn count_read(&mut self, report: &Report) {
        let by = self.polling.as_ref().map_or(Reader::Poll, |asked| asked.by);
        self.deps.pace.count(by, report.polled.n_rows, self.deps.polymarket.rows_per_page());
        if let Some(seen) = self.seen {
            late_rows::count(&self.deps, self.user.id, by, late_rows::of(report, seen));
        }
        let reached = if report.reaches_present { report.asked_at } else { report.start };
        self.seen = Some(match self.seen {
            Some(seen) => seen.with(report.start, reached),
            None => SeenSpan::new(report.start, reached),
        });
        if let Some(reads) = self.deps.reads.as_ref().filter(|_| report.reaches_present) {
            let back_ms = report.asked_at.millis_since(report.start);
            reads.do_send(SpanRead { user: self.user.id, back_ms });
        }
    }

    /// Reads the checkpoints again after a step of the venue's clock against ours: the spans of time were wrong before.
    fn mind_the_clock(&mut self, ctx: &mut Context<Self>) {
        let offset = self.deps.polymarket.venue().offset_ms();
        if offset.saturating_sub(self.clock_offset_ms).saturating_abs() >= CLOCK_STEP_MS {
            tracing::warn!(user_id = %self.user.id, offset_ms = offset, "the venue's clock and ours differ; the last span is read again by the venue's");
            self.checkpoints = None;
            self.poll_wanted = true;
            self.started(ctx);
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
        if let IoError::Failed(PollError::Foreign(foreign)) = error {
            self.deps.metrics.answers_refused.increment();
            tracing::error!(user_id = %self.user.id, %foreign, "an answer was not taken; it is asked for again");
            self.tell(ANSWERS, false, foreign.to_string());
            self.refused = Some(foreign.clone());
        }
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
        self.tell("poller", healthy, detail);
    }

    fn tell(&self, part: &'static str, healthy: bool, detail: String) {
        let part = ActorName::of_user(part, self.user.id).to_string();
        let change = HealthChanged { part, healthy, detail, at: self.deps.clock.now() };
        self.deps.live.do_send(Announce(vec![LiveFact::HealthChanged(change)]));
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (db, user) = (self.deps.db.clone(), self.user.id);
        self.clock_offset_ms = self.deps.polymarket.venue().offset_ms();
        let earliest = Checkpoints::at_start(&self.directory, self.venue_now());
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
        let window = PollWindow { start: self.not_before_following(window), ..window };
        let reaches_present = self.venue_now().millis_since(window.end) < PRESENT_MS;
        let end = Some(window.end).filter(|_| !reaches_present);
        self.windows.push(window, end, reply);
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

#[cfg(test)]
mod tests;
