//! Rows that do not say which shares moved, read off the leader's positions (spec 5, Conversions, Migrations and range
//! kinds).
//!
//! In    one answer of the positions route, the shadow, the corrections, and the stored rows of the leader.
//! Out   the entries of the row; or which of the two sources is behind the other; or that the positions do not show it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::carried::{ShadowAssets, carried_over};
use super::cause::Cause;
use super::correction::{Correction, Entered, held_without};
use super::reading::{POSITION_STEP, Readings};
use crate::domain::events::event::{ActivityEvent, ActivityKind, Side, TradeEvent};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UnitError, UsdcMicros, narrow, product};

/// Stored rows of the leader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredRows {
    pub trades: Vec<TradeEvent>,
    pub activities: Vec<ActivityEvent>,
}

/// Everything that is known when such a row is resolved.
#[derive(Debug, Clone, Copy)]
pub struct PositionCase<'a> {
    pub row: &'a ActivityEvent,
    /// For a CONVERSION all markets of its neg-risk event, each with YES first; for the other kinds the markets whose
    /// assets the row may have moved.
    pub markets: &'a [Market],
    /// The fee of the neg-risk event. The contract takes it from the cash and from the YES.
    pub fee: Bps,
    pub readings: &'a Readings,
    /// The assets of `markets`; one that is missing is not in the shadow.
    pub assets: &'a ShadowAssets,
    /// Those of the assets.
    pub corrections: &'a [Correction],
    /// Rows that are stored and not in the ledger yet, without this one.
    pub pending: &'a StoredRows,
    /// Rows from the second of this row onward, in the ledger or not.
    pub since: &'a StoredRows,
}

/// What the positions say about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    Booked(Entered),
    /// A source is behind: read both again later. After the last try the positions are taken as they are.
    Waits(Lag),
    /// The positions do not show the row. Nothing is booked, the books are not exact, and a position check adjusts.
    Unresolved(Unresolved),
}

/// The most conversions of one event that are told apart when they wait together.
const TOGETHER_MAX: usize = 8;

/// What one conversion took of each NO, and what it paid for it.
struct ConvertedAmount {
    amount: ShareMicros,
    /// Less the fee of the event.
    paid: ShareMicros,
    event_time: Timestamp,
}

/// A source that does not show yet what the other shows. Reading both again later is better than counting twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lag {
    /// Every position is older than the row.
    Positions,
    /// The position includes an event of that second whose row is not stored.
    Feed { asset: AssetId, at: Timestamp },
}

/// Why the positions do not show a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    #[error("no NO position fell by the amount of the conversion")]
    NothingFell,
    #[error("`{n_fell}` of `{n_questions}` NO fell by the amount, but `{n_rose}` YES rose by it")]
    YesDoNotMatch { n_questions: usize, n_fell: usize, n_rose: usize },
    #[error("the outcomes of market `{0}` are not those of a question with YES and NO")]
    NotAQuestion(MarketId),
    #[error("the positions show shares that came from nothing, or that became nothing")]
    OneSided,
    #[error(transparent)]
    Unit(#[from] UnitError),
}

impl PositionCase<'_> {
    /// Returns what the positions say about the row. `last_try` takes them as they are although a source may be behind.
    pub fn resolve(&self, last_try: bool) -> Resolved {
        if let Some(lag) = self.lag().filter(|_| !last_try) {
            return Resolved::Waits(lag);
        }
        let entered = match self.row.kind {
            ActivityKind::Conversion => self.conversion(),
            _ => self.carried(),
        };
        entered.map_or_else(Resolved::Unresolved, Resolved::Booked)
    }

    /// Returns the first lag found; `None` when both sources are complete.
    pub fn lag(&self) -> Option<Lag> {
        let at = self.row.event_time;
        let dated: Vec<_> = self
            .assets_of_markets()
            .filter_map(|(market, asset)| Some((market, asset, self.readings.position(asset)?.last_event_at?)))
            .collect();
        if !dated.is_empty() && dated.iter().all(|(.., newest)| *newest < at) {
            return Some(Lag::Positions);
        }
        let behind = dated.into_iter().find(|(market, asset, newest)| {
            *newest > at && self.newest_row(market, asset).is_none_or(|stored| stored < *newest)
        });
        behind.map(|(_, asset, at)| Lag::Feed { asset: asset.clone(), at })
    }

    /// Books a CONVERSION of NO of k questions into YES of the others and cash.
    ///
    /// Other conversions of the event that wait too are in the same positions, so each question must be explained by
    /// some of them: their amounts are what its NO fell by, and the others are what its YES rose by.
    fn conversion(&self) -> Result<Entered, Unresolved> {
        let rows = self.conversions()?;
        let Some(this) = rows.first() else { return Err(Unresolved::NothingFell) };
        let mut changes = BTreeMap::new();
        let (mut n_fell, mut n_rose, mut converted, mut is_explained) = (0_usize, 0_usize, 0_i64, true);
        for market in self.markets {
            let [yes, no] = market.outcomes.as_slice() else {
                return Err(Unresolved::NotAQuestion(market.id.clone()));
            };
            let (Some(rise), Some(fall)) = (self.change(&yes.asset)?, self.change(&no.asset)?) else {
                is_explained = false;
                continue;
            };
            let fall = fall.negated()?;
            n_fell = n_fell.saturating_add(usize::from(is_about(fall.0, this.amount)));
            n_rose = n_rose.saturating_add(usize::from(is_about(rise.0, this.paid)));
            match self.takes_no((&yes.asset, rise), (&no.asset, fall), &rows, converted == 0)? {
                Some(true) => {
                    converted = converted.saturating_add(1);
                    changes.insert(no.asset.clone(), this.amount.negated()?);
                }
                Some(false) => drop(changes.insert(yes.asset.clone(), this.paid)),
                None => is_explained = false,
            }
        }
        if !is_explained && n_fell > 0 {
            return Err(Unresolved::YesDoNotMatch { n_questions: self.markets.len(), n_fell, n_rose });
        }
        if !is_explained || converted == 0 {
            return Err(Unresolved::NothingFell);
        }
        let cash = UsdcMicros(narrow(product(this.paid.0, converted.saturating_sub(1)))?);
        let changes = changes.into_iter().filter(|(_, change)| *change != ShareMicros::ZERO).collect();
        Ok(carried_over(&Cause::of_activity(self.row), &changes, cash, self.assets, self.corrections)?)
    }

    /// Returns this conversion and the others of the event that wait, at most [`TOGETHER_MAX`] in all.
    fn conversions(&self) -> Result<Vec<ConvertedAmount>, UnitError> {
        let of_event = |row: &&ActivityEvent| {
            let condition = row.payload.condition_id.as_ref();
            row.kind == ActivityKind::Conversion
                && row.id != self.row.id
                && self.markets.iter().any(|market| condition == Some(&market.id))
        };
        let waiting = self.pending.activities.iter().filter(of_event);
        let amount = |row: &ActivityEvent| {
            let amount = row.payload.share_micros;
            let fee = ShareMicros(narrow(product(amount.0, self.fee.0).checked_div(10_000).unwrap_or_default())?);
            Ok(ConvertedAmount { amount, paid: amount.minus(fee)?, event_time: row.event_time })
        };
        [self.row].into_iter().chain(waiting).take(TOGETHER_MAX).map(amount).collect()
    }

    /// Returns whether this conversion took the NO of a question, or paid its YES; `None` when no choice of the
    /// conversions explains both changes. Where more than one does, their amounts are equal and so is their cash in all:
    /// this one then takes the NO if `wants_no`, and leaves it to another otherwise.
    fn takes_no(
        &self,
        (yes, rise): (&AssetId, ShareMicros),
        (no, fall): (&AssetId, ShareMicros),
        rows: &[ConvertedAmount],
        wants_no: bool,
    ) -> Result<Option<bool>, UnitError> {
        let (yes_to, no_to) = (self.readings.counted_to(yes), self.readings.counted_to(no));
        let mut found = [false, false];
        for choice in 0_u32..1_u32.checked_shl(u32::try_from(rows.len()).unwrap_or(u32::MAX)).unwrap_or(0) {
            let (mut fell, mut rose) = (ShareMicros::ZERO, ShareMicros::ZERO);
            for (n, row) in (0_u32..).zip(rows) {
                let is_chosen = choice.checked_shr(n).unwrap_or(0) & 1 == 1;
                // The first is this row: its own time is judged by `lag`.
                if is_chosen && (n == 0 || row.event_time <= no_to) {
                    fell = fell.plus(row.amount)?;
                } else if !is_chosen && (n == 0 || row.event_time <= yes_to) {
                    rose = rose.plus(row.paid)?;
                }
            }
            if is_about(fall.0, fell) && is_about(rise.0, rose) {
                found[usize::from(choice & 1 == 1)] = true;
            }
        }
        Ok(match found {
            [false, false] => None,
            [true, true] => Some(wants_no),
            [_, takes] => Some(takes),
        })
    }

    /// Books every difference of the assets as shares that became others.
    fn carried(&self) -> Result<Entered, Unresolved> {
        let mut changes = BTreeMap::new();
        let assets: BTreeSet<_> = self.assets_of_markets().map(|(_, asset)| asset).chain(self.assets.keys()).collect();
        for asset in assets {
            let change = self.change(asset)?.unwrap_or_default();
            if change.magnitude()? >= POSITION_STEP {
                changes.insert(asset.clone(), change);
            }
        }
        let stated = self.row.payload.cash_micros;
        let cash = match self.row.kind {
            ActivityKind::DirectionalSplit => stated.negated()?,
            ActivityKind::DirectionalMerge => stated,
            // Buckets and lines become each other without collateral; what such a row states is an amount.
            _ => UsdcMicros::ZERO,
        };
        let came = changes.values().any(|change| *change > ShareMicros::ZERO) || cash > UsdcMicros::ZERO;
        let left = changes.values().any(|change| *change < ShareMicros::ZERO) || cash < UsdcMicros::ZERO;
        // Both token ids of a migrated position have one name, so the position stays as it was.
        let stayed = self.row.kind == ActivityKind::Migration && changes.is_empty();
        if !stayed && (!came || !left) {
            return Err(Unresolved::OneSided);
        }
        Ok(carried_over(&Cause::of_activity(self.row), &changes, cash, self.assets, self.corrections)?)
    }

    /// Returns by how much the position differs from the shadow with all rows that it includes, but for this one; `None`
    /// when a pending redemption will move the asset.
    fn change(&self, asset: &AssetId) -> Result<Option<ShareMicros>, UnitError> {
        let counted = self.assets.get(asset).map_or(ShareMicros::ZERO, |known| known.counted);
        let counted = held_without(counted, self.corrections, asset, self.row.event_time)?;
        let market = self.assets_of_markets().find(|(_, known)| *known == asset).map(|(market, _)| market);
        let Some(pending) = self.pending_shares(market, asset)? else { return Ok(None) };
        self.readings.shares(asset).minus(counted.plus(pending)?).map(Some)
    }

    fn pending_shares(&self, market: Option<&MarketId>, asset: &AssetId) -> Result<Option<ShareMicros>, UnitError> {
        let to = self.readings.counted_to(asset);
        let mut shares = ShareMicros::ZERO;
        for trade in self.pending.trades.iter().filter(|trade| trade.asset == *asset && trade.event_time <= to) {
            shares = match trade.side {
                Side::Buy => shares.plus(trade.shares)?,
                Side::Sell => shares.minus(trade.shares)?,
            };
        }
        let here = |row: &&ActivityEvent| {
            row.id != self.row.id
                && row.event_time <= to
                && market.is_some()
                && row.payload.condition_id.as_ref() == market
        };
        for row in self.pending.activities.iter().filter(here) {
            shares = match row.kind {
                ActivityKind::Split => shares.plus(row.payload.share_micros)?,
                ActivityKind::Merge => shares.minus(row.payload.share_micros)?,
                ActivityKind::Redeem => return Ok(None),
                _ => shares,
            };
        }
        Ok(Some(shares))
    }

    fn assets_of_markets(&self) -> impl Iterator<Item = (&MarketId, &AssetId)> {
        self.markets.iter().flat_map(|market| market.outcomes.iter().map(move |outcome| (&market.id, &outcome.asset)))
    }

    /// Returns the time of the newest stored row that may have moved the asset.
    fn newest_row(&self, market: &MarketId, asset: &AssetId) -> Option<Timestamp> {
        let trades = self.since.trades.iter().filter(|trade| trade.asset == *asset).map(|trade| trade.event_time);
        let moves = |row: &&ActivityEvent| match (&row.kind, &row.payload.condition_id) {
            (ActivityKind::Conversion | ActivityKind::Migration, Some(condition)) => {
                self.markets.iter().any(|market| market.id == *condition)
            }
            // A row of a whole event may name no condition.
            (kind, condition) => kind.is_range() || condition.as_ref() == Some(market),
        };
        trades.chain(self.since.activities.iter().filter(moves).map(|row| row.event_time)).max()
    }
}

/// Returns whether `change` is `amount` within the 4 decimals of the positions route.
fn is_about(change: i64, amount: ShareMicros) -> bool {
    change.abs_diff(amount.0) <= POSITION_STEP.0.unsigned_abs()
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Positions => f.write_str("the positions do not show the row yet"),
            Self::Feed { asset, at } => {
                write!(f, "the position in asset `{asset}` includes an event of {at} that the feed does not show yet")
            }
        }
    }
}
