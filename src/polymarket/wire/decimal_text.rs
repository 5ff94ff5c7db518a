//! Converts decimal text to micros. No number of Polymarket's ever becomes a float.
//!
//! JSON may print the same number as `0.5`, `"0.5"`, `5e-1` or `0.5000000000000001`; all of them are parsed from the text.

use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::domain::money::units::{UnitError, micros_half_up};

/// A longer text is not a real number.
const LENGTH_MAX: usize = 128;

/// Text that is not a number we can represent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("`{0}` is not a decimal number")]
    NotANumber(String),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// Returns the number in a JSON value, printed as a number or inside a string. An empty string or null means none.
///
/// # Errors
/// [`NumberError::NotANumber`].
pub fn decimal_of(raw: &RawValue) -> Result<Option<Decimal>, NumberError> {
    let text = raw.get();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text == "null" { Ok(None) } else { decimal(text).map(Some) }
}

/// Parses plain or scientific notation; digits beyond the 28th are rounded.
///
/// # Errors
/// [`NumberError::NotANumber`].
pub fn decimal(text: &str) -> Result<Decimal, NumberError> {
    let not_a_number = || NumberError::NotANumber(text.chars().take(LENGTH_MAX).collect());
    // rust_decimal also accepts `1_000`, which is not a JSON number.
    let plausible = text.len() <= LENGTH_MAX
        && text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    if !plausible {
        return Err(not_a_number());
    }
    let scientific = text.contains(['e', 'E']);
    let read = if scientific { Decimal::from_scientific(text) } else { text.parse() };
    read.map_err(|_| not_a_number())
}

/// Returns `text` in millionths, rounded half up at the seventh digit.
///
/// Plain digits are summed directly, which makes a book of a hundred levels cheap to parse. Every other notation goes
/// through `rust_decimal`. A property test checks that both agree.
///
/// # Errors
/// [`NumberError`] when the text is not a number, or its micros do not fit.
pub fn micros(text: &str) -> Result<i64, NumberError> {
    match plain_micros(text.as_bytes()) {
        Some(micros) => Ok(micros),
        None => Ok(micros_half_up(decimal(text)?)?),
    }
}

/// Returns `digits[.digits]` in millionths, or `None` for any longer or other notation.
pub(in crate::polymarket) fn plain_micros(text: &[u8]) -> Option<i64> {
    const WHOLE_DIGITS_MAX: usize = 12;
    let point = text.iter().position(|&b| b == b'.').unwrap_or(text.len());
    let (whole, fraction) = text.split_at(point);
    let fraction = if point < text.len() { fraction.get(1..).filter(|digits| !digits.is_empty())? } else { &[] };
    if whole.is_empty() || whole.len() > WHOLE_DIGITS_MAX || fraction.len() > 20 {
        return None;
    }
    let mut micros: i64 = 0;
    for &b in whole.iter().chain(fraction.iter().take(6)) {
        micros = micros * 10 + i64::from(digit(b)?);
    }
    for _ in fraction.len()..6 {
        micros *= 10;
    }
    for (place, &b) in fraction.iter().enumerate().skip(6) {
        let rounds_up = digit(b)? >= 5 && place == 6;
        micros += i64::from(rounds_up);
    }
    Some(micros)
}

fn digit(byte: u8) -> Option<u8> {
    let value = byte.wrapping_sub(b'0');
    (value <= 9).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_becomes_micros_half_up_at_the_seventh_digit() {
        let check = |text: &str, expected: i64| assert_eq!(micros(text), Ok(expected), "{text}");
        check("0", 0);
        check("0.5", 500_000);
        check("0.490", 490_000);
        check("1", 1_000_000);
        check("0.3200000233", 320_000);
        check("0.4473571475", 447_357);
        check("0.0000005", 1);
        check("0.00000049999", 0);
        check("0.9999995", 1_000_000);
        check("2538.2661200000002", 2_538_266_120);
        check("10980911.728675", 10_980_911_728_675);
        check("5e-1", 500_000);
        check("1.5E+3", 1_500_000_000);
        check("-0.000001", -1);
        check("999999999999.999999", 999_999_999_999_999_999);
        check("0.5843311669077693146635445446077281", 584_331);
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        for text in ["", ".", ".5", "abc", "1_000", "+1", "0x10", "1e999", "NaN", "1.2.3", "--1", "١"] {
            assert!(micros(text).is_err(), "{text} gave {:?}", micros(text));
        }
        assert!(micros(&"9".repeat(40)).is_err());
        assert!(micros(&"1".repeat(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn our_reader_of_plain_digits_equals_rust_decimal(
            whole in "(0|[1-9][0-9]{0,11})",
            fraction in prop::option::of("[0-9]{1,16}"),
        ) {
            let text = fraction.map_or(whole.clone(), |fraction| format!("{whole}.{fraction}"));
            let ours = plain_micros(text.as_bytes());
            let theirs = micros_half_up(text.parse::<Decimal>().unwrap()).ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }

        #[test]
        fn any_text_gives_an_answer_and_no_panic(text in "\\PC*") {
            let _ = micros(&text);
        }

        #[test]
        fn numberlike_text_is_read_as_rust_decimal_reads_it(text in "-?[0-9]{0,14}(\\.[0-9]{0,14})?([eE][+-]?[0-9]{1,2})?") {
            if let Ok(ours) = micros(&text) {
                prop_assert_eq!(Ok(ours), micros_half_up(decimal(&text).unwrap()));
            }
        }
    }
}
