//! Holds this worker's leases: takes a fair share of the leaders, and takes over the leases of a dead worker.
//!
//! Takes   `LetGo` when the bot stops.
//! Sends   `LeasesChanged` to its listeners, such as the root and the ledger writer; wakes every queue for new work.
//! Timer   a round every two seconds: it shows that this worker is alive, and reads which others are.
//! Truth   the `lease` table. Every write under a lease names the lease's epoch, so a write under a lost lease is
//!         refused even if this actor notices the loss late.

mod assignment;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, Supervised};

use super::supervise::{Incarnation, IoResult, Observed, SupervisorContext, observable, start_supervised};
use crate::clock::Clock;
use crate::db::{Db, DbError, Round};
use crate::domain::events::lease::{LeaseName, Leases, WorkerId};
use crate::domain::money::units::Timestamp;
use crate::health::actor_state::LeaseKeeperState;
use crate::queue::Queue;
use crate::queue::wakeup::local::Wakeups;

use assignment::{Step, Watch};

const EVERY: Duration = Duration::from_secs(2);

/// The leases of this process changed: it may work under these and no others.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct LeasesChanged(pub Arc<Leases>);

/// Gives up every lease, so that other workers need not wait until this one counts as dead.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct LetGo;

#[derive(Clone)]
pub struct LeaseKeeperDeps {
    pub db: Db,
    pub clock: Clock,
    pub wakeups: Wakeups,
    pub worker: WorkerId,
    pub listeners: Vec<Recipient<LeasesChanged>>,
}

pub struct LeaseKeeper {
    deps: LeaseKeeperDeps,
    incarnation: Incarnation,
    watch: Watch,
    epochs: BTreeMap<LeaseName, i64>,
    busy: bool,
    stopping: bool,
    failures: u32,
    last_round: Option<Timestamp>,
}

impl LeaseKeeper {
    pub fn start(deps: LeaseKeeperDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "lease_keeper", Self::new(deps))
    }

    fn new(deps: LeaseKeeperDeps) -> Self {
        Self {
            deps,
            incarnation: Incarnation::default(),
            watch: Watch::default(),
            epochs: BTreeMap::new(),
            busy: false,
            stopping: false,
            failures: 0,
            last_round: None,
        }
    }

    fn observed(&self) -> Observed {
        let state = LeaseKeeperState {
            worker: self.deps.worker.as_str().to_owned(),
            held: self.epochs.keys().map(LeaseName::to_string).collect(),
            workers: self.watch.n_live(self.deps.clock.now()),
            failures: self.failures,
        };
        Observed::new(state, self.last_round)
    }

    fn round(&mut self, ctx: &mut Context<Self>) {
        if self.stopping || std::mem::replace(&mut self.busy, true) {
            return;
        }
        let (db, worker) = (self.deps.db.clone(), self.deps.worker.clone());
        self.incarnation.spawn_io(ctx, async move { db.lease_round(&worker).await }, Self::seen);
    }

    /// Announces the leases held, and wakes every queue: a new lease may come with open jobs.
    fn hold(&mut self, epochs: BTreeMap<LeaseName, i64>) {
        if epochs == self.epochs {
            return;
        }
        let names = epochs.keys().map(LeaseName::to_string).collect::<Vec<_>>().join(" ");
        tracing::info!(worker = self.deps.worker.as_str(), leases = names, "leases changed");
        self.epochs.clone_from(&epochs);
        let leases = Arc::new(Leases::Held { by: self.deps.worker.clone(), epochs });
        for listener in &self.deps.listeners {
            listener.do_send(LeasesChanged(leases.clone()));
        }
        for queue in Queue::ALL {
            self.deps.wakeups.notify(*queue);
        }
    }

    /// Handles the leases and workers that a round read.
    fn seen(&mut self, round: IoResult<Round, DbError>, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let round = match round {
            Ok(round) => round,
            Err(error) => return self.failed(&error.to_string()),
        };
        let now = self.deps.clock.now();
        (self.failures, self.last_round) = (0, Some(now));
        let mine = round.leases.iter().filter(|row| row.holder.as_ref() == Some(&self.deps.worker));
        let mut epochs: BTreeMap<LeaseName, i64> = mine.map(|row| (row.name, row.epoch)).collect();
        let steps = self.watch.plan(&self.deps.worker, &round, now);
        // Announced before it is done: the actors under a lease must have ended when another worker can take it.
        for step in &steps {
            if let Step::GiveUp(name) = step {
                epochs.remove(name);
            }
        }
        self.hold(epochs);
        if steps.is_empty() {
            self.busy = false;
            return;
        }
        let (db, worker) = (self.deps.db.clone(), self.deps.worker.clone());
        self.incarnation.spawn_io(ctx, async move { take_steps(&db, &worker, steps).await }, Self::stepped);
    }

    /// Handles the end of a round's steps; `taken` are the leases that were taken.
    fn stepped(&mut self, taken: IoResult<BTreeMap<LeaseName, i64>, DbError>, _: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        self.busy = false;
        match taken {
            Ok(taken) => {
                let mut epochs = self.epochs.clone();
                epochs.extend(taken);
                self.hold(epochs);
            }
            // The next round reads the leases that were taken before the failure.
            Err(error) => self.failed(&error.to_string()),
        }
    }

    fn failed(&mut self, error: &str) {
        self.busy = false;
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(error, "leases cannot be renewed; other workers may take them over");
        }
    }
}

/// Takes and gives up leases as planned; returns the leases taken, each with its epoch.
///
/// # Errors
/// [`DbError`] when a step fails. The steps before it are done.
async fn take_steps(db: &Db, me: &WorkerId, steps: Vec<Step>) -> Result<BTreeMap<LeaseName, i64>, DbError> {
    let mut taken = BTreeMap::new();
    for step in steps {
        match step {
            Step::Take(row) => {
                let epoch = db.take_lease(me, &row).await?;
                taken.extend(epoch.map(|epoch| (row.name, epoch)));
            }
            Step::GiveUp(name) => db.give_up_lease(me, name).await?,
            Step::Forget(worker, beat) => db.forget_worker(&worker, beat).await?,
        }
    }
    Ok(taken)
}

impl Actor for LeaseKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.round(ctx);
        ctx.run_interval(EVERY, |keeper, ctx| keeper.round(ctx));
    }
}

impl Supervised for LeaseKeeper {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self { epochs: std::mem::take(&mut self.epochs), ..Self::new(self.deps.clone()) };
    }
}

observable!(LeaseKeeper);

impl Handler<LetGo> for LeaseKeeper {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: LetGo, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let (db, worker) = (self.deps.db.clone(), self.deps.worker.clone());
        Box::pin(async move {
            if let Err(error) = db.leave(&worker).await {
                tracing::warn!(%error, "leases could not be given up; other workers take them over within seconds");
            }
        })
    }
}
