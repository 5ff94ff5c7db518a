//! Fetches the books of some groups again 1, 5, 15 and 60 s after the one that was decided on (spec 14). The samples
//! decide nothing.
//!
//! Takes   `DirectoryChanged`, for the share of groups; `LeasesChanged`: of several workers one samples.
//! Timer   twice a second it looks for decided groups and fetches at most one book, so at most two a second.
//! Truth   `book_sample`. A sample that is too late is left out: a book of another time would be a wrong answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Supervised};

use super::{
    directory::DirectoryChanged,
    lease_keeper::LeasesChanged,
    supervise::{IoResult, Observed, SupervisorContext, observable, spawn_io, start_supervised},
};
use crate::clock::Clock;
use crate::db::{BookSample, Db, DbError, DecidedBook};
use crate::domain::events::lease::{LeaseName, Leases};
use crate::domain::market::book::Level;
use crate::domain::money::ids::{AssetId, GroupId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::polymarket::{Polymarket, PolymarketError, Priority};

const EVERY: Duration = Duration::from_millis(500);
const DELAYS_S: [i64; 4] = [1, 5, 15, 60];
/// Groups are looked for this far back: the longest delay, and what a decision may wait.
const LOOK_BACK_MS: i64 = 180_000;
/// An answer that takes longer is of another time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A round that has not answered for so long is lost.
const LOST_MS: i64 = 30_000;
const WHOLE_BPS: u128 = 10_000;

#[derive(Clone)]
pub struct BookSamplerDeps {
    pub db: Db,
    pub clock: Clock,
    pub leases: Arc<Leases>,
    pub polymarket: Polymarket,
}

pub struct BookSampler {
    deps: BookSamplerDeps,
    /// The share of groups to sample, in bps.
    share: u128,
    /// When a round that is under way counts as lost.
    busy_until: Timestamp,
    /// The groups whose samples are planned or left out, and when their book was fetched.
    known: BTreeMap<GroupId, Timestamp>,
    due: BTreeSet<(Timestamp, i64, GroupId, AssetId)>,
    stored: u64,
    late: u64,
    last: Option<Timestamp>,
}

/// What a round brought.
struct Round {
    decided: Vec<DecidedBook>,
    stored: bool,
}

impl BookSampler {
    pub fn start(deps: BookSamplerDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "book_sampler", Self::new(deps, 0))
    }

    fn new(deps: BookSamplerDeps, share: u128) -> Self {
        let (known, due) = (BTreeMap::new(), BTreeSet::new());
        Self { deps, share, busy_until: Timestamp::EPOCH, known, due, stored: 0, late: 0, last: None }
    }

    fn observed(&self) -> Observed {
        let state = serde_json::json!({
            "share_bps": u64::try_from(self.share).unwrap_or_default(),
            "waiting": self.due.len(),
            "stored": self.stored,
            "too_late": self.late,
        });
        Observed { state, last_activity: self.last }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        if self.share == 0 || now < self.busy_until || !self.deps.leases.hold(LeaseName::Global) {
            return;
        }
        self.busy_until = now.plus_millis(LOST_MS);
        let (deps, next) = (self.deps.clone(), self.take_due(now));
        spawn_io(ctx, async move { round(&deps, next, now).await }, Self::looked);
    }

    /// Returns the first sample that is due and not too late.
    fn take_due(&mut self, now: Timestamp) -> Option<(i64, GroupId, AssetId)> {
        while self.due.first().is_some_and(|(at, ..)| *at <= now) {
            let (at, delay_s, group, asset) = self.due.pop_first()?;
            // Half of the delay, and the second that two looks may take.
            if now.millis_since(at) <= delay_s * 500 + 1_000 {
                return Some((delay_s, group, asset));
            }
            self.late += 1;
        }
        None
    }

    fn looked(&mut self, round: IoResult<Round, DbError>, _: &mut Context<Self>) {
        let now = self.deps.clock.now();
        self.busy_until = now;
        let round = match round {
            Ok(round) => round,
            Err(error) => return tracing::warn!(%error, "a book could not be sampled"),
        };
        self.last = Some(now);
        self.stored += u64::from(round.stored);
        self.known.retain(|_, fetched_at| now.millis_since(*fetched_at) < 2 * LOOK_BACK_MS);
        for decided in round.decided {
            if self.known.insert(decided.group, decided.fetched_at).is_none() && self.is_chosen(decided.group) {
                let left = DELAYS_S.into_iter().filter(|delay| !decided.sampled.contains(delay));
                self.due.extend(left.map(|delay| {
                    (decided.fetched_at.plus_millis(delay * 1_000), delay, decided.group, decided.asset.clone())
                }));
            }
        }
    }

    /// Chosen by the id, which is a hash: the same groups after a restart, whatever else happens.
    fn is_chosen(&self, group: GroupId) -> bool {
        group.0.as_u128() % WHOLE_BPS < self.share
    }
}

/// Fetches and stores the sample that is due, and looks for groups that were decided.
///
/// # Errors
/// [`DbError`] when the database fails.
async fn round(
    deps: &BookSamplerDeps,
    next: Option<(i64, GroupId, AssetId)>,
    now: Timestamp,
) -> Result<Round, DbError> {
    let mut stored = false;
    if let Some((delay_s, group, asset)) = next
        && let Some(sides) = fetch(deps, &asset).await
    {
        let sample = BookSample { group, delay_s, fetched_at: deps.clock.now(), sides };
        deps.db.save_book_sample(&sample).await?;
        stored = true;
    }
    Ok(Round { decided: deps.db.decided_books(now.plus_millis(-LOOK_BACK_MS)).await?, stored })
}

/// Returns the sides, or that the CLOB has no book; `None` when it did not answer in time, which says nothing of the book.
async fn fetch(deps: &BookSamplerDeps, asset: &AssetId) -> Option<Result<(Vec<Level>, Vec<Level>), String>> {
    let levels = |side: Vec<(PriceMicros, ShareMicros)>| {
        side.into_iter().map(|(price, shares)| Level { price, shares }).collect()
    };
    match tokio::time::timeout(PATIENCE, deps.polymarket.book(asset, Priority::Bulk)).await {
        Ok(Ok(answer)) => Some(Ok((levels(answer.bids), levels(answer.asks)))),
        Ok(Err(error)) if PolymarketError::is_not_found(&error) => {
            Some(Err("the CLOB has no order book for it".to_owned()))
        }
        Ok(Err(error)) => {
            tracing::debug!(%asset, %error, "a book could not be sampled");
            None
        }
        Err(_) => None,
    }
}

impl Actor for BookSampler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(EVERY, |actor, ctx| actor.look(ctx));
    }
}

impl Supervised for BookSampler {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::new(self.deps.clone(), self.share);
    }
}

observable!(BookSampler);

impl Handler<DirectoryChanged> for BookSampler {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, _: &mut Context<Self>) {
        self.share = u128::try_from(directory.config.system.book_sample.0).unwrap_or(0);
    }
}

impl Handler<LeasesChanged> for BookSampler {
    type Result = ();

    fn handle(&mut self, LeasesChanged(leases): LeasesChanged, _: &mut Context<Self>) {
        self.deps.leases = leases;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::effective::ConfigPatch;
    use crate::testkit::eventually;
    use crate::testkit::running_bot::RunningBot;

    #[actix_web::test]
    async fn books_are_sampled_a_second_and_five_later_after_a_panic_too_and_only_when_asked() {
        use crate::actors::supervise::fault_injection::InjectPanic::{InFuture, InHandler};
        use crate::actors::supervise::fault_injection::provoke;
        let mut running = RunningBot::on_sqlite().await;
        running.copies_a_fill().await;
        let db = running.bot.db.clone();
        let sampled = async || {
            let mut all = Vec::new();
            for decided in db.decided_books(Timestamp::EPOCH).await.unwrap() {
                for sample in db.book_samples(decided.group).await.unwrap() {
                    assert!(sample.sides.is_ok());
                    let after = sample.fetched_at.millis_since(decided.fetched_at);
                    assert!(after >= sample.delay_s * 1_000, "{after} ms");
                    all.push((decided.group, sample.delay_s));
                }
            }
            all
        };
        assert_eq!(sampled().await, [], "off by default");
        let all = ConfigPatch::parse(r#"{"system":{"bookSampleBps":10000}}"#).unwrap();
        db.save_global(&all, "a test", Clock::System.now()).await.unwrap();
        for panics in [None, Some(InHandler), Some(InFuture)] {
            if let Some(panics) = panics {
                provoke("book_sampler", panics);
            }
            running.copies_a_fill().await;
            let newest = db.decided_books(Timestamp::EPOCH).await.unwrap().pop().unwrap().group;
            eventually("a sample of the new group five seconds later", async || {
                sampled().await.contains(&(newest, 5)).then_some(())
            })
            .await;
        }
        running.ends_well().await;
    }
}
