//! When the disk will be full, from how much the database has grown (spec 9).

use crate::domain::money::units::Timestamp;

/// The bytes that the database used at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SizePoint {
    pub at: Timestamp,
    pub bytes: i64,
}

/// A span shorter than this says little: an hour of trading is followed by a quiet night.
const SPAN_MS_MIN: i64 = 6 * 3_600_000;
/// Older points say how it was and not how it is.
const SPAN_MS_MAX: i64 = 7 * 24 * 3_600_000;
const DAY_MS: i128 = 24 * 3_600_000;

/// Returns the growth in bytes a day over the last seven days; `None` until six hours are known.
///
/// The points are in order of time.
pub fn growth_per_day(points: &[SizePoint]) -> Option<i64> {
    let last = points.last()?;
    let first = points.iter().find(|point| last.at.millis_since(point.at) <= SPAN_MS_MAX)?;
    let span = last.at.millis_since(first.at);
    if span < SPAN_MS_MIN {
        return None;
    }
    let grown = i128::from(last.bytes).checked_sub(i128::from(first.bytes))?;
    i64::try_from(grown.checked_mul(DAY_MS)?.checked_div(i128::from(span))?).ok()
}

/// Returns how many days the free bytes last; `None` when either is not known, or the database does not grow.
pub fn days_left(free_bytes: Option<i64>, growth_per_day: Option<i64>) -> Option<i64> {
    let growth = growth_per_day.filter(|growth| *growth > 0)?;
    free_bytes?.max(0).checked_div(growth)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn points(list: &[(i64, i64)]) -> Vec<SizePoint> {
        list.iter().map(|&(hour, bytes)| SizePoint { at: Timestamp::from_millis(hour * HOUR), bytes }).collect()
    }

    #[test]
    fn growth_is_a_rate_of_the_last_seven_days() {
        assert_eq!(growth_per_day(&points(&[(0, 100), (24, 1_100)])), Some(1_000));
        assert_eq!(growth_per_day(&points(&[(0, 100), (12, 600)])), Some(1_000));
        // What was deleted in one go long ago does not count.
        assert_eq!(growth_per_day(&points(&[(0, 9_000_000), (100, 0), (268, 7_000)])), Some(1_000));
        assert_eq!(growth_per_day(&points(&[(0, 1_000), (24, 400)])), Some(-600));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        assert_eq!(growth_per_day(&[]), None);
        assert_eq!(growth_per_day(&points(&[(0, 1)])), None);
        assert_eq!(growth_per_day(&points(&[(0, 1), (5, 1_000_000)])), None);
        assert_eq!(days_left(None, Some(1)), None);
        assert_eq!(days_left(Some(1_000), None), None);
        assert_eq!(days_left(Some(1_000), Some(0)), None);
        assert_eq!(days_left(Some(1_000), Some(-5)), None);
        assert_eq!(days_left(Some(1_000), Some(300)), Some(3));
        assert_eq!(days_left(Some(-1), Some(300)), Some(0));
    }
}
