//! The walk through the book that fills an order (spec 7.5 and 7.6).
//!
//! In    a book, a target, the worst price we accept.
//! Out   the fill of each level, and their sum.
//! Fails [`UnitError::Overflow`] when a sum does not fit.
//!
//! Assumes that other traders do not react to our order and that the book has not changed since it was fetched: their
//! reactions, queues and hidden depth are not modelled. The first assumption flatters us on thin books, which is why
//! the depth guardrail requires more than the target.

use serde::{Deserialize, Serialize};

use super::book::{Level, OrderBook};
use crate::domain::events::event::Side;
use crate::domain::money::units::{Bps, MICROS, PriceMicros, ShareMicros, UnitError, UsdcMicros, div_floor, product};

/// The shares taken from one level; a row of `executable_fill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelFill {
    pub price: PriceMicros,
    pub shares: ShareMicros,
    /// The cost of this level alone, rounded up, or its proceeds, rounded down.
    pub notional: UsdcMicros,
}

/// The fills of an order, best level first, and their sums.
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
/// [`UnitError::Overflow`] when the summed shares do not fit.
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

/// Takes bids downward until `target` shares are sold, never beyond `limit`.
///
/// # Errors
/// [`UnitError::Overflow`] when the summed notional does not fit.
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

/// Returns the notional that an order of `side` could take within `limit`. The sum is rounded down, not each level.
///
/// # Errors
/// [`UnitError::Overflow`] when the notional does not fit.
pub fn depth_within(book: &OrderBook, side: Side, limit: PriceMicros) -> Result<UsdcMicros, UnitError> {
    let mut depth = 0_i128;
    for level in book.side_against(side) {
        if is_beyond(level, side, limit) {
            break;
        }
        // A level is below 2^83, so a sum that wraps would need more levels than fit in memory.
        depth = depth.wrapping_add(product(level.price.micros(), level.shares.0));
    }
    div_floor(depth, i128::from(MICROS)).map(UsdcMicros)
}

/// Most walks end within this many levels, so the list of fills is allocated once.
const MOST_FILLS_AT_FIRST: usize = 16;

fn is_beyond(level: &Level, side: Side, limit: PriceMicros) -> bool {
    match side {
        Side::Buy => level.price > limit,
        Side::Sell => level.price < limit,
    }
}

impl Walk {
    #[inline]
    fn take(&mut self, price: PriceMicros, shares: ShareMicros, notional: UsdcMicros) -> Result<(), UnitError> {
        if shares > ShareMicros::ZERO {
            self.fills.push(LevelFill { price, shares, notional });
            self.shares = self.shares.plus(shares)?;
            self.notional = self.notional.plus(notional)?;
        }
        Ok(())
    }

    /// Returns the average price, filled notional over filled shares, rounded half up; `None` when nothing was filled.
    ///
    /// # Errors
    /// [`UnitError::PriceOutOfRange`] when the average is above one.
    pub fn vwap(&self) -> Result<Option<PriceMicros>, UnitError> {
        if self.shares == ShareMicros::ZERO {
            return Ok(None);
        }
        PriceMicros::average(self.notional, self.shares).map(Some)
    }

    /// Returns how much of a BUY's target was spent, rounded down. [`Bps::WHOLE`] when the rest of the target buys one
    /// micro-share at most.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub fn spent_of(&self, target: UsdcMicros) -> Result<Bps, UnitError> {
        let left = target.minus(self.notional)?;
        match self.fills.last() {
            Some(last) if product(left.0, MICROS) <= i128::from(last.price.micros()) => Ok(Bps::WHOLE),
            _ => Bps::of(self.notional.0, target.0),
        }
    }

    /// Returns how much of a SELL's target was sold, rounded down. [`Bps::WHOLE`] when one micro-share at most is left.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub fn sold_of(&self, target: ShareMicros) -> Result<Bps, UnitError> {
        let left = target.minus(self.shares)?;
        if self.shares > ShareMicros::ZERO && left <= ShareMicros(1) {
            return Ok(Bps::WHOLE);
        }
        Bps::of(self.shares.0, target.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(micros: i64) -> PriceMicros {
        PriceMicros::new(micros).unwrap()
    }

    fn book(bids: &[(i64, i64)], asks: &[(i64, i64)]) -> OrderBook {
        let side = |levels: &[(i64, i64)]| {
            levels.iter().map(|&(micros, shares)| (price(micros), ShareMicros(shares))).collect::<Vec<_>>()
        };
        OrderBook::from_levels(side(bids), side(asks)).unwrap()
    }

    fn fills(walk: &Walk) -> Vec<(i64, i64, i64)> {
        walk.fills.iter().map(|fill| (fill.price.micros(), fill.shares.0, fill.notional.0)).collect()
    }

    #[test]
    fn a_buy_takes_asks_upward_until_the_target_is_spent() {
        let asks = [(300_000, 1_000_000), (310_000, 1_000_000), (320_000, 1_000_000)];
        let check = |target, limit, expected: &[(i64, i64, i64)], ratio| {
            let walk = walk_buy(&book(&[], &asks), UsdcMicros(target), price(limit)).unwrap();
            assert_eq!(fills(&walk), expected, "{target} within {limit}");
            assert_eq!(walk.spent_of(UsdcMicros(target)), Ok(Bps(ratio)), "{target} within {limit}");
        };
        check(300_000, 320_000, &[(300_000, 1_000_000, 300_000)], 10_000);
        // One micro more is three micro-shares of the next level: 0.93 of a micro, paid as one.
        check(300_001, 320_000, &[(300_000, 1_000_000, 300_000), (310_000, 3, 1)], 10_000);
        check(299_999, 320_000, &[(300_000, 999_996, 299_999)], 10_000);
        check(610_000, 320_000, &[(300_000, 1_000_000, 300_000), (310_000, 1_000_000, 310_000)], 10_000);
        check(930_000, 309_999, &[(300_000, 1_000_000, 300_000)], 3_225);
        check(930_000, 310_000, &[(300_000, 1_000_000, 300_000), (310_000, 1_000_000, 310_000)], 6_559);
        check(930_000, 299_999, &[], 0);
        check(0, 320_000, &[], 0);
        check(-1, 320_000, &[], 0);
    }

    #[test]
    fn a_sell_takes_bids_downward_until_the_shares_are_gone() {
        let bids = [(300_000, 1_000_001), (290_000, 1_000_000), (280_000, 1_000_000)];
        let check = |target, limit, expected: &[(i64, i64, i64)], ratio| {
            let walk = walk_sell(&book(&bids, &[]), ShareMicros(target), price(limit)).unwrap();
            assert_eq!(fills(&walk), expected, "{target} within {limit}");
            assert_eq!(walk.sold_of(ShareMicros(target)), Ok(Bps(ratio)), "{target} within {limit}");
        };
        // 1,000,001 at 0.3 are 300,000.3: the fraction is lost.
        check(1_000_001, 280_000, &[(300_000, 1_000_001, 300_000)], 10_000);
        // The next micro-share brings nothing.
        check(1_000_002, 280_000, &[(300_000, 1_000_001, 300_000), (290_000, 1, 0)], 10_000);
        check(1_000_002, 290_001, &[(300_000, 1_000_001, 300_000)], 10_000);
        check(1_000_003, 290_001, &[(300_000, 1_000_001, 300_000)], 9_999);
        check(4_000_000, 290_000, &[(300_000, 1_000_001, 300_000), (290_000, 1_000_000, 290_000)], 5_000);
        check(1_000_000, 300_001, &[], 0);
        check(0, 280_000, &[], 0);
    }

    #[test]
    fn depth_counts_the_levels_up_to_the_limit() {
        let book = book(&[(300_000, 1_000_001), (290_000, 3)], &[(310_000, 3), (320_000, 3)]);
        let check = |side, limit, depth| assert_eq!(depth_within(&book, side, price(limit)), Ok(UsdcMicros(depth)));
        check(Side::Buy, 309_999, 0);
        check(Side::Buy, 310_000, 0);
        // 0.93 and 0.96 of a micro: the whole is rounded, not each level.
        check(Side::Buy, 320_000, 1);
        check(Side::Sell, 300_001, 0);
        check(Side::Sell, 300_000, 300_000);
        check(Side::Sell, 290_000, 300_001);
    }

    #[test]
    fn a_free_share_is_taken_and_costs_nothing() {
        let walk = walk_buy(&book(&[], &[(0, 5), (1, 1_000_000)]), UsdcMicros(1), price(1)).unwrap();
        assert_eq!(fills(&walk), [(0, 5, 0), (1, 1_000_000, 1)]);
    }

    prop_compose! {
        fn any_book()(
            bids in prop::collection::vec((0..=1_000i64, 0..10_000_000i64), 0..30),
            asks in prop::collection::vec((0..=1_000i64, 0..10_000_000i64), 0..30),
        ) -> (Vec<(i64, i64)>, Vec<(i64, i64)>) {
            let scaled = |levels: Vec<(i64, i64)>| levels.into_iter().map(|(tick, shares)| (tick * 1_000, shares)).collect();
            (scaled(bids), scaled(asks))
        }
    }

    proptest! {
        #[test]
        fn a_buy_never_exceeds_target_limit_or_depth((_, asks) in any_book(), target in 0..20_000_000i64, limit in 0..=1_000_000i64) {
            let book = book(&[], &asks);
            let (target, limit) = (UsdcMicros(target), price(limit));
            let walk = walk_buy(&book, target, limit).unwrap();
            prop_assert!(walk.notional <= target);
            prop_assert!(walk.fills.iter().all(|fill| fill.price <= limit && fill.shares > ShareMicros::ZERO));
            for (fill, level) in walk.fills.iter().zip(book.asks()) {
                prop_assert!(fill.price == level.price && fill.shares <= level.shares);
                // The paid amount covers the exact price, by less than a micro.
                let exact = product(fill.price.micros(), fill.shares.0);
                let paid = product(fill.notional.0, MICROS);
                prop_assert!(exact <= paid && paid < exact + i128::from(MICROS));
            }
            prop_assert_eq!(walk.fills.iter().map(|fill| fill.notional.0).sum::<i64>(), walk.notional.0);
            prop_assert_eq!(walk.fills.iter().map(|fill| fill.shares.0).sum::<i64>(), walk.shares.0);
            // Each level rounds up by less than a micro, and the average by half a micro-price.
            if let Some(vwap) = walk.vwap().unwrap() {
                let n_fills = i128::try_from(walk.fills.len()).unwrap();
                let most = product(limit.micros(), walk.shares.0) + n_fills * i128::from(MICROS) + i128::from(walk.shares.0);
                prop_assert!(product(vwap.micros(), walk.shares.0) <= most);
            }
        }

        #[test]
        fn a_sell_never_exceeds_shares_limit_or_depth((bids, _) in any_book(), target in 0..40_000_000i64, limit in 0..=1_000_000i64) {
            let book = book(&bids, &[]);
            let (target, limit) = (ShareMicros(target), price(limit));
            let walk = walk_sell(&book, target, limit).unwrap();
            prop_assert!(walk.shares <= target);
            prop_assert!(walk.fills.iter().all(|fill| fill.price >= limit && fill.shares > ShareMicros::ZERO));
            for (fill, level) in walk.fills.iter().zip(book.bids()) {
                prop_assert!(fill.price == level.price && fill.shares <= level.shares);
                let exact = product(fill.price.micros(), fill.shares.0);
                let received = product(fill.notional.0, MICROS);
                prop_assert!(received <= exact && exact < received + i128::from(MICROS));
            }
            prop_assert_eq!(walk.fills.iter().map(|fill| fill.notional.0).sum::<i64>(), walk.notional.0);
        }

        #[test]
        fn a_walk_stops_only_for_target_limit_or_the_end((bids, asks) in any_book(), target in 0..20_000_000i64, limit in 0..=1_000_000i64) {
            let book = book(&bids, &asks);
            let limit = price(limit);
            let bought = walk_buy(&book, UsdcMicros(target), limit).unwrap();
            // A buy stops at most one micro-share short, which costs at most a micro: it spends the whole target.
            let within = depth_within(&book, Side::Buy, limit).unwrap();
            prop_assert!(bought.notional.0 == target || bought.notional >= within);
            let sold = walk_sell(&book, ShareMicros(target), limit).unwrap();
            let on_offer: i64 = book.bids().iter().filter(|level| level.price >= limit).map(|level| level.shares.0).sum();
            prop_assert_eq!(sold.shares.0, target.min(on_offer));
        }

        #[test]
        fn more_depth_never_makes_a_walk_worse((bids, asks) in any_book(), more in (0..=1_000i64, 0..10_000_000i64), target in 0..20_000_000i64) {
            let (thin, mut deep_asks, mut deep_bids) = (book(&bids, &asks), asks, bids);
            deep_asks.push((more.0 * 1_000, more.1));
            deep_bids.push((more.0 * 1_000, more.1));
            let deep = book(&deep_bids, &deep_asks);
            let (before, after) = (walk_buy(&thin, UsdcMicros(target), PriceMicros::ONE).unwrap(), walk_buy(&deep, UsdcMicros(target), PriceMicros::ONE).unwrap());
            // One more level may cost one micro of rounding, which buys 1,000 micro-shares at the lowest price.
            prop_assert!(after.notional >= before.notional && after.shares.0 + 1_000 >= before.shares.0);
            let (before, after) = (walk_sell(&thin, ShareMicros(target), PriceMicros::ZERO).unwrap(), walk_sell(&deep, ShareMicros(target), PriceMicros::ZERO).unwrap());
            prop_assert!(after.shares >= before.shares && after.notional.0 + 1 >= before.notional.0);
        }
    }
}
