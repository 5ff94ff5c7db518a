//! Corrections: the OPENING and ADJUSTMENT of one asset, and how rows that arrive late take their shares back (spec 5).
//!
//! In    the corrections of a leader's assets, and the entries of one row.
//! Out   the entries of the row with those that take its shares back, and the corrections that changed.
//!
//! A correction accounts for the shares of a position that the rows known then did not explain. A row that the position
//! includes and that arrives later explains a part of them, so this part goes back, at the price at which it came. What
//! is left of a correction is then the same as if the row had been on time, to the micro: the cash of a correction and
//! its take-backs is always the cash of the shares that are left.

use std::collections::BTreeMap;

use super::cause::Cause;
use super::exactness::InexactCause;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros, narrow, product};

/// The rows to which a correction returns shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Takes {
    /// Rows that added shares, until nothing of it is left: shares that were closed or redeemed before we knew them.
    UpToZero,
    /// Every row. Below zero nothing is booked: a leader cannot have opened with less than nothing.
    Opening,
    /// Every row, also past zero: shares that moved at the mark.
    Any,
}
text_enum!(Takes { UpToZero => "UP_TO_ZERO", Opening => "OPENING", Any => "ANY" });

/// An OPENING or ADJUSTMENT of one asset, as far as later rows need it. Stored beside the ledger; unique by
/// (leader, ref_id, kind, asset).
///
/// One may exist without a ledger entry: an opening that came out at or below zero, and the part at the mark of an
/// adjustment that only closed a negative holding. Rows that arrive late can bring them above zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    pub leader: FollowedUserId,
    /// `open:<followedUserId>`, `adjust:<check id>` or `event:<event id>`, with `:mark` behind for the second part of
    /// one. Without the event id of a take-back.
    pub ref_id: String,
    /// OPENING or ADJUSTMENT. The losing shares that a redemption took are an ADJUSTMENT at 0 without a ledger entry:
    /// losing shares of late rows leave with them.
    pub kind: EntryType,
    pub asset: AssetId,
    pub market: Option<MarketId>,
    pub takes: Takes,
    /// The `last_event_at` of the position it was read from; the time of the check where the position is not listed;
    /// the time of the row for a correction that belongs to a row.
    pub counted_to: Timestamp,
    /// The price of one share; `None` for shares that closed a negative holding without a price from 0 to 1.
    pub price: Option<PriceMicros>,
    /// The shares and the cash of its first ledger entry; zero without one. They never change.
    pub booked_shares: ShareMicros,
    pub booked_cash: UsdcMicros,
    /// The shares that it accounts for now. Negative in an opening: so many are not booked.
    pub shares: ShareMicros,
}

/// The entries of a row or of a check, before late rows are considered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Booked {
    pub entries: Vec<LedgerEntry>,
    /// What rows that arrive late must know of the entries.
    pub corrections: Vec<Correction>,
    /// Why the books are not exact with these entries; `None` when they do not harm exactness.
    pub inexact: Option<InexactCause>,
}

/// A row that enters the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entered {
    /// All entries to write, in this order.
    pub entries: Vec<LedgerEntry>,
    /// The corrections that are new or changed, to be stored with the entries in one transaction.
    pub corrections: Vec<Correction>,
    pub inexact: Option<InexactCause>,
}

impl Entered {
    /// Returns whether the row moved shares that the shadow did not hold, which is a reason to check the positions.
    pub fn is_beyond_holding(&self) -> bool {
        let own = |ref_id: &str| ref_id.starts_with("event:") && ref_id.matches(':').count() == 1;
        self.entries.iter().any(|entry| entry.kind == EntryType::Adjustment && own(&entry.ref_id))
    }
}

impl Correction {
    /// Returns the shares in the ledger: those it accounts for, but in an opening never less than none.
    pub fn in_ledger(&self) -> ShareMicros {
        match self.takes {
            Takes::Opening => self.shares.max(ShareMicros::ZERO),
            Takes::UpToZero | Takes::Any => self.shares,
        }
    }

    /// Returns whether the position it was read from includes a row of `event_time`.
    pub fn holds(&self, event_time: Timestamp) -> bool {
        event_time <= self.counted_to
    }

    /// Returns the cash of `shares` of it, as the portfolio pays it: negative for shares that came in.
    fn cash_of(&self, shares: ShareMicros) -> Result<UsdcMicros, UnitError> {
        match self.price {
            Some(price) if self.takes != Takes::UpToZero => cash_at(price, shares),
            _ if self.booked_shares == ShareMicros::ZERO => Ok(UsdcMicros::ZERO),
            _ => {
                let wide = product(self.booked_cash.0, shares.0).checked_div(i128::from(self.booked_shares.0));
                Ok(UsdcMicros(narrow(wide.unwrap_or_default())?))
            }
        }
    }

    /// Returns the correction after a row moved `flow` shares, and what of the movement is left for the next one.
    fn absorb(&self, flow: ShareMicros) -> Result<(Self, ShareMicros), UnitError> {
        let after = |shares| Self { shares, ..self.clone() };
        match self.takes {
            Takes::Any => Ok((after(self.shares.minus(flow)?), ShareMicros::ZERO)),
            Takes::UpToZero => {
                let taken = flow.max(ShareMicros::ZERO).min(self.shares.max(ShareMicros::ZERO));
                Ok((after(self.shares.minus(taken)?), flow.minus(taken)?))
            }
            Takes::Opening => {
                let opening = after(self.shares.minus(flow)?);
                let change = opening.in_ledger().minus(self.in_ledger())?;
                Ok((opening, flow.plus(change)?))
            }
        }
    }

    /// Returns the entry that leads from this correction to `after`, caused by a late row.
    fn take_back(&self, after: &Self, cause: &Cause) -> Result<Option<LedgerEntry>, UnitError> {
        let (before, now) = (self.in_ledger(), after.in_ledger());
        if before == now {
            return Ok(None);
        }
        Ok(Some(LedgerEntry {
            portfolio: PortfolioId::ShadowUser(self.leader),
            attributed_user: Some(self.leader),
            market: self.market.clone(),
            asset: Some(self.asset.clone()),
            kind: self.kind,
            shares: now.minus(before)?,
            cash: self.cash_of(now)?.minus(self.cash_of(before)?)?,
            price: self.price,
            ref_id: format!("{}:{}", self.ref_id, cause.event),
            created_at: cause.detect_time,
        }))
    }
}

/// Returns the cash of `shares` at `price`, negative for shares that come in. It is rounded towards zero, as the value
/// of the shares is, so that an opening or adjustment at the mark brings no PnL.
///
/// # Errors
/// [`UnitError::Overflow`].
pub(super) fn cash_at(price: PriceMicros, shares: ShareMicros) -> Result<UsdcMicros, UnitError> {
    let value = price.proceeds_of(shares.magnitude()?)?;
    if shares > ShareMicros::ZERO { value.negated() } else { Ok(value) }
}

/// Returns the shares that a row of `event_time` finds: the holding now, without the corrections that already include
/// the effect of the row.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn held_without(
    held: ShareMicros,
    corrections: &[Correction],
    asset: &AssetId,
    event_time: Timestamp,
) -> Result<ShareMicros, UnitError> {
    let including = corrections.iter().filter(|known| known.asset == *asset && known.holds(event_time));
    including.map(Correction::in_ledger).try_fold(held, ShareMicros::minus)
}

/// Returns the entries of a row as it enters the ledger. The shares that it moves are taken back from the corrections
/// which already include it, oldest position first; a row that none includes enters as it is.
///
/// `corrections` are those of the assets that the row moves, whatever their time. Entries that take shares back come
/// after the row's own, those that return shares come before, so that no holding falls below zero on the way.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn enter(cause: &Cause, booked: Booked, corrections: &[Correction]) -> Result<Entered, UnitError> {
    let taken = TakenBack::of(cause, &moved_shares(&booked.entries)?, corrections)?;
    let mut entries = taken.before;
    entries.extend(booked.entries);
    entries.extend(taken.after);
    let corrections = booked.corrections.into_iter().chain(taken.corrections).collect();
    Ok(Entered { entries, corrections, inexact: booked.inexact })
}

/// The take-backs of one row.
pub(super) struct TakenBack {
    pub before: Vec<LedgerEntry>,
    pub after: Vec<LedgerEntry>,
    pub corrections: Vec<Correction>,
}

impl TakenBack {
    /// Computes the take-backs of a row that moves `moved`.
    pub fn of(
        cause: &Cause,
        moved: &BTreeMap<AssetId, ShareMicros>,
        corrections: &[Correction],
    ) -> Result<Self, UnitError> {
        let mut taken = Self { before: Vec::new(), after: Vec::new(), corrections: Vec::new() };
        for (asset, moved) in moved {
            let mut including: Vec<_> =
                corrections.iter().filter(|known| known.asset == *asset && known.holds(cause.event_time)).collect();
            including.sort_by_key(|known| (known.counted_to, known.takes, &known.ref_id));
            let mut flow = *moved;
            for known in including {
                if flow == ShareMicros::ZERO {
                    break;
                }
                let (after, left) = known.absorb(flow)?;
                flow = left;
                match known.take_back(&after, cause)? {
                    Some(entry) if entry.shares > ShareMicros::ZERO => taken.before.push(entry),
                    Some(entry) => taken.after.push(entry),
                    None => {}
                }
                if after != *known {
                    taken.corrections.push(after);
                }
            }
        }
        Ok(taken)
    }
}

/// Returns the shares that entries move, by asset.
fn moved_shares(entries: &[LedgerEntry]) -> Result<BTreeMap<AssetId, ShareMicros>, UnitError> {
    let mut moved: BTreeMap<AssetId, ShareMicros> = BTreeMap::new();
    for entry in entries {
        if let Some(asset) = &entry.asset {
            let sum = moved.entry(asset.clone()).or_default();
            *sum = sum.plus(entry.shares)?;
        }
    }
    Ok(moved)
}
