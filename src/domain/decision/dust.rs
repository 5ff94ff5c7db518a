//! Dust: the rest of a lot that is too small to be sold (spec 7.2b).

use crate::domain::money::units::{PriceMicros, ShareMicros, UsdcMicros};

/// The venue takes no order of fewer shares.
pub const LEAST_SHARES: ShareMicros = ShareMicros(10_000);
/// The venue takes no order of less cash.
pub const LEAST_CASH: UsdcMicros = UsdcMicros(1_000_000);

/// Returns whether a lot counts as flat: it has under 0.01 share, or brings under 1 USDC at the best bid.
///
/// `best_bid` is `Some(0)` for a book without bids, and `None` when no book is known; then only the shares are judged.
/// Such a lot cannot be sold. It stays until settlement and keeps its value in the equity.
pub fn is_dust(shares: ShareMicros, best_bid: Option<PriceMicros>) -> bool {
    if shares < LEAST_SHARES {
        return true;
    }
    // An amount that does not fit is not below the minimum.
    best_bid.is_some_and(|bid| bid.proceeds_of(shares).is_ok_and(|cash| cash < LEAST_CASH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lot_is_dust_below_a_hundredth_share_or_one_usdc_at_the_best_bid() {
        let check = |shares: i64, bid: Option<i64>, expected: bool| {
            let bid = bid.map(|micros| PriceMicros::new(micros).unwrap());
            assert_eq!(is_dust(ShareMicros(shares), bid), expected, "{shares} at {bid:?}");
        };
        check(0, None, true);
        check(9_999, Some(1_000_000), true);
        // At least a hundredth share, and no book: not judged.
        check(10_000, None, false);
        check(10_000, Some(1_000_000), true);
        check(1_999_999, Some(500_000), true);
        check(2_000_000, Some(500_000), false);
        check(1_000_000, Some(1_000_000), false);
        // Without bids nothing can be sold.
        check(500_000_000, Some(0), true);
        check(i64::MAX, Some(1_000_000), false);
    }
}
