//! The shadow ledger: what a leader did, written down exactly (spec section 5).
//!
//! In    one canonical event, the market's assets, what the shadow holds.
//! Out   its ledger entries, or why there can be none, or that the leader's positions must be read first.
//! The same event gives the same entries, byte for byte: nothing here depends on when it is asked.

use super::event::{ActivityEvent, ActivityKind, Side, TradeEvent};
use super::ids::{AssetId, EventId, FollowedUserId, MarketId};
use super::ledger::{EntryType, LedgerEntry, PortfolioId};
use super::market::Market;
use super::units::{MICROS, PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros, div_floor, div_half_up};

/// Differences below this are the rounding of positions to 4 decimals, not a movement.
const POSITION_STEP: i64 = 100;

/// What an activity row does to the shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowEffect {
    /// None for a row that moves no position.
    Entries(Vec<LedgerEntry>),
    /// CONVERSION and MIGRATION do not say what moved: read the leader's positions and call `conversion_entries`.
    ReadPositions,
}

/// Why a row cannot be applied. It is kept, and audited as MERGE_SPLIT_NOT_APPLICABLE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApplicable {
    #[error("the row names no condition")]
    NoCondition,
    #[error("the outcomes of market `{0}` are not known")]
    UnknownAssets(MarketId),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// One of the assets a conversion may have moved: what the leader has of it, and what the shadow has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetGap {
    pub asset: AssetId,
    pub market: MarketId,
    /// By the positions route; zero when it lists none.
    pub leader_holds: ShareMicros,
    pub shadow_holds: ShareMicros,
}

/// A fill and, when it is known and not zero, its fee.
///
/// # Errors
/// `UnitError::Overflow` for an amount that has no negative.
pub fn entries_for_trade(trade: &TradeEvent) -> Result<Vec<LedgerEntry>, UnitError> {
    let cause = Cause::of(trade.id, trade.followed_user, trade.detect_time);
    let (shares, cash) = match trade.side {
        Side::Buy => (trade.shares, trade.notional.negated()?),
        Side::Sell => (trade.shares.negated()?, trade.notional),
    };
    let fill = LedgerEntry { price: Some(trade.price), ..cause.moves(EntryType::TradeFill, shares, cash) };
    let mut entries = vec![fill];
    if let Some(fee) = trade.fee.filter(|fee| *fee != UsdcMicros::ZERO) {
        entries.push(cause.moves(EntryType::Fee, ShareMicros::ZERO, fee.negated()?));
    }
    for entry in &mut entries {
        entry.market = Some(trade.market.clone());
        entry.asset = Some(trade.asset.clone());
    }
    Ok(entries)
}

/// What a row that is no trade does. `market` as far as it is known; `holdings` is the shadow's, of that market.
///
/// # Errors
/// `NotApplicable`, and then nothing may be written.
pub fn entries_for_activity(
    activity: &ActivityEvent,
    market: Option<&Market>,
    holdings: &[(AssetId, ShareMicros)],
) -> Result<ShadowEffect, NotApplicable> {
    let entries = match activity.kind {
        ActivityKind::Combo | ActivityKind::Other(_) => Vec::new(),
        ActivityKind::Conversion | ActivityKind::Migration => return Ok(ShadowEffect::ReadPositions),
        ActivityKind::Split => sets(activity, market, EntryType::Split)?,
        ActivityKind::Merge => sets(activity, market, EntryType::Merge)?,
        ActivityKind::Redeem => redeemed(activity, market, holdings)?,
    };
    Ok(ShadowEffect::Entries(entries))
}

/// Moves the shadow to the leader's positions, without cash. No entry where they agree to the 4 decimals given.
///
/// # Errors
/// `UnitError::Overflow`.
pub fn conversion_entries(activity: &ActivityEvent, gaps: &[AssetGap]) -> Result<Vec<LedgerEntry>, UnitError> {
    let cause = Cause::of(activity.id, activity.followed_user, activity.detect_time);
    let mut entries = Vec::new();
    for gap in gaps {
        let difference = gap.leader_holds.minus(gap.shadow_holds)?;
        if difference.magnitude()?.0 >= POSITION_STEP {
            entries.push(LedgerEntry {
                market: Some(gap.market.clone()),
                asset: Some(gap.asset.clone()),
                ..cause.moves(EntryType::Conversion, difference, UsdcMicros::ZERO)
            });
        }
    }
    Ok(entries)
}

/// One entry per outcome, each at the price of its part of a set; the last takes what the division leaves.
fn sets(activity: &ActivityEvent, market: Option<&Market>, kind: EntryType) -> Result<Vec<LedgerEntry>, NotApplicable> {
    let condition = activity.payload.condition_id.as_ref().ok_or(NotApplicable::NoCondition)?;
    let unknown = || NotApplicable::UnknownAssets(condition.clone());
    let outcomes = &market.filter(|market| market.id == *condition).ok_or_else(unknown)?.outcomes;
    let k = i64::try_from(outcomes.len()).ok().filter(|k| *k > 0).ok_or_else(unknown)?;
    let cash = activity.payload.cash_micros;
    let price = PriceMicros::new(div_half_up(i128::from(MICROS), i128::from(k))?)?;
    let part = UsdcMicros(div_floor(i128::from(cash.0), i128::from(k))?);
    let cause = Cause::of(activity.id, activity.followed_user, activity.detect_time);
    let mut left = cash;
    let mut entries = Vec::new();
    for (n, outcome) in (1..).zip(outcomes) {
        let part = if n == k { left } else { part };
        left = left.minus(part)?;
        let (shares, cash) = match kind {
            EntryType::Split => (activity.payload.share_micros, part.negated()?),
            _ => (activity.payload.share_micros.negated()?, part),
        };
        entries.push(LedgerEntry {
            market: Some(condition.clone()),
            asset: Some(outcome.asset.clone()),
            price: Some(price),
            ..cause.moves(kind, shares, cash)
        });
    }
    Ok(entries)
}

/// Everything held of the condition leaves; the row's cash comes in on one asset.
///
/// Rows are redeemed one by one: the first of a transaction empties the condition, the later ones find nothing held
/// and only bring their cash. So the cash of (transaction, condition) is the sum over its rows, whatever their shape.
fn redeemed(
    activity: &ActivityEvent,
    market: Option<&Market>,
    holdings: &[(AssetId, ShareMicros)],
) -> Result<Vec<LedgerEntry>, NotApplicable> {
    let condition = activity.payload.condition_id.as_ref().ok_or(NotApplicable::NoCondition)?;
    let market = market.filter(|market| market.id == *condition);
    let payout = |asset: &AssetId| market.and_then(|market| market.payout_of(asset));
    let cash = activity.payload.cash_micros;
    let paid_on = activity.payload.token_id.as_ref().or(paid_asset(holdings, payout));
    let cause = Cause::of(activity.id, activity.followed_user, activity.detect_time);
    let settles = |asset: Option<&AssetId>, shares, cash| LedgerEntry {
        market: Some(condition.clone()),
        asset: asset.cloned(),
        price: asset.and_then(payout),
        ..cause.moves(EntryType::Settlement, shares, cash)
    };
    let mut entries = Vec::new();
    let mut left = cash;
    for (asset, held) in holdings.iter().filter(|(_, held)| *held != ShareMicros::ZERO) {
        let part = if paid_on == Some(asset) { std::mem::take(&mut left) } else { UsdcMicros::ZERO };
        entries.push(settles(Some(asset), held.negated()?, part));
    }
    if left != UsdcMicros::ZERO {
        entries.push(settles(paid_on, ShareMicros::ZERO, left));
    }
    Ok(entries)
}

/// The largest holding among those known to pay something, else the largest of all; the first where they are equal.
fn paid_asset(
    holdings: &[(AssetId, ShareMicros)],
    payout: impl Fn(&AssetId) -> Option<PriceMicros>,
) -> Option<&AssetId> {
    let held = holdings.iter().filter(|(_, held)| *held != ShareMicros::ZERO);
    let pays = |asset| payout(asset).is_some_and(|payout| payout > PriceMicros::ZERO);
    held.rev().max_by_key(|(asset, held)| (pays(asset), *held)).map(|(asset, _)| asset)
}

/// What all entries of one event have in common.
struct Cause {
    leader: FollowedUserId,
    ref_id: String,
    created_at: Timestamp,
}

impl Cause {
    /// Entries are dated by the event's own detect_time, so a replay writes the same ones.
    fn of(event: EventId, leader: FollowedUserId, detect_time: Timestamp) -> Self {
        Self { leader, ref_id: format!("event:{event}"), created_at: detect_time }
    }

    fn moves(&self, kind: EntryType, shares: ShareMicros, cash: UsdcMicros) -> LedgerEntry {
        LedgerEntry {
            portfolio: PortfolioId::ShadowUser(self.leader),
            attributed_user: Some(self.leader),
            market: None,
            asset: None,
            kind,
            shares,
            cash,
            price: None,
            ref_id: self.ref_id.clone(),
            created_at: self.created_at,
        }
    }
}
