//! An order book as a ladder: the highest ask at the top, the lowest bid at the bottom. Between the levels are the
//! leader's price, the midpoint and our limit. Each level shows the shares that a copy took from it.

use serde::Serialize;

use crate::domain::market::book::{Level, OrderBook};
use crate::domain::market::book_walk::LevelFill;
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, UsdcMicros, product};

/// Levels of one side that are shown. A side with more is cut, but never above a level that a copy took from.
const LEVELS_MOST: usize = 12;
/// The length of the longest bar.
const BAR_FULL: i64 = 1_000;

/// A book, from the highest price down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Ladder {
    /// The lines, from the highest price down.
    pub rungs: Vec<Rung>,
    /// Levels that are not shown.
    pub more_asks: usize,
    /// Bids that are not shown.
    pub more_bids: usize,
}

/// One line of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Rung {
    /// A level of the book, or a mark between levels.
    pub kind: RungKind,
    /// The price of one share, in millionths of a USDC.
    pub price_micros: PriceMicros,
    /// The shares of the level, in millionths of a share; null for a mark.
    pub share_micros: Option<ShareMicros>,
    /// The sum in USDC from the best level of the side down to this one.
    pub cumulated_micros: Option<UsdcMicros>,
    /// The share of the largest sum shown, in thousandths.
    pub bar: i64,
    /// The shares that the copy took, in millionths of a share.
    pub taken_micros: Option<ShareMicros>,
    /// Worse than our limit price.
    pub beyond: bool,
}

/// The kind of a rung: a level of the book, or a mark between levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RungKind {
    Ask,
    Bid,
    /// Our limit price.
    Limit,
    /// The price of the leader's fill.
    Theirs,
    Mid,
}

/// The prices to mark on the ladder, and the fills of a copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marked<'a> {
    pub limit: Option<PriceMicros>,
    pub theirs: Option<PriceMicros>,
    pub mid: Option<PriceMicros>,
    pub fills: &'a [LevelFill],
}

impl Ladder {
    /// Builds the ladder of `book`. With `buys` the copy takes from the asks, otherwise from the bids.
    pub fn new(book: &OrderBook, marked: Marked, buys: bool) -> Self {
        let (asks, more_asks) = side(book.asks(), RungKind::Ask, &marked, buys);
        let (bids, more_bids) = side(book.bids(), RungKind::Bid, &marked, !buys);
        let mut rungs: Vec<Rung> = asks.into_iter().rev().chain(bids).collect();
        let most = rungs.iter().filter_map(|rung| rung.cumulated_micros).max().unwrap_or_default().0.max(1);
        for rung in &mut rungs {
            let sum = rung.cumulated_micros.unwrap_or_default().0;
            rung.bar = i64::try_from(product(sum, BAR_FULL) / i128::from(most)).unwrap_or(BAR_FULL);
        }
        let marks = [(RungKind::Limit, marked.limit), (RungKind::Theirs, marked.theirs), (RungKind::Mid, marked.mid)];
        for (kind, price) in marks.into_iter().filter_map(|(kind, price)| Some((kind, price?))) {
            let at = rungs.partition_point(|rung| above(rung, kind, price, buys));
            rungs.insert(at, Rung::mark(kind, price));
        }
        Self { rungs, more_asks, more_bids }
    }
}

impl Rung {
    fn mark(kind: RungKind, price: PriceMicros) -> Self {
        Self {
            kind,
            price_micros: price,
            share_micros: None,
            cumulated_micros: None,
            bar: 0,
            taken_micros: None,
            beyond: false,
        }
    }
}

/// Returns whether `rung` is above a mark. A level at the limit price is within the limit: for a buyer the mark of the
/// limit is above that level.
fn above(rung: &Rung, kind: RungKind, price: PriceMicros, buys: bool) -> bool {
    match rung.price_micros.cmp(&price) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => match (kind, rung.kind) {
            (RungKind::Limit, _) => !buys,
            (_, RungKind::Bid) => false,
            _ => true,
        },
    }
}

/// Returns the rungs of one side from its best level on, and how many levels are not shown. `ours` is true for the side
/// that the copy takes from.
fn side(levels: &[Level], kind: RungKind, marked: &Marked, ours: bool) -> (Vec<Rung>, usize) {
    let taken = |price: PriceMicros| marked.fills.iter().find(|fill| fill.price == price && ours);
    let last_taken = levels.iter().rposition(|level| taken(level.price).is_some()).map_or(0, |place| place + 1);
    let shown = levels.len().min(LEVELS_MOST.max(last_taken));
    let mut sum = 0_i128;
    let rung = |level: &Level| {
        sum = sum.saturating_add(product(level.price.micros(), level.shares.0));
        let beyond = marked.limit.is_some_and(|limit| match kind {
            RungKind::Ask => level.price > limit,
            _ => level.price < limit,
        });
        Rung {
            kind,
            price_micros: level.price,
            share_micros: Some(level.shares),
            cumulated_micros: i64::try_from(sum / i128::from(MICROS)).ok().map(UsdcMicros),
            bar: 0,
            taken_micros: taken(level.price).map(|fill| fill.shares),
            beyond: ours && beyond,
        }
    };
    (levels[..shown].iter().map(rung).collect(), levels.len() - shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(micros: i64) -> PriceMicros {
        PriceMicros::new(micros).unwrap()
    }

    fn book() -> OrderBook {
        let side =
            |levels: &[i64]| -> Vec<_> { levels.iter().map(|p| (price(*p), ShareMicros(100_000_000))).collect() };
        OrderBook::from_levels(side(&[490_000, 480_000]), side(&[510_000, 520_000, 530_000])).unwrap()
    }

    fn shown(ladder: &Ladder) -> Vec<(RungKind, i64)> {
        ladder.rungs.iter().map(|rung| (rung.kind, rung.price_micros.micros())).collect()
    }

    #[test]
    fn marks_are_between_the_levels_and_the_limit_includes_its_own_level() {
        use RungKind::{Ask, Bid, Limit, Mid, Theirs};
        let fill = LevelFill { price: price(510_000), shares: ShareMicros(7), notional: UsdcMicros(4) };
        let marked = Marked {
            limit: Some(price(520_000)),
            theirs: Some(price(510_000)),
            mid: Some(price(500_000)),
            fills: &[fill],
        };
        let ladder = Ladder::new(&book(), marked, true);
        let expected = [
            (Ask, 530_000),
            (Limit, 520_000),
            (Ask, 520_000),
            (Ask, 510_000),
            (Theirs, 510_000),
            (Mid, 500_000),
            (Bid, 490_000),
            (Bid, 480_000),
        ];
        assert_eq!(shown(&ladder), expected);
        let best = &ladder.rungs[3];
        assert_eq!((best.taken_micros, best.cumulated_micros), (Some(ShareMicros(7)), Some(UsdcMicros(51_000_000))));
        assert_eq!((best.bar, ladder.rungs[0].bar, ladder.rungs[0].beyond), (326, 1_000, true));

        let marked = Marked { limit: Some(price(490_000)), ..Marked::default() };
        let seller = Ladder::new(&book(), marked, false);
        assert_eq!(shown(&seller)[3..], [(Bid, 490_000), (Limit, 490_000), (Bid, 480_000)]);
        assert!(seller.rungs[5].beyond && !seller.rungs[0].beyond);
    }

    #[test]
    fn a_deep_side_is_cut_but_never_above_a_level_that_was_taken() {
        let asks: Vec<_> = (0..40).map(|n| (price(500_000 + n * 1_000), ShareMicros(1_000_000))).collect();
        let deep = OrderBook::from_levels([], asks).unwrap();
        assert_eq!(Ladder::new(&deep, Marked::default(), true).more_asks, 28);
        let fill = LevelFill { price: price(519_000), shares: ShareMicros(1), notional: UsdcMicros(1) };
        let marked = Marked { fills: &[fill], ..Marked::default() };
        assert_eq!(Ladder::new(&deep, marked, true).rungs.len(), 20);
        assert!(Ladder::new(&OrderBook::default(), Marked::default(), true).rungs.is_empty());
    }
}
