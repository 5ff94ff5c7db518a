//! The data of a chart: panes of lines over common times, reduced to as many points as a screen can show.
//!
//! Every value is an integer in the unit of its pane (micros or bps). The script does no arithmetic except for the
//! axes.

use serde::{Deserialize, Serialize};

use crate::domain::money::units::Timestamp;

/// More points than a chart has pixels would show nothing new.
const POINTS_MAX: i64 = 480;
const MINUTE_MS: i64 = 60_000;

/// The time range of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Range {
    #[serde(rename = "1h")]
    Hour,
    #[default]
    #[serde(rename = "24h")]
    Day,
    #[serde(rename = "7d")]
    Week,
    #[serde(rename = "30d")]
    Month,
    #[serde(rename = "all")]
    All,
}

/// The time that a chart covers, and the time that one point covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
    /// The time of one point: whole minutes.
    pub stretch_ms: i64,
}

/// The answer of `/api/series/…`: one chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Chart {
    /// The requested range.
    pub range: Range,
    /// The start of the chart.
    pub from: Timestamp,
    /// The end of the chart.
    pub to: Timestamp,
    /// The time that one point covers, in seconds.
    pub stretch_seconds: i64,
    /// Unix seconds, ascending. Every line has one value, or null, for each.
    pub times: Vec<i64>,
    /// From top to bottom.
    pub panes: Vec<Pane>,
}

/// Lines with a common unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Pane {
    /// The unit of all values.
    pub unit: Unit,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line of a pane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Line {
    /// The name in the legend under the chart.
    pub label: &'static str,
    /// How the line is drawn.
    pub role: Role,
    /// One value for each time, in the unit of the pane; null where there is none.
    pub values: Vec<Option<i64>>,
}

/// The unit of the integers of a pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    UsdcMicros,
    PriceMicros,
    Bps,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Main,
    /// A second line, to compare with the main line.
    Second,
    /// A fall below zero, filled.
    Fall,
    /// Above or below zero, filled.
    Gap,
    /// The lowest and highest value between two points.
    Low,
    High,
    /// Single points.
    Dots,
}

impl Range {
    /// Returns the span that ends at `now`. `first` is the time of the first stored value; only [`Range::All`] uses it.
    pub fn span(self, now: Timestamp, first: Option<Timestamp>) -> Span {
        let to = now.bucket(MINUTE_MS);
        let minutes = match self {
            Self::Hour => 60,
            Self::Day => 24 * 60,
            Self::Week => 7 * 24 * 60,
            Self::Month => 30 * 24 * 60,
            Self::All => first.map_or(60, |first| to.millis_since(first) / MINUTE_MS + 1).max(60),
        };
        let stretch_ms = (minutes as u64).div_ceil(POINTS_MAX as u64).max(1) as i64 * MINUTE_MS;
        let from = to.plus_millis(-minutes * MINUTE_MS);
        Span { from, to, stretch_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_no_more_points_than_a_screen_shows() {
        let now = Timestamp::parse_iso("2026-01-15T12:34:56Z").unwrap();
        let check = |range: Range, first: Option<&str>, from: &str, stretch_minutes: i64| {
            let first = first.map(|text| Timestamp::parse_iso(text).unwrap());
            let span = range.span(now, first);
            assert_eq!((span.from.to_string().as_str(), span.stretch_ms), (from, stretch_minutes * MINUTE_MS));
            assert!(span.to.millis_since(span.from) / span.stretch_ms <= POINTS_MAX);
        };
        check(Range::Hour, None, "2026-01-15T11:34:00.000Z", 1);
        check(Range::Day, None, "2026-01-14T12:34:00.000Z", 3);
        check(Range::Week, None, "2026-01-08T12:34:00.000Z", 21);
        check(Range::Month, None, "2025-12-16T12:34:00.000Z", 90);
        check(Range::All, None, "2026-01-15T11:34:00.000Z", 1);
        check(Range::All, Some("2026-01-15T12:00:00Z"), "2026-01-15T11:34:00.000Z", 1);
        check(Range::All, Some("2025-01-15T12:34:00Z"), "2025-01-15T12:33:00.000Z", 1096);
    }
}
