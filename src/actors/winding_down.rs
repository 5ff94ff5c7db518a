//! Stops the leaders who wind down, as soon as nothing of theirs is left to sell (spec 7.1).
//!
//! Takes   `DirectoryChanged` from the root, `LeasesChanged`.
//! Timer   one round every two seconds. It does nothing while no leader winds down.
//! Truth   `followed_user.state`, the ledger and the open jobs. A leader is stopped once, in one transaction with the
//!         audit.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Supervised};

use super::{
    directory::DirectoryChanged,
    lease_keeper::LeasesChanged,
    supervise::{IoResult, Observed, SupervisorContext, observable, or_panic, spawn_io, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Db, Directory, LoadError};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::dust::is_dust;
use crate::domain::events::lease::{LeaseName, Leases};
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::polymarket::{Polymarket, Priority};
use crate::queue;

const ROUND: Duration = Duration::from_secs(2);
/// How long a leader must have had nothing to sell. An executor learns of a change of the state within a second, so a
/// buy that was approved before it is committed by then.
const FLAT_FOR_MS: i64 = 5_000;
/// A best bid is asked for again after this time.
const BID_MS: i64 = 60_000;
/// Books asked for in one round; the lots behind them wait for a later one.
const BOOKS_MAX: usize = 10;
/// The name in the audit log.
const WHO: &str = "winding down";

#[derive(Clone)]
pub struct WindingDownDeps {
    pub db: Db,
    pub clock: Clock,
    pub polymarket: Polymarket,
    /// The leases at the start; [`LeasesChanged`] replaces them.
    pub leases: Arc<Leases>,
}

/// Begins a round now.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
struct LookNow;

pub struct WindingDown {
    deps: WindingDownDeps,
    leases: Arc<Leases>,
    directory: Option<Arc<Directory>>,
    /// `None` while a round runs: the round has it.
    known: Option<Known>,
    last_round: Option<Timestamp>,
    stopped: u64,
    failures: u64,
}

/// What earlier rounds found out.
#[derive(Debug, Default)]
struct Known {
    /// Since when each leader has nothing to sell.
    flat_since: BTreeMap<FollowedUserId, Timestamp>,
    /// The best bid of each asset, and when it was asked for. `None` when there is no book.
    bids: BTreeMap<AssetId, (Timestamp, Option<PriceMicros>)>,
}

/// The result of a round.
#[derive(Debug, Default)]
struct Round {
    known: Known,
    stopped: u64,
    failures: u64,
}

/// What is left of a leader in our accounts.
#[derive(Debug, PartialEq)]
enum Left {
    /// A lot above dust, or a group that is not decided yet.
    Something,
    /// Nothing but these lots.
    Dust(Vec<(PortfolioId, AssetId, ShareMicros)>),
}

impl WindingDown {
    pub fn start(deps: WindingDownDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        let leases = deps.leases.clone();
        start_supervised(supervisor, "winding_down", Self::new(deps, leases, None))
    }

    fn new(deps: WindingDownDeps, leases: Arc<Leases>, directory: Option<Arc<Directory>>) -> Self {
        let known = Some(Known::default());
        Self { deps, leases, directory, known, last_round: None, stopped: 0, failures: 0 }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "winding_down": self.leaders().len(),
                "stopped": self.stopped,
                "failures": self.failures,
            }),
            last_activity: self.last_round,
        }
    }

    /// Returns the leaders of this worker who wind down.
    fn leaders(&self) -> Vec<FollowedUserId> {
        let users = self.directory.iter().flat_map(|directory| &directory.users);
        let winding_down = users.filter(|user| user.state == FollowState::WindingDown).map(|user| user.id);
        winding_down.filter(|user| self.leases.hold(LeaseName::User(*user))).collect()
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        let leaders = self.leaders();
        let Some(known) = self.known.take_if(|_| !leaders.is_empty()) else { return };
        let deps = self.deps.clone();
        spawn_io(ctx, async move { Ok(round(&deps, &leaders, known).await) }, Self::round_ended);
    }

    fn round_ended(&mut self, round: IoResult<Round, Infallible>, _: &mut Context<Self>) {
        let Ok(round) = or_panic(round, "a round of winding down");
        self.stopped += round.stopped;
        self.failures += round.failures;
        self.known = Some(round.known);
        self.last_round = Some(self.deps.clock.now());
    }
}

/// Looks at each leader who winds down. One who fails does not hold up the others.
async fn round(deps: &WindingDownDeps, leaders: &[FollowedUserId], known: Known) -> Round {
    let mut round = Round { known, ..Round::default() };
    round.known.flat_since.retain(|leader, _| leaders.contains(leader));
    for leader in leaders {
        match look_at(deps, &mut round.known, *leader).await {
            Ok(stopped) => round.stopped += u64::from(stopped),
            Err(error) => {
                tracing::warn!(user_id = %leader, %error, "it is not known whether this leader has wound down");
                round.known.flat_since.remove(leader);
                round.failures += 1;
            }
        }
    }
    round
}

/// Stops the leader who has had nothing to sell for long enough; returns whether it did.
///
/// # Errors
/// [`LoadError`] when the database cannot be reached, or its rows do not fit together.
async fn look_at(deps: &WindingDownDeps, known: &mut Known, leader: FollowedUserId) -> Result<bool, LoadError> {
    let Left::Dust(dust) = left(deps, known, leader).await? else {
        known.flat_since.remove(&leader);
        return Ok(false);
    };
    let now = deps.clock.now();
    let since = *known.flat_since.entry(leader).or_insert(now);
    if now.millis_since(since) < FLAT_FOR_MS {
        return Ok(false);
    }
    let shown = |(portfolio, asset, shares): &(PortfolioId, AssetId, ShareMicros)| serde_json::json!({ "portfolio": portfolio.to_string(), "asset_id": asset, "share_micros": shares });
    let dust: Vec<_> = dust.iter().map(shown).collect();
    let stopped = deps.db.wound_down(leader, &serde_json::Value::from(dust), WHO, now).await?;
    if stopped {
        tracing::info!(user_id = %leader, "wound down: nothing is left to sell, the leader is stopped");
    }
    Ok(stopped)
}

/// Returns what is left of a leader in both accounts.
///
/// # Errors
/// [`LoadError`] when the database cannot be reached, or its rows do not fit together.
async fn left(deps: &WindingDownDeps, known: &mut Known, leader: FollowedUserId) -> Result<Left, LoadError> {
    if queue::undecided_of(&deps.db, leader).await? > 0 {
        return Ok(Left::Something);
    }
    let mut dust = Vec::new();
    let mut asked = 0;
    for portfolio in [PortfolioId::ExecUser(leader), PortfolioId::ExecGlobal] {
        let running = deps.db.unmarked_portfolio(portfolio).await?.portfolio;
        for lot in running.lots().filter(|lot| lot.leader == leader) {
            // At a bid of one USDC, the highest there is, a small lot is dust without asking.
            let is_small = is_dust(lot.shares, Some(PriceMicros::ONE));
            if !is_small && !is_dust(lot.shares, best_bid(deps, known, &lot.asset, &mut asked).await) {
                return Ok(Left::Something);
            }
            dust.push((portfolio, lot.asset, lot.shares));
        }
    }
    Ok(Left::Dust(dust))
}

/// Returns the best bid, at most a minute old: 0 for a book without bids, `None` when there is no book or it was not
/// asked for yet.
async fn best_bid(
    deps: &WindingDownDeps,
    known: &mut Known,
    asset: &AssetId,
    asked: &mut usize,
) -> Option<PriceMicros> {
    let now = deps.clock.now();
    if let Some((_, bid)) = known.bids.get(asset).filter(|(at, _)| now.millis_since(*at) < BID_MS) {
        return *bid;
    }
    if *asked >= BOOKS_MAX {
        return None;
    }
    *asked += 1;
    let answer = deps.polymarket.book(asset, Priority::Bulk).await;
    let best = |bids: Vec<(PriceMicros, ShareMicros)>| {
        let bids = bids.into_iter().filter(|(_, shares)| *shares > ShareMicros::ZERO);
        bids.map(|(price, _)| price).max().unwrap_or(PriceMicros::ZERO)
    };
    let bid = answer.ok().map(|book| best(book.bids));
    known.bids.insert(asset.clone(), (now, bid));
    bid
}

impl Actor for WindingDown {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(ROUND, |_, ctx| ctx.notify(LookNow));
    }
}

impl Supervised for WindingDown {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone(), self.leases.clone(), self.directory.take());
    }
}

observable!(WindingDown);

impl Handler<LookNow> for WindingDown {
    type Result = ();

    fn handle(&mut self, _: LookNow, ctx: &mut Context<Self>) {
        self.begin(ctx);
    }
}

impl Handler<DirectoryChanged> for WindingDown {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, _: &mut Context<Self>) {
        self.directory = Some(directory);
    }
}

impl Handler<LeasesChanged> for WindingDown {
    type Result = ();

    fn handle(&mut self, LeasesChanged(leases): LeasesChanged, _: &mut Context<Self>) {
        self.leases = leases;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::ledger_writer::{LedgerWriter, ReadView};
    use crate::domain::events::group::EventGroup;
    use crate::simulator::Quotes;
    use crate::testkit::copy_setup::{CopySetup, record};
    use crate::testkit::exchange::OneMarketExchange;

    fn deps(setup: &CopySetup, exchange: &OneMarketExchange, later_ms: i64) -> WindingDownDeps {
        WindingDownDeps {
            db: setup.db.clone(),
            clock: Clock::starting_at(setup.clock.now().plus_millis(later_ms)),
            polymarket: exchange.polymarket.clone(),
            leases: Arc::new(Leases::All),
        }
    }

    /// Our own account copies 10 shares of the leader.
    async fn copy(setup: &CopySetup, writer: &Addr<LedgerWriter>, group: &EventGroup) {
        setup.close(group).await;
        let portfolio = PortfolioId::ExecUser(setup.alice);
        let (leader, market) = (setup.alice, group.market.clone());
        let read = ReadView { portfolio, leader, market, asset: None, outcomes: Vec::new() };
        let version = writer.send(read).await.unwrap().unwrap().version;
        writer.send(record(portfolio, group, version, None)).await.unwrap().unwrap().committed().await.unwrap();
        // Both copy jobs are done.
        for queue in [queue::Queue::CopyAttemptUser, queue::Queue::CopyAttemptGlobal] {
            let job = setup.claim(queue).await;
            queue::finish(&setup.db, &[job.fence()]).await.unwrap();
        }
    }

    async fn state(setup: &CopySetup) -> FollowState {
        setup.db.followed_users().await.unwrap()[0].state
    }

    #[actix_web::test]
    async fn a_leader_is_stopped_once_no_lot_above_dust_is_left_for_some_seconds() {
        let setup = CopySetup::new().await;
        let exchange = OneMarketExchange::start(setup.clock);
        let writer = setup.ledger_writer();
        let group = exchange.group(setup.alice, 1);
        copy(&setup, &writer, &group).await;
        let now = setup.clock.now();
        setup.db.set_state(setup.alice, FollowState::WindingDown, "test", now).await.unwrap();

        // 10 shares at a bid of a half are above dust.
        let round_at = async |later_ms, known| round(&deps(&setup, &exchange, later_ms), &[setup.alice], known).await;
        let known = round_at(0, Known::default()).await.known;
        assert_eq!((known.flat_since.len(), state(&setup).await), (0, FollowState::WindingDown));
        // At a bid of 9 cents the 10 shares bring 0.90 USDC: dust, once the old bid has aged.
        let low = Quotes::of(&[(90_000, 1_000_000_000)], &[(110_000, 1_000_000_000)]);
        exchange.simulator.with(|venue| venue.set_book(&exchange.asset(0), low));
        let known = round_at(1_000, known).await.known;
        assert_eq!(known.flat_since.len(), 0, "the bid of a second ago still counts");
        let known = round_at(BID_MS, known).await.known;
        assert_eq!((known.flat_since.len(), state(&setup).await), (1, FollowState::WindingDown));
        let third = round_at(BID_MS + FLAT_FOR_MS, known).await;
        assert_eq!((third.stopped, third.failures, state(&setup).await), (1, 0, FollowState::Stopped));
        let audit = setup.db.audits(Some("wound_down"), None, 9).await.unwrap().remove(0).audit;
        assert_eq!(audit.before_json.as_deref(), Some("\"WINDING_DOWN\""));
        let after = audit.after_json.unwrap();
        assert!(after.contains("\"state\":\"STOPPED\"") && after.contains(exchange.asset(0).as_str()), "{after}");
    }

    #[actix_web::test]
    async fn an_undecided_group_keeps_the_leader_and_a_change_of_mind_is_kept() {
        let setup = CopySetup::new().await;
        let exchange = OneMarketExchange::start(setup.clock);
        let _writer = setup.ledger_writer();
        setup.db.set_state(setup.alice, FollowState::WindingDown, "test", setup.clock.now()).await.unwrap();
        setup.close(&exchange.group(setup.alice, 1)).await;
        let deps = deps(&setup, &exchange, 0);
        assert_eq!(left(&deps, &mut Known::default(), setup.alice).await.unwrap(), Left::Something);

        setup.db.set_state(setup.alice, FollowState::Active, "test", setup.clock.now()).await.unwrap();
        let dust = serde_json::Value::Null;
        assert!(!setup.db.wound_down(setup.alice, &dust, WHO, setup.clock.now()).await.unwrap());
        assert_eq!(state(&setup).await, FollowState::Active);
    }
}
