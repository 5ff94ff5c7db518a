//! Renders each new fact once, and sends the same text to every open page.
//!
//! Takes   `LiveFrame` from the live hub, `Join` from websocket sessions, `GetStreamPosition` from page handlers.
//! Sends   `Outgoing` to the sessions. It never waits for a session.
//! Timers  one that collects facts into batches, one that renders the figures again.
//! Truth   none: the database has the facts. The last frames are kept for pages that reconnect.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised, WrapFuture,
    dev::SendError, fut,
};
use bytestring::ByteString;

use super::fragments::{Batch, Renderer};
use super::messages::{
    CloseAll, Frame, GetStreamPosition, Join, Joined, LiveFigures, Outgoing, PendingFacts, ROWS_SHOWN, StreamPosition,
};
use crate::actors::live_hub::{
    HealthChanged, LiveFact, LiveFrame, LiveHub, PortfolioChanged, Subscribe, Subscribed, Topic,
};
use crate::actors::supervise::{IoResult, Observed, SupervisorContext, observable, spawn_io, start_supervised};
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::Timestamp;
use crate::web::server::connection::Socket;
use crate::web::server::render::Templates;

/// Frames that are kept for pages that reconnect.
const BUFFERED: usize = 256;
/// Facts of this time window become one batch: one set of database reads, one message per page.
const BATCH_WINDOW: Duration = Duration::from_millis(200);
/// How often the regions are rendered without a new fact.
const REGIONS_INTERVAL: Duration = Duration::from_secs(10);
/// Regions change with every fill. They are rendered at most this often, because no reader can follow faster.
const REGIONS_MIN_MILLIS: i64 = 1_000;
/// Rows are rendered for this time after the last page was seen, for pages that are loading or reconnecting.
const WATCHED_MILLIS: i64 = 60_000;
const MAILBOX: usize = 2048;

/// The dependencies of the broadcaster.
#[derive(Clone)]
pub struct BroadcasterDeps {
    pub db: Db,
    pub clock: Clock,
    pub live: Addr<LiveHub>,
    pub templates: Templates,
}

/// The batch window is over: render the pending facts.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
struct RenderBatch;

/// The actor that renders live frames. See the top of this file.
pub struct Broadcaster {
    deps: BroadcasterDeps,
    /// The number of the newest fact received.
    received: u64,
    /// The number of the newest fact whose rows were sent.
    published: u64,
    /// Every row with a larger number is in `recent`.
    floor: u64,
    recent: VecDeque<Frame>,
    regions: BTreeMap<&'static str, Frame>,
    members: Vec<Member>,
    pending: PendingFacts,
    rendering: bool,
    figures: LiveFigures,
    watched_at: Timestamp,
    regions_at: Timestamp,
    /// Sessions that were closed because their browser read too slowly.
    cut_off: u64,
    /// Each membership is a weak reference to this. A restart drops it.
    alive: Arc<()>,
}

/// A websocket session that joined.
#[derive(Debug)]
struct Member {
    outbox: Recipient<Outgoing>,
    topics: Vec<Topic>,
    socket: Socket,
}

impl Broadcaster {
    /// Starts the actor under `supervisor` in the current arbiter.
    pub fn start(deps: BroadcasterDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(&supervisor.of_service("web"), "broadcaster", Self::new(deps))
    }

    fn new(deps: BroadcasterDeps) -> Self {
        let watched_at = deps.clock.now();
        Self {
            deps,
            received: 0,
            published: 0,
            floor: 0,
            recent: VecDeque::with_capacity(BUFFERED),
            regions: BTreeMap::new(),
            members: Vec::new(),
            pending: PendingFacts::default(),
            rendering: false,
            figures: LiveFigures::default(),
            watched_at,
            regions_at: Timestamp::EPOCH,
            cut_off: 0,
            alive: Arc::new(()),
        }
    }

    fn observed(&self) -> Observed {
        let state = serde_json::json!({
            "pages": self.members.len(), "seq": self.published, "too_slow": self.cut_off,
        });
        Observed { state, last_activity: None }
    }

    /// Subscribes to the hub, from the fact after `after` on. Other messages wait until the hub has answered.
    fn subscribe(&mut self, ctx: &mut Context<Self>, after: Option<u64>) {
        let subscribe = Subscribe { to: ctx.address().recipient(), topics: Topic::ALL.to_vec(), after };
        let subscribed = self.deps.live.send(subscribe).into_actor(self).then(|answer, this, ctx| {
            match answer {
                Ok(subscribed) => this.subscribed(subscribed, ctx),
                // The hub is gone: the process stops, or the supervisor restarts this actor and it tries again.
                Err(_) => actix::ActorContext::stop(ctx),
            }
            fut::ready(())
        });
        ctx.wait(subscribed);
    }

    fn subscribed(&mut self, subscribed: Subscribed, ctx: &mut Context<Self>) {
        match subscribed.backlog {
            Some(backlog) if self.published > 0 => backlog.into_iter().for_each(|frame| self.receive(frame, ctx)),
            _ => {
                // Facts before this number are lost for live updates. Pages that lack them read their lists again.
                self.pending = PendingFacts { regions: true, ..PendingFacts::default() };
                self.recent.clear();
                (self.received, self.published, self.floor) = (subscribed.last, subscribed.last, subscribed.last);
                let greeting = vec![greeting(self.published, false)];
                self.send_each(|_| greeting.clone());
            }
        }
    }

    fn receive(&mut self, frame: LiveFrame, ctx: &mut Context<Self>) {
        let LiveFrame::Fact { seq, fact } = frame else { return self.subscribe(ctx, Some(self.received)) };
        self.received = seq;
        match fact {
            LiveFact::TradeSeen(trade) => keep_newest(&mut self.pending.trades, (seq, trade)),
            LiveFact::AttemptRecorded(attempt) => keep_newest(&mut self.pending.attempts, (seq, attempt)),
            LiveFact::PortfolioChanged(PortfolioChanged { portfolio: PortfolioId::ExecGlobal, .. }) => {
                if let LiveFact::PortfolioChanged(changed) = fact {
                    self.figures.global = Some(changed);
                }
                self.pending.regions = true;
            }
            LiveFact::HealthChanged(changed) => {
                self.note_health(changed);
                self.pending.regions = true;
            }
            LiveFact::PortfolioChanged(_) | LiveFact::ActivitySeen(_) => return,
        }
        self.render_soon(ctx);
    }

    fn note_health(&mut self, changed: HealthChanged) {
        self.figures.health.insert(changed.part.clone(), changed);
    }

    fn render_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.rendering {
            self.rendering = true;
            ctx.notify_later(RenderBatch, BATCH_WINDOW);
        }
    }

    /// Returns whether a page is open, or was until recently.
    fn is_watched(&self) -> bool {
        !self.members.is_empty() || self.deps.clock.now().millis_since(self.watched_at) < WATCHED_MILLIS
    }

    /// Sends a batch to the members of its topics, and keeps its rows for pages that reconnect.
    fn publish(&mut self, batch: Batch) {
        self.published = self.published.max(batch.upto);
        self.send_each(|member| {
            let wanted = batch.rows.iter().chain(batch.regions.values());
            wanted.filter(|frame| member.topics.contains(&frame.topic)).map(|frame| frame.text.clone()).collect()
        });
        self.regions.extend(batch.regions);
        for frame in batch.rows {
            if self.recent.len() == BUFFERED
                && let Some(oldest) = self.recent.pop_front()
            {
                self.floor = oldest.seq;
            }
            self.recent.push_back(frame);
        }
    }

    /// Sends texts to each member, and closes the connection of a member whose outbox is full.
    fn send_each(&mut self, texts_for: impl Fn(&Member) -> Vec<ByteString>) {
        let mut cut_off = 0;
        self.members.retain(|member| {
            let texts = texts_for(member);
            if texts.is_empty() {
                return member.outbox.connected();
            }
            match member.outbox.try_send(Outgoing::Frames(texts)) {
                Ok(()) => true,
                Err(SendError::Closed(_)) => false,
                Err(SendError::Full(_)) => {
                    member.socket.cut();
                    cut_off += 1;
                    false
                }
            }
        });
        self.cut_off += cut_off;
    }

    /// Returns the rows after `after`, or `None` when some of them are no longer kept.
    fn missed(&self, after: u64, topics: &[Topic]) -> Option<Vec<ByteString>> {
        if !(self.floor..=self.published).contains(&after) {
            return None;
        }
        let rows = self.recent.iter().filter(|frame| frame.seq > after && topics.contains(&frame.topic));
        Some(rows.map(|frame| frame.text.clone()).collect())
    }
}

impl Actor for Broadcaster {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.subscribe(ctx, None);
        ctx.run_interval(REGIONS_INTERVAL, |this, ctx| {
            if this.is_watched() {
                this.pending.regions = true;
                this.render_soon(ctx);
            }
        });
    }
}

impl Supervised for Broadcaster {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Sessions notice that their membership is dead, and make their pages connect again.
        *self = Self::new(self.deps.clone());
    }
}

observable!(Broadcaster);

impl Handler<LiveFrame> for Broadcaster {
    type Result = ();

    fn handle(&mut self, frame: LiveFrame, ctx: &mut Context<Self>) {
        self.receive(frame, ctx);
    }
}

impl Handler<RenderBatch> for Broadcaster {
    type Result = ();

    fn handle(&mut self, _: RenderBatch, ctx: &mut Context<Self>) {
        let mut pending = std::mem::take(&mut self.pending);
        let now = self.deps.clock.now();
        if pending.regions && now.millis_since(self.regions_at) < REGIONS_MIN_MILLIS {
            pending.regions = false;
            self.pending.regions = true;
        } else if pending.regions {
            self.regions_at = now;
        }
        if !self.is_watched() {
            // No page is open. A page that opens later reads the database first.
            self.rendering = false;
            self.recent.clear();
            (self.published, self.floor) = (self.received, self.received);
            return;
        }
        let (deps, figures, upto) = (self.deps.clone(), self.figures.clone(), self.received);
        let render = async move {
            let renderer = Renderer { db: &deps.db, clock: &deps.clock, templates: &deps.templates };
            Ok(renderer.render(pending, &figures, upto).await)
        };
        spawn_io(ctx, render, Self::rendered);
    }
}

impl Broadcaster {
    /// Handles the batch of [`Gathered`], rendered.
    fn rendered(&mut self, rendered: IoResult<Batch, Infallible>, ctx: &mut Context<Self>) {
        self.rendering = false;
        match rendered {
            Ok(batch) if batch.complete => self.publish(batch),
            failed => {
                // The rows of this batch are in the database but in no frame: pages must read their lists again.
                match failed {
                    Ok(batch) => self.published = batch.upto,
                    Err(panicked) => {
                        tracing::error!(error = %panicked, "panic while rendering live rows");
                        self.published = self.received;
                    }
                }
                self.recent.clear();
                self.floor = self.published;
                let greeting = vec![greeting(self.published, false)];
                self.send_each(|_| greeting.clone());
            }
        }
        if self.pending.regions || !self.pending.trades.is_empty() || !self.pending.attempts.is_empty() {
            self.render_soon(ctx);
        }
    }
}

impl Handler<Join> for Broadcaster {
    type Result = Joined;

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) -> Joined {
        self.watched_at = self.deps.clock.now();
        let missed = join.after.and_then(|after| self.missed(after, &join.topics));
        let mut first = vec![greeting(self.published, missed.is_some())];
        first.extend(missed.unwrap_or_default());
        let regions = self.regions.values().filter(|frame| join.topics.contains(&frame.topic));
        first.extend(regions.map(|frame| frame.text.clone()));
        self.members.push(Member { outbox: join.outbox, topics: join.topics, socket: join.socket });
        self.pending.regions = true;
        self.render_soon(ctx);
        Joined { first, membership: Arc::downgrade(&self.alive) }
    }
}

impl Handler<GetStreamPosition> for Broadcaster {
    type Result = StreamPosition;

    fn handle(&mut self, _: GetStreamPosition, _: &mut Context<Self>) -> StreamPosition {
        self.watched_at = self.deps.clock.now();
        StreamPosition { seq: self.published, figures: self.figures.clone() }
    }
}

impl Handler<CloseAll> for Broadcaster {
    type Result = ();

    fn handle(&mut self, _: CloseAll, _: &mut Context<Self>) {
        for member in self.members.drain(..) {
            if member.outbox.try_send(Outgoing::GoingAway).is_err() {
                member.socket.cut();
            }
        }
    }
}

/// Keeps as many facts as a list shows: newer ones of the same batch would push the older ones out of the list.
fn keep_newest<T>(pending: &mut VecDeque<T>, fact: T) {
    if pending.len() == ROWS_SHOWN {
        pending.pop_front();
    }
    pending.push_back(fact);
}

/// Returns the first text of a connection. With `resumed` false rows are missing, and the page reads its lists again.
fn greeting(seq: u64, resumed: bool) -> ByteString {
    format!(r#"{{"seq":{seq},"topic":"hello","resumed":{resumed}}}"#).into()
}

#[cfg(test)]
mod tests;
