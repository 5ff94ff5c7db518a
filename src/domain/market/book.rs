//! An order book whose sides are always sorted and in range (spec 7.4).
//!
//! In    levels in any order, as the wire delivers them.
//! Out   sides with the best level first, each price once, no empty level.
//! Fails [`BookError`] for a negative size, or when the sum of the sizes at one price does not fit.

use crate::domain::events::event::Side;
use crate::domain::money::units::{PriceMicros, ShareMicros, UnitError};

/// Shares on offer at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    pub price: PriceMicros,
    pub shares: ShareMicros,
}

/// Both sides, best level first. A crossed book is accepted unchanged, because the venue shows one for moments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderBook {
    bids: Vec<Level>,
    asks: Vec<Level>,
}

/// Why levels do not make a book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    #[error("`{}` micro-shares at `{}` micros is a negative size", shares.0, price.micros())]
    NegativeSize { price: PriceMicros, shares: ShareMicros },
    #[error("the sum of the sizes at one price does not fit")]
    Size(#[source] UnitError),
}

impl OrderBook {
    /// Sorts the levels, adds up levels of the same price and drops empty ones.
    ///
    /// # Errors
    /// [`BookError::NegativeSize`], [`BookError::Size`].
    pub fn from_levels(
        bids: impl IntoIterator<Item = (PriceMicros, ShareMicros)>,
        asks: impl IntoIterator<Item = (PriceMicros, ShareMicros)>,
    ) -> Result<Self, BookError> {
        let mut bids = levels(bids)?;
        bids.sort_unstable_by_key(|level| std::cmp::Reverse(level.price));
        let mut asks = levels(asks)?;
        asks.sort_unstable_by_key(|level| level.price);
        Ok(Self { bids: merged(bids)?, asks: merged(asks)? })
    }

    /// Returns the bids, highest first.
    pub fn bids(&self) -> &[Level] {
        &self.bids
    }

    /// Returns the asks, lowest first.
    pub fn asks(&self) -> &[Level] {
        &self.asks
    }

    /// Returns the highest bid; zero when there are no bids.
    pub fn best_bid(&self) -> PriceMicros {
        self.bids.first().map_or(PriceMicros::ZERO, |level| level.price)
    }

    /// Returns the lowest ask; one when there are no asks.
    pub fn best_ask(&self) -> PriceMicros {
        self.asks.first().map_or(PriceMicros::ONE, |level| level.price)
    }

    /// Returns the distance between best ask and best bid; zero for a crossed book.
    pub fn spread(&self) -> PriceMicros {
        self.best_ask().minus(self.best_bid())
    }

    /// Returns the price half way between best bid and best ask, rounded half up.
    pub fn mid(&self) -> PriceMicros {
        PriceMicros::midpoint(self.best_bid(), self.best_ask())
    }

    /// Returns the levels that an order of `side` trades against: a BUY takes asks, a SELL takes bids.
    pub fn side_against(&self, side: Side) -> &[Level] {
        match side {
            Side::Buy => &self.asks,
            Side::Sell => &self.bids,
        }
    }

    /// Returns the best price of [`Self::side_against`].
    pub fn best_against(&self, side: Side) -> PriceMicros {
        match side {
            Side::Buy => self.best_ask(),
            Side::Sell => self.best_bid(),
        }
    }
}

fn levels(raw: impl IntoIterator<Item = (PriceMicros, ShareMicros)>) -> Result<Vec<Level>, BookError> {
    let raw = raw.into_iter();
    let mut levels = Vec::with_capacity(raw.size_hint().0);
    for (price, shares) in raw {
        match shares.0 {
            ..0 => return Err(BookError::NegativeSize { price, shares }),
            0 => {}
            _ => levels.push(Level { price, shares }),
        }
    }
    Ok(levels)
}

fn merged(mut sorted: Vec<Level>) -> Result<Vec<Level>, BookError> {
    let mut sum = Ok(());
    sorted.dedup_by(|later, kept| {
        let same = later.price == kept.price;
        if same {
            match kept.shares.plus(later.shares) {
                Ok(shares) => kept.shares = shares,
                Err(error) => sum = Err(BookError::Size(error)),
            }
        }
        same
    });
    sum.map(|()| sorted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn side(levels: &[(i64, i64)]) -> Vec<(PriceMicros, ShareMicros)> {
        levels.iter().map(|&(price, shares)| (PriceMicros::new(price).unwrap(), ShareMicros(shares))).collect()
    }

    fn plain(levels: &[Level]) -> Vec<(i64, i64)> {
        levels.iter().map(|level| (level.price.micros(), level.shares.0)).collect()
    }

    #[test]
    fn levels_in_any_order_make_the_same_book() {
        let check = |bids: &[(i64, i64)], asks: &[(i64, i64)]| {
            let book = OrderBook::from_levels(side(bids), side(asks)).unwrap();
            assert_eq!(plain(book.bids()), [(490_000, 5), (480_000, 7)], "bids from {bids:?}");
            assert_eq!(plain(book.asks()), [(510_000, 3), (520_000, 9)], "asks from {asks:?}");
        };
        check(&[(480_000, 7), (490_000, 5)], &[(520_000, 9), (510_000, 3)]);
        check(&[(490_000, 5), (480_000, 7)], &[(510_000, 3), (520_000, 9)]);
        check(&[(480_000, 3), (490_000, 5), (480_000, 4)], &[(510_000, 3), (500_000, 0), (520_000, 4), (520_000, 5)]);
    }

    #[test]
    fn best_prices_spread_and_mid_have_a_value_on_every_book() {
        let check = |bids: &[(i64, i64)], asks: &[(i64, i64)], bid, ask, spread, mid| {
            let book = OrderBook::from_levels(side(bids), side(asks)).unwrap();
            let seen = [book.best_bid(), book.best_ask(), book.spread(), book.mid()].map(PriceMicros::micros);
            assert_eq!(seen, [bid, ask, spread, mid], "{bids:?} {asks:?}");
        };
        check(&[(490_000, 1)], &[(510_000, 1)], 490_000, 510_000, 20_000, 500_000);
        check(&[(490_000, 1)], &[(490_001, 1)], 490_000, 490_001, 1, 490_001);
        check(&[], &[], 0, 1_000_000, 1_000_000, 500_000);
        check(&[(1, 1)], &[], 1, 1_000_000, 999_999, 500_001);
        check(&[], &[(1, 1)], 0, 1, 1, 1);
        check(&[(510_000, 1)], &[(490_000, 1)], 510_000, 490_000, 0, 500_000);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let negative = OrderBook::from_levels(side(&[(490_000, -1)]), []);
        assert!(matches!(negative, Err(BookError::NegativeSize { .. })));
        assert_eq!(negative.unwrap_err().to_string(), "`-1` micro-shares at `490000` micros is a negative size");
        let too_many = OrderBook::from_levels([], side(&[(490_000, i64::MAX), (490_000, 1)]));
        assert!(matches!(too_many, Err(BookError::Size(_))));
    }

    proptest! {
        #[test]
        fn a_book_is_sorted_and_loses_no_share(
            bids in prop::collection::vec((0..=1_000_000i64, 0..1_000_000_000i64), 0..40),
            asks in prop::collection::vec((0..=20i64, 0..1_000_000_000i64), 0..40),
        ) {
            let book = OrderBook::from_levels(side(&bids), side(&asks)).unwrap();
            prop_assert!(book.bids().is_sorted_by(|a, b| a.price > b.price));
            prop_assert!(book.asks().is_sorted_by(|a, b| a.price < b.price));
            prop_assert!(book.bids().iter().chain(book.asks()).all(|level| level.shares.0 > 0));
            let total = |levels: &[(i64, i64)]| levels.iter().map(|level| level.1).sum::<i64>();
            prop_assert_eq!(total(&plain(book.bids())), total(&bids));
            prop_assert_eq!(total(&plain(book.asks())), total(&asks));
        }
    }
}
