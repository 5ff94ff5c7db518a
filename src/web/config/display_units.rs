//! Fields in the units that visitors read and type: cents, USDC, percent, minutes. A typed text becomes exactly one
//! integer, or is refused with the field's name.
//!
//! `web::server::format` rounds figures for reading. Here every digit counts, because the form sends the text back.

use crate::domain::config::effective::{ConfigError, Field, FieldUnit, FieldValue, Tags};
use crate::domain::money::units::MICROS;

/// How a field's integer is written: its decimal places and the name of its unit.
struct UnitFormat {
    /// Decimal places: the integer counts units of ten to the minus `digits`.
    digits: u32,
    /// Decimal places that are written even when they are zero.
    shown: u32,
    /// The unit's name beside the input.
    sign: &'static str,
}

/// The text of an empty list of tags. An empty text is not a value.
const NO_TAGS: &str = "none";

const fn format_of(unit: FieldUnit) -> UnitFormat {
    match unit {
        FieldUnit::Price => UnitFormat { digits: 4, shown: 2, sign: "¢" },
        FieldUnit::Usdc => UnitFormat { digits: 6, shown: 2, sign: "USDC" },
        FieldUnit::Bps => UnitFormat { digits: 2, shown: 2, sign: "%" },
        FieldUnit::Minutes => UnitFormat { digits: 0, shown: 0, sign: "min" },
        FieldUnit::Seconds => UnitFormat { digits: 0, shown: 0, sign: "s" },
        FieldUnit::Millis => UnitFormat { digits: 0, shown: 0, sign: "ms" },
        FieldUnit::Flag | FieldUnit::Choice | FieldUnit::Tags => UnitFormat { digits: 0, shown: 0, sign: "" },
    }
}

/// Returns the unit's name that a page writes behind the input.
pub fn sign(unit: FieldUnit) -> &'static str {
    format_of(unit).sign
}

/// Returns the text of an input, without separators or unit: `2.00` for 20,000 micros of a price.
pub fn text(unit: FieldUnit, number: i64) -> String {
    let UnitFormat { digits, shown, .. } = format_of(unit);
    let (whole, fraction) = parts(number, digits);
    let mut behind = format!("{fraction:0width$}", width = digits as usize);
    while behind.len() > shown as usize && behind.ends_with('0') {
        behind.pop();
    }
    let minus = if number < 0 { "-" } else { "" };
    if digits == 0 { format!("{minus}{whole}") } else { format!("{minus}{whole}.{behind}") }
}

/// Returns the text of a value in a sentence: `2.00¢`, `7,500.00 USDC`, `on`.
pub fn shown(unit: FieldUnit, number: i64) -> String {
    if unit == FieldUnit::Flag {
        return if number == 0 { "off" } else { "on" }.to_owned();
    }
    let plain = text(unit, number);
    let (whole, behind) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, behind)| (whole, Some(behind)));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = behind.map(|behind| format!(".{behind}")).unwrap_or_default();
    let gap = if matches!(unit, FieldUnit::Price) || sign(unit).is_empty() { "" } else { "\u{a0}" };
    format!("{grouped}{point}{gap}{}", sign(unit))
}

/// Returns the text of an input that holds this value: `2.00`, `off`, `PROPORTIONAL`, `nba, politics`.
pub fn input(field: &Field, value: &FieldValue) -> String {
    match (field.unit, value) {
        (_, FieldValue::Tags(tags)) if tags.is_empty() => NO_TAGS.to_owned(),
        (_, FieldValue::Tags(tags)) => tags.list().join(", "),
        (FieldUnit::Choice, FieldValue::Number(number)) => field.word(*number).to_owned(),
        (FieldUnit::Flag, FieldValue::Number(number)) => shown(field.unit, *number),
        (unit, FieldValue::Number(number)) => text(unit, *number),
    }
}

/// Returns the text of a field's value in a sentence, as [`shown`] does for numbers.
pub fn sentence(field: &Field, value: &FieldValue) -> String {
    match (field.unit, value) {
        (FieldUnit::Choice | FieldUnit::Tags, value) => input(field, value),
        (unit, value) => shown(unit, value.number().unwrap_or_default()),
    }
}

/// Returns a field's value as JSON: a flag is true or false, a choice its word, tags a list.
pub fn json(field: &Field, value: &FieldValue) -> serde_json::Value {
    match (field.unit, value) {
        (_, FieldValue::Tags(tags)) => serde_json::Value::from(tags.list()),
        (FieldUnit::Flag, FieldValue::Number(number)) => serde_json::Value::Bool(*number != 0),
        (FieldUnit::Choice, FieldValue::Number(number)) => serde_json::Value::from(field.word(*number)),
        (_, FieldValue::Number(number)) => serde_json::Value::from(*number),
    }
}

/// Returns the value of a typed text. Tags are separated by commas or spaces; `none` is
/// the empty list.
///
/// # Errors
/// [`ConfigError`] with the field's name when the text is not a value of the field, has too many decimal places, or is
/// out of range.
pub fn parse(field: &Field, typed: &str) -> Result<FieldValue, ConfigError> {
    let refused = |problem: String| ConfigError { field: field.name.to_owned(), problem };
    match field.unit {
        FieldUnit::Tags => {
            let texts = typed.split([',', ' ', '\n', '\r', '\t']).filter(|tag| !tag.is_empty() && *tag != NO_TAGS);
            let texts = texts.map(str::to_owned);
            Tags::new(texts).map(FieldValue::Tags).map_err(refused)
        }
        FieldUnit::Choice => {
            let place = field.choices.iter().position(|word| *word == typed.trim());
            let number = place.and_then(|place| i64::try_from(place).ok()).map(FieldValue::Number);
            number.ok_or_else(|| refused(format!("must be {}", field.choices.join(" or "))))
        }
        _ => parse_number(field, typed).map(FieldValue::Number),
    }
}

fn parse_number(field: &Field, typed: &str) -> Result<i64, ConfigError> {
    let refused = |problem: String| ConfigError { field: field.name.to_owned(), problem };
    let typed = typed.trim();
    if field.unit == FieldUnit::Flag {
        return match typed {
            "true" | "on" => Ok(1),
            "false" | "off" => Ok(0),
            _ => Err(refused("must be on or off".to_owned())),
        };
    }
    let UnitFormat { digits, .. } = format_of(field.unit);
    let shown_text: String = typed.chars().take(40).collect();
    let no_number =
        || refused(format!("is `{shown_text}`, which is no number such as {}", text(field.unit, field.default)));
    let (whole, behind) = typed.split_once('.').unwrap_or((typed, ""));
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(behind) || (whole.is_empty() && behind.is_empty()) {
        return Err(no_number());
    }
    let behind = behind.trim_end_matches('0');
    let places = behind.len();
    if places > digits as usize {
        let allowed = if digits == 0 {
            "whole numbers only".to_owned()
        } else {
            format!("{digits} digits behind the point at most")
        };
        return Err(refused(format!("is `{shown_text}`, which is too fine: {allowed}")));
    }
    let padded = format!("{whole}{behind}{}", "0".repeat(digits as usize - places));
    // A number that does not fit an i64 is out of every field's range.
    let number: i64 = padded.parse().unwrap_or(i64::MAX);
    if !(field.min..=field.max).contains(&number) {
        let (min, max) = (shown(field.unit, field.min), shown(field.unit, field.max));
        return Err(refused(format!("is `{shown_text}`, which is not within {min} and {max}")));
    }
    Ok(number)
}

/// Returns whole units and decimal places of `number`, both without sign.
fn parts(number: i64, digits: u32) -> (u64, u64) {
    let scale = 10_u64.pow(digits);
    debug_assert!(scale <= MICROS.unsigned_abs());
    (number.unsigned_abs() / scale, number.unsigned_abs() % scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::effective::StoredConfig;

    fn field(name: &str) -> &'static Field {
        StoredConfig::fields().find(|field| field.name == name).unwrap()
    }

    #[test]
    fn a_value_comes_back_from_its_text_exactly() {
        for field in StoredConfig::fields() {
            if field.unit == FieldUnit::Tags {
                continue;
            }
            for number in [field.min, field.max, field.default, field.min + 1, field.max - 1] {
                let value = FieldValue::Number(number);
                assert_eq!(parse(field, &input(field, &value)), Ok(value), "{}", field.name);
            }
        }
        let tags = field("onlyCategories");
        let both = parse(tags, "politics,  NBA politics").unwrap();
        assert_eq!((input(tags, &both).as_str(), both.tags().len()), ("nba, politics", 2));
        assert_eq!(parse(tags, &input(tags, &both)), Ok(both));
        assert_eq!(input(tags, &parse(tags, "none").unwrap()), "none");
    }

    #[test]
    fn texts_are_those_of_the_unit() {
        let check = |unit, number, input: &str, sentence: &str| {
            assert_eq!((text(unit, number).as_str(), shown(unit, number).as_str()), (input, sentence));
        };
        check(FieldUnit::Price, 20_000, "2.00", "2.00¢");
        check(FieldUnit::Price, 12_345, "1.2345", "1.2345¢");
        check(FieldUnit::Usdc, 7_500_000_000, "7500.00", "7,500.00\u{a0}USDC");
        check(FieldUnit::Bps, 12_500, "125.00", "125.00\u{a0}%");
        check(FieldUnit::Millis, 60_000, "60000", "60,000\u{a0}ms");
        check(FieldUnit::Flag, 1, "1", "on");
        check(FieldUnit::Tags, 50, "50", "50");
    }

    #[test]
    fn an_invalid_text_is_refused_by_name() {
        let check = |name: &str, typed: &str, expected: Result<i64, &str>| {
            let parsed = parse(field(name), typed).map_err(|error| error.to_string());
            match expected {
                Ok(number) => assert_eq!(parsed, Ok(FieldValue::Number(number)), "{typed}"),
                Err(part) => assert!(
                    parsed.as_ref().is_err_and(|error| error.contains(part) && error.contains(name)),
                    "{parsed:?}"
                ),
            }
        };
        check("maxSpreadMicros", " 2 ", Ok(20_000));
        check("maxSpreadMicros", "2.5", Ok(25_000));
        check("maxSpreadMicros", ".5", Ok(5_000));
        check("maxSpreadMicros", "2.00000000", Ok(20_000));
        check("maxSpreadMicros", "2.00001", Err("too fine"));
        check("maxSpreadMicros", "2,5", Err("no number such as 2.00"));
        check("maxSpreadMicros", "", Err("no number"));
        check("maxSpreadMicros", ".", Err("no number"));
        check("maxSpreadMicros", "-1", Err("no number"));
        check("maxSpreadMicros", "1e2", Err("no number"));
        check("maxSpreadMicros", "100.0001", Err("not within 0.00¢ and 100.00¢"));
        check("maxSpreadMicros", "99999999999999999999", Err("not within"));
        check("copyPctNotionalBps", "0.75", Ok(75));
        check("decisionLatencyMs", "1.5", Err("whole numbers only"));
        check("applyTakerFees", "off", Ok(0));
        check("applyTakerFees", "maybe", Err("on or off"));
        check("exitSizing", "PROPORTIONAL", Ok(1));
        check("exitSizing", "half", Err("NOTIONAL or PROPORTIONAL"));
        check("onlyCategories", "a;b", Err("has the tag `a;b`"));
    }
}
