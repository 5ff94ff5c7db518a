//! The inputs of a decision besides the portfolio: the market, the book, and what the leader held (spec 7).

use std::{sync::Arc, time::Duration};

use actix::MailboxError;
use tokio::time::{Instant, sleep, timeout_at};

use super::ExecutorDeps;
use super::pending_groups::Facts;
use crate::actors::book_fetcher::{FetchBook, FetchFailed, GroupBook, KnowMarket};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::view::{Baselines, PortfolioView};
use crate::domain::config::effective::{EffectiveConfig, ExitSizing};
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::decide::{Situation, precheck};
use crate::domain::decision::exit::{TheirHolding, exit_assets};
use crate::domain::events::group::EventGroup;
use crate::domain::market::facts::Market;
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

/// How long to try for the facts of a market (spec 7.1).
const MARKET_TRYING: Duration = Duration::from_secs(30);
/// How long to wait until the shadow has the rows of the group (spec 7.2c).
const SHADOW_TRYING: Duration = Duration::from_secs(5);
/// The wait between two tries for the facts of a market.
const MARKET_AGAIN: Duration = Duration::from_secs(1);
const SHADOW_AGAIN: Duration = Duration::from_millis(250);

/// Why a group has no facts to decide on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unprepared {
    #[error(transparent)]
    Fetch(#[from] FetchFailed),
    #[error("no answer from the book fetcher: {0}")]
    Mailbox(#[from] MailboxError),
}

/// Fetches the facts of a group whose job was due at `due`.
///
/// # Errors
/// When the book fetcher does not answer, or cannot store the book. Missing facts are not an error.
pub(super) async fn gather(
    deps: &ExecutorDeps,
    portfolio: PortfolioId,
    group: &EventGroup,
    config: &EffectiveConfig,
    leader: FollowState,
    due: Timestamp,
) -> Result<Facts, Unprepared> {
    let market = market(deps, group).await?;
    let blank = nothing_known(portfolio);
    let situation = Situation {
        group,
        market: market.as_ref(),
        portfolio: &blank,
        config,
        leader,
        their_holding: TheirHolding::NotAsked,
        now: deps.venue.now(),
    };
    let needs_book = matches!(precheck(&situation), Ok(None));
    let (book, their_holding) = tokio::join!(
        book(deps, group, &market, due, needs_book),
        their_holding(deps, group, &market, config.sizing.exit_sizing)
    );
    Ok(Facts { book: book?, their_holding, market })
}

/// Returns the facts of the market; those of a market that we know only by id, when there were none in time.
///
/// # Errors
/// When the book fetcher does not answer.
async fn market(deps: &ExecutorDeps, group: &EventGroup) -> Result<Arc<Market>, Unprepared> {
    let until = Instant::now() + MARKET_TRYING;
    loop {
        match timeout_at(until, deps.market.send(KnowMarket(group.market.clone()))).await {
            Ok(Ok(Ok(market))) if market.is_known() => return Ok(market),
            Ok(Ok(Ok(_) | Err(FetchFailed::Market(_)))) | Err(_) => {}
            Ok(Ok(Err(error))) => return Err(error.into()),
            Ok(Err(error)) => return Err(error.into()),
        }
        if Instant::now() + MARKET_AGAIN >= until {
            tracing::warn!(group = %group.key, market = %group.market, "decided without the facts of the market");
            return Ok(Arc::new(Market::unknown(group.market.clone())));
        }
        sleep(MARKET_AGAIN).await;
    }
}

/// Returns the book of a group that needs one, fetched no sooner than the venue would match the order.
///
/// # Errors
/// When the book fetcher does not answer, or cannot store the book.
async fn book(
    deps: &ExecutorDeps,
    group: &EventGroup,
    market: &Market,
    due: Timestamp,
    is_needed: bool,
) -> Result<Option<Arc<GroupBook>>, Unprepared> {
    let Some(asset) = group.action.asset().filter(|_| is_needed) else { return Ok(None) };
    let matched = due.plus_millis(market.taker_delay_ms.unwrap_or_default());
    let wait = u64::try_from(matched.millis_since(deps.clock.now())).unwrap_or_default();
    sleep(Duration::from_millis(wait)).await;
    Ok(Some(deps.book.send(FetchBook { group: group.id, asset: asset.clone() }).await??))
}

/// Returns what the leader held just before an exit, once their shadow has the rows of the group.
async fn their_holding(deps: &ExecutorDeps, group: &EventGroup, market: &Market, sizing: ExitSizing) -> TheirHolding {
    let assets = exit_assets(group, market);
    if sizing == ExitSizing::Notional || assets.is_empty() {
        return TheirHolding::NotAsked;
    }
    let until = Instant::now() + SHADOW_TRYING;
    loop {
        match deps.db.their_holding_before(group, &assets, deps.clock.now()).await {
            Ok(Some(held)) => return held,
            Ok(None) => {}
            Err(error) => tracing::warn!(group = %group.key, %error, "the leader's holding cannot be read"),
        }
        if Instant::now() + SHADOW_AGAIN >= until {
            return TheirHolding::Late;
        }
        sleep(SHADOW_AGAIN).await;
    }
}

/// Returns an empty view: the switches of a decision (spec 7.1) use no portfolio, and must not wait for one.
fn nothing_known(id: PortfolioId) -> PortfolioView {
    PortfolioView {
        id,
        version: 0,
        cash: UsdcMicros::ZERO,
        equity: UsdcMicros::ZERO,
        exposure_total: UsdcMicros::ZERO,
        exposure_market: UsdcMicros::ZERO,
        exposure_leader: UsdcMicros::ZERO,
        held: ShareMicros::ZERO,
        held_sets: Vec::new(),
        baselines: Baselines::default(),
    }
}
