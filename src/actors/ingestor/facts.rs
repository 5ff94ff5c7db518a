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
        ActivityKind::Split | ActivityKind::Merge => Vec::new(),
        _ => held(sources, activity, &condition).await?,
    };
    match entries_for_activity(activity, market.as_ref(), &held) {
        Ok(ShadowEffect::Entries(entries)) => Ok(Effect::Entries(entries)),
        Ok(ShadowEffect::ReadPositions) => gaps(sources, activity, market, &held).await,
        Err(reason) => Ok(Effect::NotApplicable(reason.to_string())),
    }
}

async fn known_market(sources: &Sources, condition: &MarketId) -> Result<Market, String> {
    let known = sources.markets.send(KnowMarket(condition.clone())).await.map_err(|error| error.to_string())?;
    known.map(|market| (*market).clone()).map_err(|error| error.to_string())
}

async fn held(
    sources: &Sources,
    activity: &ActivityEvent,
    condition: &MarketId,
) -> Result<Vec<(AssetId, ShareMicros)>, String> {
    let portfolio = PortfolioId::ShadowUser(activity.followed_user);
    let asked = Holdings { portfolio, market: Some(condition.clone()) };
    let answer = sources.holdings.send(asked).await.map_err(|error| error.to_string())?;
    let Held { lots, .. } = answer.map_err(|error| error.to_string())?;
    Ok(lots.into_iter().map(|lot| (lot.asset, lot.shares)).collect())
}

async fn gaps(
    sources: &Sources,
    activity: &ActivityEvent,
    market: Option<Market>,
    held: &[(AssetId, ShareMicros)],
) -> Result<Effect, String> {
    let Some(market) = market.filter(|market| !market.outcomes.is_empty()) else {
        return Ok(Effect::NotApplicable("the outcomes of the market are not known".to_owned()));
    };
    let wallet = activity.proxy_wallet.as_ref().unwrap_or(&activity.profile_wallet);
    let positions = sources.polymarket.positions(wallet, std::slice::from_ref(&market.id)).await;
    let positions = positions.map_err(|error| error.to_string())?;
    let gap = |asset: &AssetId| AssetGap {
        asset: asset.clone(),
        market: market.id.clone(),
        leader_holds: positions
            .iter()
            .find(|position| position.asset == *asset)
            .map_or(ShareMicros::ZERO, |p| p.shares),
        shadow_holds: held.iter().find(|(held, _)| held == asset).map_or(ShareMicros::ZERO, |(_, shares)| *shares),
    };
    Ok(Effect::Gaps(market.outcomes.iter().map(|outcome| gap(&outcome.asset)).collect()))
}
