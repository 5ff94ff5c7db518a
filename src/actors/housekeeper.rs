//! Keeps the database small: thins old prices and snapshots, packs rows of older versions, notes the size (spec 9).
//!
//! Takes   `LeasesChanged`: of several workers the one with the global portfolio does the work.
//! Timer   a small step four times a second while there is work, otherwise a look each minute.
//! Truth   checkpoints say how far each work has come. A step that is lost or done twice changes nothing more.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Supervised};

use super::{
    lease_keeper::LeasesChanged,
    supervise::{IoResult, Observed, SupervisorContext, observable, spawn_io, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Db, DbError, Packable, Thinning};
use crate::domain::events::lease::{LeaseName, Leases};
use crate::domain::money::units::Timestamp;

const EVERY: Duration = Duration::from_millis(250);
const IDLE_MS: i64 = 60_000;
/// A step that has not answered for so long is lost.
const LOST_MS: i64 = 60_000;

#[derive(Clone)]
pub struct HousekeeperDeps {
    pub db: Db,
    pub clock: Clock,
    pub leases: Arc<Leases>,
}

pub struct Housekeeper {
    deps: HousekeeperDeps,
    /// The pass that is under way, while no step has it.
    thinning: Option<Thinning>,
    /// Not before this time comes the next step.
    next: Timestamp,
    rows: u64,
    failures: u64,
    last: Option<Timestamp>,
}

/// What a step leaves behind.
struct Stepped {
    thinning: Option<Thinning>,
    rows: u64,
    more: bool,
}

impl Housekeeper {
    pub fn start(deps: HousekeeperDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "housekeeper", Self::new(deps))
    }

    fn new(deps: HousekeeperDeps) -> Self {
        Self { deps, thinning: None, next: Timestamp::EPOCH, rows: 0, failures: 0, last: None }
    }

    fn observed(&self) -> Observed {
        let state = serde_json::json!({ "rows_thinned_or_packed": self.rows, "failures": self.failures });
        Observed { state, last_activity: self.last }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        if now < self.next || !self.deps.leases.hold(LeaseName::Global) {
            return;
        }
        self.next = now.plus_millis(LOST_MS);
        let (db, thinning) = (self.deps.db.clone(), self.thinning.take());
        spawn_io(ctx, async move { step(&db, thinning, now).await }, Self::stepped);
    }

    fn stepped(&mut self, stepped: IoResult<Stepped, DbError>, _: &mut Context<Self>) {
        let now = self.deps.clock.now();
        match stepped {
            Ok(stepped) => {
                self.thinning = stepped.thinning;
                self.rows += stepped.rows;
                self.last = Some(now);
                self.next = if stepped.more { now } else { now.plus_millis(IDLE_MS) };
            }
            Err(error) => {
                self.failures += 1;
                self.next = now.plus_millis(IDLE_MS);
                tracing::warn!(%error, "old rows could not be thinned or packed");
            }
        }
    }
}

/// Notes the size, and does one small piece of the first work there is.
///
/// # Errors
/// [`DbError`] when the database fails. The pass is then begun again, which costs a look at each asset.
async fn step(db: &Db, thinning: Option<Thinning>, now: Timestamp) -> Result<Stepped, DbError> {
    db.note_size(now).await?;
    let pass = match thinning {
        Some(pass) => Some(pass),
        None => db.due_thinning(now).await?,
    };
    if let Some(mut pass) = pass {
        let done = db.thin_some(&mut pass, now).await?;
        return Ok(Stepped { thinning: (!done.finished).then_some(pass), rows: done.rows, more: true });
    }
    for what in [Packable::Explanations, Packable::Books] {
        let done = db.pack_some(what, now).await?;
        if !done.finished {
            return Ok(Stepped { thinning: None, rows: done.rows, more: true });
        }
    }
    Ok(Stepped { thinning: None, rows: 0, more: false })
}

impl Actor for Housekeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(EVERY, |actor, ctx| actor.look(ctx));
    }
}

impl Supervised for Housekeeper {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone());
    }
}

observable!(Housekeeper);

impl Handler<LeasesChanged> for Housekeeper {
    type Result = ();

    fn handle(&mut self, LeasesChanged(leases): LeasesChanged, _: &mut Context<Self>) {
        self.deps.leases = leases;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::supervise::fault_injection::InjectPanic::{InFuture, InHandler};
    use crate::actors::supervise::fault_injection::{provoke, restarts};
    use crate::domain::money::ids::AssetId;
    use crate::domain::money::units::PriceMicros;
    use crate::testkit::feed_setup::FeedSetup;
    use crate::testkit::wait::within;

    const DAY_MS: i64 = 24 * 3_600_000;

    #[actix_web::test]
    async fn old_prices_are_thinned_and_after_each_kind_of_panic_too() {
        let setup = FeedSetup::new().await;
        let now = setup.clock.now();
        let begin = Timestamp::from_millis((now.millis() - 8 * DAY_MS) / DAY_MS * DAY_MS);
        let write = async |asset: &str| {
            let asset = AssetId::parse(asset).unwrap();
            for n in 1..=40 {
                let price = PriceMicros::new(n * 1_000).unwrap();
                setup.db.insert_prices(begin.plus_millis(n * 30_000), &[(asset.clone(), price)]).await.unwrap();
            }
            asset
        };
        let left = async |asset: &AssetId| setup.db.prices(asset, Timestamp::EPOCH, now, 1_000).await.unwrap();
        let deps = HousekeeperDeps { db: setup.db.clone(), clock: setup.clock, leases: Arc::new(Leases::All) };
        // Each panic meets the first look, before or in the middle of the work.
        for (panics, asset) in [(None, "1"), (Some(InHandler), "2"), (Some(InFuture), "3")] {
            let asset = write(asset).await;
            setup.db.put_checkpoint("retention:prices:300000", "0", now).await.unwrap();
            let (supervisor, scope) = setup.supervisor.scope();
            let _keeper = Housekeeper::start(deps.clone(), &supervisor);
            if let Some(panics) = panics {
                provoke("housekeeper", panics);
            }
            within(async {
                while left(&asset).await.len() > 4 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
            // The last of each five minutes: 10, 20, 30 and 40 half minutes after the full hour.
            let rows = left(&asset).await;
            let expected: Vec<_> = [10, 20, 30, 40]
                .map(|half: i64| (begin.plus_millis(half * 30_000), PriceMicros::new(half * 1_000).unwrap()))
                .into();
            assert_eq!(rows, expected);
            within(async {
                while panics.is_some() && restarts("housekeeper") == 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
            drop(scope);
        }
    }
}
