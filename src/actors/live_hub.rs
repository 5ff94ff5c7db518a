//! Sends every committed fact to the subscribers of its topic, and never waits for any of them.
//!
//! Takes   `Announce` from the actors that commit facts, `Subscribe` from websocket sessions.
//! Sends   `LiveFrame` to every subscriber of the fact's topic. Frames are numbered without gaps over all topics.
//! Truth   none: the database has the facts. The last frames are kept for clients that reconnect.

use std::{collections::VecDeque, sync::Arc};

use actix::{Actor, Addr, Context, Handler, Message, MessageResponse, Recipient, Supervised, dev::SendError};

use crate::actors::supervise::{Observed, SupervisorContext, observable, start_supervised};
use crate::clock::Clock;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{Timestamp, UsdcMicros};

/// Frames kept for clients that reconnect.
const BUFFERED: usize = 1024;

/// Larger than that of other actors, because every actor of the worker sends its facts here.
const MAILBOX: usize = 256;

/// A committed fact that a page may want to show at once.
#[derive(Debug, Clone)]
pub enum LiveFact {
    /// A canonical fill is stored.
    TradeSeen(Arc<TradeEvent>),
    /// A canonical row that is not a trade is stored.
    ActivitySeen(Arc<ActivityEvent>),
    /// A decision is committed.
    AttemptRecorded(Arc<CopyAttempt>),
    PortfolioChanged(PortfolioChanged),
    HealthChanged(HealthChanged),
}

/// The figures of a portfolio after a commit, or after prices changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortfolioChanged {
    pub portfolio: PortfolioId,
    pub equity: UsdcMicros,
    pub cash: UsdcMicros,
    pub exposure: UsdcMicros,
    pub unrealized: UsdcMicros,
    pub realized: UsdcMicros,
    pub at: Timestamp,
}

/// A part of the bot started to work, or stopped working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthChanged {
    /// An actor, an upstream or a queue by its name.
    pub part: String,
    pub healthy: bool,
    /// One line that pages show to the visitor.
    pub detail: String,
    pub at: Timestamp,
}

/// The kinds of facts that a subscriber can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    Trades,
    Attempts,
    Portfolios,
    Health,
}
text_enum!(Topic { Trades => "trades", Attempts => "attempts", Portfolios => "portfolios", Health => "health" });

/// These facts are committed. One commit sends one message with all its facts.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct Announce(pub Vec<LiveFact>);

/// Sends every later frame of `topics` to `to`.
///
/// Frames may reach the mailbox before the answer. So a session first waits for the answer (`ctx.wait`), then shows the
/// backlog. The subscription ends when the recipient's address closes.
#[derive(Message, Debug)]
#[rtype(result = "Subscribed")]
pub struct Subscribe {
    pub to: Recipient<LiveFrame>,
    pub topics: Vec<Topic>,
    /// The last frame the client saw before its connection broke.
    pub after: Option<u64>,
}

#[derive(MessageResponse, Debug)]
pub struct Subscribed {
    /// The number of the newest frame so far.
    pub last: u64,
    /// The frames after [`Subscribe::after`]; `None` when some of them are no longer kept and the page must be
    /// reloaded.
    pub backlog: Option<Vec<LiveFrame>>,
}

/// One numbered fact. Numbers grow over restarts of the process. A subscriber that did not choose all topics sees gaps.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub enum LiveFrame {
    Fact {
        seq: u64,
        fact: LiveFact,
    },
    /// The subscriber's mailbox was full: it has missed frames and is no longer subscribed.
    Lagged,
}

/// The hub as the status page shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LiveHubState {
    pub last_seq: u64,
    pub subscribers: usize,
    /// Subscribers that were too slow.
    pub dropped: u64,
}

#[derive(Debug)]
pub struct LiveHub {
    clock: Clock,
    last: u64,
    recent: VecDeque<(u64, LiveFact)>,
    subscribers: Vec<Subscriber>,
    dropped: u64,
}

#[derive(Debug)]
struct Subscriber {
    to: Recipient<LiveFrame>,
    topics: Vec<Topic>,
}

impl LiveHub {
    pub fn start(clock: Clock, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "live_hub", Self::new(clock))
    }

    /// Returns a hub without subscribers. Its numbers start at the current time in microseconds, so that they also grow
    /// over a restart.
    pub fn new(clock: Clock) -> Self {
        let last = u64::try_from(clock.now().millis()).unwrap_or(0).saturating_mul(1000);
        Self { clock, last, recent: VecDeque::with_capacity(BUFFERED), subscribers: Vec::new(), dropped: 0 }
    }

    pub fn state(&self) -> LiveHubState {
        LiveHubState { last_seq: self.last, subscribers: self.subscribers.len(), dropped: self.dropped }
    }

    fn observed(&self) -> Observed {
        Observed { state: serde_json::json!(self.state()), last_activity: None }
    }

    fn publish(&mut self, fact: LiveFact) {
        self.last += 1;
        let (seq, topic) = (self.last, fact.topic());
        let mut dropped = 0;
        self.subscribers.retain(|subscriber| {
            if !subscriber.topics.contains(&topic) {
                return subscriber.to.connected();
            }
            match subscriber.to.try_send(LiveFrame::Fact { seq, fact: fact.clone() }) {
                Ok(()) => true,
                Err(SendError::Closed(_)) => false,
                Err(SendError::Full(_)) => {
                    // `do_send` ignores the mailbox's limit, so the session learns that it missed frames.
                    subscriber.to.do_send(LiveFrame::Lagged);
                    dropped += 1;
                    false
                }
            }
        });
        self.dropped += dropped;
        if self.recent.len() == BUFFERED {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, fact));
    }

    fn backlog(&self, after: u64, topics: &[Topic]) -> Option<Vec<LiveFrame>> {
        let oldest_known = self.recent.front().map_or(self.last, |(seq, _)| seq - 1);
        if after < oldest_known || after > self.last {
            return None;
        }
        let missed = self.recent.iter().filter(|(seq, fact)| *seq > after && topics.contains(&fact.topic()));
        Some(missed.map(|(seq, fact)| LiveFrame::Fact { seq: *seq, fact: fact.clone() }).collect())
    }
}

impl LiveFact {
    pub const fn topic(&self) -> Topic {
        match self {
            Self::TradeSeen(_) | Self::ActivitySeen(_) => Topic::Trades,
            Self::AttemptRecorded(_) => Topic::Attempts,
            Self::PortfolioChanged(_) => Topic::Portfolios,
            Self::HealthChanged(_) => Topic::Health,
        }
    }
}

impl Actor for LiveHub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Supervised for LiveHub {
    /// Tells the sessions that they missed frames: they close, and their clients connect again.
    fn restarting(&mut self, _: &mut Context<Self>) {
        for subscriber in &self.subscribers {
            subscriber.to.do_send(LiveFrame::Lagged);
        }
        *self = Self::new(self.clock);
    }
}

observable!(LiveHub);

impl Handler<Announce> for LiveHub {
    type Result = ();

    fn handle(&mut self, Announce(facts): Announce, _: &mut Context<Self>) {
        for fact in facts {
            self.publish(fact);
        }
    }
}

impl Handler<Subscribe> for LiveHub {
    type Result = Subscribed;

    fn handle(&mut self, subscribe: Subscribe, _: &mut Context<Self>) -> Subscribed {
        let backlog = match subscribe.after {
            Some(after) => self.backlog(after, &subscribe.topics),
            None => Some(Vec::new()),
        };
        self.subscribers.push(Subscriber { to: subscribe.to, topics: subscribe.topics });
        Subscribed { last: self.last, backlog }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session that keeps the frames it was sent, up to the capacity of its mailbox.
    struct Probe(Vec<LiveFrame>);

    #[derive(Message)]
    #[rtype(result = "Vec<String>")]
    struct Seen;

    impl Actor for Probe {
        type Context = Context<Self>;
    }

    impl Handler<LiveFrame> for Probe {
        type Result = ();

        fn handle(&mut self, frame: LiveFrame, _: &mut Context<Self>) {
            self.0.push(frame);
        }
    }

    impl Handler<Seen> for Probe {
        type Result = Vec<String>;

        fn handle(&mut self, _: Seen, _: &mut Context<Self>) -> Vec<String> {
            self.0.drain(..).map(|frame| describe(&frame)).collect()
        }
    }

    fn describe(frame: &LiveFrame) -> String {
        match frame {
            LiveFrame::Lagged => "lagged".to_owned(),
            LiveFrame::Fact { seq, fact } => format!("{}:{}", seq % 1000, fact.topic()),
        }
    }

    fn health() -> LiveFact {
        let part = "clob".to_owned();
        LiveFact::HealthChanged(HealthChanged { part, healthy: true, detail: String::new(), at: Timestamp::EPOCH })
    }

    fn portfolio() -> LiveFact {
        let zero = UsdcMicros::ZERO;
        LiveFact::PortfolioChanged(PortfolioChanged {
            portfolio: PortfolioId::ExecGlobal,
            equity: zero,
            cash: zero,
            exposure: zero,
            unrealized: zero,
            realized: zero,
            at: Timestamp::EPOCH,
        })
    }

    fn hub() -> actix::Addr<LiveHub> {
        LiveHub::new(Clock::starting_at(Timestamp::from_millis(1_800_000_000_000))).start()
    }

    #[actix_web::test]
    async fn a_subscriber_gets_the_frames_of_its_topics_in_order() {
        let (hub, probe) = (hub(), Probe(Vec::new()).start());
        let subscribe = Subscribe { to: probe.clone().recipient(), topics: vec![Topic::Portfolios], after: None };
        assert_eq!(hub.send(subscribe).await.unwrap().backlog.unwrap().len(), 0);
        hub.send(Announce(vec![portfolio(), health(), portfolio()])).await.unwrap();
        assert_eq!(probe.send(Seen).await.unwrap(), ["1:portfolios", "3:portfolios"]);
    }

    #[actix_web::test]
    async fn a_slow_subscriber_is_told_that_it_lagged_and_is_unsubscribed() {
        let (hub, probe) = (hub(), Probe(Vec::new()).start());
        let subscribe = Subscribe { to: probe.clone().recipient(), topics: Topic::ALL.to_vec(), after: None };
        hub.send(subscribe).await.unwrap();
        // The hub sends them all in one turn, so the probe cannot handle any of them meanwhile.
        hub.send(Announce(vec![health(); 100])).await.unwrap();
        let seen = probe.send(Seen).await.unwrap();
        assert!(seen.len() < 40, "{seen:?}");
        assert_eq!(seen.last().unwrap(), "lagged");
        hub.send(Announce(vec![health()])).await.unwrap();
        assert_eq!(probe.send(Seen).await.unwrap(), Vec::<String>::new());
    }

    #[actix_web::test]
    async fn a_client_that_reconnects_in_time_misses_nothing_and_a_late_one_is_told() {
        let (hub, probe) = (hub(), Probe(Vec::new()).start());
        hub.send(Announce(vec![health(), health(), health()])).await.unwrap();
        let again =
            |after| Subscribe { to: probe.clone().recipient(), topics: Topic::ALL.to_vec(), after: Some(after) };
        let last = hub.send(again(0)).await.unwrap().last;
        let backlog = |subscribed: Subscribed| subscribed.backlog.map(|frames| frames.len());
        assert_eq!(backlog(hub.send(again(last - 2)).await.unwrap()), Some(2));
        assert_eq!(backlog(hub.send(again(last)).await.unwrap()), Some(0));
        assert_eq!(backlog(hub.send(again(0)).await.unwrap()), None);
        assert_eq!(backlog(hub.send(again(last + 1)).await.unwrap()), None);
        hub.send(Announce(vec![health(); BUFFERED])).await.unwrap();
        assert_eq!(backlog(hub.send(again(last - 1)).await.unwrap()), None);
        assert_eq!(backlog(hub.send(again(last)).await.unwrap()), Some(BUFFERED));
    }
}
