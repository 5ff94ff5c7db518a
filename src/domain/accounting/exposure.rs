//! Exposure summed by market and by leader, kept up to date lot by lot (spec sections 7.7 and 9).

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::UsdcMicros;

/// A market by its place in `Exposures`, so that moving a lot needs no look-up by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) struct MarketPlace(usize);

/// Every sum is a part of the total exposure, which is found to fit before anything is added here.
#[derive(Debug, Clone, Default)]
pub(in crate::domain) struct Exposures {
    markets: Vec<InMarket>,
    places: BTreeMap<MarketId, MarketPlace>,
    leaders: BTreeMap<FollowedUserId, UsdcMicros>,
}

#[derive(Debug, Clone)]
struct InMarket {
    id: MarketId,
    exposure: UsdcMicros,
    assets: BTreeSet<AssetId>,
}

impl Exposures {
    pub(in crate::domain) fn place_of(&mut self, market: &MarketId) -> MarketPlace {
        if let Some(place) = self.places.get(market) {
            return *place;
        }
        let place = MarketPlace(self.markets.len());
        self.markets.push(InMarket { id: market.clone(), exposure: UsdcMicros::ZERO, assets: BTreeSet::new() });
        self.places.insert(market.clone(), place);
        place
    }

    pub(in crate::domain) fn market_at(&self, place: MarketPlace) -> Option<&MarketId> {
        self.markets.get(place.0).map(|market| &market.id)
    }

    pub(in crate::domain) fn grow_leader(&mut self, leader: FollowedUserId, change: i64) {
        grow(self.leaders.entry(leader).or_default(), change);
    }

    pub(in crate::domain) fn grow_market(&mut self, place: MarketPlace, change: i64) {
        if let Some(market) = self.markets.get_mut(place.0) {
            grow(&mut market.exposure, change);
        }
    }

    /// The asset has its first lot there.
    pub(in crate::domain) fn enter(&mut self, place: MarketPlace, asset: &AssetId) {
        if let Some(market) = self.markets.get_mut(place.0) {
            market.assets.insert(asset.clone());
        }
    }

    /// The asset's last lot there is gone.
    pub(in crate::domain) fn leave(&mut self, place: MarketPlace, asset: &AssetId) {
        if let Some(market) = self.markets.get_mut(place.0) {
            market.assets.remove(asset);
        }
    }

    pub(in crate::domain) fn in_market(&self, market: &MarketId) -> UsdcMicros {
        self.held_in(market).map(|market| market.exposure).unwrap_or_default()
    }

    pub(in crate::domain) fn of_leader(&self, leader: FollowedUserId) -> UsdcMicros {
        self.leaders.get(&leader).copied().unwrap_or_default()
    }

    /// The assets of a market that have a lot.
    pub(in crate::domain) fn assets_in(&self, market: &MarketId) -> impl Iterator<Item = &AssetId> {
        self.held_in(market).into_iter().flat_map(|market| &market.assets)
    }

    pub(in crate::domain) fn by_market(&self) -> impl Iterator<Item = (&MarketId, UsdcMicros)> {
        let markets = self.places.keys().filter_map(|id| self.held_in(id));
        markets.filter(|market| !market.assets.is_empty()).map(|market| (&market.id, market.exposure))
    }

    pub(in crate::domain) fn by_leader(&self) -> impl Iterator<Item = (FollowedUserId, UsdcMicros)> {
        let leaders = self.leaders.iter().map(|(leader, exposure)| (*leader, *exposure));
        leaders.filter(|(_, exposure)| *exposure != UsdcMicros::ZERO)
    }

    fn held_in(&self, market: &MarketId) -> Option<&InMarket> {
        self.places.get(market).and_then(|place| self.markets.get(place.0))
    }
}

fn grow(exposure: &mut UsdcMicros, change: i64) {
    exposure.0 = exposure.0.saturating_add(change);
}
