//! Money, shares, prices and time as integers that carry their unit (spec 1).
//!
//! In    integers from the database, decimals from the wire.
//! Out   newtypes; the name of a method says which way it rounds, and rounding never favours us.
//! Fails [`UnitError`], always with the value that did not fit. Nothing wraps, nothing panics.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};

/// Micros in one unit: one USDC, one share, or a price of one.
pub const MICROS: i64 = 1_000_000;

/// A value that does not fit its unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("price of `{0}` micros is not within 0 and 1000000")]
    PriceOutOfRange(i64),
    #[error("`{0}` does not fit in 64-bit micros")]
    DecimalOutOfRange(Decimal),
    #[error("`{0}` overflows 64-bit micros")]
    Overflow(i128),
    #[error("there is no average price over zero shares")]
    NoShares,
    #[error("the number of shares at a price of zero is unlimited")]
    ZeroPrice,
    #[error("`{0}` seconds do not fit in 64-bit milliseconds")]
    SecondsOutOfRange(i64),
}

/// Price of one share in millionths of a USDC, 0..=1_000_000. Also a distance between two prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct PriceMicros(i64);

/// Shares in millionths. Negative as a delta, or where a shadow sold shares that it never bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ShareMicros(pub i64);

/// USDC in millionths. Negative as a delta, a loss, or the cash of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UsdcMicros(pub i64);

/// Basis points: hundredths of a percent, so 10_000 is 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Bps(pub i64);

/// UTC milliseconds since the epoch. Databases hold this number; JSON and pages show ISO 8601.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl PriceMicros {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(MICROS);

    /// Takes a price in micros.
    ///
    /// # Errors
    /// [`UnitError::PriceOutOfRange`] outside 0..=1_000_000.
    pub const fn new(micros: i64) -> Result<Self, UnitError> {
        if micros < 0 || micros > MICROS { Err(UnitError::PriceOutOfRange(micros)) } else { Ok(Self(micros)) }
    }

    /// Converts a price from the wire, rounded half up to micros.
    ///
    /// # Errors
    /// [`UnitError::PriceOutOfRange`], [`UnitError::DecimalOutOfRange`].
    pub fn from_decimal(price: Decimal) -> Result<Self, UnitError> {
        Self::new(micros_half_up(price)?)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns the cost of buying `shares`, rounded up: we never pay too little.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    #[inline]
    pub fn cost_of(self, shares: ShareMicros) -> Result<UsdcMicros, UnitError> {
        div_ceil(product(self.0, shares.0), i128::from(MICROS)).map(UsdcMicros)
    }

    /// Returns the proceeds of selling `shares`, rounded down: we never receive too much.
    ///
    /// Also the value of a holding at a mark; for a negative holding, rounding down means the larger debt.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    #[inline]
    pub fn proceeds_of(self, shares: ShareMicros) -> Result<UsdcMicros, UnitError> {
        div_floor(product(self.0, shares.0), i128::from(MICROS)).map(UsdcMicros)
    }

    /// Returns how many shares `cash` buys, rounded down so that they cost no more than `cash`.
    ///
    /// # Errors
    /// [`UnitError::ZeroPrice`] at a price of zero: any number of shares would cost nothing. [`UnitError::Overflow`].
    #[inline]
    pub fn shares_for(self, cash: UsdcMicros) -> Result<ShareMicros, UnitError> {
        if self.0 == 0 {
            return Err(UnitError::ZeroPrice);
        }
        div_floor(product(cash.0, MICROS), i128::from(self.0)).map(ShareMicros)
    }

    /// Returns the average price `notional / shares`, rounded half up. The signs of both are ignored.
    ///
    /// # Errors
    /// [`UnitError::NoShares`] for zero shares; [`UnitError::PriceOutOfRange`] when the average is above one.
    #[inline]
    pub fn average(notional: UsdcMicros, shares: ShareMicros) -> Result<Self, UnitError> {
        if shares.0 == 0 {
            return Err(UnitError::NoShares);
        }
        Self::new(div_half_up(product(notional.0, MICROS).abs(), i128::from(shares.0).abs())?)
    }

    /// Returns the price half way between `bid` and `ask`, rounded half up.
    #[inline]
    pub fn midpoint(bid: Self, ask: Self) -> Self {
        Self(bid.0.saturating_add(ask.0).saturating_add(1) >> 1)
    }

    /// Returns the price `distance` higher, at most one.
    pub fn plus(self, distance: Self) -> Self {
        Self(self.0.saturating_add(distance.0).min(MICROS))
    }

    /// Returns the price `distance` lower, at least zero.
    pub fn minus(self, distance: Self) -> Self {
        Self(self.0.saturating_sub(distance.0).max(0))
    }
}

/// Implements the arithmetic that shares and cash have in common: both are signed millionths in 64 bits.
macro_rules! signed_micros {
    ($name:ident) => {
        impl $name {
            pub const ZERO: Self = Self(0);

            /// Converts a decimal from the wire, rounded half up to micros.
            ///
            /// # Errors
            /// [`UnitError::DecimalOutOfRange`].
            pub fn from_decimal(amount: Decimal) -> Result<Self, UnitError> {
                micros_half_up(amount).map(Self)
            }

            /// Returns the sum.
            ///
            /// # Errors
            /// [`UnitError::Overflow`].
            #[inline]
            pub fn plus(self, other: Self) -> Result<Self, UnitError> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Ok(Self(sum)),
                    None => Err(UnitError::Overflow(i128::from(self.0).saturating_add(i128::from(other.0)))),
                }
            }

            /// Returns the difference.
            ///
            /// # Errors
            /// [`UnitError::Overflow`].
            #[inline]
            pub fn minus(self, other: Self) -> Result<Self, UnitError> {
                match self.0.checked_sub(other.0) {
                    Some(difference) => Ok(Self(difference)),
                    None => Err(UnitError::Overflow(i128::from(self.0).saturating_sub(i128::from(other.0)))),
                }
            }

            /// Returns the amount with the opposite sign.
            ///
            /// # Errors
            /// [`UnitError::Overflow`].
            #[inline]
            pub fn negated(self) -> Result<Self, UnitError> {
                Self::ZERO.minus(self)
            }

            /// Returns `bps` of the amount, rounded down (towards minus infinity): a cap is never too generous.
            ///
            /// # Errors
            /// [`UnitError::Overflow`].
            #[inline]
            pub fn part(self, bps: Bps) -> Result<Self, UnitError> {
                div_floor(product(self.0, bps.0), 10_000).map(Self)
            }
        }
    };
}
signed_micros!(ShareMicros);
signed_micros!(UsdcMicros);

impl ShareMicros {
    /// Returns these shares without their sign.
    ///
    /// # Errors
    /// [`UnitError::Overflow`] for the lowest number, whose magnitude does not fit.
    pub fn magnitude(self) -> Result<Self, UnitError> {
        if self.0 < 0 { self.negated() } else { Ok(self) }
    }
}

impl UsdcMicros {
    /// Returns `bps` of this cash, rounded up: a requirement is never too lax.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    #[inline]
    pub fn part_rounded_up(self, bps: Bps) -> Result<Self, UnitError> {
        div_ceil(product(self.0, bps.0), 10_000).map(Self)
    }
}

impl Bps {
    pub const WHOLE: Self = Self(10_000);

    /// Returns `part` as bps of `whole`, rounded down. Of a whole of zero or less every part is 0 bps.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    #[inline]
    pub fn of(part: i64, whole: i64) -> Result<Self, UnitError> {
        if whole <= 0 {
            return Ok(Self(0));
        }
        div_floor(product(part, 10_000), i128::from(whole)).map(Self)
    }
}

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    /// Takes milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Converts whole seconds since the epoch.
    ///
    /// # Errors
    /// [`UnitError::SecondsOutOfRange`] with the seconds, when they do not fit in 64-bit milliseconds.
    pub fn from_seconds(seconds: i64) -> Result<Self, UnitError> {
        seconds.checked_mul(1000).map(Self).ok_or(UnitError::SecondsOutOfRange(seconds))
    }

    /// Returns milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Returns whole seconds since the epoch, rounded down, as the Data API counts them.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the time `millis` later, or earlier when negative.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Returns the milliseconds from `earlier` to this time; negative when `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the start of the bucket of `millis` that this time falls into. `millis` must be positive.
    pub const fn bucket(self, millis: i64) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(millis)))
    }

    /// Returns 00:00 UTC of this day.
    pub const fn day_start(self) -> Self {
        self.bucket(86_400_000)
    }

    /// Returns Monday 00:00 UTC of this week. The epoch was a Thursday, hence the shift by four days.
    pub const fn week_start(self) -> Self {
        self.plus_millis(-4 * 86_400_000).bucket(7 * 86_400_000).plus_millis(4 * 86_400_000)
    }

    /// Formats the time as group keys and JSON write it, for example `2026-01-15T12:00:00.123Z`.
    pub fn iso(self) -> String {
        self.to_string()
    }

    /// Reads an RFC 3339 time.
    ///
    /// # Errors
    /// Returns the text itself when it is not an RFC 3339 time.
    pub fn parse_iso(text: &str) -> Result<Self, String> {
        chrono::DateTime::parse_from_rfc3339(text)
            .map(|time| Self(time.timestamp_millis()))
            .map_err(|_| text.to_owned())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_millis(self.0) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_iso(&text).map_err(|text| serde::de::Error::custom(format!("`{text}` is not an ISO 8601 time")))
    }
}

impl<'de> serde::Deserialize<'de> for PriceMicros {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Converts `decimal` to micros; halves at the seventh digit are rounded away from zero.
///
/// # Errors
/// [`UnitError::DecimalOutOfRange`].
pub fn micros_half_up(decimal: Decimal) -> Result<i64, UnitError> {
    decimal
        .checked_mul(Decimal::from(MICROS))
        .map(|micros| micros.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero))
        .and_then(|micros| micros.to_i64())
        .ok_or(UnitError::DecimalOutOfRange(decimal))
}

/// Returns the exact product of two 64-bit numbers; it always fits in 128 bits.
#[inline]
pub fn product(a: i64, b: i64) -> i128 {
    i128::from(a).saturating_mul(i128::from(b))
}

/// Converts a 128-bit result back to 64 bits.
///
/// # Errors
/// [`UnitError::Overflow`].
#[inline]
pub fn narrow(wide: i128) -> Result<i64, UnitError> {
    i64::try_from(wide).map_err(|_| UnitError::Overflow(wide))
}

/// Returns `numerator / denominator`, rounded towards minus infinity. `denominator` must be positive.
///
/// # Errors
/// [`UnitError::Overflow`], also for a denominator of zero.
#[inline]
pub fn div_floor(numerator: i128, denominator: i128) -> Result<i64, UnitError> {
    if let Some((n, d)) = in_64_bits(numerator, denominator) {
        return n.checked_div_euclid(d).ok_or(UnitError::Overflow(numerator));
    }
    numerator.checked_div_euclid(denominator).ok_or(UnitError::Overflow(numerator)).and_then(narrow)
}

/// Returns `numerator / denominator`, rounded towards plus infinity. `denominator` must be positive.
///
/// # Errors
/// [`UnitError::Overflow`], also for a denominator of zero.
#[inline]
pub fn div_ceil(numerator: i128, denominator: i128) -> Result<i64, UnitError> {
    if let Some((n, d)) = in_64_bits(numerator, denominator) {
        return n
            .checked_neg()
            .and_then(|n| n.checked_div_euclid(d))
            .and_then(i64::checked_neg)
            .ok_or(UnitError::Overflow(numerator));
    }
    numerator
        .checked_neg()
        .and_then(|n| n.checked_div_euclid(denominator))
        .and_then(i128::checked_neg)
        .ok_or(UnitError::Overflow(numerator))
        .and_then(narrow)
}

/// Returns both numbers in 64 bits where they fit. Nearly every amount fits, a decision divides about twenty times, and
/// a 64-bit division is several times faster than a 128-bit one.
#[inline]
fn in_64_bits(numerator: i128, denominator: i128) -> Option<(i64, i64)> {
    // The lowest number has no negative counterpart, and rounding up negates.
    let n = i64::try_from(numerator).ok().filter(|n| *n != i64::MIN)?;
    Some((n, i64::try_from(denominator).ok()?))
}

/// Returns `numerator / denominator`, rounded to the nearest, halves up. Both must be positive, or the numerator zero.
///
/// # Errors
/// [`UnitError::Overflow`], also for a denominator of zero.
#[inline]
pub fn div_half_up(numerator: i128, denominator: i128) -> Result<i64, UnitError> {
    let doubled = numerator.checked_mul(2).and_then(|n| n.checked_add(denominator));
    let (Some(n), Some(d)) = (doubled, denominator.checked_mul(2)) else { return Err(UnitError::Overflow(numerator)) };
    div_floor(n, d).map_err(|_| UnitError::Overflow(numerator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_pay_rounds_up_and_what_we_receive_rounds_down() {
        let check = |price, shares, cost, proceeds| {
            let price = PriceMicros::new(price).unwrap();
            assert_eq!(price.cost_of(ShareMicros(shares)), Ok(UsdcMicros(cost)), "cost at {price:?} of {shares}");
            assert_eq!(price.proceeds_of(ShareMicros(shares)), Ok(UsdcMicros(proceeds)), "{price:?} of {shares}");
        };
        check(500_000, 2, 1, 1);
        check(500_000, 1, 1, 0);
        check(333_333, 3_000_000, 999_999, 999_999);
        check(333_333, 1, 1, 0);
        check(0, 5, 0, 0);
        check(1_000_000, i64::MAX, i64::MAX, i64::MAX);
        check(500_000, -1, 0, -1);
    }

    #[test]
    fn prices_outside_zero_to_one_are_refused() {
        assert!(PriceMicros::new(-1).is_err());
        assert!(PriceMicros::new(0).is_ok());
        assert!(PriceMicros::new(1_000_000).is_ok());
        assert!(PriceMicros::new(1_000_001).is_err());
    }

    #[test]
    fn an_average_and_a_midpoint_round_half_up() {
        let average = |notional, shares| PriceMicros::average(UsdcMicros(notional), ShareMicros(shares));
        assert_eq!(average(1, 3).unwrap().micros(), 333_333);
        assert_eq!(average(2, 3).unwrap().micros(), 666_667);
        assert_eq!(average(1, 2_000_000).unwrap().micros(), 1);
        assert_eq!(average(1, 0), Err(UnitError::NoShares));
        assert_eq!(average(2, 1), Err(UnitError::PriceOutOfRange(2_000_000)));
        let mid = |a, b| PriceMicros::midpoint(PriceMicros(a), PriceMicros(b)).micros();
        assert_eq!((mid(1, 2), mid(2, 2), mid(0, 1_000_000)), (2, 2, 500_000));
    }

    #[test]
    fn a_price_of_zero_is_refused_with_its_own_text() {
        let shares = PriceMicros::ZERO.shares_for(UsdcMicros(1));
        assert_eq!(shares, Err(UnitError::ZeroPrice));
        assert_eq!(shares.unwrap_err().to_string(), "the number of shares at a price of zero is unlimited");
        assert_eq!(PriceMicros(1).shares_for(UsdcMicros(1)), Ok(ShareMicros(1_000_000)));
    }

    #[test]
    fn seconds_that_do_not_fit_are_named_as_seconds() {
        let most = i64::MAX / 1000;
        assert_eq!(Timestamp::from_seconds(most).map(Timestamp::millis), Ok(most * 1000));
        let refused = Timestamp::from_seconds(most + 1).unwrap_err();
        assert_eq!(refused.to_string(), "`9223372036854776` seconds do not fit in 64-bit milliseconds");
    }

    #[test]
    fn bps_of_cash_round_against_us() {
        assert_eq!(UsdcMicros(9_999).part(Bps(1)), Ok(UsdcMicros(0)));
        assert_eq!(UsdcMicros(10_000).part(Bps(1)), Ok(UsdcMicros(1)));
        assert_eq!(UsdcMicros(1).part_rounded_up(Bps(1)), Ok(UsdcMicros(1)));
        assert!(UsdcMicros(i64::MAX).part(Bps(10_001)).is_err());
    }

    #[test]
    fn wire_decimals_become_micros_half_up_and_never_wrap() {
        let micros = |text: &str| micros_half_up(text.parse().unwrap());
        assert_eq!(micros("0.3200000233"), Ok(320_000));
        assert_eq!(micros("2538.2661200000002"), Ok(2_538_266_120));
        assert_eq!(micros("0.0000005"), Ok(1));
        assert_eq!(micros("0.00000049"), Ok(0));
        assert!(micros("79228162514264337593543950335").is_err());
        assert!(micros("9300000000000").is_err());
    }

    #[test]
    fn narrow_and_wide_divisions_agree() {
        let check = |numerator: i128, denominator: i128| {
            let floor = numerator.div_euclid(denominator);
            let ceil = -((-numerator).div_euclid(denominator));
            assert_eq!(
                div_floor(numerator, denominator).ok(),
                i64::try_from(floor).ok(),
                "{numerator} / {denominator}"
            );
            assert_eq!(div_ceil(numerator, denominator).ok(), i64::try_from(ceil).ok(), "{numerator} / {denominator}");
        };
        let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
        for numerator in
            [0, 1, -1, 6, 7, -6, -7, least - 1, least, least + 1, most - 1, most, most + 1, most * 1_000_000]
        {
            for denominator in [1, 2, 7, 1_000_000, most, most + 1] {
                check(numerator, denominator);
            }
        }
        assert!(div_floor(1, 0).is_err() && div_ceil(1, 0).is_err());
    }

    #[test]
    fn days_start_at_midnight_and_weeks_on_monday() {
        let at = |text| Timestamp::parse_iso(text).unwrap();
        assert_eq!(at("2026-11-22T10:30:00.123Z").day_start(), at("2026-11-22T00:00:00Z"));
        assert_eq!(at("2026-11-22T23:59:59.999Z").week_start(), at("2026-11-16T00:00:00Z"));
        assert_eq!(at("2026-11-23T00:00:00Z").week_start(), at("2026-11-23T00:00:00Z"));
        assert_eq!(at("2026-01-15T12:00:00.123Z").iso(), "2026-01-15T12:00:00.123Z");
    }
}
