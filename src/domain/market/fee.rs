//! The taker fee of the venue (spec 7.8).

use super::facts::FeeSchedule;
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, UnitError, UsdcMicros, div_floor, narrow};

/// The number one in the fixed-point format of [`curve`]: twelve decimals, exact for `p * (1 - p)`.
const CURVE_ONE: i128 = 1_000_000_000_000;

/// Shares, rate and curve carry 24 decimals together; the venue keeps 5.
const TO_FIVE_DECIMALS: i128 = 10_000_000_000_000_000_000;

/// Returns `shares * rate * (p * (1 - p)) ^ exponent`, cut to 5 decimals as the venue does. Never negative.
///
/// The venue charges once per match, on all shares of the match at their average price, so `price` is the VWAP of the
/// walk.
///
/// # Errors
/// [`UnitError::Overflow`] when the fee does not fit.
///
/// Spec 7.8. Rebates to takers are ignored, which does not flatter us.
pub fn taker_fee(shares: ShareMicros, price: PriceMicros, schedule: FeeSchedule) -> Result<UsdcMicros, UnitError> {
    if schedule.rate_micros <= 0 || shares <= ShareMicros::ZERO {
        return Ok(UsdcMicros::ZERO);
    }
    let overflow = UnitError::Overflow(i128::MAX);
    let exact = i128::from(shares.0)
        .checked_mul(i128::from(schedule.rate_micros))
        .and_then(|product| product.checked_mul(curve(price, schedule.exponent)))
        .ok_or(overflow)?;
    let hundred_thousandths = div_floor(exact, TO_FIVE_DECIMALS)?;
    narrow(i128::from(hundred_thousandths).saturating_mul(10)).map(UsdcMicros)
}

/// Returns `(p * (1 - p)) ^ exponent` with twelve decimals.
///
/// Exact up to an exponent of one, which every schedule has today. Above one it is rounded up so that no fee is too
/// low.
fn curve(price: PriceMicros, exponent: u32) -> i128 {
    let rest = MICROS.saturating_sub(price.micros());
    let base = i128::from(price.micros()).saturating_mul(i128::from(rest));
    let mut power = CURVE_ONE;
    for step in 0..exponent {
        power = if step == 0 { base } else { rounded_up(power.saturating_mul(base)) };
        // The power never grows and stays at zero or one once it is there: this ends the loop for an absurd exponent.
        if power <= 1 {
            break;
        }
    }
    power
}

fn rounded_up(product: i128) -> i128 {
    product.saturating_add(CURVE_ONE).saturating_sub(1).checked_div(CURVE_ONE).unwrap_or(CURVE_ONE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fee(shares: i64, price: i64, rate_micros: i64, exponent: u32) -> Result<i64, UnitError> {
        let schedule = FeeSchedule { rate_micros, exponent };
        taker_fee(ShareMicros(shares), PriceMicros::new(price).unwrap(), schedule).map(|fee| fee.0)
    }

    #[test]
    fn a_fee_is_cut_to_five_decimals() {
        let check = |shares, price, rate, expected| {
            assert_eq!(fee(shares, price, rate, 1), Ok(expected), "{shares} shares at {price}, rate {rate}");
        };
        // 108 * 0.07 * 0.64 * 0.36 = 1.741824; the fee on chain was 1.74182.
        check(108_000_000, 640_000, 70_000, 1_741_820);
        check(100_000_000, 500_000, 50_000, 1_250_000);
        // One tick of five decimals, and one micro-share less.
        check(800, 500_000, 50_000, 10);
        check(799, 500_000, 50_000, 0);
        check(100_000_000, 0, 50_000, 0);
        check(100_000_000, 1_000_000, 50_000, 0);
        check(100_000_000, 999_999, 1_000_000, 90);
        check(0, 500_000, 50_000, 0);
        check(-5, 500_000, 50_000, 0);
    }

    #[test]
    fn no_schedule_means_no_fee() {
        let none = taker_fee(ShareMicros(i64::MAX), PriceMicros::new(500_000).unwrap(), FeeSchedule::default());
        assert_eq!(none, Ok(UsdcMicros::ZERO));
        assert_eq!(fee(100_000_000, 500_000, -1, 1), Ok(0));
    }

    #[test]
    fn other_exponents_follow_the_same_curve() {
        assert_eq!(fee(100_000_000, 500_000, 250_000, 0), Ok(25_000_000));
        // 100 * 0.25 * (0.25)^2 = 1.5625.
        assert_eq!(fee(100_000_000, 500_000, 250_000, 2), Ok(1_562_500));
        assert_eq!(fee(100_000_000, 500_000, 250_000, 3), Ok(390_620));
        assert_eq!(fee(100_000_000, 500_000, 250_000, u32::MAX), Ok(0));
    }

    #[test]
    fn a_fee_that_does_not_fit_is_an_error() {
        assert!(fee(i64::MAX, 500_000, i64::MAX, 1).is_err());
        assert!(fee(i64::MAX, 500_000, 1_000_000, 1).is_ok());
    }

    proptest! {
        #[test]
        fn a_fee_is_never_above_the_exact_one_nor_a_tick_below(
            shares in 0..1_000_000_000_000i64, price in 0..=1_000_000i64, rate in 0..=1_000_000i64,
        ) {
            let fee = i128::from(fee(shares, price, rate, 1).unwrap());
            let exact = i128::from(shares) * i128::from(rate) * i128::from(price) * i128::from(1_000_000 - price);
            let scale = 1_000_000_000_000_000_000_i128;
            prop_assert!(fee % 10 == 0 && fee * scale <= exact && exact < (fee + 10) * scale);
        }
    }
}
