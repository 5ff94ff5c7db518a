//! What an activity does to the shadow, once everything it needs to know is known.

use actix::Recipient;

use crate::{
    actors::{
        book_fetcher::KnowMarket,
        ledger_writer::{Held, Holdings},
    },
    db::Db,
    domain::{
        event::{ActivityEvent, ActivityKind},
        ids::{AssetId, MarketId},
        ledger::{LedgerEntry, PortfolioId},
        market::Market,
        shadow::{AssetGap, NotApplicable, ShadowEffect, entries_for_activity},
        units::ShareMicros,
    },
    polymarket::Polymarket,
};

/// Whom the ingestor asks.
#[derive(Clone)]
pub(super) struct Sources {
    pub db: Db,
    pub polymarket: Polymarket,
    pub markets: Recipient<KnowMarket>,
    pub holdings: Recipient<Holdings>,
}

/// What an activity comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Entries(Vec<LedgerEntry>),
    /// The leader's positions beside the shadow's: their difference is what moved.
    Gaps(Vec<AssetGap>),
    NotApplicable(String),
}

/// Fetches what the row needs and works out what it does.
///
/// # Errors
/// When something could not be had; asking again later may help.
pub(super) async fn effect_of(sources: &Sources, activity: &ActivityEvent) -> Result<Effect, String> {
    let Some(condition) = activity.payload.condition_id.clone() else {
        return Ok(Effect::NotApplicable(NotApplicable::NoCondition.to_string()));
    };
    let market = match activity.kind {
        // A payout that is known only decorates a redemption; what leaves is what the shadow holds.
        ActivityKind::Redeem => sources.db.market(&condition).await.map_err(|error| error.to_string())?,
        _ => Some(known_market(sources, &condition).await?),
    };
    let held = match activity.kind {
        ActivityKind::Redeem => held(sources, activity, Some(condition)).await?,
        _ => Vec::new(),
    };
    match entries_for_activity(activity, market.as_ref(), &held) {
        Ok(ShadowEffect::Entries(entries)) => Ok(Effect::Entries(entries)),
        Ok(ShadowEffect::ReadPositions) => gaps(sources, activity, market).await,
        Err(reason) => Ok(Effect::NotApplicable(reason.to_string())),
    }
}

async fn known_market(sources: &Sources, condition: &MarketId) -> Result<Market, String> {
    let known = sources.markets.send(KnowMarket(condition.clone())).await.map_err(|error| error.to_string())?;
    known.map(|market| (*market).clone()).map_err(|error| error.to_string())
}

/// The shadow's shares, in one market or in all.
async fn held(
    sources: &Sources,
    activity: &ActivityEvent,
    market: Option<MarketId>,
) -> Result<Vec<(AssetId, ShareMicros)>, String> {
    let portfolio = PortfolioId::ShadowUser(activity.followed_user);
    let answer = sources.holdings.send(Holdings { portfolio, market }).await.map_err(|error| error.to_string())?;
    let Held { lots, .. } = answer.map_err(|error| error.to_string())?;
    Ok(lots.into_iter().map(|lot| (lot.asset, lot.shares)).collect())
}

/// The leader's positions beside the shadow's, in every market that the conversion may have moved.
async fn gaps(sources: &Sources, activity: &ActivityEvent, market: Option<Market>) -> Result<Effect, String> {
    let Some(market) = market.filter(|market| !market.outcomes.is_empty()) else {
        return Ok(Effect::NotApplicable("the outcomes of the market are not known".to_owned()));
    };
    let markets = siblings(sources, market).await?;
    let wallet = activity.proxy_wallet.as_ref().unwrap_or(&activity.profile_wallet);
    let ids: Vec<MarketId> = markets.iter().map(|market| market.id.clone()).collect();
    let positions = sources.polymarket.positions(wallet, &ids).await.map_err(|error| error.to_string())?;
    let positions: Vec<_> = positions.into_iter().map(|position| (position.asset, position.shares)).collect();
    let held = held(sources, activity, None).await?;
    let gap = |market: &Market, asset: &AssetId| AssetGap {
        asset: asset.clone(),
        market: market.id.clone(),
        leader_holds: shares_of(&positions, asset),
        shadow_holds: shares_of(&held, asset),
    };
    let gaps = markets.iter().flat_map(|market| market.outcomes.iter().map(move |outcome| gap(market, &outcome.asset)));
    Ok(Effect::Gaps(gaps.collect()))
}

/// The markets of a neg-risk event, whose outcomes turn into each other; any other market stands alone.
async fn siblings(sources: &Sources, market: Market) -> Result<Vec<Market>, String> {
    if !market.neg_risk {
        return Ok(vec![market]);
    }
    let event = sources.polymarket.event_markets(&market.id).await.map_err(|error| error.to_string())?;
    let mut markets: Vec<Market> = event.into_iter().filter(|other| other.neg_risk && other.id != market.id).collect();
    markets.insert(0, market);
    Ok(markets)
}

fn shares_of(shares: &[(AssetId, ShareMicros)], asset: &AssetId) -> ShareMicros {
    shares.iter().find(|(other, _)| other == asset).map_or(ShareMicros::ZERO, |(_, shares)| *shares)
}
