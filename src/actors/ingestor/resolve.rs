//! Computes the effect of an activity on the shadow ledger, from the facts of its market and the leader's positions.

use super::{IngestorDeps, events_of};
use crate::actors::book_fetcher::KnowMarket;
use crate::actors::ledger_writer::{Held, Holdings};
use crate::actors::reconciler::ReconcileJob;
use crate::db::DbError;
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::accounting::lot;
use crate::domain::accounting::portfolio::Lot;
use crate::domain::accounting::shadow::carried::{ShadowAsset, ShadowAssets};
use crate::domain::accounting::shadow::conversion::{Lag, PositionCase, Resolved, StoredRows};
use crate::domain::accounting::shadow::reading::{PositionReading, Readings};
use crate::domain::accounting::shadow::{ActivityFacts, NotApplicable, ShadowEffect, entries_for_activity};
use crate::domain::events::event::{ActivityEvent, ActivityKind};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::Bps;
use crate::polymarket::Position;
use crate::queue;
use crate::queue::{Job, Queue, RETRIES};

/// The effect of an activity on the shadow ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Entries(Vec<LedgerEntry>),
    /// It cannot be applied; the reason goes to the audit.
    NotApplicable(String),
}

/// Fetches the facts that the row needs, and computes its effect.
///
/// # Errors
/// When a fact could not be fetched, or the positions and the stored rows do not agree yet. A retry may help.
pub(super) async fn effect_of(deps: &IngestorDeps, job: &Job, activity: &ActivityEvent) -> Result<Effect, String> {
    let Some(condition) = activity.payload.condition_id.clone() else {
        return Ok(Effect::NotApplicable(NotApplicable::NoCondition.to_string()));
    };
    let market = match activity.kind {
        // A known payout only adds detail to a redemption: the shares that leave are those that the shadow holds.
        ActivityKind::Redeem => deps.db.market(&condition).await.map_err(|error| error.to_string())?,
        _ => Some(known_market(deps, &condition).await?),
    };
    let held = match activity.kind {
        ActivityKind::Redeem => held(deps, activity, Some(condition)).await?,
        _ => Vec::new(),
    };
    let holdings: Vec<_> = held.into_iter().map(|lot| (lot.asset, lot.shares)).collect();
    let facts = ActivityFacts {
        market: market.as_ref(),
        holdings: &holdings,
        booked: &[],
        payout_overdue: job.failures >= RETRIES,
    };
    match entries_for_activity(activity, &facts) {
        Ok(ShadowEffect::Entries(booked)) => Ok(Effect::Entries(booked.entries)),
        Ok(ShadowEffect::NeedsPayout) => Err("the payout is not known yet".to_owned()),
        Ok(ShadowEffect::ReadPositions) => converted(deps, job, activity, market).await,
        Err(reason) => Ok(Effect::NotApplicable(reason.to_string())),
    }
}

/// Returns the facts of a market.
///
/// # Errors
/// When they could not be fetched.
async fn known_market(deps: &IngestorDeps, condition: &MarketId) -> Result<Market, String> {
    let known = deps.markets.send(KnowMarket(condition.clone())).await.map_err(|error| error.to_string())?;
    known.map(|market| (*market).clone()).map_err(|error| error.to_string())
}

/// Returns the lots of the shadow, in one market or in all.
///
/// # Errors
/// When the ledger writer does not answer.
async fn held(deps: &IngestorDeps, activity: &ActivityEvent, market: Option<MarketId>) -> Result<Vec<Lot>, String> {
    let portfolio = PortfolioId::ShadowUser(activity.followed_user);
    let answer = deps.holdings.send(Holdings { portfolio, market }).await.map_err(|error| error.to_string())?;
    let Held { lots, .. } = answer.map_err(|error| error.to_string())?;
    Ok(lots)
}

/// Computes the effect of a conversion (spec 5): the difference between the positions of the leader and of the shadow,
/// in every market that the conversion may have moved.
///
/// # Errors
/// When the positions or the markets cannot be fetched, or the positions and the stored rows do not agree yet.
async fn converted(
    deps: &IngestorDeps,
    job: &Job,
    activity: &ActivityEvent,
    market: Option<Market>,
) -> Result<Effect, String> {
    let Some(market) = market.filter(|market| !market.outcomes.is_empty()) else {
        return Ok(Effect::NotApplicable("the outcomes of the market are not known".to_owned()));
    };
    let markets = siblings(deps, market).await?;
    let wallet = activity.proxy_wallet.as_ref().unwrap_or(&activity.profile_wallet);
    let ids: Vec<MarketId> = markets.iter().map(|market| market.id.clone()).collect();
    // The positions first: then the rows stored by the time they have been read can only be ahead of them.
    let positions = deps.polymarket.positions(wallet, &ids).await.map_err(|error| error.to_string())?;
    let readings =
        Readings::new(deps.clock.now(), positions.into_iter().map(reading)).map_err(|error| error.to_string())?;
    let assets: ShadowAssets =
        held(deps, activity, None).await?.into_iter().map(|lot| (lot.asset.clone(), shadow_asset(lot))).collect();
    let (pending, since) = stored(deps, activity).await.map_err(|error| error.to_string())?;
    let case = PositionCase {
        row: activity,
        markets: &markets,
        fee: Bps(0),
        readings: &readings,
        assets: &assets,
        corrections: &[],
        pending: &pending,
        since: &since,
    };
    match case.resolve(job.failures >= RETRIES) {
        Resolved::Booked(entered) => Ok(Effect::Entries(entered.entries)),
        Resolved::Unresolved(reason) => Ok(Effect::NotApplicable(reason.to_string())),
        Resolved::Waits(lag) => {
            if let Lag::Feed { .. } = lag {
                read_again(deps, activity).await.map_err(|error| error.to_string())?;
            }
            Err(lag.to_string())
        }
    }
}

/// Returns the user's rows that are not in the ledger yet, and the rows since the conversion. No row enters the ledger
/// in the meantime, because all of them wait for the conversion.
///
/// # Errors
/// When the database fails.
async fn stored(deps: &IngestorDeps, activity: &ActivityEvent) -> Result<(StoredRows, StoredRows), DbError> {
    let user = activity.followed_user;
    let open = queue::opened_after(&deps.db, Queue::IngestEvents, Some(user), 0, i64::MAX).await?;
    Ok((events_of(&deps.db, &open).await?, deps.db.rows_since(user, activity.event_time).await?))
}

/// Enqueues a job to read the leader's feed again, from the conversion on.
///
/// # Errors
/// When the database fails.
async fn read_again(deps: &IngestorDeps, activity: &ActivityEvent) -> Result<(), DbError> {
    let now = deps.clock.now();
    let window = ReconcileJob::Window { start: activity.event_time, end: now };
    queue::enqueue(&deps.db, &[window.for_user(activity.followed_user, now)], now).await?;
    deps.wakeups.notify(Queue::Reconcile);
    Ok(())
}

/// Returns the markets of a neg-risk event, whose outcomes convert into each other; for another market only itself.
///
/// # Errors
/// When Polymarket does not return the markets of the event.
async fn siblings(deps: &IngestorDeps, market: Market) -> Result<Vec<Market>, String> {
    if !market.neg_risk {
        return Ok(vec![market]);
    }
    let event = deps.polymarket.event_markets(&market.id).await.map_err(|error| error.to_string())?;
    let mut markets: Vec<Market> = event.into_iter().filter(|other| other.neg_risk && other.id != market.id).collect();
    markets.insert(0, market);
    Ok(markets)
}

fn reading(position: Position) -> PositionReading {
    PositionReading {
        asset: position.asset,
        market: Some(position.market),
        shares: position.shares,
        last_event_at: position.last_event_at,
        current_price: None,
        average_price: None,
    }
}

fn shadow_asset(lot: Lot) -> ShadowAsset {
    let position = lot::Position { shares: lot.shares, cost: lot.cost };
    ShadowAsset { market: lot.market, lot: position, counted: lot.shares, mark: lot.mark }
}
