//! The position check: which drifts stand, and the ADJUSTMENT entries that end them (spec 5, Position check).

use super::correction::{Correction, Takes, cash_at};
use super::opening::closed_at_cost;
use super::reading::{Drift, POSITION_STEP};
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::domain::accounting::lot::Position;
use crate::domain::money::ids::{FollowedUserId, PositionCheckId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

/// A drift is ended when it is found again so much later.
pub const CONFIRMED_AFTER_MS: i64 = 5 * 60 * 1000;

/// The check that ends drifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckCase {
    /// The id of its row in `position_check`.
    pub check: PositionCheckId,
    pub leader: FollowedUserId,
    /// When the positions were read. The date of the entries.
    pub checked_at: Timestamp,
}

/// The end of one drift.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Adjusted {
    pub entries: Vec<LedgerEntry>,
    pub corrections: Vec<Correction>,
    /// The absolute value of the shares that moved, at the price at which each part moved. Never negative.
    pub value: UsdcMicros,
}

/// Returns the drifts that are in both of two checks at least 5 minutes apart, with the shares that drift in both: those
/// of the smaller drift where both point the same way. `Drift::shares` of the result is what may be adjusted.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn standing(
    earlier: &[Drift],
    earlier_at: Timestamp,
    now: &[Drift],
    now_at: Timestamp,
) -> Result<Vec<Drift>, UnitError> {
    if now_at.millis_since(earlier_at) < CONFIRMED_AFTER_MS {
        return Ok(Vec::new());
    }
    let mut standing = Vec::new();
    for drift in now {
        let Some(before) = earlier.iter().find(|before| before.asset == drift.asset) else { continue };
        if (before.shares < ShareMicros::ZERO) != (drift.shares < ShareMicros::ZERO) {
            continue;
        }
        let smaller = if before.shares.magnitude()? < drift.shares.magnitude()? { before.shares } else { drift.shares };
        if smaller.magnitude()? >= POSITION_STEP {
            standing.push(Drift { shares: smaller, ..drift.clone() });
        }
    }
    Ok(standing)
}

/// Returns the entries that move the shadow by `drift.shares`.
///
/// Shares that close a negative holding enter at its average cost, under `adjust:<check id>`. All others move at the
/// mark, under the same ref_id, or `adjust:<check id>:mark` when both parts exist. `lot` is the lot of the shadow as it
/// is now, `mark` the price at which the shadow values the asset. Without a mark it values the lot at its cost, so the
/// average cost is the price; without a lot too, the price of the position.
///
/// # Errors
/// [`UnitError::Overflow`]; nothing may be written then.
pub fn adjust(
    case: &CheckCase,
    drift: &Drift,
    lot: Position,
    mark: Option<PriceMicros>,
) -> Result<Adjusted, UnitError> {
    let whole = Correction {
        leader: case.leader,
        ref_id: format!("adjust:{}", case.check),
        kind: EntryType::Adjustment,
        asset: drift.asset.clone(),
        market: drift.market.clone(),
        takes: Takes::Any,
        counted_to: drift.counted_to,
        price: Some(mark.or(lot.average_cost()).or(drift.price).unwrap_or(PriceMicros::ZERO)),
        booked_shares: ShareMicros::ZERO,
        booked_cash: UsdcMicros::ZERO,
        shares: ShareMicros::ZERO,
    };
    let closing = lot.closing(drift.shares)?;
    let mut parts = Vec::new();
    let mut rest = whole.clone();
    if closing != ShareMicros::ZERO {
        parts.push(closed_at_cost(&whole, lot, closing)?);
        rest.ref_id.push_str(":mark");
    }
    rest.shares = drift.shares.minus(closing)?;
    rest.booked_shares = rest.shares;
    rest.booked_cash = cash_at(rest.price.unwrap_or(PriceMicros::ZERO), rest.shares)?;
    parts.push(rest);
    let mut adjusted = Adjusted::default();
    for part in parts {
        let value = if part.booked_cash.0 < 0 { part.booked_cash.negated()? } else { part.booked_cash };
        adjusted.value = adjusted.value.plus(value)?;
        adjusted.entries.extend(part.first_entry(case.checked_at));
        adjusted.corrections.push(part);
    }
    Ok(adjusted)
}
