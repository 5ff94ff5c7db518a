//! Average cost: how one lot takes a movement of shares and cash, and what is realized by it (spec section 9).
//!
//! Shares, cost and cash carry their sign, so a short is a lot like any other: negative shares whose negative cost is
//! what was received for them. Always: cash moved = realized - change of cost. Nothing is lost to rounding.

use super::units::{PriceMicros, ShareMicros, UnitError, UsdcMicros, div_ceil, div_floor, product};

/// Shares held and what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    pub shares: ShareMicros,
    /// Cash paid for what is held, fees apart; negative for a short.
    pub cost: UsdcMicros,
}

/// A position after a movement, and what the movement realized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub position: Position,
    pub realized: UsdcMicros,
}

/// What a position is worth at its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Valuation {
    pub value: UsdcMicros,
    pub exposure: UsdcMicros,
}

impl Position {
    /// Adds `shares` for `cash` (both deltas of the portfolio: a purchase brings shares and takes cash).
    ///
    /// Shares in the direction held open: the cash becomes cost. Shares against it close at average cost, the removed
    /// cost rounded up so that no micro is realized too early. What crosses zero closes first and opens with the rest
    /// of the cash, in proportion to the shares. Cash without shares is realized.
    ///
    /// # Errors
    /// `UnitError::Overflow`.
    pub fn moved(self, shares: ShareMicros, cash: UsdcMicros) -> Result<Moved, UnitError> {
        if shares == ShareMicros::ZERO {
            return Ok(Moved { position: self, realized: cash });
        }
        let opens = self.shares == ShareMicros::ZERO || (self.shares.0 > 0) == (shares.0 > 0);
        if opens {
            let position = Self { shares: self.shares.plus(shares)?, cost: self.cost.minus(cash)? };
            return Ok(Moved { position, realized: UsdcMicros::ZERO });
        }
        let held = i128::from(self.shares.0).abs();
        let moving = i128::from(shares.0).abs();
        let left = self.shares.plus(shares)?;
        if moving < held {
            let removed = UsdcMicros(div_ceil(product(self.cost.0, shares.0).saturating_mul(sign(shares)), held)?);
            let position = Self { shares: left, cost: self.cost.minus(removed)? };
            return Ok(Moved { position, realized: cash.minus(removed)? });
        }
        let closing = UsdcMicros(div_floor(product(cash.0, self.shares.0).saturating_mul(sign(self.shares)), moving)?);
        let position = Self { shares: left, cost: closing.minus(cash)? };
        Ok(Moved { position, realized: closing.minus(self.cost)? })
    }

    /// Value rounds down, exposure up. Without a mark the position is worth what it cost.
    ///
    /// # Errors
    /// `UnitError::Overflow`.
    pub fn at(self, mark: Option<PriceMicros>) -> Result<Valuation, UnitError> {
        match mark {
            Some(mark) => Ok(Valuation {
                value: mark.proceeds_of(self.shares)?,
                exposure: mark.cost_of(self.shares.magnitude()?)?,
            }),
            None if self.cost.0 < 0 => Ok(Valuation { value: self.cost, exposure: self.cost.negated()? }),
            None => Ok(Valuation { value: self.cost, exposure: self.cost }),
        }
    }

    /// What one share cost; `None` when nothing is held or the average is no price.
    pub fn average_cost(self) -> Option<PriceMicros> {
        PriceMicros::average(self.cost, self.shares).ok()
    }
}

fn sign(shares: ShareMicros) -> i128 {
    i128::from(shares.0.signum())
}
