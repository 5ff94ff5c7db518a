//! Logs when no worker consumes a queue (spec 10), and when one does again.
//!
//! Timer   every ten seconds it reads the depths of the queues.
//! Truth   the `job` table. Each change is logged once; pages, `/health` and metrics read the same depths themselves.

use std::{collections::BTreeSet, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Supervised};

use super::supervise::{IoError, IoResult, Observed, SupervisorContext, observable, spawn_io, start_supervised};
use crate::clock::Clock;
use crate::db::{Db, DbError};
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{Depth, Queue};

const EVERY: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct QueueWatchDeps {
    pub db: Db,
    pub clock: Clock,
}

pub struct QueueWatch {
    deps: QueueWatchDeps,
    /// The queues that were logged as stuck.
    stuck: BTreeSet<Queue>,
    last_look: Option<Timestamp>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Look;

/// What changed since the last look.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// The oldest due job has waited this many milliseconds.
    Stuck(Queue, i64),
    Moving(Queue),
}

impl QueueWatch {
    pub fn start(deps: QueueWatchDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "queue_watch", Self { deps, stuck: BTreeSet::new(), last_look: None })
    }

    fn observed(&self) -> Observed {
        Observed { state: serde_json::json!({ "stuck": self.stuck }), last_activity: self.last_look }
    }

    fn looked(&mut self, depths: IoResult<Vec<Depth>, DbError>, _: &mut Context<Self>) {
        let depths = match depths {
            Ok(depths) => depths,
            // The root logs that the database cannot be read.
            Err(IoError::Failed(error)) => return tracing::debug!(%error, "the depths of the queues could not be read"),
            Err(error) => return tracing::error!(%error, "the depths of the queues could not be read"),
        };
        let now = self.deps.clock.now();
        self.last_look = Some(now);
        for change in self.compare(&depths, now) {
            match change {
                Change::Stuck(queue, waits) => {
                    tracing::error!(%queue, waits_s = waits / 1000, "no worker consumes this queue");
                }
                Change::Moving(queue) => tracing::info!(%queue, "this queue is being consumed again"),
            }
        }
    }

    fn compare(&mut self, depths: &[Depth], now: Timestamp) -> Vec<Change> {
        let change = |depth: &Depth| match depth.stuck_for_ms(now) {
            Some(waits) => self.stuck.insert(depth.queue).then_some(Change::Stuck(depth.queue, waits)),
            None => self.stuck.remove(&depth.queue).then_some(Change::Moving(depth.queue)),
        };
        depths.iter().filter_map(change).collect()
    }
}

impl Actor for QueueWatch {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(EVERY, |_, ctx| ctx.notify(Look));
    }
}

impl Supervised for QueueWatch {
    /// Keeps the queues that were logged, so that they are not logged again.
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self { deps: self.deps.clone(), stuck: std::mem::take(&mut self.stuck), last_look: None };
    }
}

observable!(QueueWatch);

impl Handler<Look> for QueueWatch {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        let db = self.deps.db.clone();
        spawn_io(ctx, async move { queue::depths(&db).await }, QueueWatch::looked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::NewJob;
    use crate::testkit::feed_setup::FeedSetup;
    use crate::testkit::wait::within;

    async fn stuck(watch: &Addr<QueueWatch>) -> serde_json::Value {
        let observed = within(watch.send(super::super::supervise::Observe)).await.unwrap();
        observed.state["stuck"].clone()
    }

    /// Makes it look, and waits until it reports `expected`.
    async fn look(watch: &Addr<QueueWatch>, expected: serde_json::Value) {
        watch.send(Look).await.unwrap();
        within(async {
            while stuck(watch).await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    #[actix_web::test]
    async fn it_restarts_after_each_kind_of_panic_and_reports_nothing_twice() {
        use crate::actors::supervise::fault_injection::{InjectPanic, provoke, restarts};
        let setup = FeedSetup::new().await;
        let long_ago = setup.clock.now().plus_millis(-120_000);
        let job = NewJob {
            queue: Queue::Prices,
            key: "old".to_owned(),
            followed_user: None,
            payload: String::new(),
            due: long_ago,
        };
        queue::enqueue(&setup.db, &[job], long_ago).await.unwrap();
        let deps = QueueWatchDeps { db: setup.db.clone(), clock: setup.clock };
        let watch = QueueWatch::start(deps, &setup.supervisor);
        look(&watch, serde_json::json!([Queue::Prices])).await;
        for (n, how) in (1..).zip([InjectPanic::InHandler, InjectPanic::InFuture, InjectPanic::InWait]) {
            provoke("queue_watch", how);
            within(async {
                while restarts("queue_watch") < n {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            assert_eq!(stuck(&watch).await, serde_json::json!([Queue::Prices]), "the reported queues are kept");
        }
        let taken = queue::claim(&setup.db, Queue::Prices, &queue::JobScope::All, setup.clock.now(), 60_000, 9);
        let fences: Vec<_> = taken.await.unwrap().iter().map(queue::Job::fence).collect();
        queue::finish(&setup.db, &fences).await.unwrap();
        look(&watch, serde_json::json!([])).await;
    }

    #[actix_web::test]
    async fn a_queue_that_no_worker_consumes_is_stuck_until_one_does() {
        let setup = FeedSetup::new().await;
        let watch = QueueWatch::start(QueueWatchDeps { db: setup.db.clone(), clock: setup.clock }, &setup.supervisor);
        let job = |queue: Queue, age_ms: i64| NewJob {
            queue,
            key: age_ms.to_string(),
            followed_user: None,
            payload: String::new(),
            due: setup.clock.now().plus_millis(-age_ms),
        };
        let jobs = [job(Queue::Prices, 61_000), job(Queue::Reconcile, 30_000)];
        queue::enqueue(&setup.db, &jobs, setup.clock.now()).await.unwrap();
        look(&watch, serde_json::json!(["q_prices"])).await;
        let scope = queue::JobScope::All;
        queue::claim(&setup.db, Queue::Prices, &scope, setup.clock.now(), 60_000, 1).await.unwrap();
        look(&watch, serde_json::json!([])).await;
    }

    #[actix_web::test]
    async fn each_change_is_reported_once() {
        let setup = FeedSetup::new().await;
        let deps = QueueWatchDeps { db: setup.db.clone(), clock: setup.clock };
        let mut watch = QueueWatch { deps, stuck: BTreeSet::new(), last_look: None };
        let mut compare = |now: i64| {
            let depth = Depth {
                queue: Queue::Prices,
                open: 1,
                leased: 0,
                oldest_due: None,
                untaken_since: Some(Timestamp::EPOCH),
            };
            watch.compare(&[depth], Timestamp::from_millis(now))
        };
        assert_eq!(compare(60_000), []);
        assert_eq!(compare(61_000), [Change::Stuck(Queue::Prices, 61_000)]);
        assert_eq!(compare(71_000), []);
        assert_eq!(compare(0), [Change::Moving(Queue::Prices)]);
        assert_eq!(compare(0), []);
    }

    #[actix_web::test]
    async fn it_restarts_after_lost_work_and_still_knows_the_reported_queues() {
        use crate::actors::supervise::fault_injection::InjectPanic::{AfterWork, BeforeWork, InFuture, InHandler};
        use crate::actors::supervise::fault_injection::{provoke, restarts};
        let setup = FeedSetup::new().await;
        let watch = QueueWatch::start(QueueWatchDeps { db: setup.db.clone(), clock: setup.clock }, &setup.supervisor);
        let due = setup.clock.now().plus_millis(-3_600_000);
        let job = |queue| NewJob { queue, key: "1".to_owned(), followed_user: None, payload: String::new(), due };
        queue::enqueue(&setup.db, &[job(Queue::Prices)], setup.clock.now()).await.unwrap();
        look(&watch, serde_json::json!(["q_prices"])).await;
        for (panics, loses) in [(InHandler, BeforeWork), (InFuture, AfterWork)] {
            provoke("queue_watch", panics);
            assert_eq!(stuck(&watch).await, serde_json::json!(["q_prices"]));
            // The next look makes up for one that was lost.
            provoke("queue_watch", loses);
            watch.send(Look).await.unwrap();
        }
        let taken = queue::claim(&setup.db, Queue::Prices, &queue::JobScope::All, setup.clock.now(), 1_000, 1).await;
        queue::finish(&setup.db, &[taken.unwrap()[0].fence()]).await.unwrap();
        look(&watch, serde_json::json!([])).await;
        assert_eq!(restarts("queue_watch"), 2);
    }
}
