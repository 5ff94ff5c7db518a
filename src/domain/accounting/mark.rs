//! Marks: the prices at which assets are valued. They age (spec 9).
//!
//! In    payouts, answers about a book, midpoints and trades, each with its time, in any order.
//! Out   the mark at a time and whether it is stale. The newest of each kind counts, so the order of arrival does not.

use serde::{Deserialize, Serialize};

use super::lot::{Position, Valuation};
use crate::domain::money::units::{PriceMicros, Timestamp, UnitError};

/// A midpoint counts before anything else for this long.
const MIDPOINT_MS: i64 = 10 * 60_000;
/// The newest price counts for this long; an older one is stale.
const SEEN_MS: i64 = 60 * 60_000;

/// A price at which an asset may be valued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The payout of the resolved market.
    Payout(PriceMicros),
    /// An answer about the book. Two sides are a midpoint too.
    Quote(Quote),
    /// The price half way between bid and ask, which are not known.
    Midpoint(PriceMicros, Timestamp),
    /// A trade: a fill of a leader, or the last trade that a book reports.
    LastTrade(PriceMicros, Timestamp),
}

/// The best prices of a book at a time. `None` where a side is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    pub at: Timestamp,
    #[serde(rename = "bid_micros")]
    pub bid: Option<PriceMicros>,
    #[serde(rename = "ask_micros")]
    pub ask: Option<PriceMicros>,
}

/// A price and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub price: PriceMicros,
    pub at: Timestamp,
}

/// All known prices of one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    pub payout: Option<PriceMicros>,
    pub midpoint: Option<Seen>,
    pub last_trade: Option<Seen>,
    /// The newest answer about the book.
    pub quote: Option<Quote>,
    /// The best bid of the newest answer that has one: no mark is below it.
    pub floor: Option<PriceMicros>,
    /// The best ask of the newest answer that has one: no mark is above it.
    pub cap: Option<PriceMicros>,
}

/// The mark of an asset at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MarkNow {
    /// `None` means that the average cost counts.
    pub price: Option<PriceMicros>,
    /// True when no price of the last hour is known.
    pub is_stale: bool,
}

impl Quote {
    /// Returns the quote of an answer with this midpoint and spread: the bid is half of the spread below, rounded down,
    /// and the ask above, rounded up. A bid of zero or an ask of one is an empty side.
    pub fn around(midpoint: PriceMicros, spread: PriceMicros, at: Timestamp) -> Self {
        let ask = PriceMicros::midpoint(spread, PriceMicros::ZERO);
        let bid = spread.minus(ask);
        let up = midpoint.plus(ask);
        let down = midpoint.minus(if bid == ask { bid } else { ask });
        Self::new(Some(down), Some(up), at)
    }

    /// Returns the quote of these best prices. A bid of zero or an ask of one is an empty side.
    pub fn new(bid: Option<PriceMicros>, ask: Option<PriceMicros>, at: Timestamp) -> Self {
        Self { at, bid: bid.filter(|bid| *bid > PriceMicros::ZERO), ask: ask.filter(|ask| *ask < PriceMicros::ONE) }
    }

    /// Returns the price half way between the sides, half up; `None` when one is empty or they cross.
    pub fn midpoint(&self) -> Option<PriceMicros> {
        let (bid, ask) = self.bid.zip(self.ask).filter(|(bid, ask)| bid <= ask)?;
        Some(PriceMicros::midpoint(bid, ask))
    }
}

impl Marks {
    /// Returns the mark at `now`: the payout; else a midpoint of the last 10 minutes; else the newest price of the last
    /// hour; else the newest price, which is stale then. It stays within the best bid and ask of the newest answers.
    pub fn at(self, now: Timestamp) -> MarkNow {
        if self.payout.is_some() {
            return MarkNow { price: self.payout, is_stale: false };
        }
        let within = |seen: &Seen, ms: i64| now.millis_since(seen.at) <= ms;
        let fresh = self.midpoint.filter(|midpoint| within(midpoint, MIDPOINT_MS));
        let newest = || [self.last_trade, self.midpoint].into_iter().flatten().max_by_key(|seen| seen.at);
        match fresh.or_else(newest) {
            Some(seen) => MarkNow { price: Some(self.bounded(seen.price)), is_stale: !within(&seen, SEEN_MS) },
            None => MarkNow { price: None, is_stale: true },
        }
    }

    /// Returns these marks with one price added. An older price than the known one of its kind changes nothing.
    pub fn with(self, mark: Mark) -> Self {
        match mark {
            Mark::Payout(price) => Self { payout: Some(price), ..self },
            Mark::Midpoint(price, at) => self.with_midpoint(Seen { price, at }),
            Mark::LastTrade(price, at) if self.last_trade.is_none_or(|known| at >= known.at) => {
                Self { last_trade: Some(Seen { price, at }), ..self }
            }
            Mark::LastTrade(..) => self,
            Mark::Quote(quote) => {
                let midpoint = quote.midpoint().map(|price| Seen { price, at: quote.at });
                let marks = midpoint.map_or(self, |midpoint| self.with_midpoint(midpoint));
                if self.quote.is_some_and(|known| known.at > quote.at) { marks } else { marks.with_quote(quote) }
            }
        }
    }

    fn with_midpoint(self, midpoint: Seen) -> Self {
        if self.midpoint.is_some_and(|known| known.at > midpoint.at) {
            return self;
        }
        let is_newer = self.quote.is_none_or(|quote| quote.at <= midpoint.at);
        // A book with two sides around this price has neither a lower ask nor a higher bid.
        let cap = self.cap.filter(|cap| !is_newer || *cap >= midpoint.price);
        let floor = self.floor.filter(|floor| !is_newer || *floor <= midpoint.price);
        Self { midpoint: Some(midpoint), cap, floor, ..self }
    }

    fn with_quote(self, quote: Quote) -> Self {
        let (floor, cap) = (quote.bid.or(self.floor), quote.ask.or(self.cap));
        let cross = floor.zip(cap).is_some_and(|(floor, cap)| floor > cap);
        // The newer of two bounds that contradict each other counts; of a crossed book the ask, which is the lower one.
        let floor = floor.filter(|_| !cross || quote.ask.is_none());
        let cap = cap.filter(|_| !cross || quote.ask.is_some());
        Self { quote: Some(quote), floor, cap, ..self }
    }

    /// Returns the value of a position at `now`. Without any price it is worth its cost, within the known bounds.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub fn value(self, position: Position, now: Timestamp) -> Result<Valuation, UnitError> {
        let cost = || position.average_cost().map(|cost| (cost, self.bounded(cost)));
        let bounded = || cost().filter(|(cost, bounded)| cost != bounded).map(|(_, bounded)| bounded);
        position.at(self.at(now).price.or_else(bounded))
    }

    /// Returns the price of one share if it were sold now: the payout, else the best bid of the newest answer, else zero.
    pub fn sale_price(self) -> PriceMicros {
        self.payout.or_else(|| self.quote?.bid).unwrap_or(PriceMicros::ZERO)
    }

    fn bounded(self, price: PriceMicros) -> PriceMicros {
        let capped = self.cap.map_or(price, |cap| price.min(cap));
        self.floor.map_or(capped, |floor| capped.max(floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::samples::price;

    const MINUTE: i64 = 60_000;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_000 * MINUTE + minute * MINUTE)
    }

    fn quote(minute: i64, bid: i64, ask: i64) -> Mark {
        let side = |micros: i64| (micros >= 0).then(|| price(micros));
        Mark::Quote(Quote::new(side(bid), side(ask), at(minute)))
    }

    fn trade(minute: i64, micros: i64) -> Mark {
        Mark::LastTrade(price(micros), at(minute))
    }

    fn marks(told: &[Mark]) -> Marks {
        told.iter().fold(Marks::default(), |marks, mark| marks.with(*mark))
    }

    /// The mark in micros at a minute, and whether it is stale.
    fn mark(told: &[Mark], minute: i64) -> (Option<i64>, bool) {
        let mark = marks(told).at(at(minute));
        (mark.price.map(PriceMicros::micros), mark.is_stale)
    }

    #[test]
    fn a_mark_is_the_payout_then_a_young_midpoint_then_the_newest_price_then_a_stale_one() {
        let told = [quote(0, 500_000, 520_000), trade(5, 430_000)];
        assert_eq!(mark(&told, 5), (Some(510_000), false));
        assert_eq!(mark(&told, 10), (Some(510_000), false));
        // The trade is newer than the midpoint, and within the bounds of the newest answer.
        assert_eq!(mark(&told, 11), (Some(500_000), false));
        assert_eq!(mark(&told, 65), (Some(500_000), false));
        assert_eq!(mark(&told, 66), (Some(500_000), true));
        assert_eq!(mark(&[told[0], told[1], Mark::Payout(price(0))], 66), (Some(0), false));
        // Without a trade the midpoint is the newest price for an hour.
        assert_eq!(mark(&told[..1], 60), (Some(510_000), false));
        assert_eq!(mark(&told[..1], 61), (Some(510_000), true));
        assert_eq!(mark(&[], 0), (None, true));
    }

    #[test]
    fn a_book_without_bids_and_an_ask_of_two_cents_is_worth_two_cents_and_nothing_if_sold() {
        // Case: a copy at 0.51, then no bids and one ask at 0.02.
        let told = [trade(0, 510_000), quote(0, 500_000, 520_000), quote(1, -1, 20_000)];
        let held = Position { shares: crate::domain::money::units::ShareMicros(147_060_000), ..Position::default() };
        for minute in [1, 11, 100] {
            let value = marks(&told).value(held, at(minute)).unwrap();
            assert_eq!(value.value.0, 2_941_200, "minute {minute}");
        }
        assert_eq!(marks(&told).sale_price(), PriceMicros::ZERO);
        // A lone bid later leaves the ask as the bound; a bid above that ask replaces it.
        assert_eq!(mark(&[told[0], told[1], told[2], quote(2, 10_000, -1)], 2).0, Some(20_000));
        assert_eq!(mark(&[told[0], told[1], told[2], quote(2, 300_000, -1)], 2).0, Some(510_000));
        // Two sides again.
        assert_eq!(mark(&[told[0], told[1], told[2], quote(3, 30_000, 50_000)], 3).0, Some(40_000));
    }

    #[test]
    fn the_bounds_hold_for_a_position_that_only_has_its_cost() {
        use crate::domain::money::units::{ShareMicros, UsdcMicros};
        let held = Position { shares: ShareMicros(100), cost: UsdcMicros(51) };
        let value = |told: &[Mark]| marks(told).value(held, at(0)).unwrap().value.0;
        assert_eq!(value(&[]), 51);
        assert_eq!(value(&[quote(0, -1, 20_000)]), 2);
        assert_eq!(value(&[quote(0, -1, 900_000)]), 51);
        assert_eq!(value(&[quote(0, 700_000, -1)]), 70);
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let told = [quote(0, 500_000, 520_000), quote(1, -1, 20_000), trade(2, 430_000), quote(3, 10_000, 30_000)];
        let expected = marks(&told);
        let mut backwards = told;
        backwards.reverse();
        for minute in [3, 14, 80] {
            assert_eq!(marks(&backwards).at(at(minute)), expected.at(at(minute)));
        }
        assert_eq!(marks(&backwards).quote, expected.quote);
    }

    #[test]
    fn a_midpoint_without_sides_ends_older_bounds_that_contradict_it() {
        let midpoint = Mark::Midpoint(price(400_000), at(5));
        assert_eq!(mark(&[quote(0, -1, 20_000), midpoint], 5).0, Some(400_000));
        assert_eq!(mark(&[midpoint, quote(6, -1, 20_000)], 6).0, Some(20_000));
    }

    #[test]
    fn midpoint_and_spread_give_the_sides() {
        let check = |midpoint: i64, spread: i64, bid: Option<i64>, ask: Option<i64>| {
            let quote = Quote::around(price(midpoint), price(spread), at(0));
            let sides = (quote.bid.map(PriceMicros::micros), quote.ask.map(PriceMicros::micros));
            assert_eq!(sides, (bid, ask), "{midpoint} {spread}");
        };
        check(505_000, 10_000, Some(500_000), Some(510_000));
        check(505_000, 10_001, Some(499_999), Some(510_001));
        // Where an empty side counts as zero or one on the wire.
        check(10_000, 20_000, None, Some(20_000));
        check(990_000, 20_000, Some(980_000), None);
    }
}
