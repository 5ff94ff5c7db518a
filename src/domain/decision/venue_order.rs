//! The order rules of the venue: whole cents, hundredths of a share, and no order below 1 USDC (spec 7.2b, venue 2.4).

use super::check::{Check, CheckName, Checks, ReasonCode};
use super::dust::{LEAST_CASH, LEAST_SHARES};
use crate::domain::config::effective::Sizing;
use crate::domain::market::book::OrderBook;
use crate::domain::money::units::{ShareMicros, UnitError, UsdcMicros};

/// Cash of a BUY has two decimals.
const CENT: i64 = 10_000;

/// Returns the cash of the order that a BUY of `target` becomes, and checks that the venue takes it.
pub(super) fn buy_order(target: UsdcMicros, sizing: &Sizing, checks: &mut Checks) -> UsdcMicros {
    if !sizing.venue_order_rules {
        return target;
    }
    let cash = UsdcMicros(cut(target.0, CENT));
    checks.add(Check::at_least(CheckName::VenueMinimum, cash.0, LEAST_CASH.0, ReasonCode::BelowVenueMinimum));
    cash
}

/// Returns the shares of the order that a SELL of `target` becomes, and checks that the venue takes it. Without a bid the
/// order is not judged: it finds no liquidity anyway.
///
/// # Errors
/// [`UnitError::Overflow`].
pub(super) fn sell_order(
    target: ShareMicros,
    book: Option<&OrderBook>,
    sizing: &Sizing,
    checks: &mut Checks,
) -> Result<ShareMicros, UnitError> {
    if !sizing.venue_order_rules {
        return Ok(target);
    }
    let shares = ShareMicros(cut(target.0, LEAST_SHARES.0));
    if let Some(best) = book.and_then(|book| book.bids().first()) {
        let cash = best.price.proceeds_of(shares)?;
        checks.add(Check::at_least(CheckName::VenueMinimum, cash.0, LEAST_CASH.0, ReasonCode::BelowVenueMinimum));
    }
    Ok(shares)
}

/// Returns `micros` without what is left over a multiple of `unit`; zero for a negative amount.
fn cut(micros: i64, unit: i64) -> i64 {
    let micros = micros.max(0);
    micros.saturating_sub(micros.checked_rem(unit).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::units::PriceMicros;

    fn failed(checks: &mut Checks) -> bool {
        checks.take_failed().is_some_and(|reasons| reasons.contains(ReasonCode::BelowVenueMinimum))
    }

    #[test]
    fn a_buy_is_cut_to_cents_and_refused_below_a_dollar() {
        let check = |target: i64, cash: i64, refused: bool| {
            let mut checks = Checks::new();
            assert_eq!(buy_order(UsdcMicros(target), &Sizing::default(), &mut checks).0, cash, "{target}");
            assert_eq!(failed(&mut checks), refused, "{target}");
        };
        check(5_009_999, 5_000_000, false);
        check(1_000_000, 1_000_000, false);
        check(1_009_999, 1_000_000, false);
        check(999_999, 990_000, true);
        check(400_000, 400_000, true);
        check(0, 0, true);
        let mut checks = Checks::new();
        let off = Sizing { venue_order_rules: false, ..Sizing::default() };
        assert_eq!(buy_order(UsdcMicros(400_001), &off, &mut checks).0, 400_001);
        assert!(checks.list().is_empty());
    }

    #[test]
    fn a_sell_is_cut_to_hundredths_and_judged_at_the_best_bid() {
        let bids = |micros: i64| {
            let level = (PriceMicros::new(micros).unwrap(), ShareMicros(1_000_000_000));
            OrderBook::from_levels([level], []).unwrap()
        };
        let check = |target: i64, book: Option<&OrderBook>, shares: i64, refused: bool| {
            let mut checks = Checks::new();
            let order = sell_order(ShareMicros(target), book, &Sizing::default(), &mut checks).unwrap();
            assert_eq!((order.0, failed(&mut checks)), (shares, refused), "{target} in {book:?}");
        };
        check(10_009_999, Some(&bids(500_000)), 10_000_000, false);
        check(2_000_000, Some(&bids(500_000)), 2_000_000, false);
        check(2_009_999, Some(&bids(500_000)), 2_000_000, false);
        check(1_999_999, Some(&bids(500_000)), 1_990_000, true);
        // 0.004 of a share is cut to nothing, and 0.40 USDC is too small an order.
        check(4_000, Some(&bids(990_000)), 0, true);
        check(800_000, Some(&bids(500_000)), 800_000, true);
        // Without a bid, and without a book, it is not judged.
        check(800_000, Some(&OrderBook::default()), 800_000, false);
        check(800_000, None, 800_000, false);
    }
}
