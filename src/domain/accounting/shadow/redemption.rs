//! REDEEM: which shares the cash of a redemption paid for (spec 5, Redemptions).
//!
//! Rows come in several shapes: one for each outcome with its token, one for a condition without a token, or several of
//! either in one transaction. Each is booked alone, as the difference between all rows of the transaction so far and
//! those that are booked already, so the result is the same as for one row with the sum of their cash.

use std::collections::BTreeMap;

use super::cause::Cause;
use super::correction::{Booked, Correction, Takes};
use super::exactness::InexactCause;
use super::reading::POSITION_STEP;
use super::{ActivityFacts, NotApplicable, ShadowEffect};
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::domain::events::event::ActivityEvent;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, UnitError, UsdcMicros, div_half_up, product};

/// A rest below a hundredth of a share leaves with the others: it is the rounding of an amount.
const REST: ShareMicros = ShareMicros(10_000);

/// The shares and cash of one asset that a transaction moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Moved {
    /// Shares that the shadow held and that left.
    known: ShareMicros,
    /// Shares that the shadow did not hold, and the cash they brought.
    unknown: ShareMicros,
    unknown_cash: UsdcMicros,
    /// All cash of the asset.
    cash: UsdcMicros,
}

/// Which assets a redemption moves, and at which payouts.
struct Payouts {
    /// The only asset that the row moves; `None` for a row of the whole condition.
    token: Option<AssetId>,
    /// With the shares held and the payout of each.
    redeemed: Vec<(AssetId, ShareMicros, PriceMicros)>,
    /// Where cash goes that pays for shares we did not know.
    paying: Option<(AssetId, PriceMicros)>,
    assumed: bool,
}

/// Returns the effect of a REDEEM.
///
/// # Errors
/// [`NotApplicable`] when no asset is known that the cash can belong to.
pub(super) fn redeemed(row: &ActivityEvent, facts: &ActivityFacts<'_>) -> Result<ShadowEffect, NotApplicable> {
    let condition = row.payload.condition_id.as_ref().ok_or(NotApplicable::NoCondition)?;
    let booked = booked(facts.booked)?;
    let Some(payouts) = payouts(row, condition, facts, &booked)? else { return Ok(ShadowEffect::NeedsPayout) };
    let same = |asset: &AssetId| payouts.token.as_ref().is_none_or(|token| token == asset);
    let earlier = booked
        .iter()
        .filter(|(asset, _)| same(asset))
        .map(|(_, moved)| moved.cash)
        .try_fold(UsdcMicros::ZERO, UsdcMicros::plus)?;
    let all = moved(&payouts, row.payload.cash_micros.plus(earlier)?)?;
    let cause = Cause::of_activity(row);
    let mut effect = Booked { inexact: payouts.assumed.then_some(InexactCause::PayoutAssumed), ..Booked::default() };
    for (asset, now) in all {
        let before = booked.get(&asset).copied().unwrap_or_default();
        effect.add(&cause, condition, &asset, payouts.price_of(&asset), now.less(before)?)?;
    }
    Ok(ShadowEffect::Entries(effect))
}

impl Payouts {
    fn price_of(&self, asset: &AssetId) -> Option<PriceMicros> {
        let paying = self.paying.iter().find(|(paying, _)| paying == asset).map(|(_, price)| *price);
        self.redeemed.iter().find(|(redeemed, ..)| redeemed == asset).map(|(.., price)| *price).or(paying)
    }
}

impl Moved {
    fn less(self, before: Self) -> Result<Self, UnitError> {
        Ok(Self {
            known: self.known.minus(before.known)?,
            unknown: self.unknown.minus(before.unknown)?,
            unknown_cash: self.unknown_cash.minus(before.unknown_cash)?,
            cash: self.cash.minus(before.cash)?,
        })
    }
}

impl Booked {
    /// Adds the entries of one asset: first the shares we did not know, then one settlement of all.
    fn add(
        &mut self,
        cause: &Cause,
        condition: &MarketId,
        asset: &AssetId,
        price: Option<PriceMicros>,
        moved: Moved,
    ) -> Result<(), UnitError> {
        let of_asset = |entry: LedgerEntry| LedgerEntry {
            market: Some(condition.clone()),
            asset: Some(asset.clone()),
            price,
            ..entry
        };
        if moved.unknown != ShareMicros::ZERO {
            let cash = moved.unknown_cash.negated()?;
            self.entries.push(of_asset(cause.moves(EntryType::Adjustment, moved.unknown, cash)));
            self.corrections.push(Correction {
                leader: cause.leader,
                ref_id: cause.ref_id(),
                kind: EntryType::Adjustment,
                asset: asset.clone(),
                market: Some(condition.clone()),
                takes: Takes::UpToZero,
                counted_to: cause.event_time,
                price,
                booked_shares: moved.unknown,
                booked_cash: cash,
                shares: moved.unknown,
            });
        }
        if price == Some(PriceMicros::ZERO) && moved.known != ShareMicros::ZERO {
            self.corrections.push(losing_shares(cause, condition, asset, moved.known.negated()?));
        }
        let leave = moved.known.plus(moved.unknown)?;
        if leave != ShareMicros::ZERO || moved.cash != UsdcMicros::ZERO {
            self.entries.push(of_asset(cause.moves(EntryType::Settlement, leave.negated()?, moved.cash)));
        }
        Ok(())
    }
}

/// Returns the record that all losing shares left: a row from before the redemption that arrives after it moves losing
/// shares too, and those leave with the others.
fn losing_shares(cause: &Cause, condition: &MarketId, asset: &AssetId, shares: ShareMicros) -> Correction {
    Correction {
        leader: cause.leader,
        ref_id: cause.ref_id(),
        kind: EntryType::Adjustment,
        asset: asset.clone(),
        market: Some(condition.clone()),
        takes: Takes::Any,
        counted_to: cause.event_time,
        price: Some(PriceMicros::ZERO),
        booked_shares: shares,
        booked_cash: UsdcMicros::ZERO,
        shares,
    }
}

/// Sums the entries of other rows of the transaction, by asset.
fn booked(entries: &[LedgerEntry]) -> Result<BTreeMap<AssetId, Moved>, UnitError> {
    let mut booked: BTreeMap<AssetId, Moved> = BTreeMap::new();
    for entry in entries {
        let Some(asset) = &entry.asset else { continue };
        let moved = booked.entry(asset.clone()).or_default();
        match entry.kind {
            EntryType::Settlement => {
                moved.known = moved.known.minus(entry.shares)?;
                moved.cash = moved.cash.plus(entry.cash)?;
            }
            EntryType::Adjustment => {
                moved.known = moved.known.minus(entry.shares)?;
                moved.unknown = moved.unknown.plus(entry.shares)?;
                moved.unknown_cash = moved.unknown_cash.minus(entry.cash)?;
            }
            _ => {}
        }
    }
    Ok(booked)
}

/// Returns the assets that the row redeems and their payouts; `None` while a payout that it needs is not known.
fn payouts(
    row: &ActivityEvent,
    condition: &MarketId,
    facts: &ActivityFacts<'_>,
    booked: &BTreeMap<AssetId, Moved>,
) -> Result<Option<Payouts>, NotApplicable> {
    let market = facts.market.filter(|market| market.id == *condition);
    let payout = |asset: &AssetId| market.and_then(|market| market.payout_of(asset));
    // The holding before the first row of the transaction.
    let mut held: BTreeMap<&AssetId, ShareMicros> = booked.iter().map(|(asset, moved)| (asset, moved.known)).collect();
    for (asset, shares) in facts.holdings {
        let sum = held.entry(asset).or_default();
        *sum = sum.plus(*shares)?;
    }
    held.retain(|_, shares| *shares > ShareMicros::ZERO);
    let outcomes = market.iter().flat_map(|market| &market.outcomes);
    let best = || {
        let known = outcomes.clone().filter_map(|outcome| Some((&outcome.asset, outcome.payout?)));
        known
            .filter(|(_, payout)| *payout > PriceMicros::ZERO)
            .reduce(|best, next| if next.1 > best.1 { next } else { best })
    };
    let largest = || held.iter().rev().max_by_key(|(_, shares)| **shares).map(|(asset, _)| *asset);
    let assumed = |asset: &AssetId| Payouts {
        token: row.payload.token_id.clone(),
        redeemed: vec![(asset.clone(), held.get(asset).copied().unwrap_or_default(), PriceMicros::ONE)],
        paying: Some((asset.clone(), PriceMicros::ONE)),
        assumed: true,
    };
    let cash = row.payload.cash_micros;
    if let Some(token) = &row.payload.token_id {
        match payout(token) {
            None if facts.payout_overdue => return Ok(Some(assumed(token))),
            None => return Ok(None),
            // Cash on a token that pays nothing belongs to the condition.
            Some(PriceMicros::ZERO) if cash != UsdcMicros::ZERO => {}
            Some(price) => {
                let redeemed = vec![(token.clone(), held.get(token).copied().unwrap_or_default(), price)];
                let paying = (price > PriceMicros::ZERO).then(|| (token.clone(), price));
                return Ok(Some(Payouts { token: Some(token.clone()), redeemed, paying, assumed: false }));
            }
        }
    }
    let of_held = held.iter().map(|(asset, shares)| Some(((*asset).clone(), *shares, payout(asset)?)));
    let redeemed: Option<Vec<_>> = of_held.collect();
    let pays_held = redeemed.iter().flatten().any(|(.., price)| *price > PriceMicros::ZERO);
    let paying = best().map(|(asset, price)| (asset.clone(), price));
    match redeemed {
        Some(redeemed) if paying.is_some() || pays_held || cash == UsdcMicros::ZERO => {
            Ok(Some(Payouts { token: None, redeemed, paying, assumed: false }))
        }
        _ if !facts.payout_overdue => Ok(None),
        _ => {
            let first = || market.and_then(|market| market.outcomes.first()).map(|outcome| &outcome.asset);
            let asset = largest().or_else(first).ok_or_else(|| NotApplicable::UnknownAssets(condition.clone()))?;
            Ok(Some(assumed(asset)))
        }
    }
}

/// Divides the cash of a transaction: losing shares leave for nothing, winning ones as far as the cash pays for them, and
/// the rest of the cash is of shares that the shadow did not hold.
fn moved(payouts: &Payouts, cash: UsdcMicros) -> Result<BTreeMap<AssetId, Moved>, UnitError> {
    let mut all: BTreeMap<AssetId, Moved> = BTreeMap::new();
    let mut left = cash;
    for (asset, held, price) in &payouts.redeemed {
        let moved = all.entry(asset.clone()).or_default();
        if *price == PriceMicros::ZERO {
            moved.known = *held;
        } else if left > UsdcMicros::ZERO {
            let paid_for = shares_paid(left, *price)?;
            moved.known = if held.minus(paid_for)? < REST { *held } else { paid_for };
            moved.cash = if paid_for <= moved.known { left } else { price.proceeds_of(moved.known)? };
            left = left.minus(moved.cash)?;
        }
    }
    if left > UsdcMicros::ZERO
        && let Some((asset, price)) = &payouts.paying
    {
        let moved = all.entry(asset.clone()).or_default();
        let unknown = shares_paid(left, *price)?;
        if unknown >= POSITION_STEP {
            (moved.unknown, moved.unknown_cash) = (unknown, left);
        }
        moved.cash = moved.cash.plus(left)?;
    }
    Ok(all)
}

/// Returns `cash / price` to the nearest micro-share.
fn shares_paid(cash: UsdcMicros, price: PriceMicros) -> Result<ShareMicros, UnitError> {
    div_half_up(product(cash.0, MICROS), i128::from(price.micros())).map(ShareMicros)
}
