//! The fee of a fill. The row does not state it, but its cash, shares and price together do (venue 1.4).

use rust_decimal::{Decimal, RoundingStrategy};

use crate::domain::events::event::Side;
use crate::domain::market::facts::FeeSchedule;
use crate::domain::money::units::{Timestamp, UnitError, UsdcMicros};

/// The first second at which exchange V2 settled. Since then fees are paid in cash. Before, a buyer's fee was taken out of
/// the shares, and the row shows net shares beside gross cash.
pub const EXCHANGE_V2_SINCE: Timestamp = Timestamp::from_millis(1_777_374_000_000);

/// From this many shares on, the ten digits of a printed price do not determine the fifth decimal of the fee.
const LARGE_SHARES: Decimal = Decimal::from_parts(100_000, 0, 0, false, 0);

/// The numbers of a fill as its row states them, with shares and cash rounded to six decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowAmounts {
    pub side: Side,
    pub size: Decimal,
    pub price: Decimal,
    pub usdc_size: Decimal,
    pub time: Timestamp,
}

/// Cash without the fee, and the fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CashParts {
    pub notional: UsdcMicros,
    /// Zero for a maker; `None` where it does not follow from the row's numbers.
    pub fee: Option<UsdcMicros>,
}

impl RowAmounts {
    /// Splits the row's net cash into gross cash and fee.
    ///
    /// A `schedule`, where known, determines the fifth decimal of fees on more than 100 000 shares.
    ///
    /// # Errors
    /// [`UnitError`] when a number does not fit 64-bit micros.
    pub fn split_cash(&self, schedule: Option<FeeSchedule>) -> Result<CashParts, UnitError> {
        let whole = |fee| Ok(CashParts { notional: UsdcMicros::from_decimal(self.usdc_size)?, fee });
        let Some((apart, tolerance)) = self.apart() else {
            return whole(None);
        };
        if apart.abs() <= tolerance {
            return whole(Some(UsdcMicros::ZERO));
        }
        if self.time < EXCHANGE_V2_SINCE || !self.is_a_plausible_fee(apart, tolerance) {
            return whole(None);
        }
        let fee = self.scheduled_fee(schedule, apart).unwrap_or_else(|| five_decimals(apart));
        let gross = match self.side {
            Side::Buy => self.usdc_size.checked_sub(fee),
            Side::Sell => self.usdc_size.checked_add(fee),
        };
        let gross = gross.ok_or(UnitError::DecimalOutOfRange(self.usdc_size))?;
        let notional = UsdcMicros::from_decimal(gross)?;
        // A fee rounded up in its fifth decimal may exceed all the cash of a tiny fill.
        if notional < UsdcMicros::ZERO {
            return whole(None);
        }
        Ok(CashParts { notional, fee: Some(UsdcMicros::from_decimal(fee)?) })
    }

    /// Returns how far the cash differs from size times price, positive in the direction of a fee, and the largest difference
    /// that rounding alone explains. `None` when the product does not fit.
    fn apart(&self) -> Option<(Decimal, Decimal)> {
        let gross = self.size.checked_mul(self.price)?;
        let apart = match self.side {
            Side::Buy => self.usdc_size.checked_sub(gross)?,
            Side::Sell => gross.checked_sub(self.usdc_size)?,
        };
        let tolerance = Decimal::new(1, 6).checked_add(self.size.checked_mul(Decimal::new(1, 10))?)?;
        Some((apart, tolerance))
    }

    /// A fee is positive and at most at a rate of one hundred percent: beyond that the row's numbers do not fit together.
    fn is_a_plausible_fee(&self, apart: Decimal, tolerance: Decimal) -> bool {
        let most = self.size.checked_mul(self.curve(1).unwrap_or_default()).and_then(|fee| fee.checked_add(tolerance));
        apart > Decimal::ZERO && most.is_some_and(|most| apart <= most)
    }

    /// Returns the fee by the market's schedule, cut to five decimals, if it explains the row of a large fill.
    fn scheduled_fee(&self, schedule: Option<FeeSchedule>, apart: Decimal) -> Option<Decimal> {
        let schedule = schedule.filter(|_| self.size > LARGE_SHARES)?;
        let rate = Decimal::try_new(schedule.rate_micros, 6).ok()?;
        let fee = self.size.checked_mul(rate)?.checked_mul(self.curve(schedule.exponent)?)?.trunc_with_scale(5);
        let uncertain = Decimal::new(1, 5).checked_add(self.size.checked_mul(Decimal::new(1, 10))?)?;
        (fee.checked_sub(apart)?.abs() <= uncertain).then_some(fee)
    }

    /// `(p * (1 - p)) ^ exponent`.
    fn curve(&self, exponent: u32) -> Option<Decimal> {
        let base = self.price.checked_mul(Decimal::ONE.checked_sub(self.price)?)?;
        (0..exponent.min(8)).try_fold(Decimal::ONE, |power, _| power.checked_mul(base))
    }
}

fn five_decimals(value: Decimal) -> Decimal {
    value.round_dp_with_strategy(5, RoundingStrategy::MidpointAwayFromZero)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(side: Side, size: &str, price: &str, usdc_size: &str) -> RowAmounts {
        RowAmounts {
            side,
            size: size.parse().unwrap(),
            price: price.parse().unwrap(),
            usdc_size: usdc_size.parse().unwrap(),
            time: Timestamp::from_millis(1_790_000_000_000),
        }
    }

    fn parts(amounts: RowAmounts, schedule: Option<FeeSchedule>) -> (i64, Option<i64>) {
        let parts = amounts.split_cash(schedule).unwrap();
        (parts.notional.0, parts.fee.map(|fee| fee.0))
    }

    #[test]
    fn a_makers_cash_is_gross_and_a_takers_holds_its_fee() {
        let check = |side, size, price, usdc, expected| {
            assert_eq!(parts(amounts(side, size, price, usdc), None), expected, "{side} {size} at {price} for {usdc}");
        };
        check(Side::Buy, "10.294118", "0.3200000233", "3.294118", (3_294_118, Some(0)));
        check(Side::Buy, "5", "0.32", "1.67616", (1_600_000, Some(76_160)));
        check(Side::Sell, "100", "0.06", "5.718", (6_000_000, Some(282_000)));
        check(Side::Sell, "100", "0.01", "0.9505", (1_000_000, Some(49_500)));
        check(Side::Buy, "7917.59", "0.45", "3660.89567", (3_562_915_500, Some(97_980_170)));
        // At the limit of what rounding explains: 1e-6 plus 1e-10 per share.
        check(Side::Buy, "100", "0.5", "50.000001", (50_000_001, Some(0)));
        check(Side::Buy, "100", "0.5", "50.000002", (50_000_002, Some(0)));
    }

    #[test]
    fn cash_that_no_fee_explains_stays_whole_with_an_unknown_fee() {
        // A taker is not paid for taking, and does not pay more than a rate of one hundred percent.
        assert_eq!(parts(amounts(Side::Buy, "100", "0.5", "49"), None), (49_000_000, None));
        assert_eq!(parts(amounts(Side::Sell, "100", "0.5", "51"), None), (51_000_000, None));
        assert_eq!(parts(amounts(Side::Buy, "100", "0.5", "75.1"), None), (75_100_000, None));
        assert_eq!(parts(amounts(Side::Buy, "100", "0.5", "75"), None), (50_000_000, Some(25_000_000)));
    }

    #[test]
    fn a_fee_never_exceeds_the_cash() {
        // Five decimals round 5 up to 10 millionths, and there are 9.
        assert_eq!(parts(amounts(Side::Buy, "4", "0.000001", "0.000009"), None), (9, None));
    }

    #[test]
    fn the_first_exchange_took_its_fees_in_shares() {
        let old = |time| RowAmounts { time, ..amounts(Side::Buy, "20.9118", "0.86", "18.06") };
        let eve = EXCHANGE_V2_SINCE.plus_millis(-1);
        assert_eq!(parts(old(eve), None), (18_060_000, None));
        assert_eq!(parts(old(EXCHANGE_V2_SINCE), None), (17_984_150, Some(75_850)));
        assert_eq!(EXCHANGE_V2_SINCE.iso(), "2026-04-28T11:00:00.000Z");
    }

    #[test]
    fn a_known_schedule_determines_the_fifth_decimal_of_a_large_fee() {
        let sports = FeeSchedule { rate_micros: 50_000, exponent: 1 };
        let large = amounts(Side::Buy, "402482.85", "0.6542489661", "267876.215535");
        assert_eq!(parts(large, None), (263_323_988_485, Some(4_552_227_050)));
        // 402482.85 * 0.05 * p * (1 - p) is 4552.227063…, cut.
        assert_eq!(parts(large, Some(sports)), (263_323_988_475, Some(4_552_227_060)));
        // A schedule that does not explain the row is ignored.
        let crypto = FeeSchedule { rate_micros: 70_000, exponent: 1 };
        assert_eq!(parts(large, Some(crypto)), parts(large, None));
        // A small fill needs no schedule.
        let small = amounts(Side::Buy, "7917.59", "0.45", "3660.89567");
        assert_eq!(parts(small, Some(sports)), parts(small, None));
    }
}
