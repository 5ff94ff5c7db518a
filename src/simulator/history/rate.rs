//! The rate of fills with which a history reaches its totals.
//!
//! How many groups and entries come from a fill is known only from the fills so far. So the time is cut into periods, and
//! the rate of each period is computed from the periods before it.

use super::settings::{HistorySettings, MINUTE_MS, Totals};
use crate::domain::money::units::Timestamp;
use crate::simulator::traders::LifeSettings;

/// Periods of a history with totals. An error in the rate of the last one changes the totals by a fraction of a fortieth.
const PERIODS: i64 = 40;
/// The totals are exceeded by this factor, so that the error of the last period does not leave them unreached.
const MARGIN: f64 = 1.01;
/// First estimates for one fill. A group of about two fills has two attempts; a fill has a shadow entry and a fee.
const ATTEMPTS_ESTIMATE: f64 = 1.0;
const ENTRIES_ESTIMATE: f64 = 1.7;
/// The estimates count as much as this many events, since the first few events are a small sample.
const ESTIMATE_WEIGHT: f64 = 500.0;
/// The traders go on at this rate when the totals are reached.
const FILLS_PER_SECOND_MIN: f64 = 0.005;

/// How much was generated so far, written or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub events: usize,
    pub reached: Totals,
}

/// A part of the history's time, and how the traders act in it.
#[derive(Debug)]
pub struct Period {
    pub from: Timestamp,
    /// Exclusive, except in the last period.
    pub to: Timestamp,
    pub last: bool,
    /// `None` lets them go on as before.
    pub traders: Option<LifeSettings>,
}

/// Cuts the time from `start` to `end` into periods and computes the rate of each.
#[derive(Debug)]
pub struct RatePlan {
    at: Timestamp,
    end: Timestamp,
    period_ms: i64,
    /// The fills that the rates so far should have produced.
    fills_planned: f64,
}

impl RatePlan {
    pub fn new(settings: &HistorySettings, start: Timestamp, end: Timestamp) -> Self {
        let all = end.millis_since(start);
        let period_ms = match settings.totals {
            Some(_) => (all / PERIODS / MINUTE_MS * MINUTE_MS).max(MINUTE_MS),
            None => all,
        };
        Self { at: start, end, period_ms, fills_planned: 0.0 }
    }

    /// Returns the next period; `None` after the last one.
    pub fn next(&mut self, settings: &HistorySettings, progress: Progress) -> Option<Period> {
        let from = self.at;
        if from >= self.end {
            return None;
        }
        let to = from.plus_millis(self.period_ms);
        // A remainder belongs to the last period; alone it would be too short to read.
        let last = self.end.millis_since(to) < MINUTE_MS;
        let to = if last { self.end } else { to };
        self.at = to;
        let traders = settings.totals.map(|totals| {
            let fills_per_second = self.fills_per_second(totals, progress, from);
            self.fills_planned += fills_per_second * seconds(from, to);
            LifeSettings { fills_per_second, ..settings.traders.clone() }
        });
        Some(Period { from, to, last, traders })
    }

    /// Returns the rate that reaches the totals in the time that is left.
    fn fills_per_second(&self, totals: Totals, progress: Progress, from: Timestamp) -> f64 {
        let weight = progress.events as f64 + ESTIMATE_WEIGHT;
        let left = |wanted: usize, reached: usize, estimate: f64| {
            let per_event = (reached as f64 + estimate * ESTIMATE_WEIGHT) / weight;
            (wanted as f64 * MARGIN - reached as f64) / per_event
        };
        let attempts = left(totals.attempts, progress.reached.attempts, ATTEMPTS_ESTIMATE);
        let entries = left(totals.entries, progress.reached.entries, ENTRIES_ESTIMATE);
        let fills_per_event = (self.fills_planned + ESTIMATE_WEIGHT) / weight;
        (attempts.max(entries) * fills_per_event / seconds(from, self.end)).max(FILLS_PER_SECOND_MIN)
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.millis_since(from).max(1) as f64 / 1000.0
}
