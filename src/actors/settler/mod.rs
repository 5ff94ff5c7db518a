//! Settles our positions in markets that have resolved, and watches the markets in which a portfolio holds something.
//!
//! Takes   its timer, `SettleNow` and `LeasesChanged`.
//! Sends   `Holdings` and `RecordEntries` to the ledger writer, and the payouts as `PricesChanged`.
//! Timer   one round a minute. How often it asks for one market's payouts depends on how long the market is closed.
//! Truth   open positions, and the payouts of three sources (see `payouts`). Settling twice changes nothing, because the
//!         reference `settle:..` of an entry is unique.

mod batches;

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised};

use super::{
    lease_keeper::LeasesChanged,
    ledger_writer::{HeldAssets, Holdings, PricesChanged, RecordEntries, Refused},
    payouts::{PayoutError, add_payouts},
    supervise::{IoResult, Observed, SupervisorContext, observable, or_panic, spawn_io, start_supervised},
};
use crate::clock::Clock;
use crate::db::{Db, DbError};
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::settlement::{SettlementError, settle};
use crate::domain::market::facts::Market;
use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::Timestamp;
use crate::polymarket::{Polymarket, PolymarketError};

const ROUND: Duration = Duration::from_secs(60);
/// The facts of a held market are fetched again after this long: its close time may move, and it may close early.
const FACTS_MS: i64 = 10 * 60 * 1000;
/// The same for facts of which half is missing, because only the second source answered.
const HALF_KNOWN_MS: i64 = 60 * 1000;
/// The payouts of a closed market are asked for again after a tenth of the time it has been closed, within these
/// bounds.
const PAYOUTS_MS_MIN: i64 = 60 * 1000;
const PAYOUTS_MS_MAX: i64 = 15 * 60 * 1000;
/// Tries to settle one portfolio while other actors change it.
const TRIES: usize = 5;

#[derive(Clone)]
pub struct SettlerDeps {
    pub db: Db,
    pub clock: Clock,
    pub polymarket: Polymarket,
    pub held: Recipient<HeldAssets>,
    pub holdings: Recipient<Holdings>,
    pub record: Recipient<RecordEntries>,
    pub prices: Recipient<PricesChanged>,
}

/// Begins a round now.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct SettleNow;

pub struct Settler {
    deps: SettlerDeps,
    /// `None` while a round runs: the round has it.
    asked: Option<LastAsked>,
    again: bool,
    last_round: Option<Timestamp>,
    settled: usize,
    failures: u64,
}

/// When the facts and the payouts of each market were last asked for.
#[derive(Debug, Default)]
struct LastAsked {
    facts: BTreeMap<MarketId, Timestamp>,
    payouts: BTreeMap<MarketId, Timestamp>,
}

/// The results of a round.
struct Round {
    asked: LastAsked,
    /// Number of portfolios settled, counted once for each market.
    settled: usize,
    failures: u64,
}

#[derive(Debug, thiserror::Error)]
enum SettlerError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Polymarket(#[from] PolymarketError),
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the ledger writer does not answer: {0}")]
    Mailbox(#[from] actix::MailboxError),
    #[error(transparent)]
    Payouts(#[from] PayoutError),
}

impl Settler {
    pub fn start(deps: SettlerDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "settler", Self::new(deps))
    }

    fn new(deps: SettlerDeps) -> Self {
        Self { deps, asked: Some(LastAsked::default()), again: false, last_round: None, settled: 0, failures: 0 }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({ "settled": self.settled, "failures": self.failures }),
            last_activity: self.last_round,
        }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        let Some(asked) = self.asked.take() else {
            self.again = true;
            return;
        };
        let deps = self.deps.clone();
        spawn_io(ctx, async move { Ok(round(&deps, asked).await) }, Self::round_ended);
    }

    fn round_ended(&mut self, round: IoResult<Round, Infallible>, ctx: &mut Context<Self>) {
        let Ok(round) = or_panic(round, "a round of settling");
        self.settled += round.settled;
        self.failures += round.failures;
        self.asked = Some(round.asked);
        self.last_round = Some(self.deps.clock.now());
        if std::mem::take(&mut self.again) {
            self.begin(ctx);
        }
    }
}

/// Looks at every market in which a portfolio holds something. A market that fails does not stop the others.
async fn round(deps: &SettlerDeps, asked: LastAsked) -> Round {
    let mut round = Round { asked, settled: 0, failures: 0 };
    let Ok(Ok(held)) = deps.held.send(HeldAssets).await else {
        round.failures += 1;
        return round;
    };
    round.asked.facts.retain(|market, _| held.markets.contains_key(market));
    round.asked.payouts.retain(|market, _| held.markets.contains_key(market));
    let ids: Vec<MarketId> = held.markets.keys().cloned().collect();
    if let Err(error) = batches::learn(deps, &mut round.asked, &ids).await {
        tracing::warn!(%error, "closed markets could not be asked for together; they are asked for one by one");
    }
    for (id, holders) in &held.markets {
        match look_at(deps, &mut round.asked, id, holders.iter().copied()).await {
            Ok(settled) => round.settled += settled,
            Err(error) => {
                tracing::warn!(market = %id, %error, "market could not be checked for settlement");
                round.failures += 1;
            }
        }
    }
    round
}

/// Settles one market if it has resolved; returns the number of portfolios settled.
///
/// # Errors
/// [`SettlerError`] when the database, the ledger writer or Polymarket fails.
async fn look_at(
    deps: &SettlerDeps,
    asked: &mut LastAsked,
    id: &MarketId,
    holders: impl Iterator<Item = PortfolioId>,
) -> Result<usize, SettlerError> {
    let Some(mut market) = facts(deps, asked, id).await? else { return Ok(0) };
    if market.resolved_at.is_none() {
        if !payouts_are_due(&market, asked, deps.clock.now()) {
            return Ok(0);
        }
        asked.payouts.insert(id.clone(), deps.clock.now());
        let stage = add_payouts(&deps.db, &deps.polymarket, deps.clock, &mut market).await?;
        if market.resolved_at.is_none() {
            note_unsettled(deps, &market, stage).await?;
            return Ok(0);
        }
    }
    // Shadow portfolios keep their positions until the leader redeems; until then they are marked at the payout.
    let payouts = market.outcomes.iter().filter_map(|outcome| Some((outcome.asset.clone(), outcome.payout?)));
    let marks = payouts.map(|(asset, payout)| (asset, Mark::Payout(payout))).collect();
    deps.prices.do_send(PricesChanged(Arc::new(marks)));
    let mut settled = 0;
    for portfolio in holders.filter(|portfolio| portfolio.scope() != PortfolioScope::ShadowUser) {
        close(deps, portfolio, &market).await?;
        settled += 1;
    }
    Ok(settled)
}

/// Notes a market that has ended without payouts: it is closed, or a result is proposed. A passed end date does not end a market.
///
/// # Errors
/// When the database fails.
async fn note_unsettled(deps: &SettlerDeps, market: &Market, stage: ResolutionStage) -> Result<(), DbError> {
    if market.active && stage == ResolutionStage::Open {
        return deps.db.forget_unsettled(&market.id).await;
    }
    deps.db.note_unsettled(&market.id, stage, deps.clock.now()).await
}

/// Returns the stored facts of the market, fetched again when they are old or incomplete; `None` when the market is
/// unknown.
///
/// # Errors
/// [`SettlerError`] when the database or Polymarket fails.
async fn facts(deps: &SettlerDeps, asked: &mut LastAsked, id: &MarketId) -> Result<Option<Market>, SettlerError> {
    let stored = deps.db.market(id).await?;
    let now = deps.clock.now();
    let is_done = stored.as_ref().is_some_and(|market| market.resolved_at.is_some());
    if is_done || !facts_are_due(asked, id, stored.as_ref().is_some_and(is_known), now) {
        return Ok(stored);
    }
    asked.facts.insert(id.clone(), now);
    if let Some(market) = deps.polymarket.market(id).await? {
        deps.db.save_market(&market).await?;
    }
    Ok(deps.db.market(id).await?)
}

fn is_known(market: &Market) -> bool {
    !market.outcomes.is_empty() && !market.question.is_empty()
}

/// Returns whether the facts of a market have to be fetched. The first look at a known market counts as a fetch: a start
/// must not fetch hundreds of markets at once.
fn facts_are_due(asked: &mut LastAsked, id: &MarketId, is_known: bool, now: Timestamp) -> bool {
    let fresh_ms = if is_known { FACTS_MS } else { HALF_KNOWN_MS };
    let last = *asked.facts.entry(id.clone()).or_insert(if is_known { now } else { Timestamp::EPOCH });
    now.millis_since(last) >= fresh_ms
}

fn payouts_are_due(market: &Market, asked: &LastAsked, now: Timestamp) -> bool {
    let closed_for = match market.close_time {
        Some(close) if close <= now => now.millis_since(close),
        _ if !market.active => PAYOUTS_MS_MAX,
        _ => return false,
    };
    let wait = (closed_for / 10).clamp(PAYOUTS_MS_MIN, PAYOUTS_MS_MAX);
    asked.payouts.get(&market.id).is_none_or(|last| now.millis_since(*last) >= wait)
}

/// Settles every lot of one portfolio in the market. The entries are made on one version of the portfolio; when the
/// portfolio has changed meanwhile, it tries again.
///
/// # Errors
/// [`SettlerError`] when the ledger writer does not answer or refuses, or every try met a changed portfolio.
async fn close(deps: &SettlerDeps, portfolio: PortfolioId, market: &Market) -> Result<(), SettlerError> {
    for _ in 0..TRIES {
        let held = deps.holdings.send(Holdings { portfolio, market: Some(market.id.clone()) }).await??;
        let entries = settle(portfolio, market, &held.lots, deps.clock.now())?;
        if entries.is_empty() {
            return Ok(());
        }
        let made_on = Some((portfolio, held.version));
        match deps.record.send(RecordEntries { entries, made_on, ..RecordEntries::default() }).await? {
            Ok(_) => return Ok(()),
            Err(Refused::Stale) => {}
            Err(refused) => return Err(refused.into()),
        }
    }
    Err(Refused::Stale.into())
}

impl Actor for Settler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.begin(ctx);
        ctx.run_interval(ROUND, |settler, ctx| settler.begin(ctx));
    }
}

impl Supervised for Settler {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

observable!(Settler);

impl Handler<LeasesChanged> for Settler {
    type Result = ();

    /// Starts a round: the markets of a new lease may have resolved long ago.
    fn handle(&mut self, _: LeasesChanged, ctx: &mut Context<Self>) {
        self.begin(ctx);
    }
}

impl Handler<SettleNow> for Settler {
    type Result = ();

    fn handle(&mut self, _: SettleNow, ctx: &mut Context<Self>) {
        self.begin(ctx);
    }
}

#[cfg(test)]
mod tests;
