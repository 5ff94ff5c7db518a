//! Average cost: how a movement of shares and cash changes one lot, and the profit or loss that it realizes (spec 9).
//!
//! Shares, cost and cash are signed, so a short is a lot like any other: it has negative shares, and its negative cost
//! is the cash received for them. Always: cash moved = realized - change of cost. Nothing is lost to rounding.

use crate::domain::money::units::{PriceMicros, ShareMicros, UnitError, UsdcMicros, div_ceil, div_floor, product};

/// The shares held and their cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    pub shares: ShareMicros,
    /// Cash paid for the shares held, without fees; negative for a short.
    pub cost: UsdcMicros,
}

/// A position after a movement, and the profit or loss that the movement realized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub position: Position,
    pub realized: UsdcMicros,
}

/// The value and the exposure of a position at its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Valuation {
    pub value: UsdcMicros,
    pub exposure: UsdcMicros,
}

impl Position {
    /// Applies a movement of `shares` and `cash`, both as changes of the portfolio: a purchase adds shares and takes
    /// cash.
    ///
    /// Shares in the direction of the position open: the cash becomes cost. Shares against it close at average cost;
    /// the removed cost is rounded up so that no micro is realized too early. A movement across zero first closes and
    /// then opens, and the cash is divided in proportion to the shares. Cash without shares is realized.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
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
            let removed = self.cost_of(shares)?;
            let position = Self { shares: left, cost: self.cost.minus(removed)? };
            return Ok(Moved { position, realized: cash.minus(removed)? });
        }
        let closing = UsdcMicros(div_floor(product(cash.0, self.shares.0).saturating_mul(sign(self.shares)), moving)?);
        let position = Self { shares: left, cost: closing.minus(cash)? };
        Ok(Moved { position, realized: closing.minus(self.cost)? })
    }

    /// Returns the cost of so many of the shares held, whatever their sign: at average cost, rounded up. Of all shares
    /// held, or more, it is the whole cost. A movement that closes `shares` for this cash realizes nothing.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub fn cost_of(self, shares: ShareMicros) -> Result<UsdcMicros, UnitError> {
        let (held, moving) = (i128::from(self.shares.0).abs(), i128::from(shares.0).abs());
        if moving >= held {
            return Ok(self.cost);
        }
        div_ceil(product(self.cost.0, shares.0).saturating_mul(sign(shares)), held).map(UsdcMicros)
    }

    /// Returns how many of `shares` that come in close a negative position; zero when there is none.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub fn closing(self, shares: ShareMicros) -> Result<ShareMicros, UnitError> {
        if self.shares < ShareMicros::ZERO && shares > ShareMicros::ZERO {
            return Ok(shares.min(self.shares.negated()?));
        }
        Ok(ShareMicros::ZERO)
    }

    /// Returns the valuation at `mark`. The value rounds down, the exposure up. Without a mark both are taken from the
    /// cost.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
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

    /// Returns the average cost of one share; `None` when nothing is held or the average is not a price from 0 to 1.
    pub fn average_cost(self) -> Option<PriceMicros> {
        PriceMicros::average(self.cost, self.shares).ok()
    }
}

fn sign(shares: ShareMicros) -> i128 {
    i128::from(shares.0.signum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(shares: i64, cost: i64) -> Position {
        Position { shares: ShareMicros(shares), cost: UsdcMicros(cost) }
    }

    #[test]
    fn a_movement_opens_closes_or_crosses_at_average_cost() {
        let check = |from: (i64, i64), delta: (i64, i64), to: (i64, i64), realized: i64| {
            let moved = position(from.0, from.1).moved(ShareMicros(delta.0), UsdcMicros(delta.1)).unwrap();
            assert_eq!(moved.position, position(to.0, to.1), "{from:?} moved by {delta:?}");
            assert_eq!(moved.realized, UsdcMicros(realized), "{from:?} moved by {delta:?}");
            assert_eq!(delta.1, realized - (to.1 - from.1), "cash is realized or cost: {from:?} moved by {delta:?}");
        };
        // Long: buy, add, sell a part, sell all.
        check((0, 0), (10, -5), (10, 5), 0);
        check((10, 5), (10, -7), (20, 12), 0);
        check((20, 12), (-5, 4), (15, 9), 1);
        check((20, 12), (-20, 15), (0, 0), 3);
        // Removed cost rounds up: 10 * 1 / 3 = 3.33 leaves as 4.
        check((3, 10), (-1, 4), (2, 6), 0);
        check((3, 10), (-2, 8), (1, 3), 1);
        // Short: sell, add, cover a part, cover all. -10 * 1 / 3 leaves as -3.
        check((0, 0), (-10, 5), (-10, -5), 0);
        check((-10, -5), (-10, 7), (-20, -12), 0);
        check((-20, -12), (5, -2), (-15, -9), 1);
        check((-20, -12), (20, -15), (0, 0), -3);
        check((-3, -10), (1, -4), (-2, -7), -1);
        // Across zero: 3 of 4 shares close with floor(10 * 3 / 4) of the cash, the fourth opens with the rest.
        check((3, 6), (-4, 10), (-1, -3), 1);
        check((-3, -6), (4, -10), (1, 2), -2);
        check((1, 1), (-2, 1), (-1, -1), -1);
        // Cash without shares is realized; shares without cash dilute or leave at their cost.
        check((5, 3), (0, 7), (5, 3), 7);
        check((0, 0), (0, -7), (0, 0), -7);
        check((5, 3), (5, 0), (10, 3), 0);
        check((5, 3), (-5, 0), (0, 0), -3);
        check((-5, -3), (5, 0), (0, 0), 3);
        // The largest amounts.
        check((i64::MAX, i64::MAX), (-1, 1), (i64::MAX - 1, i64::MAX - 1), 0);
    }

    #[test]
    fn amounts_that_do_not_fit_are_an_error() {
        let moved = |from: (i64, i64), delta: (i64, i64)| {
            position(from.0, from.1).moved(ShareMicros(delta.0), UsdcMicros(delta.1))
        };
        assert!(moved((i64::MAX, 0), (1, 0)).is_err());
        assert!(moved((1, i64::MAX), (1, -1)).is_err());
        assert!(moved((1, i64::MIN), (-1, 0)).is_err());
    }

    #[test]
    fn value_rounds_down_and_exposure_up() {
        let check = |shares: i64, mark: i64, value: i64, exposure: i64| {
            let valuation = position(shares, 77).at(PriceMicros::new(mark).ok()).unwrap();
            assert_eq!(valuation, Valuation { value: UsdcMicros(value), exposure: UsdcMicros(exposure) }, "{shares}");
        };
        check(3, 500_000, 1, 2);
        check(2, 500_000, 1, 1);
        check(-3, 500_000, -2, 2);
        check(-2, 500_000, -1, 1);
        check(5, 0, 0, 0);
        check(5, 1_000_000, 5, 5);
    }

    #[test]
    fn a_position_without_a_mark_is_worth_its_cost() {
        let unpriced = |shares, cost| position(shares, cost).at(None).unwrap();
        assert_eq!(unpriced(3, 2), Valuation { value: UsdcMicros(2), exposure: UsdcMicros(2) });
        assert_eq!(unpriced(-3, -2), Valuation { value: UsdcMicros(-2), exposure: UsdcMicros(2) });
        assert_eq!(position(4, 2).average_cost(), PriceMicros::new(500_000).ok());
        assert_eq!(position(-4, -2).average_cost(), PriceMicros::new(500_000).ok());
        assert_eq!(position(0, 0).average_cost(), None);
        assert_eq!(position(1, 2).average_cost(), None);
    }
}
