//! Shows the pages of this process what all workers of a shared database committed.
//!
//! Takes   `Announce` from a worker in this process; wake-ups from Redis, when it is configured.
//! Sends   `Announce` to the live hub, each trade and attempt once.
//! Timer   reads the newest rows each second: without Redis pages are a second late, but nothing is missing.
//! Truth   the database. Figures of portfolios come with the wake-ups, and pages show them until the next snapshot.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    live_hub::{Announce, HealthChanged, LiveFact, PortfolioChanged},
    supervise::{
        Incarnation, IncarnationStamp, IoError, IoResult, Observed, SupervisorContext, back_off, observable,
        start_supervised,
    },
};
use crate::clock::Clock;
use crate::config::Secret;
use crate::db::{AttemptFilter, Db, DbError, TradeFilter};
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::queue::wakeup::redis::LIVE_CHANNEL;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after its time a row may still become visible, because a transaction takes a while to commit and clocks
/// differ a little. Each look reads this span again.
const OVERLAP_MS: i64 = 15_000;
/// Rows read in one look. Pages show fewer, so further rows would leave the page at once.
const ROWS: usize = 200;
/// Number of ids remembered, so that the overlap shows nothing twice.
const SEEN_MAX: usize = 4_096;
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct LiveFeedDeps {
    pub db: Db,
    pub clock: Clock,
    pub redis: Option<Secret>,
    pub hub: Recipient<Announce>,
}

pub struct LiveFeed {
    deps: LiveFeedDeps,
    incarnation: Incarnation,
    seen: HashSet<Uuid>,
    seen_in_order: VecDeque<Uuid>,
    /// When this incarnation started. Only later rows are shown.
    since: Timestamp,
    looking: bool,
    look_again: bool,
    failures: u32,
    last_look: Option<Timestamp>,
}

/// A worker's message to the pages of other processes: there are new rows to read, and these figures are in no row yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    portfolios: Vec<WakeFigures>,
    health: Vec<WakeHealth>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WakeFigures {
    portfolio: String,
    equity_micros: i64,
    cash_micros: i64,
    exposure_micros: i64,
    unrealized_pnl_micros: i64,
    realized_pnl_micros: i64,
    at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WakeHealth {
    part: String,
    healthy: bool,
    detail: String,
    at: Timestamp,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Look;

#[derive(Message)]
#[rtype(result = "()")]
struct Subscribe;

#[derive(Message)]
#[rtype(result = "()")]
struct Woken {
    by: IncarnationStamp,
    text: String,
}

impl LiveFeed {
    pub fn start(deps: LiveFeedDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(&supervisor.of_service("web"), "live_feed", Self::new(deps))
    }

    fn new(deps: LiveFeedDeps) -> Self {
        let since = deps.clock.now();
        Self {
            deps,
            incarnation: Incarnation::default(),
            seen: HashSet::new(),
            seen_in_order: VecDeque::new(),
            since,
            looking: false,
            look_again: false,
            failures: 0,
            last_look: None,
        }
    }

    fn observed(&self) -> Observed {
        let state = serde_json::json!({ "remembered": self.seen.len(), "failures": self.failures });
        Observed { state, last_activity: self.last_look }
    }

    fn unsubscribed(&mut self, ended: IoResult<(), redis::RedisError>, ctx: &mut Context<Self>) {
        let reason = ended.map_or_else(|error| error.to_string(), |()| "the connection was closed".to_owned());
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(reason, "no wake-ups from Redis; pages are refreshed from the database each second");
        }
        ctx.notify_later(Subscribe, back_off(RETRY, RETRY_MOST, self.failures));
    }

    fn looked(&mut self, rows: IoResult<Vec<(Uuid, LiveFact)>, DbError>, ctx: &mut Context<Self>) {
        self.looking = false;
        match rows {
            Ok(rows) => {
                self.last_look = Some(self.deps.clock.now());
                let facts: Vec<LiveFact> =
                    rows.into_iter().filter(|(id, _)| self.is_news(*id)).map(|(_, fact)| fact).collect();
                if !facts.is_empty() {
                    self.deps.hub.do_send(Announce(facts));
                }
            }
            Err(IoError::Failed(error)) => tracing::debug!(%error, "the newest rows could not be read"),
            Err(error @ IoError::Panicked(_)) => tracing::error!(%error, "reading the newest rows"),
        }
        if std::mem::take(&mut self.look_again) {
            ctx.notify(Look);
        }
    }

    /// Returns true the first time it gets this id.
    fn is_news(&mut self, id: Uuid) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        self.seen_in_order.push_back(id);
        if self.seen_in_order.len() > SEEN_MAX
            && let Some(oldest) = self.seen_in_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

/// Returns the trades and attempts written since `since`, oldest first.
///
/// # Errors
/// [`DbError`] when the rows cannot be read.
async fn newest_rows(db: &Db, since: Timestamp) -> Result<Vec<(Uuid, LiveFact)>, DbError> {
    let trades = TradeFilter { from: Some(since), ..TradeFilter::default() };
    let attempts = AttemptFilter { from: Some(since), ..AttemptFilter::default() };
    let trades = db.trades_page(&trades, None, ROWS).await?.rows.into_iter().map(|row| row.trade);
    let attempts = db.attempts_page(&attempts, None, ROWS).await?.rows.into_iter().map(|row| row.attempt);
    let mut facts: Vec<(Timestamp, Uuid, LiveFact)> = Vec::new();
    facts.extend(trades.map(|trade| (trade.detect_time, trade.id.0, LiveFact::TradeSeen(Arc::new(trade)))));
    facts.extend(attempts.map(|row| (row.created_at, row.id.0, LiveFact::AttemptRecorded(Arc::new(row)))));
    facts.sort_by_key(|(at, id, _)| (*at, *id));
    Ok(facts.into_iter().map(|(_, id, fact)| (id, fact)).collect())
}

/// Passes each wake-up to `woken` until Redis closes the connection.
///
/// # Errors
/// `RedisError` when Redis cannot be reached or refuses the subscription.
async fn subscribe(url: &Secret, woken: impl Fn(String)) -> Result<(), redis::RedisError> {
    let mut channel = redis::Client::open(url.reveal())?.get_async_pubsub().await?;
    channel.subscribe(LIVE_CHANNEL).await?;
    let mut messages = channel.into_on_message();
    while let Some(message) = messages.next().await {
        woken(message.get_payload().unwrap_or_default());
    }
    Ok(())
}

impl Actor for LiveFeed {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY, |_, ctx| ctx.notify(Look));
        ctx.notify(Subscribe);
    }
}

impl Supervised for LiveFeed {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone());
    }
}

observable!(LiveFeed);

impl Handler<Announce> for LiveFeed {
    type Result = ();

    /// Announces the facts of a worker in this process at once, and remembers them so that reading their rows does not
    /// announce them again.
    fn handle(&mut self, Announce(mut facts): Announce, _: &mut Self::Context) {
        facts.retain(|fact| match fact {
            LiveFact::TradeSeen(trade) => self.is_news(trade.id.0),
            LiveFact::AttemptRecorded(attempt) => self.is_news(attempt.id.0),
            _ => true,
        });
        self.deps.hub.do_send(Announce(facts));
    }
}

impl Handler<Subscribe> for LiveFeed {
    type Result = ();

    fn handle(&mut self, _: Subscribe, ctx: &mut Self::Context) {
        let Some(url) = self.deps.redis.clone() else { return };
        let (by, address) = (self.incarnation.stamp(), ctx.address());
        let listen = async move { subscribe(&url, |text| address.do_send(Woken { by: by.clone(), text })).await };
        self.incarnation.spawn_io(ctx, listen, Self::unsubscribed);
    }
}

impl Handler<Woken> for LiveFeed {
    type Result = ();

    fn handle(&mut self, Woken { by, text }: Woken, ctx: &mut Self::Context) {
        if !by.is_current() {
            return;
        }
        self.failures = 0;
        // A text that cannot be parsed is from another version. It is still a reason to look.
        let wake: Wake = serde_json::from_str(&text).unwrap_or_default();
        let facts = wake.into_facts();
        if !facts.is_empty() {
            self.deps.hub.do_send(Announce(facts));
        }
        ctx.notify(Look);
    }
}

impl Handler<Look> for LiveFeed {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        if std::mem::replace(&mut self.looking, true) {
            self.look_again = true;
            return;
        }
        let db = self.deps.db.clone();
        let since = self.deps.clock.now().plus_millis(-OVERLAP_MS).max(self.since);
        self.incarnation.spawn_io(ctx, async move { newest_rows(&db, since).await }, Self::looked);
    }
}

impl Wake {
    /// Returns the wake-up for these facts; `None` when pages show none of them.
    pub fn of(facts: &[LiveFact]) -> Option<Self> {
        let mut wake = Self::default();
        let mut rows = false;
        for fact in facts {
            match fact {
                LiveFact::TradeSeen(_) | LiveFact::AttemptRecorded(_) => rows = true,
                LiveFact::ActivitySeen(_) => {}
                LiveFact::PortfolioChanged(changed) => wake.portfolios.push(WakeFigures {
                    portfolio: changed.portfolio.to_string(),
                    equity_micros: changed.equity.0,
                    cash_micros: changed.cash.0,
                    exposure_micros: changed.exposure.0,
                    unrealized_pnl_micros: changed.unrealized.0,
                    realized_pnl_micros: changed.realized.0,
                    at: changed.at,
                }),
                LiveFact::HealthChanged(changed) => wake.health.push(WakeHealth {
                    part: changed.part.clone(),
                    healthy: changed.healthy,
                    detail: changed.detail.clone(),
                    at: changed.at,
                }),
            }
        }
        (rows || wake != Self::default()).then_some(wake)
    }

    fn into_facts(self) -> Vec<LiveFact> {
        let figures = self.portfolios.into_iter().filter_map(|figures| {
            Some(LiveFact::PortfolioChanged(PortfolioChanged {
                portfolio: figures.portfolio.parse().ok()?,
                equity: UsdcMicros(figures.equity_micros),
                cash: UsdcMicros(figures.cash_micros),
                exposure: UsdcMicros(figures.exposure_micros),
                unrealized: UsdcMicros(figures.unrealized_pnl_micros),
                realized: UsdcMicros(figures.realized_pnl_micros),
                at: figures.at,
            }))
        });
        let health = self.health.into_iter().map(|health| {
            LiveFact::HealthChanged(HealthChanged {
                part: health.part,
                healthy: health.healthy,
                detail: health.detail,
                at: health.at,
            })
        });
        figures.chain(health).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::accounting::ledger::PortfolioId;

    #[test]
    fn a_wake_carries_the_figures_that_are_in_no_row_and_says_when_there_are_rows() {
        let changed = LiveFact::PortfolioChanged(PortfolioChanged {
            portfolio: PortfolioId::ExecGlobal,
            equity: UsdcMicros(5),
            cash: UsdcMicros(4),
            exposure: UsdcMicros(3),
            unrealized: UsdcMicros(-2),
            realized: UsdcMicros(1),
            at: Timestamp::from_millis(7),
        });
        let sent = serde_json::to_string(&Wake::of(std::slice::from_ref(&changed)).unwrap()).unwrap();
        let read: Wake = serde_json::from_str(&sent).unwrap();
        assert_eq!(format!("{:?}", read.into_facts()), format!("{:?}", [changed]));
        assert_eq!(Wake::of(&[]), None);
    }
}
