//! The template filters: the only place where micros, bps, times and ids become text for a visitor. (The command `tail`
//! formats its figures with the same [`decimals`].)
//!
//! In    serialised values of views: integers in micros and bps, ISO times, ids, codes.
//! Out   text that Tera escapes like any other; no filter marks its result as safe.
//! Fails with a template error when a template passes a value of the wrong type.

use tera::{Kwargs, State, Tera, TeraResult, Value};

use crate::domain::money::units::MICROS;
use crate::web::labels::label;

/// Shown in place of an unknown value.
const UNKNOWN: &str = "–";
const MINUS: char = '\u{2212}';

/// Registers every filter under its name.
pub fn register(tera: &mut Tera) {
    optional_integer(tera, "usdc", |micros| decimals(micros, MICROS, 2));
    optional_integer(tera, "signed_usdc", |micros| with_sign(micros, decimals(micros, MICROS, 2)));
    optional_integer(tera, "shares", |micros| decimals(micros, MICROS, 2));
    optional_integer(tera, "cents", |micros| format!("{}¢", decimals(micros, MICROS / 100, 2)));
    optional_integer(tera, "percent", |bps| format!("{} %", decimals(bps, 100, 2)));
    optional_integer(tera, "signed_percent", |bps| with_sign(bps, format!("{} %", decimals(bps, 100, 2))));
    optional_integer(tera, "count", |n| grouped(n.unsigned_abs()));
    optional_integer(tera, "signed_count", |n| with_sign(n, grouped_signed(n)));
    optional_integer(tera, "seconds", |millis| decimals_or_whole(millis, 1_000));
    optional_integer(tera, "span_of", span_of);
    optional_integer(tera, "megabytes", |bytes| format!("{} MB", decimals(bytes, 1_000_000, 1)));
    optional_integer(tera, "trend", |amount| trend(amount).to_owned());
    text(tera, "utc_clock", |iso| iso.get(11..19).unwrap_or(UNKNOWN).to_owned());
    text(tera, "utc", |iso| match (iso.get(..10), iso.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => UNKNOWN.to_owned(),
    });
    text(tera, "short_hex", short_hex);
    text(tera, "segment", path_segment);
    text(tera, "reason", reason);
    text(tera, "sentence", sentence);
    // Lists, explanations and markets.
    optional_integer(tera, "signed_cents", |micros| {
        with_sign(micros, format!("{}¢", decimals(micros, MICROS / 100, 2)))
    });
    optional_integer(tera, "ratio", |micros| decimals(micros, MICROS, 4));
    optional_integer(tera, "milliseconds", |millis| format!("{} ms", grouped_signed(millis)));
    optional_integer(tera, "duration", duration);
    text(tera, "named", |text| if text.is_empty() { "Unknown market".to_owned() } else { text.to_owned() });
    text(tera, "field_label", |name| label(name).to_owned());
}

/// Registers a filter for an integer that may be null: `none` and undefined become a dash.
fn optional_integer(tera: &mut Tera, name: &'static str, write: impl Fn(i64) -> String + Send + Sync + 'static) {
    tera.register_filter(name, move |value: Value, _: Kwargs, _: &State| -> TeraResult<String> {
        if value.is_none() || value.is_undefined() {
            return Ok(UNKNOWN.to_owned());
        }
        match value.as_i64() {
            Some(number) => Ok(write(number)),
            None => Err(tera::Error::message(format!("`{name}` takes an integer, not `{value}`"))),
        }
    });
}

/// Registers a filter for a text that may be null: `none` and undefined become a dash.
fn text(tera: &mut Tera, name: &'static str, write: impl Fn(&str) -> String + Send + Sync + 'static) {
    tera.register_filter(name, move |value: Value, _: Kwargs, _: &State| -> TeraResult<String> {
        if value.is_none() || value.is_undefined() {
            return Ok(UNKNOWN.to_owned());
        }
        match value.as_str() {
            Some(text) => Ok(write(text)),
            None => Err(tera::Error::message(format!("`{name}` takes a text, not `{value}`"))),
        }
    });
}

/// Formats `amount / unit` with thousands separators, rounded half away from zero. A negative amount that rounds to
/// zero has no sign.
pub(crate) fn decimals(amount: i64, unit: i64, places: u32) -> String {
    let scale = 10_u128.pow(places);
    let unit = u128::from(unit.unsigned_abs());
    let scaled = (u128::from(amount.unsigned_abs()) * scale * 2 + unit) / (unit * 2);
    let whole = grouped(u64::try_from(scaled / scale).unwrap_or(u64::MAX));
    let sign = if amount < 0 && scaled > 0 { MINUS.to_string() } else { String::new() };
    format!("{sign}{whole}.{:0width$}", scaled % scale, width = places as usize)
}

/// Formats `2` or `2.5`: one decimal only if the amount is not whole.
fn decimals_or_whole(amount: i64, unit: i64) -> String {
    if amount % unit == 0 { grouped_signed(amount / unit) } else { decimals(amount, unit, 1) }
}

/// Formats a time span in its natural unit: `35 ms`, `4.2 s`, `3 min`, `5 h`, `2 d`.
fn span_of(millis: i64) -> String {
    let size = millis.unsigned_abs();
    match size {
        0..1_000 => format!("{} ms", grouped_signed(millis)),
        1_000..60_000 => format!("{} s", decimals(millis, 1_000, 1)),
        60_000..7_200_000 => format!("{} min", grouped_signed(millis / 60_000)),
        7_200_000..172_800_000 => format!("{} h", grouped_signed(millis / 3_600_000)),
        _ => format!("{} d", grouped_signed(millis / 86_400_000)),
    }
}

fn grouped_signed(number: i64) -> String {
    let sign = if number < 0 { MINUS.to_string() } else { String::new() };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

/// Formats milliseconds in their two largest units: `3 d 4 h`, `2 h 10 min`, `45 s`, `0.8 s`.
pub(in crate::web) fn duration(millis: i64) -> String {
    let size = millis.unsigned_abs();
    let (seconds, sign) = (size / 1_000, if millis < 0 { MINUS.to_string() } else { String::new() });
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let both = |large: u64, name: &str, small: u64, other: &str| match small {
        0 => format!("{sign}{} {name}", grouped(large)),
        _ => format!("{sign}{} {name} {small} {other}", grouped(large)),
    };
    match () {
        () if days > 0 => both(days, "d", hours % 24, "h"),
        () if hours > 0 => both(hours, "h", minutes % 60, "min"),
        () if minutes > 0 => both(minutes, "min", seconds % 60, "s"),
        () if seconds >= 10 => format!("{sign}{seconds} s"),
        () => format!("{} s", decimals_or_whole(millis, 1_000)),
    }
}

/// Puts a plus before an amount that is above zero after rounding. [`decimals`] has written the minus already.
fn with_sign(amount: i64, written: String) -> String {
    let is_zero_as_written = !written.contains(|c: char| ('1'..='9').contains(&c));
    if amount > 0 && !is_zero_as_written { format!("+{written}") } else { written }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns the CSS class for the colour and arrow of an amount.
fn trend(amount: i64) -> &'static str {
    match amount {
        1.. => "gain",
        0 => "flat",
        _ => "loss",
    }
}

/// Shortens an id to `0x1234…abcd`. A text of up to 13 characters stays whole.
fn short_hex(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    match chars.len() {
        0..=13 => text.to_owned(),
        n => format!("{}…{}", chars[..6].iter().collect::<String>(), chars[n - 4..].iter().collect::<String>()),
    }
}

/// Percent-encodes all characters but the unreserved ones, so that foreign text stays one segment of a link's path.
pub(in crate::web) fn path_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // A dot is unreserved, but a segment `..` would lead to the parent path.
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Formats a code of the domain for a visitor: `SPREAD_TOO_WIDE` becomes `Spread too wide`.
pub(in crate::web) fn reason(code: &str) -> String {
    let mut words = code.replace('_', " ").to_ascii_lowercase();
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

/// Formats an error text as a sentence: a capital at the start, a full stop at the end.
fn sentence(text: &str) -> String {
    let mut out: String = text.chars().take(1).flat_map(char::to_uppercase).collect();
    out.extend(text.chars().skip(1));
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(filter: &str, value: impl serde::Serialize) -> String {
        let mut tera = Tera::default();
        register(&mut tera);
        tera.add_raw_template("t.html", &format!("{{{{ v | {filter} }}}}")).unwrap();
        let mut context = tera::Context::new();
        context.insert("v", &value);
        tera.render("t.html", &context).unwrap()
    }

    #[test]
    fn money_has_thousands_separators_two_decimals_and_a_true_minus() {
        let check = |micros: i64, plain: &str, signed: &str| {
            assert_eq!((shown("usdc", micros).as_str(), shown("signed_usdc", micros).as_str()), (plain, signed));
        };
        check(0, "0.00", "0.00");
        check(12_481_200_000, "12,481.20", "+12,481.20");
        check(1_234_567_895_000, "1,234,567.90", "+1,234,567.90");
        check(-15_000_000, "−15.00", "−15.00");
        check(4_999, "0.00", "0.00");
        check(5_000, "0.01", "+0.01");
        check(-4_999, "0.00", "0.00");
        check(-5_000, "−0.01", "−0.01");
        check(i64::MAX, "9,223,372,036,854.78", "+9,223,372,036,854.78");
        check(i64::MIN, "−9,223,372,036,854.78", "−9,223,372,036,854.78");
    }

    #[test]
    fn prices_are_cents_and_bps_are_percent() {
        assert_eq!(shown("cents", 520_000), "52.00¢");
        assert_eq!(shown("cents", 3_500), "0.35¢");
        assert_eq!(shown("cents", 1_000_000), "100.00¢");
        assert_eq!(shown("percent", 175), "1.75 %");
        assert_eq!(shown("signed_percent", -610), "−6.10 %");
        assert_eq!(shown("signed_percent", 10_000), "+100.00 %");
        assert_eq!(shown("count", 1_204), "1,204");
    }

    #[test]
    fn a_duration_has_its_two_largest_units() {
        let shown = [0, 840, 9_000, 45_999, 125_000, 3_600_000, 7_800_000, 100 * 86_400_000 + 3_600_000, -90_000];
        let expected = ["0 s", "0.8 s", "9 s", "45 s", "2 min 5 s", "1 h", "2 h 10 min", "100 d 1 h", "−1 min 30 s"];
        assert_eq!(shown.map(duration), expected);
    }

    #[test]
    fn a_time_span_has_its_natural_unit() {
        for (millis, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (4_249, "4.2 s"),
            (-2_500, "−2.5 s"),
            (60_000, "1 min"),
            (7_199_999, "119 min"),
            (7_200_000, "2 h"),
            (900_000_000, "10 d"),
        ] {
            assert_eq!(shown("span_of", millis), expected);
        }
        assert_eq!(shown("megabytes", 1_234_567_890), "1,234.6 MB");
    }

    #[test]
    fn an_unknown_value_is_a_dash() {
        for filter in ["usdc", "signed_usdc", "cents", "percent", "shares", "utc", "utc_clock", "reason"] {
            assert_eq!(shown(filter, None::<i64>), "–", "{filter}");
        }
    }

    #[test]
    fn foreign_text_stays_one_segment_and_is_escaped() {
        assert_eq!(shown("segment", "will-it/../rain?x=<b>"), "will-it%2F%2E%2E%2Frain%3Fx%3D%3Cb%3E");
        assert_eq!(shown("short_hex", "<script>alert(1)</script>"), "&lt;scrip…ipt&gt;");
        assert_eq!(shown("short_hex", "0x1234567890abcdef"), "0x1234…cdef");
        assert_eq!(shown("reason", "SPREAD_TOO_WIDE"), "Spread too wide");
        assert_eq!(shown("reason", ""), "");
        assert_eq!(shown("utc", "2026-01-15T12:00:00.123Z"), "2026-01-15 12:00:00 UTC");
        assert_eq!(shown("utc_clock", "nonsense"), "–");
    }

    #[test]
    fn the_wrong_kind_of_value_is_an_error_and_not_a_figure() {
        let mut tera = Tera::default();
        register(&mut tera);
        tera.add_raw_template("t.html", "{{ 'ten' | usdc }}").unwrap();
        assert!(tera.render("t.html", &tera::Context::new()).is_err());
    }
}
