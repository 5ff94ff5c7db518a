//! Books the effect of an activity on the shadow ledger, from the facts of its market and the leader's positions.

use std::collections::{BTreeMap, BTreeSet};

use super::entering::{Suspicion, corrections, entered, write};
use super::redemption::redeemed;
use super::{IngestorDeps, events_of};
use crate::actors::book_fetcher::KnowMarket;
use crate::actors::ledger_writer::{Held, Holdings};
use crate::actors::position_checker::shadow::{ShadowNow, reading, shadow};
use crate::actors::reconciler::ReconcileJob;
use crate::db::DbError;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::portfolio::Lot;
use crate::domain::accounting::shadow::carried::{ShadowAsset, ShadowAssets};
use crate::domain::accounting::shadow::cause::Cause;
use crate::domain::accounting::shadow::conversion::{Lag, PositionCase, Resolved, StoredRows};
use crate::domain::accounting::shadow::reading::Readings;
use crate::domain::accounting::shadow::{ActivityFacts, NotApplicable, ShadowEffect, entries_for_activity};
use crate::domain::events::event::{ActivityEvent, ActivityKind};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{Bps, PriceMicros};
use crate::polymarket::EventMarkets;
use crate::queue;
use crate::queue::{Job, NewJob, Queue, RETRIES};

/// The result of booking an activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is in the ledger, and its job is finished.
    Recorded,
    /// It waits for a payout: this job asks again.
    Waits(NewJob),
    /// It cannot be applied; the reason goes to the audit.
    NotApplicable(String, Suspicion),
}

/// Fetches the facts that the row needs, and books its effect.
///
/// # Errors
/// When a fact could not be fetched, the positions and the stored rows do not agree yet, or the ledger cannot be
/// written. A retry may help.
pub(super) async fn effect_of(deps: &IngestorDeps, job: &Job, activity: &ActivityEvent) -> Result<Effect, String> {
    let Some(condition) = activity.payload.condition_id.clone() else {
        return Ok(Effect::NotApplicable(NotApplicable::NoCondition.to_string(), Suspicion::NOT_APPLIED));
    };
    if activity.kind == ActivityKind::Redeem {
        return redeemed(deps, job.fence(), activity, &condition).await;
    }
    let market = known_market(deps, &condition).await?;
    let facts = ActivityFacts { market: Some(&market), ..ActivityFacts::default() };
    match entries_for_activity(activity, &facts) {
        Ok(ShadowEffect::Entries(booked)) => {
            let _guard = deps.lock.of(activity.followed_user).await;
            let cause = Cause::of_activity(activity);
            let entered = entered(deps, &cause, booked).await?;
            write(deps, &cause, entered, job.fence(), late(activity)).await?;
            Ok(Effect::Recorded)
        }
        Ok(ShadowEffect::ReadPositions) => converted(deps, job, activity, market).await,
        Ok(ShadowEffect::NeedsPayout) => Err("only a redemption needs a payout".to_owned()),
        Err(reason) => Ok(Effect::NotApplicable(reason.to_string(), Suspicion::NOT_APPLIED)),
    }
}

/// Requests for the midpoints of the assets of one event.
const MIDPOINT_REQUESTS_MAX: usize = 4;
/// A row this much older than its detection makes a check due (spec 5).
const LATE_MS: i64 = 15 * 60 * 1000;

/// Returns the suspicion that a late row brings.
pub(super) fn late(activity: &ActivityEvent) -> Vec<Suspicion> {
    let is_late = is_late(activity.detect_time.millis_since(activity.event_time));
    is_late.then_some(Suspicion::LATE).into_iter().collect()
}

/// Returns whether a row of this age, in milliseconds at its detection, came late.
pub(super) fn is_late(age_ms: i64) -> bool {
    age_ms > LATE_MS
}

/// Returns the facts of a market.
///
/// # Errors
/// When they could not be fetched.
pub(super) async fn known_market(deps: &IngestorDeps, condition: &MarketId) -> Result<Market, String> {
    let known = deps.markets.send(KnowMarket(condition.clone())).await.map_err(|error| error.to_string())?;
    known.map(|market| (*market).clone()).map_err(|error| error.to_string())
}

/// Returns the lots of the shadow, in one market or in all.
///
/// # Errors
/// When the ledger writer does not answer.
pub(super) async fn held(
    deps: &IngestorDeps,
    activity: &ActivityEvent,
    market: Option<MarketId>,
) -> Result<Vec<Lot>, String> {
    let portfolio = PortfolioId::ShadowUser(activity.followed_user);
    let answer = deps.holdings.send(Holdings { portfolio, market }).await.map_err(|error| error.to_string())?;
    let Held { lots, .. } = answer.map_err(|error| error.to_string())?;
    Ok(lots)
}

/// Books a row that does not say which shares moved (spec 5): what the positions say that it moved, in every market that
/// it may have moved.
///
/// # Errors
/// When the positions or the markets cannot be fetched, or the positions and the stored rows do not agree yet.
async fn converted(deps: &IngestorDeps, job: &Job, activity: &ActivityEvent, market: Market) -> Result<Effect, String> {
    if market.outcomes.is_empty() {
        let reason = "the outcomes of the market are not known".to_owned();
        return Ok(Effect::NotApplicable(reason, Suspicion::UNRESOLVED));
    }
    let event = match event_of(deps, activity, market).await? {
        Some(event) => event,
        None if job.failures >= RETRIES => {
            let reason = "Gamma does not know the event whose outcomes were converted".to_owned();
            return Ok(Effect::NotApplicable(reason, Suspicion::UNRESOLVED));
        }
        None => return Err("Gamma does not know the event of the conversion yet".to_owned()),
    };
    let markets = event.markets;
    let wallet = activity.proxy_wallet.as_ref().unwrap_or(&activity.profile_wallet);
    let ids: Vec<MarketId> = markets.iter().map(|market| market.id.clone()).collect();
    // The positions first: then the rows stored by the time they have been read can only be ahead of them.
    let asked_at = deps.clock.now();
    let positions = deps.polymarket.positions(wallet, &ids).await.map_err(|error| error.to_string())?;
    let readings = Readings::new(asked_at, positions.into_iter().map(reading)).map_err(|error| error.to_string())?;
    let assets: BTreeSet<AssetId> =
        markets.iter().flat_map(|market| market.outcomes.iter().map(|outcome| outcome.asset.clone())).collect();
    let prices = prices(deps, &readings, &assets).await;

    let _guard = deps.lock.of(activity.followed_user).await;
    let now = shadow((&deps.db, &deps.holdings), activity.followed_user, &readings).await?;
    let (pending, since) = stored(deps, activity).await.map_err(|error| error.to_string())?;
    let known = corrections(deps, activity.followed_user, &assets).await?;
    let case = PositionCase {
        row: activity,
        markets: &markets,
        fee: event.conversion_fee,
        readings: &readings,
        assets: &shadow_assets(&markets, &now, &prices),
        corrections: &known,
        pending: &pending,
        since: &since,
    };
    match case.resolve(job.failures >= RETRIES) {
        Resolved::Booked(entered) => {
            let suspicions = [vec![Suspicion::CONVERSION], late(activity)].concat();
            write(deps, &Cause::of_activity(activity), entered, job.fence(), suspicions).await?;
            Ok(Effect::Recorded)
        }
        Resolved::Unresolved(reason) => Ok(Effect::NotApplicable(reason.to_string(), Suspicion::UNRESOLVED)),
        Resolved::Waits(lag) => {
            if let Lag::Feed { .. } = lag {
                read_again(deps, activity).await.map_err(|error| error.to_string())?;
            }
            Err(lag.to_string())
        }
    }
}

/// Returns the venue's prices of the assets: those of the positions, else midpoints. Without an answer there is none.
async fn prices(
    deps: &IngestorDeps,
    readings: &Readings,
    assets: &BTreeSet<AssetId>,
) -> BTreeMap<AssetId, PriceMicros> {
    let listed = |asset: &AssetId| readings.position(asset).and_then(|position| position.current_price);
    let missing: Vec<AssetId> = assets.iter().filter(|asset| listed(asset).is_none()).cloned().collect();
    let asked = deps.polymarket.midpoints(&missing, MIDPOINT_REQUESTS_MAX).await;
    let mut prices = asked.map(|midpoints| midpoints.found).unwrap_or_default();
    prices.extend(assets.iter().filter_map(|asset| Some((asset.clone(), listed(asset)?))));
    prices
}

/// Returns the shadow's side of every asset of the markets.
fn shadow_assets(markets: &[Market], now: &ShadowNow, prices: &BTreeMap<AssetId, PriceMicros>) -> ShadowAssets {
    let mut assets = ShadowAssets::new();
    for market in markets {
        for outcome in &market.outcomes {
            let asset = &outcome.asset;
            let (_, counted) = now.counted.get(asset).cloned().unwrap_or_default();
            let held = now.lots.get(asset).and_then(|lot| lot.mark);
            let mark = held.or(outcome.payout).or_else(|| prices.get(asset).copied());
            let known = ShadowAsset { market: Some(market.id.clone()), lot: now.position(asset), counted, mark };
            assets.insert(asset.clone(), known);
        }
    }
    assets
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

/// Returns the markets that the row may have moved, its own first, with the fee of a conversion: for a conversion, or a
/// market whose outcomes convert into those of others, the markets of its event; for another market only itself. `None`
/// when Gamma does not know the event of a conversion: an event has at least two questions.
///
/// # Errors
/// When Polymarket does not return the markets of the event, or an unreadable fee.
async fn event_of(
    deps: &IngestorDeps,
    activity: &ActivityEvent,
    market: Market,
) -> Result<Option<EventMarkets>, String> {
    let is_conversion = activity.kind == ActivityKind::Conversion;
    let alone = |market| EventMarkets { markets: vec![market], conversion_fee: Bps(0) };
    if !market.neg_risk && !is_conversion {
        return Ok(Some(alone(market)));
    }
    let event = deps.polymarket.event_markets(&market.id).await.map_err(|error| error.to_string())?;
    let Some(EventMarkets { mut markets, conversion_fee }) = event else {
        return Ok((!is_conversion).then(|| alone(market)));
    };
    markets.retain(|other| other.neg_risk && other.id != market.id);
    markets.insert(0, market);
    let is_whole = !is_conversion || markets.len() > 1;
    Ok(is_whole.then_some(EventMarkets { markets, conversion_fee }))
}
