//! Walking the book (spec sections 7.5 and 7.6).
//!
//! In    a book, a target, the worst price we accept.
//! Out   what each level gives, and their sum.
//! Fails `UnitError::Overflow` when a sum does not fit.
//!
//! Assumes that our order moves nobody and that the book still stands as fetched: others' reactions, queues and
//! hidden depth are not modelled. The first flatters us on thin books, which is why depth is asked for beyond the target.

use serde::{Deserialize, Serialize};

use super::book::{Level, OrderBook};
use super::event::Side;
use super::units::{Bps, MICROS, PriceMicros, ShareMicros, UnitError, UsdcMicros, div_floor, product};

/// What one level gave: an `executable_fill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelFill {
    pub price: PriceMicros,
    pub shares: ShareMicros,
    /// Cost rounded up, or proceeds rounded down, of this level alone.
    pub notional: UsdcMicros,
}

/// What the levels gave together, best first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walk {
    pub fills: Vec<LevelFill>,
    pub shares: ShareMicros,
    pub notional: UsdcMicros,
}

/// Takes asks upward until `target` is spent, never beyond `limit`.
///
/// The last level is taken in part, rounded so that the spend stays within `target`.
/// Empty when the best ask is beyond `limit`.
///
/// # Errors
/// `UnitError::Overflow` when the summed shares do not fit.
pub fn walk_buy(book: &OrderBook, target: UsdcMicros, limit: PriceMicros) -> Result<Walk, UnitError> {
    let levels = book.asks();
    let mut walk = Walk { fills: Vec::with_capacity(levels.len().min(MOST_FILLS_AT_FIRST)), ..Walk::default() };
    for level in levels {
        let left = target.minus(walk.notional)?;
        if level.price > limit || left <= UsdcMicros::ZERO {
            break;
        }
        let cost = level.price.cost_of(level.shares)?;
        if cost <= left {
            walk.take(level.price, level.shares, cost)?;
        } else {
            let shares = level.price.shares_for(left)?;
            walk.take(level.price, shares, level.price.cost_of(shares)?)?;
            break;
        }
    }
    Ok(walk)
}

/// Takes bids downward until `target` shares are gone, never beyond `limit`.
///
/// # Errors
/// `UnitError::Overflow` when the summed notional does not fit.
pub fn walk_sell(book: &OrderBook, target: ShareMicros, limit: PriceMicros) -> Result<Walk, UnitError> {
    let levels = book.bids();
    let mut walk = Walk { fills: Vec::with_capacity(levels.len().min(MOST_FILLS_AT_FIRST)), ..Walk::default() };
    for level in levels {
        let left = target.minus(walk.shares)?;
        if level.price < limit || left <= ShareMicros::ZERO {
            break;
        }
        let shares = level.shares.min(left);
        walk.take(level.price, shares, level.price.proceeds_of(shares)?)?;
    }
    Ok(walk)
}

/// The notional that an order of `side` could take within `limit`, rounded down over the whole.
///
/// # Errors
/// `UnitError::Overflow` when it does not fit.
pub fn depth_within(book: &OrderBook, side: Side, limit: PriceMicros) -> Result<UsdcMicros, UnitError> {
    let mut depth = 0_i128;
    for level in book.side_against(side) {
        if is_beyond(level, side, limit) {
            break;
        }
        depth = depth.saturating_add(product(level.price.micros(), level.shares.0));
    }
    div_floor(depth, i128::from(MICROS)).map(UsdcMicros)
}

/// Most walks end within these levels, so that the list of fills is allocated once.
const MOST_FILLS_AT_FIRST: usize = 16;

fn is_beyond(level: &Level, side: Side, limit: PriceMicros) -> bool {
    match side {
        Side::Buy => level.price > limit,
        Side::Sell => level.price < limit,
    }
}

impl Walk {
    fn take(&mut self, price: PriceMicros, shares: ShareMicros, notional: UsdcMicros) -> Result<(), UnitError> {
        if shares > ShareMicros::ZERO {
            self.fills.push(LevelFill { price, shares, notional });
            self.shares = self.shares.plus(shares)?;
            self.notional = self.notional.plus(notional)?;
        }
        Ok(())
    }

    /// Filled notional over filled shares, half up; `None` when nothing was filled.
    pub fn vwap(&self) -> Result<Option<PriceMicros>, UnitError> {
        if self.shares == ShareMicros::ZERO {
            return Ok(None);
        }
        PriceMicros::average(self.notional, self.shares).map(Some)
    }

    /// How much of a BUY's target was spent, rounded down; whole when what is left buys one micro-share at most.
    pub fn spent_of(&self, target: UsdcMicros) -> Result<Bps, UnitError> {
        let left = target.minus(self.notional)?;
        match self.fills.last() {
            Some(last) if product(left.0, MICROS) <= i128::from(last.price.micros()) => Ok(Bps::WHOLE),
            _ => Bps::of(self.notional.0, target.0),
        }
    }

    /// How much of a SELL's target is gone, rounded down; whole when one micro-share at most is left.
    pub fn sold_of(&self, target: ShareMicros) -> Result<Bps, UnitError> {
        let left = target.minus(self.shares)?;
        if self.shares > ShareMicros::ZERO && left <= ShareMicros(1) {
            return Ok(Bps::WHOLE);
        }
        Bps::of(self.shares.0, target.0)
    }
}
