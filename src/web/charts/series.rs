//! What charts draw: panes of lines over a common time, cut down to what a screen has room for.
//!
//! Every value is an integer in the pane's unit (micros or bps); the chart does no arithmetic but the axis' own.

use serde::{Deserialize, Serialize};

use crate::domain::money::units::Timestamp;

/// More points than a chart has pixels show nothing more.
const POINTS_MAX: i64 = 480;
const MINUTE_MS: i64 = 60_000;

/// How far back a chart looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// The time a chart covers, and how much of it one point stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
    /// Whole minutes.
    pub stretch_ms: i64,
}

/// `/api/series/…`: what one chart draws.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chart {
    pub range: Range,
    pub from: Timestamp,
    pub to: Timestamp,
    pub stretch_seconds: i64,
    /// Unix seconds, ascending; every line has a value, or null, for each.
    pub times: Vec<i64>,
    /// Drawn under each other.
    pub panes: Vec<Pane>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pane {
    pub unit: Unit,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is called under the chart.
    pub label: &'static str,
    pub role: Role,
    pub values: Vec<Option<i64>>,
}

/// What the integers of a pane count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    UsdcMicros,
    PriceMicros,
    Bps,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Main,
    /// Beside the main line, to compare.
    Second,
    /// A fall below zero, filled.
    Fall,
    /// Above or below zero, filled.
    Gap,
    /// The edges of what happened between two points.
    Low,
    High,
    /// Single points.
    Dots,
}

impl Range {
    /// Ending now. `first` is when there was something for the first time, for `All`.
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
