//! The shadow ledger: an exact record of what a leader did (spec 5).
//!
//! In    one canonical event, the assets of its market, the holdings of the shadow.
//! Out   its ledger entries, or the reason why there can be none, or which facts must be fetched first.
//! The same event always makes the same entries, byte for byte: nothing here depends on the time of the call.
//!
//! | file | rule |
//! |---|---|
//! | `correction` | OPENING and ADJUSTMENT, and how late rows take shares back: every row enters through [`correction::enter`] |
//! | `opening` | what a leader held when we began to follow |
//! | `redemption`, `conversion`, `carried` | rows that do not say which shares moved |
//! | `reading`, `check` | the leader's positions against the shadow |
//! | `exactness` | whether the books agree with the venue |

pub mod carried;
pub mod cause;
pub mod check;
pub mod conversion;
pub mod correction;
pub mod exactness;
pub mod opening;
pub mod reading;
mod redemption;

use self::cause::Cause;
use self::correction::Booked;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::domain::events::event::{ActivityEvent, ActivityKind, Side, TradeEvent};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, UnitError, UsdcMicros, div_floor, div_half_up};

/// The effect of an activity row on the shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowEffect {
    /// The entries of the row, to be entered with [`correction::enter`]; empty for a row that moves no position.
    Entries(Booked),
    /// A REDEEM whose payout is not known: ask again, for at most 24 hours.
    NeedsPayout,
    /// A CONVERSION or a row of a range event does not say which shares moved: read the leader's positions and call
    /// [`conversion::PositionCase`].
    ReadPositions,
}

/// The facts that an activity row needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct ActivityFacts<'a> {
    /// `None` while it is unknown.
    pub market: Option<&'a Market>,
    /// The shares of the shadow in that market as the row finds them ([`correction::held_without`]).
    pub holdings: &'a [(AssetId, ShareMicros)],
    /// The entries of other rows of the same transaction and condition, for a REDEEM.
    pub booked: &'a [LedgerEntry],
    /// The payout of a REDEEM could not be found within 24 hours.
    pub payout_overdue: bool,
}

/// Why a row cannot be applied. The row is stored nevertheless, and audited as MERGE_SPLIT_NOT_APPLICABLE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApplicable {
    #[error("the row names no condition")]
    NoCondition,
    #[error("the outcomes of market `{0}` are not known")]
    UnknownAssets(MarketId),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// Returns the entry of a fill and, when its fee is known and not zero, the entry of the fee.
///
/// # Errors
/// [`UnitError::Overflow`] for an amount whose negative does not fit.
pub fn entries_for_trade(trade: &TradeEvent) -> Result<Vec<LedgerEntry>, UnitError> {
    let cause = Cause::of_trade(trade);
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

/// Returns the effect of a row that is not a trade. Rows of combos, and rows of a kind that moves nothing or that we do
/// not know ([`ActivityKind::position_effect`]), have no entries; neither has a MIGRATION without a condition, which is
/// a credit of the account.
///
/// # Errors
/// [`NotApplicable`], and then nothing may be written.
pub fn entries_for_activity(
    activity: &ActivityEvent,
    facts: &ActivityFacts<'_>,
) -> Result<ShadowEffect, NotApplicable> {
    if activity.is_combo() {
        return Ok(ShadowEffect::Entries(Booked::default()));
    }
    let entries = match activity.kind {
        ActivityKind::Combo | ActivityKind::Other(_) => Vec::new(),
        ActivityKind::Migration if activity.payload.condition_id.is_none() => Vec::new(),
        ActivityKind::Conversion
        | ActivityKind::Migration
        | ActivityKind::DirectionalSplit
        | ActivityKind::DirectionalMerge
        | ActivityKind::ThresholdCompose
        | ActivityKind::ThresholdDecompose => return Ok(ShadowEffect::ReadPositions),
        ActivityKind::Split => sets(activity, facts.market, EntryType::Split)?,
        ActivityKind::Merge => sets(activity, facts.market, EntryType::Merge)?,
        ActivityKind::Redeem => return redemption::redeemed(activity, facts),
    };
    Ok(ShadowEffect::Entries(Booked { entries, ..Booked::default() }))
}

/// Returns one entry per outcome, each at the price of its part of a set. The last one takes the rest of the division.
fn sets(activity: &ActivityEvent, market: Option<&Market>, kind: EntryType) -> Result<Vec<LedgerEntry>, NotApplicable> {
    let condition = activity.payload.condition_id.as_ref().ok_or(NotApplicable::NoCondition)?;
    let unknown = || NotApplicable::UnknownAssets(condition.clone());
    let outcomes = &market.filter(|market| market.id == *condition).ok_or_else(unknown)?.outcomes;
    let k = i64::try_from(outcomes.len()).ok().filter(|k| *k > 0).ok_or_else(unknown)?;
    let cash = activity.payload.cash_micros;
    let price = PriceMicros::new(div_half_up(i128::from(MICROS), i128::from(k))?)?;
    let part = UsdcMicros(div_floor(i128::from(cash.0), i128::from(k))?);
    let cause = Cause::of_activity(activity);
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

#[cfg(test)]
mod tests;
