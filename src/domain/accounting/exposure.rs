//! Exposure summed by market and by leader, updated lot by lot (spec 7.7 and 9).

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::UsdcMicros;

/// The index of a market in [`Exposures`], so that moving a lot needs no look-up by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) struct MarketIndex(usize);

/// The exposure by market and by leader. Every sum is a part of the total exposure, and the caller checks that the
/// total fits before it adds anything here.
#[derive(Debug, Clone, Default)]
pub(in crate::domain) struct Exposures {
    markets: Vec<InMarket>,
    indexes: BTreeMap<MarketId, MarketIndex>,
    leaders: BTreeMap<FollowedUserId, UsdcMicros>,
}

#[derive(Debug, Clone)]
struct InMarket {
    id: MarketId,
    exposure: UsdcMicros,
    assets: BTreeSet<AssetId>,
}

impl Exposures {
    /// Returns the index of a market, and adds the market when it is new.
    pub(in crate::domain) fn index_of(&mut self, market: &MarketId) -> MarketIndex {
        if let Some(index) = self.indexes.get(market) {
            return *index;
        }
        let index = MarketIndex(self.markets.len());
        self.markets.push(InMarket { id: market.clone(), exposure: UsdcMicros::ZERO, assets: BTreeSet::new() });
        self.indexes.insert(market.clone(), index);
        index
    }

    /// Returns the id of the market at an index.
    pub(in crate::domain) fn market_at(&self, index: MarketIndex) -> Option<&MarketId> {
        self.markets.get(index.0).map(|market| &market.id)
    }

    /// Changes the exposure of a leader by `change` micros.
    pub(in crate::domain) fn grow_leader(&mut self, leader: FollowedUserId, change: i64) {
        grow(self.leaders.entry(leader).or_default(), change);
    }

    /// Changes the exposure of a market by `change` micros.
    pub(in crate::domain) fn grow_market(&mut self, index: MarketIndex, change: i64) {
        if let Some(market) = self.markets.get_mut(index.0) {
            grow(&mut market.exposure, change);
        }
    }

    /// Adds an asset of the market that has its first lot.
    pub(in crate::domain) fn enter(&mut self, index: MarketIndex, asset: &AssetId) {
        if let Some(market) = self.markets.get_mut(index.0) {
            market.assets.insert(asset.clone());
        }
    }

    /// Removes an asset of the market whose last lot is gone.
    pub(in crate::domain) fn leave(&mut self, index: MarketIndex, asset: &AssetId) {
        if let Some(market) = self.markets.get_mut(index.0) {
            market.assets.remove(asset);
        }
    }

    /// Returns the exposure in a market.
    pub(in crate::domain) fn in_market(&self, market: &MarketId) -> UsdcMicros {
        self.held_in(market).map(|market| market.exposure).unwrap_or_default()
    }

    /// Returns the exposure that a leader caused.
    pub(in crate::domain) fn of_leader(&self, leader: FollowedUserId) -> UsdcMicros {
        self.leaders.get(&leader).copied().unwrap_or_default()
    }

    /// Returns the assets of a market that have a lot.
    pub(in crate::domain) fn assets_in(&self, market: &MarketId) -> impl Iterator<Item = &AssetId> {
        self.held_in(market).into_iter().flat_map(|market| &market.assets)
    }

    /// Returns the exposure of each market with a lot.
    pub(in crate::domain) fn by_market(&self) -> impl Iterator<Item = (&MarketId, UsdcMicros)> {
        let markets = self.indexes.keys().filter_map(|id| self.held_in(id));
        markets.filter(|market| !market.assets.is_empty()).map(|market| (&market.id, market.exposure))
    }

    /// Returns the exposure of each leader that has any.
    pub(in crate::domain) fn by_leader(&self) -> impl Iterator<Item = (FollowedUserId, UsdcMicros)> {
        let leaders = self.leaders.iter().map(|(leader, exposure)| (*leader, *exposure));
        leaders.filter(|(_, exposure)| *exposure != UsdcMicros::ZERO)
    }

    fn held_in(&self, market: &MarketId) -> Option<&InMarket> {
        self.indexes.get(market).and_then(|index| self.markets.get(index.0))
    }
}

fn grow(exposure: &mut UsdcMicros, change: i64) {
    exposure.0 = exposure.0.saturating_add(change);
}
