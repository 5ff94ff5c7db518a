//! Money, shares, prices and time as integers that carry their unit (spec section 1).
//!
//! In    integers from the database, decimals from the wire.
//! Out   newtypes; the verb says which way a result is rounded, and rounding never favours us.
//! Fails `UnitError`, always with the value that did not fit. Nothing wraps, nothing panics.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};

/// Millionths in one whole: of a USDC, of a share, of a price of one.
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
    #[error("`{0}` ms is not a time we can write")]
    TimeOutOfRange(i64),
}

/// Price of one share in millionths of a USDC, 0..=1_000_000. Also a distance between two prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct PriceMicros(i64);

/// Shares in millionths; negative where a shadow sold what it never bought, or as a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ShareMicros(pub i64);

/// USDC in millionths; negative as a delta, a loss or a shadow's cash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UsdcMicros(pub i64);

/// Hundredths of a percent, 10_000 = 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Bps(pub i64);

/// UTC milliseconds since the epoch. Databases hold this number; JSON and pages show ISO 8601.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl PriceMicros {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(MICROS);

    /// # Errors
    /// `PriceOutOfRange` outside 0..=1_000_000.
    pub const fn new(micros: i64) -> Result<Self, UnitError> {
        if micros < 0 || micros > MICROS { Err(UnitError::PriceOutOfRange(micros)) } else { Ok(Self(micros)) }
    }

    /// Reads a wire price, rounded half up to micros.
    ///
    /// # Errors
    /// `PriceOutOfRange`, `DecimalOutOfRange`.
    pub fn from_decimal(price: Decimal) -> Result<Self, UnitError> {
        Self::new(micros_half_up(price)?)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// What buying `shares` costs, rounded up: we never pay too little.
    #[inline]
    pub fn cost_of(self, shares: ShareMicros) -> Result<UsdcMicros, UnitError> {
        div_ceil(product(self.0, shares.0), i128::from(MICROS)).map(UsdcMicros)
    }

    /// What selling `shares` brings, rounded down: we never receive too much.
    /// Also what a holding is worth at a mark; a negative holding is rounded to the larger debt.
    #[inline]
    pub fn proceeds_of(self, shares: ShareMicros) -> Result<UsdcMicros, UnitError> {
        div_floor(product(self.0, shares.0), i128::from(MICROS)).map(UsdcMicros)
    }

    /// How many shares `cash` buys, rounded down so that they cost no more than `cash`.
    ///
    /// # Errors
    /// `NoShares` at a price of zero: any number of shares would do.
    #[inline]
    pub fn shares_for(self, cash: UsdcMicros) -> Result<ShareMicros, UnitError> {
        if self.0 == 0 {
            return Err(UnitError::NoShares);
        }
        div_floor(product(cash.0, MICROS), i128::from(self.0)).map(ShareMicros)
    }

    /// The price that `notional` over `shares` comes to, rounded half up. Signs cancel.
    ///
    /// # Errors
    /// `NoShares` for zero shares; `PriceOutOfRange` when the amounts say more than one.
    #[inline]
    pub fn average(notional: UsdcMicros, shares: ShareMicros) -> Result<Self, UnitError> {
        if shares.0 == 0 {
            return Err(UnitError::NoShares);
        }
        Self::new(div_half_up(product(notional.0, MICROS).abs(), i128::from(shares.0).abs())?)
    }

    /// Half way between two prices, half up.
    #[inline]
    pub fn midpoint(bid: Self, ask: Self) -> Self {
        Self(bid.0.saturating_add(ask.0).saturating_add(1) >> 1)
    }

    /// `distance` higher, at most one.
    pub fn plus(self, distance: Self) -> Self {
        Self(self.0.saturating_add(distance.0).min(MICROS))
    }

    /// `distance` lower, at least zero.
    pub fn minus(self, distance: Self) -> Self {
        Self(self.0.saturating_sub(distance.0).max(0))
    }
}

impl ShareMicros {
    pub const ZERO: Self = Self(0);

    pub fn from_decimal(shares: Decimal) -> Result<Self, UnitError> {
        micros_half_up(shares).map(Self)
    }

    #[inline]
    pub fn plus(self, other: Self) -> Result<Self, UnitError> {
        match self.0.checked_add(other.0) {
            Some(sum) => Ok(Self(sum)),
            None => Err(UnitError::Overflow(i128::from(self.0).saturating_add(i128::from(other.0)))),
        }
    }

    #[inline]
    pub fn minus(self, other: Self) -> Result<Self, UnitError> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Ok(Self(difference)),
            None => Err(UnitError::Overflow(i128::from(self.0).saturating_sub(i128::from(other.0)))),
        }
    }

    #[inline]
    pub fn negated(self) -> Result<Self, UnitError> {
        Self::ZERO.minus(self)
    }

    pub fn magnitude(self) -> Result<Self, UnitError> {
        if self.0 < 0 { self.negated() } else { Ok(self) }
    }

    /// `bps` of these shares, rounded towards minus infinity.
    #[inline]
    pub fn part(self, bps: Bps) -> Result<Self, UnitError> {
        div_floor(product(self.0, bps.0), 10_000).map(Self)
    }
}

impl UsdcMicros {
    pub const ZERO: Self = Self(0);

    pub fn from_decimal(cash: Decimal) -> Result<Self, UnitError> {
        micros_half_up(cash).map(Self)
    }

    #[inline]
    pub fn plus(self, other: Self) -> Result<Self, UnitError> {
        match self.0.checked_add(other.0) {
            Some(sum) => Ok(Self(sum)),
            None => Err(UnitError::Overflow(i128::from(self.0).saturating_add(i128::from(other.0)))),
        }
    }

    #[inline]
    pub fn minus(self, other: Self) -> Result<Self, UnitError> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Ok(Self(difference)),
            None => Err(UnitError::Overflow(i128::from(self.0).saturating_sub(i128::from(other.0)))),
        }
    }

    #[inline]
    pub fn negated(self) -> Result<Self, UnitError> {
        Self::ZERO.minus(self)
    }

    /// `bps` of this cash, rounded down: a cap is never too generous.
    #[inline]
    pub fn part(self, bps: Bps) -> Result<Self, UnitError> {
        div_floor(product(self.0, bps.0), 10_000).map(Self)
    }

    /// `bps` of this cash, rounded up: a requirement is never too lax.
    #[inline]
    pub fn part_rounded_up(self, bps: Bps) -> Result<Self, UnitError> {
        div_ceil(product(self.0, bps.0), 10_000).map(Self)
    }
}

impl Bps {
    pub const WHOLE: Self = Self(10_000);

    /// `part` as bps of `whole`, rounded down. A whole of zero or less has no share: zero.
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

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub fn from_seconds(seconds: i64) -> Result<Self, UnitError> {
        seconds.checked_mul(1000).map(Self).ok_or(UnitError::TimeOutOfRange(seconds))
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down, as the Data API counts them.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to here; negative when `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The start of the bucket of `millis` this time falls into; `millis` must be positive.
    pub const fn bucket(self, millis: i64) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(millis)))
    }

    /// 00:00 UTC of this day.
    pub const fn day_start(self) -> Self {
        self.bucket(86_400_000)
    }

    /// Monday 00:00 UTC of this week. The epoch was a Thursday.
    pub const fn week_start(self) -> Self {
        self.plus_millis(-4 * 86_400_000).bucket(7 * 86_400_000).plus_millis(4 * 86_400_000)
    }

    /// `2026-01-15T12:00:00.123Z`, as group keys and JSON write it.
    pub fn iso(self) -> String {
        self.to_string()
    }

    /// # Errors
    /// The text back, when it is no RFC 3339 time.
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

/// `decimal` in millionths, half away from zero at the seventh digit.
pub fn micros_half_up(decimal: Decimal) -> Result<i64, UnitError> {
    decimal
        .checked_mul(Decimal::from(MICROS))
        .map(|micros| micros.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero))
        .and_then(|micros| micros.to_i64())
        .ok_or(UnitError::DecimalOutOfRange(decimal))
}

/// The exact product of two 64-bit numbers; it always fits in 128 bits.
#[inline]
pub fn product(a: i64, b: i64) -> i128 {
    i128::from(a).saturating_mul(i128::from(b))
}

#[inline]
pub fn narrow(wide: i128) -> Result<i64, UnitError> {
    i64::try_from(wide).map_err(|_| UnitError::Overflow(wide))
}

/// `numerator / denominator` towards minus infinity; `denominator` must be positive.
#[inline]
pub fn div_floor(numerator: i128, denominator: i128) -> Result<i64, UnitError> {
    if let Some((n, d)) = in_64_bits(numerator, denominator) {
        return n.checked_div_euclid(d).ok_or(UnitError::Overflow(numerator));
    }
    numerator.checked_div_euclid(denominator).ok_or(UnitError::Overflow(numerator)).and_then(narrow)
}

/// `numerator / denominator` towards plus infinity; `denominator` must be positive.
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

/// Both numbers, where they fit. Nearly every amount does, and a decision divides some twenty times:
/// 64 bits are divided several times faster than 128.
#[inline]
fn in_64_bits(numerator: i128, denominator: i128) -> Option<(i64, i64)> {
    // The lowest number has no negative counterpart, which rounding up would need.
    let n = i64::try_from(numerator).ok().filter(|n| *n != i64::MIN)?;
    Some((n, i64::try_from(denominator).ok()?))
}

/// `numerator / denominator` to the nearest, halves up; both must be positive or the numerator zero.
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
