//! Renders what just happened, once, and hands the same text to every open page.
//!
//! Takes   `LiveFrame` from the live hub, `Join` from websocket sessions, `WhereAreWe` from pages being built.
//! Sends   `Outgoing` to the sessions, never waiting for any of them.
//! Timers  one that gathers facts into batches, one that renews the figures.
//! Truth   none: the database has the facts. The last rows are kept for pages that reconnect.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, MessageResponse, Recipient, Supervised,
    WrapFuture, dev::SendError, fut,
};
use bytestring::ByteString;

use super::{live::Outgoing, overview::LiveFigures, regions, render::Templates, socket::Socket};
use crate::{
    actors::{
        live_hub::{HealthChanged, LiveFact, LiveFrame, LiveHub, PortfolioChanged, Subscribe, Subscribed, Topic},
        supervise::{Guard, Observed, Panicked, observable, spawn_io, start_guarded},
    },
    clock::Clock,
    db::Db,
    domain::{attempt::CopyAttempt, event::TradeEvent, ledger::PortfolioId, units::Timestamp},
};

/// Rows a list on a page holds; what would be pushed out at once is not rendered at all.
pub const ROWS_SHOWN: usize = 50;
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

/// A session wants every later frame of `topics`, and what it missed.
#[derive(Message, Debug)]
#[rtype(result = "Joined")]
pub struct Join {
    pub outbox: Recipient<Outgoing>,
    pub topics: Vec<Topic>,
    pub after: Option<u64>,
    pub socket: Socket,
}

#[derive(MessageResponse, Debug)]
pub struct Joined {
    /// The greeting, the rows that were missed, and the figures as they stand.
    pub first: Vec<ByteString>,
    pub membership: Weak<()>,
}

/// Asked before a page reads the database: what is committed up to here will be on the page.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Position")]
pub struct WhereAreWe;

#[derive(MessageResponse, Debug, Clone, Default)]
pub struct Position {
    pub seq: u64,
    pub figures: LiveFigures,
}

/// Tells every page goodbye.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct CloseAll;

/// Time to render what has gathered.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
struct Gathered;

/// The batch of `Gathered` is rendered.
#[derive(Message, Debug)]
#[rtype(result = "()")]
struct Rendered(Result<regions::Batch, Panicked>);

/// A row as every page gets it.
#[derive(Debug, Clone)]
pub struct Frame {
    pub seq: u64,
    pub topic: Topic,
    pub text: ByteString,
}

/// Facts that wait to be rendered.
#[derive(Debug, Default)]
pub struct Waiting {
    pub trades: VecDeque<(u64, Arc<TradeEvent>)>,
    pub attempts: VecDeque<(u64, Arc<CopyAttempt>)>,
    /// Figures, users and health are due.
    pub regions: bool,
}

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
    waiting: Waiting,
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
    pub fn start(deps: BroadcasterDeps, guard: &Guard) -> Addr<Self> {
        start_guarded(guard, "broadcaster", Self::new(deps))
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
            waiting: Waiting::default(),
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
                self.waiting = Waiting { regions: true, ..Waiting::default() };
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
    fn publish(&mut self, batch: regions::Batch) {
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
        spawn_io(ctx, async move { regions::render(&deps, waiting, &figures, upto).await }, Rendered);
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

impl Handler<WhereAreWe> for Broadcaster {
    type Result = Position;

    fn handle(&mut self, _: WhereAreWe, _: &mut Context<Self>) -> Position {
        self.interest_at = self.deps.clock.now();
        Position { seq: self.published, figures: self.figures.clone() }
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
mod tests {
    use super::*;

    /// A browser that never reads: its session takes no mail at all.
    struct Stalled;

    impl Actor for Stalled {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Context<Self>) {
            ctx.wait(fut::wrap_future(std::future::pending::<()>()));
        }
    }

    impl Handler<Outgoing> for Stalled {
        type Result = ();

        fn handle(&mut self, _: Outgoing, _: &mut Context<Self>) {}
    }

    /// A browser that keeps up.
    #[derive(Default)]
    struct Reading(Vec<ByteString>);

    #[derive(Message)]
    #[rtype(result = "Vec<ByteString>")]
    struct Seen;

    impl Actor for Reading {
        type Context = Context<Self>;
    }

    impl Handler<Outgoing> for Reading {
        type Result = ();

        fn handle(&mut self, outgoing: Outgoing, _: &mut Context<Self>) {
            if let Outgoing::Frames(texts) = outgoing {
                self.0.extend(texts);
            }
        }
    }

    impl Handler<Seen> for Reading {
        type Result = actix::MessageResult<Seen>;

        fn handle(&mut self, _: Seen, _: &mut Context<Self>) -> Self::Result {
            actix::MessageResult(std::mem::take(&mut self.0))
        }
    }

    async fn broadcaster() -> (Broadcaster, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}", folder.path().join("web.db").display())).await.unwrap();
        let clock = Clock::starting_at(Timestamp::from_millis(1_800_000_000_000));
        let (guard, _) = Guard::new(clock);
        let live = LiveHub::start(clock, &guard);
        (Broadcaster::new(BroadcasterDeps { db, clock, live, templates: Templates::load().unwrap() }), folder)
    }

    fn batch(numbers: std::ops::RangeInclusive<u64>) -> regions::Batch {
        let upto = *numbers.end();
        let rows = numbers.map(|seq| Frame { seq, topic: Topic::Trades, text: format!("row {seq}").into() });
        regions::Batch { rows: rows.collect(), regions: BTreeMap::new(), upto, complete: true }
    }

    fn member(outbox: Recipient<Outgoing>, socket: Socket) -> Member {
        Member { outbox, topics: vec![Topic::Trades], socket }
    }

    #[actix_web::test]
    async fn a_slow_browser_is_cut_off_and_the_others_get_everything() {
        let (mut broadcaster, _folder) = broadcaster().await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut browser = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        served.set_nonblocking(true).unwrap();
        let served = actix_web::rt::net::TcpStream::from_std(served).unwrap();
        let reading = Reading::default().start();
        broadcaster.members.push(member(Stalled.start().recipient(), Socket::of(&served)));
        broadcaster.members.push(member(reading.clone().recipient(), Socket::default()));
        let mut seen = Vec::new();
        for seq in 1..=100 {
            broadcaster.publish(batch(seq..=seq));
            seen.extend(reading.send(Seen).await.unwrap());
        }
        assert_eq!((broadcaster.members.len(), broadcaster.dropped), (1, 1));
        assert_eq!(seen.len(), 100);
        let read = std::io::Read::read(&mut browser, &mut [0; 16]).unwrap();
        assert_eq!(read, 0, "the stalled connection is closed while the server still holds it");
    }

    #[actix_web::test]
    async fn what_is_buffered_is_replayed_and_what_is_not_is_read_again() {
        let (mut broadcaster, _folder) = broadcaster().await;
        let buffered = u64::try_from(BUFFERED).unwrap();
        broadcaster.publish(batch(1..=buffered + 10));
        let missed = |after, topic| broadcaster.missed(after, &[topic]).map(|texts| texts.len());
        assert_eq!(missed(buffered + 10, Topic::Trades), Some(0));
        assert_eq!(missed(buffered + 5, Topic::Trades), Some(5));
        assert_eq!(missed(10, Topic::Trades), Some(BUFFERED));
        assert_eq!(missed(buffered + 5, Topic::Attempts), Some(0));
        assert_eq!(missed(9, Topic::Trades), None, "row 10 is gone");
        assert_eq!(missed(buffered + 11, Topic::Trades), None, "a number we never gave");
    }

    #[test]
    fn a_burst_keeps_what_a_list_has_room_for() {
        let mut waiting = VecDeque::new();
        (0..1_000).for_each(|n| keep_newest(&mut waiting, n));
        assert_eq!(waiting.len(), ROWS_SHOWN);
        assert_eq!((waiting.front(), waiting.back()), (Some(&950), Some(&999)));
    }
}
