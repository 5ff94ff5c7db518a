//! How long to wait before a retry. The functions are pure; the caller passes the random number.

use std::time::Duration;

use chrono::DateTime;

use crate::domain::money::units::Timestamp;

/// The longest wait that a server may ask for; a breaker's probe would ask again before that anyway.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Returns `base * 2^failures`, at most `max`. Half of it is fixed, `roll` draws the other half, so that callers that failed
/// together do not retry together.
pub fn delay(base: Duration, max: Duration, failures: u32, roll: u32) -> Duration {
    let full = base.saturating_mul(1_u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX)).min(max);
    let half = full / 2;
    half + half.mul_f64(f64::from(roll) / f64::from(u32::MAX))
}

/// Parses a `Retry-After` header: seconds or an HTTP date. A date in the past means no wait.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let millis = http_date(header)?.millis_since(now).max(0);
    Some(Duration::from_millis(millis.unsigned_abs()).min(RETRY_AFTER_MAX))
}

/// Parses an HTTP date, for example `Sun, 22 Nov 2026 12:00:30 GMT`.
pub fn http_date(text: &str) -> Option<Timestamp> {
    let date = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some(Timestamp::from_millis(date.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_half_of_each_is_random() {
        let millis =
            |failures, roll| delay(Duration::from_millis(250), Duration::from_secs(15), failures, roll).as_millis();
        assert_eq!((millis(0, 0), millis(0, u32::MAX)), (125, 250));
        assert_eq!((millis(1, 0), millis(1, u32::MAX)), (250, 500));
        assert_eq!((millis(5, 0), millis(5, u32::MAX)), (4_000, 8_000));
        assert_eq!((millis(6, 0), millis(6, u32::MAX)), (7_500, 15_000));
        assert_eq!((millis(u32::MAX, 0), millis(u32::MAX, u32::MAX)), (7_500, 15_000));
    }

    #[test]
    fn retry_after_comes_in_seconds_or_as_a_date() {
        let now = Timestamp::parse_iso("2026-11-22T12:00:00.500Z").unwrap();
        let check = |header: &str, expected: Option<u64>| {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_millis), "{header}");
        };
        check("7", Some(7_000));
        check(" 0 ", Some(0));
        check("99999999", Some(600_000));
        check("Sun, 22 Nov 2026 12:00:30 GMT", Some(29_500));
        check("Sun, 22 Nov 2026 11:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
        check("", None);
    }
}
