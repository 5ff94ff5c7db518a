//! Passes the bell on between processes, through Redis.
//!
//! Takes   `LeasesChanged`; calls from the bell of this process, what was announced to pages.
//! Sends   rings of the bell of this process; wakes the pages of others.
//! Timer   each second, which of the calls heard are done; a growing wait after Redis went away.
//! Truth   none. Without Redis everybody goes on by their sweeps.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};
use tokio::sync::{Mutex, mpsc, watch};

use super::{
    lease_keeper::LeasesChanged,
    live_feed::Wake,
    live_hub::Announce,
    supervise::{
        Incarnation, IncarnationStamp, IoResult, Observed, SupervisorContext, back_off, observable, start_supervised,
    },
};
use crate::clock::Clock;
use crate::config::Secret;
use crate::db::Db;
use crate::domain::events::lease::{LeaseName, WorkerId};
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::wakeup::local::Wakeups;
use crate::queue::wakeup::redis::{Delivery, RedisWakeups, RemoteWakeup, was_emptied};

const RETRY: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);
const ACKNOWLEDGE_EVERY: Duration = Duration::from_secs(1);
const CALLS_AT_ONCE: usize = 256;
/// Wakes that may wait for a Redis that does not answer; each is as good as the next.
const WAKES_MAX: usize = 256;
/// Calls heard and not done that are remembered; whoever holds their leases next hears the others again.
const HEARD_MAX: usize = 10_000;

#[derive(Clone)]
pub struct BellRelayDeps {
    pub db: Db,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub url: Secret,
    pub worker: WorkerId,
    pub calls: Arc<Mutex<mpsc::Receiver<RemoteWakeup>>>,
    /// The pages of this process, when it has any.
    pub pages: Option<Recipient<Announce>>,
}

pub struct RedisRelay {
    deps: BellRelayDeps,
    incarnation: Incarnation,
    leases: watch::Sender<BTreeSet<LeaseName>>,
    /// For the pages of other processes.
    wakes: mpsc::Sender<String>,
    waking: Arc<Mutex<mpsc::Receiver<String>>>,
    failures: u32,
    connected_at: Option<Timestamp>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Connect;

#[derive(Message)]
#[rtype(result = "()")]
struct Connected(IncarnationStamp);

impl RedisRelay {
    pub fn start(deps: BellRelayDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "bell_relay", Self::new(deps, BTreeSet::new()))
    }

    fn new(deps: BellRelayDeps, leases: BTreeSet<LeaseName>) -> Self {
        let (wakes, waking) = mpsc::channel(WAKES_MAX);
        let (leases, waking) = (watch::Sender::new(leases), Arc::new(Mutex::new(waking)));
        let incarnation = Incarnation::default();
        Self { deps, incarnation, leases, wakes, waking, failures: 0, connected_at: None }
    }

    fn disconnected(&mut self, ended: IoResult<(), String>, ctx: &mut Context<Self>) {
        let reason = ended.map_or_else(|error| error.to_string(), |()| "nobody rings any more".to_owned());
        self.connected_at = None;
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(reason, "Redis is away; work goes on by looking at the queues");
        }
        ctx.notify_later(Connect, back_off(RETRY, RETRY_MOST, self.failures));
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "connected": self.connected_at.is_some(),
                "listens_for": self.leases.borrow().iter().map(LeaseName::to_string).collect::<Vec<_>>(),
                "failures": self.failures,
            }),
            last_activity: self.connected_at,
        }
    }
}

impl Actor for RedisRelay {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.notify(Connect);
    }
}

impl Supervised for RedisRelay {
    fn restarting(&mut self, _: &mut Self::Context) {
        let leases = self.leases.borrow().clone();
        *self = Self::new(self.deps.clone(), leases);
    }
}

observable!(RedisRelay);

impl Handler<LeasesChanged> for RedisRelay {
    type Result = ();

    fn handle(&mut self, LeasesChanged(leases): LeasesChanged, _: &mut Self::Context) {
        self.leases.send_replace(leases.names());
    }
}

impl Handler<Announce> for RedisRelay {
    type Result = ();

    fn handle(&mut self, announce: Announce, _: &mut Self::Context) {
        if let Some(text) = Wake::of(&announce.0).and_then(|wake| serde_json::to_string(&wake).ok()) {
            // Full: others wait there already, and pages look by themselves too.
            let _ = self.wakes.try_send(text);
        }
        if let Some(pages) = &self.deps.pages {
            pages.do_send(announce);
        }
    }
}

impl Handler<Connect> for RedisRelay {
    type Result = ();

    fn handle(&mut self, _: Connect, ctx: &mut Self::Context) {
        let (deps, leases, waking) = (self.deps.clone(), self.leases.subscribe(), self.waking.clone());
        let (address, stamp) = (ctx.address(), self.incarnation.stamp());
        let talk = async move {
            let connected = || address.do_send(Connected(stamp.clone()));
            relay(&deps, leases, &waking, connected).await
        };
        self.incarnation.spawn_io(ctx, talk, Self::disconnected);
    }
}

impl Handler<Connected> for RedisRelay {
    type Result = ();

    fn handle(&mut self, Connected(stamp): Connected, _: &mut Self::Context) {
        if stamp.is_current() {
            self.connected_at = Some(self.deps.clock.now());
            self.failures = 0;
            tracing::info!("Redis carries the bell");
        }
    }
}

/// Passes calls on, hears those to us, and acknowledges them when their jobs are done, until the connection ends.
async fn relay(
    deps: &BellRelayDeps,
    mut leases: watch::Receiver<BTreeSet<LeaseName>>,
    waking: &Mutex<mpsc::Receiver<String>>,
    connected: impl Fn(),
) -> Result<(), String> {
    let mut calls = deps.calls.lock().await;
    let mut wakes = waking.lock().await;
    let mut connection = Connection::open(deps).await?;
    connected();
    let mut acknowledge = tokio::time::interval(ACKNOWLEDGE_EVERY);
    let mut reading = None;
    loop {
        let held = leases.borrow_and_update().clone();
        if !connection.join(&held).await? {
            continue;
        }
        // Ended before the next begins, whatever happens meanwhile: a read that is dropped may lose what it was given.
        let read = reading.get_or_insert_with(|| Box::pin(connection.read()));
        tokio::select! {
            answer = read => {
                reading = None;
                connection.take(answer)?;
            }
            call = calls.recv() => {
                let Some(first) = call else { return Ok(()) };
                connection.pass_on(first, &mut calls).await?;
            }
            text = wakes.recv() => {
                if let Some(text) = text {
                    connection.redis.wake_pages(&text).await.map_err(failed)?;
                }
            }
            changed = leases.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            _ = acknowledge.tick() => connection.acknowledge().await?,
        }
    }
}

/// A connection to Redis, with the streams it reads and the calls that wait for their jobs.
struct Connection<'a> {
    deps: &'a BellRelayDeps,
    redis: RedisWakeups,
    joined: BTreeSet<LeaseName>,
    heard: Vec<Delivery>,
}

impl<'a> Connection<'a> {
    async fn open(deps: &'a BellRelayDeps) -> Result<Self, String> {
        let redis = RedisWakeups::connect(&deps.url).await.map_err(failed)?;
        Ok(Self { deps, redis, joined: BTreeSet::new(), heard: Vec::new() })
    }

    /// Joins the streams of the leases held, and leaves the others. Returns false when Redis was emptied meanwhile and
    /// the caller must begin again.
    async fn join(&mut self, held: &BTreeSet<LeaseName>) -> Result<bool, String> {
        self.joined.retain(|lease| held.contains(lease));
        for lease in held {
            if self.joined.contains(lease) {
                continue;
            }
            match self.redis.join(*lease, &self.deps.worker).await {
                Ok(left) => self.hear(left),
                Err(error) if was_emptied(&error) => return Ok(false),
                Err(error) => return Err(failed(error)),
            }
            self.joined.insert(*lease);
        }
        Ok(true)
    }

    /// Returns the next read of the joined streams; without any it waits a little and returns nothing.
    fn read(&self) -> impl Future<Output = Result<Vec<Delivery>, redis::RedisError>> + use<> {
        let streams: Vec<LeaseName> = self.joined.iter().copied().collect();
        let (redis, worker) = (self.redis.clone(), self.deps.worker.clone());
        async move {
            if streams.is_empty() {
                tokio::time::sleep(ACKNOWLEDGE_EVERY).await;
                return Ok(Vec::new());
            }
            redis.next(streams, worker).await
        }
    }

    fn take(&mut self, answer: Result<Vec<Delivery>, redis::RedisError>) -> Result<(), String> {
        match answer {
            Ok(news) => self.hear(news),
            Err(error) if was_emptied(&error) => {
                tracing::info!("Redis was emptied; its streams are made again");
                self.joined.clear();
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(())
    }

    /// Sends a call, and those that wait behind it, to the workers that hold their leases.
    async fn pass_on(&mut self, first: RemoteWakeup, calls: &mut mpsc::Receiver<RemoteWakeup>) -> Result<(), String> {
        let mut batch = vec![first];
        while batch.len() < CALLS_AT_ONCE
            && let Ok(next) = calls.try_recv()
        {
            batch.push(next);
        }
        // The actors of this process have been woken already for the leases that we hold ourselves.
        batch.retain(|call| !self.joined.contains(&call.lease));
        if !batch.is_empty() {
            self.redis.call(&batch).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Wakes the queues of the calls, and remembers the calls until their jobs are done.
    fn hear(&mut self, news: Vec<Delivery>) {
        let queues: BTreeSet<_> = news.iter().map(|heard| heard.call.queue).collect();
        for queue in queues {
            self.deps.wakeups.notify(queue);
        }
        self.heard.extend(news);
        if self.heard.len() > HEARD_MAX {
            self.heard.drain(..self.heard.len() - HEARD_MAX);
        }
    }

    /// Acknowledges the calls whose jobs are done.
    async fn acknowledge(&mut self) -> Result<(), String> {
        if self.heard.is_empty() {
            return Ok(());
        }
        let done = take_done(&self.deps.db, &mut self.heard).await?;
        if !done.is_empty() {
            self.redis.acknowledge(&done).await.map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(error: redis::RedisError) -> String {
    error.to_string()
}

async fn take_done(db: &Db, heard: &mut Vec<Delivery>) -> Result<Vec<Delivery>, String> {
    let asked: Vec<_> = heard.iter().map(|heard| (heard.call.queue, heard.call.key.clone())).collect();
    let open = queue::open_of(db, &asked).await.map_err(|error| error.to_string())?;
    let is_open = |heard: &Delivery| open.contains(&(heard.call.queue, heard.call.key.clone()));
    let (waiting, done) = std::mem::take(heard).into_iter().partition(is_open);
    *heard = waiting;
    Ok(done)
}
