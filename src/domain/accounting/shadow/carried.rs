//! Shares that become other shares: their cost goes with them (spec 5, Conversions, Migrations and range kinds).

use std::collections::BTreeMap;

use super::cause::Cause;
use super::correction::{Booked, Correction, Entered, TakenBack, Takes, cash_at, held_without};
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::domain::accounting::lot::Position;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, UnitError, UsdcMicros, div_floor, product};

/// The shadow's side of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShadowAsset {
    pub market: Option<MarketId>,
    /// The lot as it is now.
    pub lot: Position,
    /// What the shadow holds, counting only rows that the position can include
    /// ([`Readings::counted`](super::reading::Readings::counted)). Rows that are stored and not in the ledger are left
    /// out.
    pub counted: ShareMicros,
    /// The price at which the shadow values it; `None` when it is valued at its cost.
    pub mark: Option<PriceMicros>,
}

/// The holdings of a shadow that a row may have changed, by asset.
pub type ShadowAssets = BTreeMap<AssetId, ShadowAsset>;

/// An asset that leaves, with its lot at that moment.
struct Leaving<'a> {
    asset: &'a AssetId,
    known: &'a ShadowAsset,
    shares: ShareMicros,
    /// Shares that the shadow did not hold, and the cash at which they enter; negative.
    missing: ShareMicros,
    missing_cash: UsdcMicros,
    cost: UsdcMicros,
}

/// Returns the entries of a row that turned some shares into others, with the take-backs of [`super::correction::enter`].
///
/// `changes` are the shares of each asset that left (negative) and came (positive); `cash` is what the row paid to the
/// leader, negative for what it took. Shares that leave and were not held enter first by ADJUSTMENT at the mark. Each
/// asset leaves at its average cost; received cash lowers that cost, and paid cash raises it. The cost that is left moves
/// to the shares that came, in proportion to their number. Where the cash exceeds the cost, or nothing came, the rest is
/// realized by the assets that left, in proportion to their cost. Remainders go to the last asset by id. The cash of all
/// CONVERSION entries sums to `cash`.
///
/// # Errors
/// [`UnitError::Overflow`]; nothing may be written then.
pub fn carried_over(
    cause: &Cause,
    changes: &BTreeMap<AssetId, ShareMicros>,
    cash: UsdcMicros,
    assets: &ShadowAssets,
    corrections: &[Correction],
) -> Result<Entered, UnitError> {
    let nothing = ShadowAsset::default();
    let known = |asset: &AssetId| assets.get(asset).unwrap_or(&nothing);
    let mut net = changes.clone();
    let mut missing: BTreeMap<&AssetId, ShareMicros> = BTreeMap::new();
    for (asset, change) in changes.iter().filter(|(_, change)| **change < ShareMicros::ZERO) {
        let held = held_without(known(asset).lot.shares, corrections, asset, cause.event_time)?;
        let lacks = change.negated()?.minus(held.max(ShareMicros::ZERO))?.max(ShareMicros::ZERO);
        missing.insert(asset, lacks);
        net.insert(asset.clone(), change.plus(lacks)?);
    }
    let taken = TakenBack::of(cause, &net, corrections)?;
    let mut leaving = Vec::new();
    for (asset, missing) in missing {
        let shares = changes.get(asset).copied().unwrap_or_default().negated()?;
        leaving.push(Leaving::of(asset, known(asset), shares, missing, &taken.before)?);
    }
    let came: Vec<_> = changes.iter().filter(|(_, change)| **change > ShareMicros::ZERO).collect();
    let mut booked = Booked::default();
    booked.add_missing(cause, &leaving)?;
    booked.entries.extend(converted(cause, &leaving, &came, cash, assets)?);
    let mut entries = taken.before;
    entries.extend(booked.entries);
    entries.extend(taken.after);
    let corrections = booked.corrections.into_iter().chain(taken.corrections).collect();
    Ok(Entered { entries, corrections, inexact: None })
}

impl<'a> Leaving<'a> {
    /// Computes the cost of the shares that leave, after the entries before them.
    fn of(
        asset: &'a AssetId,
        known: &'a ShadowAsset,
        shares: ShareMicros,
        missing: ShareMicros,
        before: &[LedgerEntry],
    ) -> Result<Self, UnitError> {
        let mark = known.mark.or(known.lot.average_cost()).unwrap_or(PriceMicros::ZERO);
        let missing_cash = cash_at(mark, missing)?;
        let mut lot = known.lot;
        for entry in before.iter().filter(|entry| entry.asset.as_ref() == Some(asset)) {
            lot = lot.moved(entry.shares, entry.cash)?.position;
        }
        lot = lot.moved(missing, missing_cash)?.position;
        // A lot that later rows have lowered already leaves as far as it goes; the rest leaves at the mark.
        let held = lot.shares.max(ShareMicros::ZERO).min(shares);
        let cost = if held == ShareMicros::ZERO { UsdcMicros::ZERO } else { lot.cost_of(held)? };
        let cost = cost.minus(cash_at(mark, shares.minus(held)?)?)?;
        Ok(Self { asset, known, shares, missing, missing_cash, cost })
    }
}

impl Booked {
    fn add_missing(&mut self, cause: &Cause, leaving: &[Leaving<'_>]) -> Result<(), UnitError> {
        for leaving in leaving.iter().filter(|leaving| leaving.missing != ShareMicros::ZERO) {
            let entry = LedgerEntry {
                market: leaving.known.market.clone(),
                asset: Some(leaving.asset.clone()),
                price: leaving.known.mark.or(leaving.known.lot.average_cost()),
                ..cause.moves(EntryType::Adjustment, leaving.missing, leaving.missing_cash)
            };
            self.corrections.push(Correction {
                leader: cause.leader,
                ref_id: entry.ref_id.clone(),
                kind: entry.kind,
                asset: leaving.asset.clone(),
                market: entry.market.clone(),
                takes: Takes::UpToZero,
                counted_to: cause.event_time,
                price: entry.price,
                booked_shares: entry.shares,
                booked_cash: entry.cash,
                shares: entry.shares,
            });
            self.entries.push(entry);
        }
        Ok(())
    }
}

/// Returns the CONVERSION entries.
fn converted(
    cause: &Cause,
    leaving: &[Leaving<'_>],
    came: &[(&AssetId, &ShareMicros)],
    cash: UsdcMicros,
    assets: &ShadowAssets,
) -> Result<Vec<LedgerEntry>, UnitError> {
    let costs: Vec<i64> = leaving.iter().map(|leaving| leaving.cost.0).collect();
    let cost = leaving.iter().map(|leaving| leaving.cost).try_fold(UsdcMicros::ZERO, UsdcMicros::plus)?;
    let carried = if came.is_empty() { UsdcMicros::ZERO } else { cost.minus(cash)?.max(UsdcMicros::ZERO) };
    let rest = cash.plus(carried)?;
    let received =
        if rest == cost { costs } else { divided(rest, &weights(&costs, leaving.iter().map(|left| left.shares.0)))? };
    let numbers: Vec<i64> = came.iter().map(|(_, shares)| shares.0).collect();
    let mut entries = Vec::new();
    for (leaving, cash) in leaving.iter().zip(received) {
        entries.push(LedgerEntry {
            market: leaving.known.market.clone(),
            asset: Some(leaving.asset.clone()),
            ..cause.moves(EntryType::Conversion, leaving.shares.negated()?, UsdcMicros(cash))
        });
    }
    for ((asset, shares), cost) in came.iter().zip(divided(carried, &numbers)?) {
        entries.push(LedgerEntry {
            market: assets.get(*asset).and_then(|known| known.market.clone()),
            asset: Some((*asset).clone()),
            ..cause.moves(EntryType::Conversion, **shares, UsdcMicros(cost).negated()?)
        });
    }
    Ok(entries)
}

/// Returns the costs as weights, or the shares where no cost is above zero.
fn weights(costs: &[i64], shares: impl Iterator<Item = i64>) -> Vec<i64> {
    if costs.iter().any(|cost| *cost > 0) {
        return costs.iter().map(|cost| (*cost).max(0)).collect();
    }
    shares.collect()
}

/// Divides `total` in proportion to weights that are not negative; each part is rounded down and the last one takes the
/// remainder.
fn divided(total: UsdcMicros, weights: &[i64]) -> Result<Vec<i64>, UnitError> {
    let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).fold(0, i128::saturating_add);
    let mut left = total;
    let mut parts = Vec::new();
    for (n, weight) in (1..).zip(weights) {
        let part = if n == weights.len() || sum == 0 {
            if n == weights.len() { left } else { UsdcMicros::ZERO }
        } else {
            UsdcMicros(div_floor(product(total.0, *weight), sum)?)
        };
        left = left.minus(part)?;
        parts.push(part.0);
    }
    Ok(parts)
}
