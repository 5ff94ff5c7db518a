//! The shares that a CONVERSION or MIGRATION moved, derived from the leader's positions (spec 5).
//!
//! In    one answer of the positions route, the holdings of the shadow, and the stored rows of the leader.
//! Out   the difference for each asset; or which of the two sources is behind the other.
//!
//! Positions and rows come from two feeds with different delays: a position may contain fills whose rows are not in the
//! ledger yet, and a stored row may be newer than the position. Each position says up to which time it counts, so each
//! row is either included in it or not, and no row is counted twice.

use std::fmt;

use super::shadow::AssetGap;
use crate::domain::events::event::{ActivityEvent, ActivityKind, Side, TradeEvent};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{ShareMicros, Timestamp, UnitError};

/// A position of the leader, as the positions route lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderPosition {
    pub asset: AssetId,
    pub shares: ShareMicros,
    /// The second of the newest event included in it; `None` when the route does not say.
    pub as_of: Option<Timestamp>,
}

/// Stored rows of the leader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredRows {
    pub trades: Vec<TradeEvent>,
    pub activities: Vec<ActivityEvent>,
}

/// Everything that is known when a conversion is resolved.
#[derive(Debug, Clone, Copy)]
pub struct PositionResync<'a> {
    pub conversion: &'a ActivityEvent,
    /// The market of the conversion, and the markets whose outcomes it turns into outcomes of its own.
    pub markets: &'a [Market],
    /// An asset that is not listed is not held.
    pub positions: &'a [LeaderPosition],
    pub shadow: &'a [(AssetId, ShareMicros)],
    /// Rows that are not in the ledger yet; they come after the conversion.
    pub pending: &'a StoredRows,
    /// Rows from the second of the conversion onward, in the ledger or not.
    pub since: &'a StoredRows,
}

/// A source that does not show yet what the other shows. Reading both again later is better than counting twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lag {
    /// Every position is older than the conversion.
    Positions,
    /// The position includes an event of that second whose row is not stored.
    Feed { asset: AssetId, at: Timestamp },
}

impl PositionResync<'_> {
    /// Returns the first lag found; `None` when both sources are complete.
    pub fn lag(&self) -> Option<Lag> {
        let converted = self.conversion.event_time;
        let assets = self.markets.iter().flat_map(|market| market.outcomes.iter().map(move |o| (&market.id, &o.asset)));
        let dated: Vec<_> = assets.filter_map(|(market, asset)| Some((market, asset, self.as_of(asset)?))).collect();
        if !dated.is_empty() && dated.iter().all(|(.., at)| *at < converted) {
            return Some(Lag::Positions);
        }
        let behind = dated.into_iter().find(|(market, asset, at)| {
            *at > converted && self.newest_row(market, asset).is_none_or(|newest| newest < *at)
        });
        behind.map(|(_, asset, at)| Lag::Feed { asset: asset.clone(), at })
    }

    /// Returns the holdings of leader and shadow for every outcome, except an asset that a pending redemption will
    /// empty.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub fn gaps(&self) -> Result<Vec<AssetGap>, UnitError> {
        let mut gaps = Vec::new();
        for market in self.markets {
            for outcome in &market.outcomes {
                if let Some(gap) = self.gap(&market.id, &outcome.asset)? {
                    gaps.push(gap);
                }
            }
        }
        Ok(gaps)
    }

    fn gap(&self, market: &MarketId, asset: &AssetId) -> Result<Option<AssetGap>, UnitError> {
        let as_of = self.as_of(asset);
        let within = |at: Timestamp| as_of.is_none_or(|as_of| at <= as_of);
        let mut shadow_holds = shares_of(self.shadow.iter().map(|(asset, shares)| (asset, *shares)), asset);
        for trade in self.pending.trades.iter().filter(|trade| trade.asset == *asset && within(trade.event_time)) {
            shadow_holds = match trade.side {
                Side::Buy => shadow_holds.plus(trade.shares)?,
                Side::Sell => shadow_holds.minus(trade.shares)?,
            };
        }
        let here = |row: &&ActivityEvent| row.payload.condition_id.as_ref() == Some(market) && within(row.event_time);
        for row in self.pending.activities.iter().filter(here) {
            shadow_holds = match row.kind {
                ActivityKind::Split => shadow_holds.plus(row.payload.share_micros)?,
                ActivityKind::Merge => shadow_holds.minus(row.payload.share_micros)?,
                ActivityKind::Redeem => return Ok(None),
                _ => shadow_holds,
            };
        }
        let leader_holds = shares_of(self.positions.iter().map(|position| (&position.asset, position.shares)), asset);
        Ok(Some(AssetGap { asset: asset.clone(), market: market.clone(), leader_holds, shadow_holds }))
    }

    fn as_of(&self, asset: &AssetId) -> Option<Timestamp> {
        self.positions.iter().filter(|position| position.asset == *asset).filter_map(|position| position.as_of).max()
    }

    /// Returns the time of the newest stored row that may have moved the asset.
    fn newest_row(&self, market: &MarketId, asset: &AssetId) -> Option<Timestamp> {
        let trades = self.since.trades.iter().filter(|trade| trade.asset == *asset).map(|trade| trade.event_time);
        let moves = |row: &&ActivityEvent| match (&row.kind, &row.payload.condition_id) {
            (ActivityKind::Conversion | ActivityKind::Migration, Some(condition)) => {
                self.markets.iter().any(|market| market.id == *condition)
            }
            (_, condition) => condition.as_ref() == Some(market),
        };
        trades.chain(self.since.activities.iter().filter(moves).map(|row| row.event_time)).max()
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Positions => f.write_str("the positions do not show the conversion yet"),
            Self::Feed { asset, at } => {
                write!(f, "the position in asset `{asset}` includes an event of {at} that the feed does not show yet")
            }
        }
    }
}

fn shares_of<'a>(held: impl Iterator<Item = (&'a AssetId, ShareMicros)>, asset: &AssetId) -> ShareMicros {
    let mut held = held.filter(|(other, _)| *other == asset);
    held.next().map_or(ShareMicros::ZERO, |(_, shares)| shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::samples::{activity, asset, market, market_id, trade};

    /// The time at second `n`.
    fn second(n: i64) -> Timestamp {
        Timestamp::from_millis(n * 1_000)
    }

    fn bought(n: usize, shares: i64, at: i64) -> TradeEvent {
        TradeEvent { event_time: second(at), ..trade(&format!("buy {n} at {at}"), n, Side::Buy, 500_000, shares, 0) }
    }

    fn sold(n: usize, shares: i64, at: i64) -> TradeEvent {
        TradeEvent { side: Side::Sell, ..bought(n, shares, at) }
    }

    fn row(kind: ActivityKind, shares: i64, at: i64) -> ActivityEvent {
        ActivityEvent { event_time: second(at), ..activity(&format!("{kind:?} at {at}"), kind, shares, shares, None) }
    }

    fn position(n: usize, shares: i64, as_of: Option<i64>) -> LeaderPosition {
        LeaderPosition { asset: asset(n), shares: ShareMicros(shares), as_of: as_of.map(second) }
    }

    fn rows(trades: Vec<TradeEvent>, activities: Vec<ActivityEvent>) -> StoredRows {
        StoredRows { trades, activities }
    }

    /// Market 1 has the assets 10 and 11; the conversion took place in second 100.
    fn with<T>(positions: &[LeaderPosition], stored: &StoredRows, ask: impl FnOnce(PositionResync<'_>) -> T) -> T {
        let (conversion, markets) = (row(ActivityKind::Conversion, 5, 100), [market(1, &[None, None])]);
        let shadow = [(asset(10), ShareMicros(50))];
        let mut since = stored.clone();
        since.activities.push(conversion.clone());
        ask(PositionResync {
            conversion: &conversion,
            markets: &markets,
            positions,
            shadow: &shadow,
            pending: stored,
            since: &since,
        })
    }

    #[test]
    fn a_row_not_in_the_ledger_counts_when_the_position_is_as_new_as_it() {
        let check = |positions: &[LeaderPosition], stored: StoredRows, expected: &[(usize, i64, i64)]| {
            let gaps = with(positions, &stored, |resync| resync.gaps()).unwrap();
            let gap = |n: usize, leader, shadow| AssetGap {
                asset: asset(n),
                market: market_id(1),
                leader_holds: ShareMicros(leader),
                shadow_holds: ShareMicros(shadow),
            };
            let expected: Vec<_> = expected.iter().map(|(n, leader, shadow)| gap(*n, *leader, *shadow)).collect();
            assert_eq!(gaps, expected, "{positions:?} {stored:?}");
        };
        let none = StoredRows::default;
        check(&[position(10, 45, Some(100))], none(), &[(10, 45, 50), (11, 0, 0)]);
        let fills = || rows(vec![bought(10, 7, 101), sold(10, 2, 102), bought(11, 3, 101)], vec![]);
        check(&[position(10, 50, Some(102))], fills(), &[(10, 50, 55), (11, 0, 3)]);
        check(&[position(10, 52, Some(101))], fills(), &[(10, 52, 57), (11, 0, 3)]);
        check(&[position(10, 45, Some(100))], fills(), &[(10, 45, 50), (11, 0, 3)]);
        check(&[position(10, 50, None), position(11, 3, Some(100))], fills(), &[(10, 50, 55), (11, 3, 0)]);
        let sets = rows(vec![], vec![row(ActivityKind::Split, 9, 101), row(ActivityKind::Merge, 4, 103)]);
        check(&[position(10, 50, Some(101)), position(11, 0, Some(103))], sets, &[(10, 50, 59), (11, 0, 5)]);
        let redeemed = rows(vec![], vec![row(ActivityKind::Redeem, 0, 101)]);
        check(&[position(10, 0, Some(101)), position(11, 8, Some(100))], redeemed, &[(11, 8, 0)]);
    }

    #[test]
    fn a_source_that_is_behind_the_other_is_named() {
        let check = |positions: &[LeaderPosition], stored: StoredRows, expected: Option<Lag>| {
            assert_eq!(with(positions, &stored, |resync| resync.lag()), expected, "{positions:?} {stored:?}");
        };
        let feed = |n: usize, at| Some(Lag::Feed { asset: asset(n), at: second(at) });
        let none = StoredRows::default;
        check(&[], none(), None);
        check(&[position(10, 5, None)], none(), None);
        check(&[position(10, 5, Some(99)), position(11, 5, Some(98))], none(), Some(Lag::Positions));
        check(&[position(10, 5, Some(99)), position(11, 5, Some(100))], none(), None);
        check(&[position(10, 5, Some(100)), position(11, 5, Some(101))], none(), feed(11, 101));
        check(&[position(11, 5, Some(101))], rows(vec![bought(11, 5, 101)], vec![]), None);
        check(&[position(11, 5, Some(101))], rows(vec![bought(10, 5, 101)], vec![]), feed(11, 101));
        check(&[position(11, 5, Some(101))], rows(vec![bought(11, 5, 102)], vec![]), None);
        check(&[position(11, 5, Some(102))], rows(vec![bought(11, 5, 101)], vec![]), feed(11, 102));
        check(&[position(11, 5, Some(101))], rows(vec![], vec![row(ActivityKind::Split, 5, 101)]), None);
        check(&[position(11, 5, Some(101))], rows(vec![], vec![row(ActivityKind::Conversion, 5, 101)]), None);
        // Another market's position says nothing about this event.
        check(&[position(20, 5, Some(200))], none(), None);
    }
}
