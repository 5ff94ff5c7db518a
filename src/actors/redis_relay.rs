//! Carries wake-ups between processes, through Redis.
//!
//! Takes   `LeasesChanged`; remote wake-ups from the actors of this process; `Announce`, as the pages get it.
//! Sends   wake-ups to the queues of this process and to the pages of other processes.
//! Timer   each second it acknowledges the received wake-ups whose jobs are done; after Redis was lost it waits longer
//!         and longer before it connects again.
//! Truth   none. Without Redis the actors find their work by polling the queues.

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
const BATCH_MAX: usize = 256;
/// Page wake-ups that may wait for a Redis that does not answer. More are dropped, because one wakes the pages as well
/// as many.
const WAKES_MAX: usize = 256;
/// Received wake-ups whose jobs are not done that are remembered. The others stay unacknowledged in Redis: the next
/// holder of their leases receives them again.
const DELIVERIES_MAX: usize = 10_000;

#[derive(Clone)]
pub struct RedisRelayDeps {
    pub db: Db,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub url: Secret,
    pub worker: WorkerId,
    /// Wake-ups that actors of this process send to other workers.
    pub outgoing: Arc<Mutex<mpsc::Receiver<RemoteWakeup>>>,
    /// The pages of this process, when it has any.
    pub pages: Option<Recipient<Announce>>,
}

pub struct RedisRelay {
    deps: RedisRelayDeps,
    incarnation: Incarnation,
    leases: watch::Sender<BTreeSet<LeaseName>>,
    /// Texts to wake the pages of other processes.
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
    pub fn start(deps: RedisRelayDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "bell_relay", Self::new(deps, BTreeSet::new()))
    }

    fn new(deps: RedisRelayDeps, leases: BTreeSet<LeaseName>) -> Self {
        let (wakes, waking) = mpsc::channel(WAKES_MAX);
        let (leases, waking) = (watch::Sender::new(leases), Arc::new(Mutex::new(waking)));
        let incarnation = Incarnation::default();
        Self { deps, incarnation, leases, wakes, waking, failures: 0, connected_at: None }
    }

    fn disconnected(&mut self, ended: IoResult<(), String>, ctx: &mut Context<Self>) {
        let reason = ended.map_or_else(|error| error.to_string(), |()| "no actor sends wake-ups any more".to_owned());
        self.connected_at = None;
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(reason, "no connection to Redis; work goes on by polling the queues");
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
            // A full channel means that other wake-ups wait already; pages read the database without them too.
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
            tracing::info!("connected to Redis; it carries wake-ups between processes");
        }
    }
}

/// Sends wake-ups to other workers, receives those for this worker, and acknowledges them when their jobs are done,
/// until the connection ends.
///
/// # Errors
/// The text of the failure when Redis or the database fails.
async fn relay(
    deps: &RedisRelayDeps,
    mut leases: watch::Receiver<BTreeSet<LeaseName>>,
    waking: &Mutex<mpsc::Receiver<String>>,
    connected: impl Fn(),
) -> Result<(), String> {
    let mut outgoing = deps.outgoing.lock().await;
    let mut wakes = waking.lock().await;
    let mut connection = Connection::connect(deps).await?;
    connected();
    let mut acknowledge = tokio::time::interval(ACKNOWLEDGE_EVERY);
    let mut reading = None;
    loop {
        let held = leases.borrow_and_update().clone();
        if !connection.join(&held).await? {
            continue;
        }
        // A read is always finished before the next begins, because a dropped read may lose wake-ups that it received.
        let read = reading.get_or_insert_with(|| Box::pin(connection.read()));
        tokio::select! {
            answer = read => {
                reading = None;
                connection.take(answer)?;
            }
            wakeup = outgoing.recv() => {
                let Some(first) = wakeup else { return Ok(()) };
                connection.pass_on(first, &mut outgoing).await?;
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

/// A connection to Redis, with the streams it reads and the received wake-ups whose jobs are open.
struct Connection<'a> {
    deps: &'a RedisRelayDeps,
    redis: RedisWakeups,
    joined: BTreeSet<LeaseName>,
    open: Vec<Delivery>,
}

impl<'a> Connection<'a> {
    /// Connects to Redis.
    ///
    /// # Errors
    /// The text of the failure when Redis does not answer.
    async fn connect(deps: &'a RedisRelayDeps) -> Result<Self, String> {
        let redis = RedisWakeups::connect(&deps.url).await.map_err(failed)?;
        Ok(Self { deps, redis, joined: BTreeSet::new(), open: Vec::new() })
    }

    /// Joins the streams of the leases held, and leaves the others. Returns false when Redis was emptied meanwhile and
    /// the caller must begin again.
    ///
    /// # Errors
    /// The text of the failure when Redis does not answer.
    async fn join(&mut self, held: &BTreeSet<LeaseName>) -> Result<bool, String> {
        self.joined.retain(|lease| held.contains(lease));
        for lease in held {
            if self.joined.contains(lease) {
                continue;
            }
            match self.redis.join(*lease, &self.deps.worker).await {
                Ok(left) => self.receive(left),
                Err(error) if was_emptied(&error) => return Ok(false),
                Err(error) => return Err(failed(error)),
            }
            self.joined.insert(*lease);
        }
        Ok(true)
    }

    /// Returns the next read of the joined streams. When no stream is joined, the read waits a little and returns
    /// nothing.
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

    /// Handles the result of a read.
    ///
    /// # Errors
    /// The text of the failure when Redis does not answer.
    fn take(&mut self, answer: Result<Vec<Delivery>, redis::RedisError>) -> Result<(), String> {
        match answer {
            Ok(news) => self.receive(news),
            Err(error) if was_emptied(&error) => {
                tracing::info!("Redis was emptied; its streams are created again");
                self.joined.clear();
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(())
    }

    /// Sends a wake-up, and those that wait behind it, to the workers that hold their leases.
    ///
    /// # Errors
    /// The text of the failure when Redis does not answer.
    async fn pass_on(
        &mut self,
        first: RemoteWakeup,
        outgoing: &mut mpsc::Receiver<RemoteWakeup>,
    ) -> Result<(), String> {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = outgoing.try_recv()
        {
            batch.push(next);
        }
        // For the leases that this worker holds, the actors of this process were woken already.
        batch.retain(|wakeup| !self.joined.contains(&wakeup.lease));
        if !batch.is_empty() {
            self.redis.call(&batch).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Wakes the queues of the received wake-ups, and remembers the wake-ups until their jobs are done.
    fn receive(&mut self, news: Vec<Delivery>) {
        let queues: BTreeSet<_> = news.iter().map(|delivery| delivery.call.queue).collect();
        for queue in queues {
            self.deps.wakeups.notify(queue);
        }
        self.open.extend(news);
        if self.open.len() > DELIVERIES_MAX {
            self.open.drain(..self.open.len() - DELIVERIES_MAX);
        }
    }

    /// Acknowledges the wake-ups whose jobs are done.
    ///
    /// # Errors
    /// The text of the failure when Redis or the database does not answer.
    async fn acknowledge(&mut self) -> Result<(), String> {
        if self.open.is_empty() {
            return Ok(());
        }
        let done = take_done(&self.deps.db, &mut self.open).await?;
        if !done.is_empty() {
            self.redis.acknowledge(&done).await.map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(error: redis::RedisError) -> String {
    error.to_string()
}

/// Removes the deliveries whose jobs are done from `deliveries`, and returns them.
///
/// # Errors
/// The text of the [`DbError`](crate::db::DbError) when the jobs cannot be read.
async fn take_done(db: &Db, deliveries: &mut Vec<Delivery>) -> Result<Vec<Delivery>, String> {
    let asked: Vec<_> = deliveries.iter().map(|delivery| (delivery.call.queue, delivery.call.key.clone())).collect();
    let open = queue::open_of(db, &asked).await.map_err(|error| error.to_string())?;
    let is_open = |delivery: &Delivery| open.contains(&(delivery.call.queue, delivery.call.key.clone()));
    let (waiting, done) = std::mem::take(deliveries).into_iter().partition(is_open);
    *deliveries = waiting;
    Ok(done)
}
