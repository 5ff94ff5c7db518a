//! Renders what just happened, once, and hands the same text to every open page.
//!
//! Takes   `LiveFrame` from the live hub, `Join` from websocket sessions, `GetStreamPosition` from pages being built.
//! Sends   `Outgoing` to the sessions, never waiting for any of them.
//! Timers  one that gathers facts into batches, one that renews the figures.
//! Truth   none: the database has the facts. The last rows are kept for pages that reconnect.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised, WrapFuture,
    dev::SendError, fut,
};
use bytestring::ByteString;

use super::fragments;
use super::fragments::Renderer;
use super::messages::{
    CloseAll, Frame, GetStreamPosition, Join, Joined, LiveFigures, Outgoing, PendingFacts, ROWS_SHOWN, StreamPosition,
};
use crate::actors::live_hub::{
    HealthChanged, LiveFact, LiveFrame, LiveHub, PortfolioChanged, Subscribe, Subscribed, Topic,
};
use crate::actors::supervise::{Observed, Panicked, SupervisorContext, observable, spawn_io, start_supervised};
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::units::Timestamp;
use crate::web::server::connection::Socket;
use crate::web::server::render::Templates;

const BUFFERED: usize = 256;
/// Facts of this long become one batch: one look at the database, one message per page.
const GATHER: Duration = Duration::from_millis(200);
const RENEW: Duration = Duration::from_secs(10);
/// Figures that change with every fill are shown at most this often; a reader follows no faster.
const FIGURES_MILLIS: i64 = 1_000;
/// Rows go on being rendered this long after the last page was seen, for pages that are just loading or reconnecting.
const INTEREST_MILLIS: i64 = 60_000;
const MAILBOX: usize = 2048;

#[derive(Clone)]
pub struct BroadcasterDeps {
    pub db: Db,
    pub clock: Clock,
    pub live: Addr<LiveHub>,
    pub templates: Templates,
}

/// Time to render what has gathered.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
struct Gathered;

/// The batch of `Gathered` is rendered.
#[derive(Message, Debug)]
#[rtype(result = "()")]
struct Rendered(Result<fragments::Batch, Panicked>);

pub struct Broadcaster {
    deps: BroadcasterDeps,
    /// The newest fact received, and the newest whose rows are out.
    received: u64,
    published: u64,
    /// Every row after this number is in `recent`.
    floor: u64,
    recent: VecDeque<Frame>,
    regions: BTreeMap<&'static str, Frame>,
    members: Vec<Member>,
    waiting: PendingFacts,
    rendering: bool,
    figures: LiveFigures,
    interest_at: Timestamp,
    regions_at: Timestamp,
    dropped: u64,
    alive: Arc<()>,
}

#[derive(Debug)]
struct Member {
    outbox: Recipient<Outgoing>,
    topics: Vec<Topic>,
    socket: Socket,
}

impl Broadcaster {
    pub fn start(deps: BroadcasterDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(&supervisor.of_service("web"), "broadcaster", Self::new(deps))
    }

    fn new(deps: BroadcasterDeps) -> Self {
        let interest_at = deps.clock.now();
        Self {
            deps,
            received: 0,
            published: 0,
            floor: 0,
            recent: VecDeque::with_capacity(BUFFERED),
            regions: BTreeMap::new(),
            members: Vec::new(),
            waiting: PendingFacts::default(),
            rendering: false,
            figures: LiveFigures::default(),
            interest_at,
            regions_at: Timestamp::EPOCH,
            dropped: 0,
            alive: Arc::new(()),
        }
    }

    fn observed(&self) -> Observed {
        let state = serde_json::json!({
            "pages": self.members.len(), "seq": self.published, "too_slow": self.dropped,
        });
        Observed { state, last_activity: None }
    }

    /// Asks the hub for what came after the last fact we know; mail waits until the answer is here.
    fn subscribe(&mut self, ctx: &mut Context<Self>, after: Option<u64>) {
        let subscribe = Subscribe { to: ctx.address().recipient(), topics: Topic::ALL.to_vec(), after };
        let subscribed = self.deps.live.send(subscribe).into_actor(self).then(|answer, this, ctx| {
            match answer {
                Ok(subscribed) => this.subscribed(subscribed, ctx),
                // The hub is gone: the process stops, or the guardian tries again with us.
                Err(_) => actix::ActorContext::stop(ctx),
            }
            fut::ready(())
        });
        ctx.wait(subscribed);
    }

    fn subscribed(&mut self, subscribed: Subscribed, ctx: &mut Context<Self>) {
        match subscribed.backlog {
            Some(backlog) if self.published > 0 => backlog.into_iter().for_each(|frame| self.note(frame, ctx)),
            _ => {
                // Whoever saw less than this has missed something for good, and reads its page again.
                self.waiting = PendingFacts { regions: true, ..PendingFacts::default() };
                self.recent.clear();
                (self.received, self.published, self.floor) = (subscribed.last, subscribed.last, subscribed.last);
                let greeting = vec![greeting(self.published, false)];
                self.send_each(|_| greeting.clone());
            }
        }
    }

    fn note(&mut self, frame: LiveFrame, ctx: &mut Context<Self>) {
        let LiveFrame::Fact { seq, fact } = frame else { return self.subscribe(ctx, Some(self.received)) };
        self.received = seq;
        match fact {
            LiveFact::TradeSeen(trade) => keep_newest(&mut self.waiting.trades, (seq, trade)),
            LiveFact::AttemptRecorded(attempt) => keep_newest(&mut self.waiting.attempts, (seq, attempt)),
            LiveFact::PortfolioChanged(PortfolioChanged { portfolio: PortfolioId::ExecGlobal, .. }) => {
                if let LiveFact::PortfolioChanged(changed) = fact {
                    self.figures.global = Some(changed);
                }
                self.waiting.regions = true;
            }
            LiveFact::HealthChanged(changed) => {
                self.note_health(changed);
                self.waiting.regions = true;
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
            ctx.notify_later(Gathered, GATHER);
        }
    }

    fn is_watched(&self) -> bool {
        !self.members.is_empty() || self.deps.clock.now().millis_since(self.interest_at) < INTEREST_MILLIS
    }

    /// Sends the rows to whoever wants them and keeps them for those who reconnect.
    fn publish(&mut self, batch: fragments::Batch) {
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

    fn send_each(&mut self, texts_for: impl Fn(&Member) -> Vec<ByteString>) {
        let mut dropped = 0;
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
                    dropped += 1;
                    false
                }
            }
        });
        self.dropped += dropped;
    }

    /// The rows after `after`, or `None` when some of them are gone.
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
        ctx.run_interval(RENEW, |this, ctx| {
            if this.is_watched() {
                this.waiting.regions = true;
                this.render_soon(ctx);
            }
        });
    }
}

impl Supervised for Broadcaster {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Sessions find their membership dead and let their pages connect again.
        *self = Self::new(self.deps.clone());
    }
}

observable!(Broadcaster);

impl Handler<LiveFrame> for Broadcaster {
    type Result = ();

    fn handle(&mut self, frame: LiveFrame, ctx: &mut Context<Self>) {
        self.note(frame, ctx);
    }
}

impl Handler<Gathered> for Broadcaster {
    type Result = ();

    fn handle(&mut self, _: Gathered, ctx: &mut Context<Self>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let now = self.deps.clock.now();
        if waiting.regions && now.millis_since(self.regions_at) < FIGURES_MILLIS {
            waiting.regions = false;
            self.waiting.regions = true;
        } else if waiting.regions {
            self.regions_at = now;
        }
        if !self.is_watched() {
            // Nobody would see it; whoever comes reads the database first.
            self.rendering = false;
            self.recent.clear();
            (self.published, self.floor) = (self.received, self.received);
            return;
        }
        let (deps, figures, upto) = (self.deps.clone(), self.figures.clone(), self.received);
        let render = async move {
            let renderer = Renderer { db: &deps.db, clock: &deps.clock, templates: &deps.templates };
            renderer.render(waiting, &figures, upto).await
        };
        spawn_io(ctx, render, Rendered);
    }
}

impl Handler<Rendered> for Broadcaster {
    type Result = ();

    fn handle(&mut self, Rendered(rendered): Rendered, ctx: &mut Context<Self>) {
        self.rendering = false;
        match rendered {
            Ok(batch) if batch.complete => self.publish(batch),
            failed => {
                // The rows of this batch are in the database but in no frame: pages have to read them there.
                match failed {
                    Ok(batch) => self.published = batch.upto,
                    Err(panicked) => {
                        tracing::error!(error = %panicked, "live rows could not be rendered");
                        self.published = self.received;
                    }
                }
                self.recent.clear();
                self.floor = self.published;
                let greeting = vec![greeting(self.published, false)];
                self.send_each(|_| greeting.clone());
            }
        }
        if self.waiting.regions || !self.waiting.trades.is_empty() || !self.waiting.attempts.is_empty() {
            self.render_soon(ctx);
        }
    }
}

impl Handler<Join> for Broadcaster {
    type Result = Joined;

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) -> Joined {
        self.interest_at = self.deps.clock.now();
        let missed = join.after.and_then(|after| self.missed(after, &join.topics));
        let mut first = vec![greeting(self.published, missed.is_some())];
        first.extend(missed.unwrap_or_default());
        let regions = self.regions.values().filter(|frame| join.topics.contains(&frame.topic));
        first.extend(regions.map(|frame| frame.text.clone()));
        self.members.push(Member { outbox: join.outbox, topics: join.topics, socket: join.socket });
        self.waiting.regions = true;
        self.render_soon(ctx);
        Joined { first, membership: Arc::downgrade(&self.alive) }
    }
}

impl Handler<GetStreamPosition> for Broadcaster {
    type Result = StreamPosition;

    fn handle(&mut self, _: GetStreamPosition, _: &mut Context<Self>) -> StreamPosition {
        self.interest_at = self.deps.clock.now();
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

/// Keeps as many as a list shows: older ones would be pushed out by the newer ones of the same batch.
fn keep_newest<T>(waiting: &mut VecDeque<T>, fact: T) {
    if waiting.len() == ROWS_SHOWN {
        waiting.pop_front();
    }
    waiting.push_back(fact);
}

/// `resumed` is false when rows are missing: the page reads its lists again.
fn greeting(seq: u64, resumed: bool) -> ByteString {
    format!(r#"{{"seq":{seq},"topic":"hello","resumed":{resumed}}}"#).into()
}

#[cfg(test)]
mod tests;
