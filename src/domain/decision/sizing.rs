//! The target size of a copy (spec 7.2).

use crate::domain::config::effective::Sizing;
use crate::domain::money::units::{PriceMicros, ShareMicros, UnitError, UsdcMicros};

/// The size of a copy before the book is considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetSize {
    /// The part of the leader's notional that the configuration asks for, rounded down.
    pub raw: UsdcMicros,
    /// The most that one copy may cost: the fixed cap or the part of the equity, whichever is lower; never negative.
    pub cap: UsdcMicros,
    /// `raw` raised to the minimum, then lowered to the cap.
    pub target: UsdcMicros,
}

/// Returns the size of a copy of `notional`.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn target_size(notional: UsdcMicros, equity: UsdcMicros, sizing: &Sizing) -> Result<TargetSize, UnitError> {
    let raw = notional.part(sizing.copy_pct_notional)?;
    let cap = equity.part(sizing.max_trade_bankroll)?.min(sizing.max_trade_notional).max(UsdcMicros::ZERO);
    Ok(TargetSize { raw, cap, target: raw.max(sizing.min_trade_notional).min(cap) })
}

/// Returns the shares that a SELL aims at: `target` at the leader's price, rounded down, but no more than `held`.
///
/// At a price of zero, or a price so low that the shares do not fit, all shares held.
pub fn shares_to_sell(target: UsdcMicros, held: ShareMicros, reference: PriceMicros) -> ShareMicros {
    reference.shares_for(target).map_or(held, |shares| shares.min(held)).max(ShareMicros::ZERO)
}

/// Returns the complete sets to copy of a MERGE or SPLIT, rounded down.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn sets_to_copy(their_sets: ShareMicros, sizing: &Sizing) -> Result<ShareMicros, UnitError> {
    their_sets.part(sizing.copy_pct_notional)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::units::Bps;

    #[test]
    fn a_target_is_raised_to_the_minimum_then_lowered_to_the_cap() {
        // copy 1 %, minimum 5, maximum 250, 0.75 % of the equity.
        let check = |notional, equity, expected: (i64, i64, i64)| {
            let size = target_size(UsdcMicros(notional), UsdcMicros(equity), &Sizing::default()).unwrap();
            assert_eq!((size.raw.0, size.cap.0, size.target.0), expected, "{notional} with equity {equity}");
        };
        check(600_000_000, 10_000_000_000, (6_000_000, 75_000_000, 6_000_000));
        // Around the minimum, and rounding of the raw amount.
        check(500_000_000, 10_000_000_000, (5_000_000, 75_000_000, 5_000_000));
        check(499_999_999, 10_000_000_000, (4_999_999, 75_000_000, 5_000_000));
        check(500_000_199, 10_000_000_000, (5_000_001, 75_000_000, 5_000_001));
        check(99, 10_000_000_000, (0, 75_000_000, 5_000_000));
        // Around the cap by equity, and its rounding.
        check(7_500_000_000, 10_000_000_000, (75_000_000, 75_000_000, 75_000_000));
        check(7_500_000_100, 10_000_000_000, (75_000_001, 75_000_000, 75_000_000));
        check(7_500_000_000, 9_999_999_999, (75_000_000, 74_999_999, 74_999_999));
        // Around the fixed cap: 250 is 0.75 % of 33,333.33.
        check(25_000_000_000, 33_333_333_333, (250_000_000, 249_999_999, 249_999_999));
        check(25_000_000_000, 33_333_333_334, (250_000_000, 250_000_000, 250_000_000));
        check(25_000_000_100, 99_000_000_000, (250_000_001, 250_000_000, 250_000_000));
        // A cap below the minimum wins over it. The cap of an empty or indebted portfolio is zero.
        check(600_000_000, 600_000_000, (6_000_000, 4_500_000, 4_500_000));
        check(600_000_000, 0, (6_000_000, 0, 0));
        check(600_000_000, -10_000, (6_000_000, 0, 0));
    }

    #[test]
    fn a_sell_aims_at_no_more_than_is_held() {
        let check = |target, held, reference, expected| {
            let reference = PriceMicros::new(reference).unwrap();
            let shares = shares_to_sell(UsdcMicros(target), ShareMicros(held), reference);
            assert_eq!(shares.0, expected, "{target} at {reference:?} of {held}");
        };
        check(5_000_000, 10_000_000, 500_000, 10_000_000);
        check(5_000_000, 10_000_001, 500_000, 10_000_000);
        check(5_000_000, 9_999_999, 500_000, 9_999_999);
        check(5_000_000, 100_000_000, 300_000, 16_666_666);
        check(5_000_000, 0, 500_000, 0);
        check(5_000_000, -7, 500_000, 0);
        check(0, 7, 500_000, 0);
        check(5_000_000, 7_000_000, 0, 7_000_000);
        check(i64::MAX, 7_000_000, 1, 7_000_000);
    }

    #[test]
    fn sets_are_a_part_rounded_down() {
        let check = |their_sets, bps, expected| {
            let sizing = Sizing { copy_pct_notional: Bps(bps), ..Sizing::default() };
            assert_eq!(sets_to_copy(ShareMicros(their_sets), &sizing), Ok(ShareMicros(expected)));
        };
        check(1_000_000, 100, 10_000);
        check(199, 100, 1);
        check(99, 100, 0);
        check(99, 10_000, 99);
    }
}
