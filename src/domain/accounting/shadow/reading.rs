//! The leader's positions as read from the venue, and what the shadow holds of them at the same time (spec 5).
//!
//! Positions and rows come from two feeds with different delays: a position may include fills whose rows are not in the
//! ledger yet, and a row may be newer than the position. Each position says up to which time it counts, so each row is
//! either included in it or not, and no row is counted twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError};

/// The positions route rounds to 4 decimals: a smaller difference between position and shadow is not a drift.
pub const POSITION_STEP: ShareMicros = ShareMicros(100);

/// A position of the leader, as the positions route lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionReading {
    pub asset: AssetId,
    pub market: Option<MarketId>,
    /// The shares held, not those ever bought; zero for a closed position.
    pub shares: ShareMicros,
    /// The second of the newest event included in it; `None` when the route does not say.
    pub last_event_at: Option<Timestamp>,
    pub current_price: Option<PriceMicros>,
    pub average_price: Option<PriceMicros>,
}

/// One complete answer of the positions route. An asset that is not listed is not held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readings {
    checked_at: Timestamp,
    positions: BTreeMap<AssetId, PositionReading>,
}

/// A movement of the shadow in one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    pub asset: AssetId,
    pub shares: ShareMicros,
    /// The event_time of the row that caused it, also of a take-back; `None` for an opening or adjustment itself, which
    /// always counts.
    pub event_time: Option<Timestamp>,
}

/// A difference between the leader's position and the shadow, of 0.0001 share or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub asset: AssetId,
    pub market: Option<MarketId>,
    pub leader_holds: ShareMicros,
    /// Counting only rows that the position can include.
    pub shadow_holds: ShareMicros,
    /// `leader_holds - shadow_holds`.
    pub shares: ShareMicros,
    /// Up to which event_time rows are included in the position.
    pub counted_to: Timestamp,
    /// The position's current price, or else its average price.
    pub price: Option<PriceMicros>,
}

impl Readings {
    /// Takes the rows of an answer. Combos are left out; of several rows of one asset the shares are summed.
    ///
    /// # Errors
    /// [`UnitError::Overflow`] when the shares of one asset do not fit.
    pub fn new(checked_at: Timestamp, rows: impl IntoIterator<Item = PositionReading>) -> Result<Self, UnitError> {
        let mut readings = Self { checked_at, positions: BTreeMap::new() };
        for row in rows {
            if row.asset.is_combo() || row.market.as_ref().is_some_and(MarketId::is_combo) {
                continue;
            }
            readings.add(row)?;
        }
        Ok(readings)
    }

    fn add(&mut self, row: PositionReading) -> Result<(), UnitError> {
        match self.positions.get_mut(&row.asset) {
            Some(known) => {
                known.shares = known.shares.plus(row.shares)?;
                known.last_event_at = known.last_event_at.max(row.last_event_at);
                known.current_price = known.current_price.or(row.current_price);
                known.average_price = known.average_price.or(row.average_price);
            }
            None => drop(self.positions.insert(row.asset.clone(), row)),
        }
        Ok(())
    }

    /// Returns the time of the answer.
    pub const fn checked_at(&self) -> Timestamp {
        self.checked_at
    }

    /// Returns the position in an asset; `None` when it is not listed.
    pub fn position(&self, asset: &AssetId) -> Option<&PositionReading> {
        self.positions.get(asset)
    }

    /// Returns all listed positions, by asset.
    pub fn positions(&self) -> impl Iterator<Item = &PositionReading> {
        self.positions.values()
    }

    /// Returns the shares that the leader holds of an asset; zero when it is not listed.
    pub fn shares(&self, asset: &AssetId) -> ShareMicros {
        self.position(asset).map_or(ShareMicros::ZERO, |position| position.shares)
    }

    /// Returns the event_time up to which rows are included in the position: its `last_event_at`, or the time of the
    /// answer where the route does not say or does not list the asset.
    pub fn counted_to(&self, asset: &AssetId) -> Timestamp {
        self.position(asset).and_then(|position| position.last_event_at).unwrap_or(self.checked_at)
    }

    /// Returns what the shadow holds of an asset, counting only movements that the position can include.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub fn counted<'a>(
        &self,
        asset: &AssetId,
        movements: impl IntoIterator<Item = &'a Movement>,
    ) -> Result<ShareMicros, UnitError> {
        let to = self.counted_to(asset);
        let included = |moved: &&Movement| moved.asset == *asset && moved.event_time.is_none_or(|time| time <= to);
        movements.into_iter().filter(included).map(|moved| moved.shares).try_fold(ShareMicros::ZERO, ShareMicros::plus)
    }

    /// Returns the drifts of all assets that are listed or in the shadow, by asset (spec 5, Position check).
    ///
    /// `counted` is the shadow's holding by asset from [`Self::counted`]; an asset that is missing counts as zero.
    /// Assets of the markets in `waiting`, which have a row that is stored and not in the ledger yet, are left out:
    /// that row will move them.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub fn drifts(
        &self,
        counted: &BTreeMap<AssetId, (Option<MarketId>, ShareMicros)>,
        waiting: &BTreeSet<MarketId>,
    ) -> Result<Vec<Drift>, UnitError> {
        let assets: BTreeSet<_> = self.positions.keys().chain(counted.keys()).collect();
        let mut drifts = Vec::new();
        for asset in assets {
            let (market, shadow_holds) = counted.get(asset).cloned().unwrap_or_default();
            let position = self.position(asset);
            let market = market.or_else(|| position.and_then(|position| position.market.clone()));
            if asset.is_combo() || market.as_ref().is_some_and(|market| waiting.contains(market)) {
                continue;
            }
            let leader_holds = self.shares(asset);
            let shares = leader_holds.minus(shadow_holds)?;
            if shares.magnitude()? >= POSITION_STEP {
                drifts.push(Drift {
                    asset: asset.clone(),
                    market,
                    leader_holds,
                    shadow_holds,
                    shares,
                    counted_to: self.counted_to(asset),
                    price: position.and_then(|position| position.current_price.or(position.average_price)),
                });
            }
        }
        Ok(drifts)
    }
}
