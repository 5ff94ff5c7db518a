//! Opening positions: what a leader held when we began to follow (spec 5, Opening).

use super::correction::{Correction, Takes, cash_at};
use super::reading::PositionReading;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::accounting::lot::Position;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

/// Whether a leader is new or was followed before openings existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpeningRule {
    /// OPENING entries.
    New,
    /// ADJUSTMENT entries; shares that close a negative holding enter at its average cost.
    FollowedBefore,
}

/// The opening of one leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpeningCase {
    pub leader: FollowedUserId,
    pub rule: OpeningRule,
    /// When the positions were read. The date of the entries.
    pub checked_at: Timestamp,
}

/// One asset that is listed in the positions, or that a row of the first window names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpeningAsset<'a> {
    pub asset: AssetId,
    pub market: Option<MarketId>,
    /// `None` when the asset is not listed: it is not held.
    pub reading: Option<&'a PositionReading>,
    /// What the shadow holds, counting only rows that the position can include
    /// ([`Readings::counted`](super::reading::Readings::counted)).
    pub counted: ShareMicros,
    /// The lot of the shadow as it is now.
    pub lot: Position,
    /// Of the resolved market.
    pub payout: Option<PriceMicros>,
    pub midpoint: Option<PriceMicros>,
}

/// The opening entries of a leader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    pub entries: Vec<LedgerEntry>,
    /// One for each asset, also where nothing was booked: a row that arrives late may still show that shares were held.
    pub corrections: Vec<Correction>,
    /// The assets that were opened at 0 because no price was known: the books are not exact.
    pub unpriced: Vec<AssetId>,
}

/// Returns whether a row is part of the opening. Such a row is stored, makes no ledger entry and joins no group.
pub fn is_before_following(event_time: Timestamp, follows_from: Timestamp) -> bool {
    event_time < follows_from
}

/// Returns the price at which shares enter that no row explains: the payout once known; else the position's current
/// price; else the midpoint; else the position's average price.
pub fn price_of(
    payout: Option<PriceMicros>,
    reading: Option<&PositionReading>,
    midpoint: Option<PriceMicros>,
) -> Option<PriceMicros> {
    let current = reading.and_then(|reading| reading.current_price);
    let average = reading.and_then(|reading| reading.average_price);
    payout.or(current).or(midpoint).or(average)
}

/// Returns the opening of `assets`: for each one its position less what the shadow holds, at [`price_of`] or else 0.
/// A result below zero is not booked. Combos are left out.
///
/// # Errors
/// [`UnitError::Overflow`]; nothing may be written then.
pub fn opening(case: &OpeningCase, assets: &[OpeningAsset<'_>]) -> Result<Opened, UnitError> {
    let mut opened = Opened::default();
    for asset in assets {
        if asset.asset.is_combo() || asset.market.as_ref().is_some_and(MarketId::is_combo) {
            continue;
        }
        opened.add(case, asset)?;
    }
    Ok(opened)
}

impl Opened {
    fn add(&mut self, case: &OpeningCase, asset: &OpeningAsset<'_>) -> Result<(), UnitError> {
        let held = asset.reading.map_or(ShareMicros::ZERO, |reading| reading.shares);
        let mut shares = held.minus(asset.counted)?;
        let known = price_of(asset.payout, asset.reading, asset.midpoint);
        let ref_id = format!("open:{}", case.leader);
        let whole = Correction {
            leader: case.leader,
            ref_id,
            kind: if case.rule == OpeningRule::New { EntryType::Opening } else { EntryType::Adjustment },
            asset: asset.asset.clone(),
            market: asset.market.clone().or_else(|| asset.reading.and_then(|reading| reading.market.clone())),
            takes: Takes::Opening,
            counted_to: asset.reading.and_then(|reading| reading.last_event_at).unwrap_or(case.checked_at),
            price: Some(known.unwrap_or(PriceMicros::ZERO)),
            booked_shares: ShareMicros::ZERO,
            booked_cash: UsdcMicros::ZERO,
            shares,
        };
        let mut rest = whole.clone();
        if case.rule == OpeningRule::FollowedBefore {
            let closing = asset.lot.closing(shares)?;
            if closing != ShareMicros::ZERO {
                self.book(closed_at_cost(&whole, asset.lot, closing)?, case.checked_at);
                shares = shares.minus(closing)?;
                rest.ref_id = format!("{}:mark", whole.ref_id);
            }
        }
        rest.shares = shares;
        rest.booked_shares = rest.in_ledger();
        rest.booked_cash = cash_at(rest.price.unwrap_or(PriceMicros::ZERO), rest.booked_shares)?;
        if known.is_none() && rest.booked_shares != ShareMicros::ZERO {
            self.unpriced.push(rest.asset.clone());
        }
        self.book(rest, case.checked_at);
        Ok(())
    }

    fn book(&mut self, correction: Correction, at: Timestamp) {
        self.entries.extend(correction.first_entry(at));
        self.corrections.push(correction);
    }
}

/// Returns the part of a correction that closes `closing` shares of a negative lot at its average cost.
///
/// # Errors
/// [`UnitError::Overflow`].
pub(super) fn closed_at_cost(whole: &Correction, lot: Position, closing: ShareMicros) -> Result<Correction, UnitError> {
    Ok(Correction {
        takes: Takes::UpToZero,
        price: lot.average_cost(),
        booked_shares: closing,
        booked_cash: lot.cost_of(closing)?,
        shares: closing,
        ..whole.clone()
    })
}

impl Correction {
    /// Returns the ledger entry that books it; `None` when it moves no share.
    pub(super) fn first_entry(&self, at: Timestamp) -> Option<LedgerEntry> {
        (self.booked_shares != ShareMicros::ZERO).then(|| LedgerEntry {
            portfolio: PortfolioId::ShadowUser(self.leader),
            attributed_user: Some(self.leader),
            market: self.market.clone(),
            asset: Some(self.asset.clone()),
            kind: self.kind,
            shares: self.booked_shares,
            cash: self.booked_cash,
            price: self.price,
            ref_id: self.ref_id.clone(),
            created_at: at,
        })
    }
}
