//! The results of the copy attempts of one leader as distributions: slippage, detection lag, reasons.

use serde::Serialize;

use super::histogram::{self, Column, Counted};
use crate::domain::analysis::attempt_stats::{AttemptStats, LAG_STEPS};
use crate::domain::decision::check::ReasonCode;
use crate::domain::money::units::{Bps, UsdcMicros};

/// The fewest tenths of a cent that are drawn on each side. With fewer, three copies would look like a wide spread.
const SLIPPAGE_STEPS_MIN: i64 = 10;

/// How much worse or better than the leader's average price copies were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Slippage {
    /// Number of copies.
    pub copies: i64,
    /// By at least a tenth of a cent for each share.
    pub worse: i64,
    /// Number of copies that were better by at least as much.
    pub better: i64,
    /// Number of copies in between.
    pub same: i64,
    /// The gain of our prices over those of the leader; negative if ours were worse.
    pub gain_micros: UsdcMicros,
    /// One column for each tenth of a cent, better on the left.
    pub columns: Vec<Column>,
    /// The price difference at both ends of the columns, in micros per share.
    pub edge_micros: i64,
}

/// The time from the leader's fill until we saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Lags {
    /// Number of groups.
    pub groups: i64,
    /// The median, in seconds.
    pub median_seconds: Option<i64>,
    /// The columns of the chart.
    pub columns: Vec<Column>,
}

/// A reason, and how many of the skips name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ReasonShare {
    /// The reason.
    pub code: ReasonCode,
    /// Number of skips that name the reason.
    pub skips: i64,
    /// The part of the skips, in hundredths of a percent.
    pub share_bps: Bps,
    /// The width of the bar, in thousandths.
    pub width: i64,
}

impl Slippage {
    /// Computes the distribution from the statistics of attempts.
    pub fn of(tally: &AttemptStats) -> Self {
        let sum = |wanted: fn(&i64) -> bool| {
            let counts = tally.slippage.iter().filter(|(step, _)| wanted(step));
            counts.fold(0_i64, |sum, (_, n)| sum.saturating_add(whole(*n)))
        };
        let furthest = tally.slippage.keys().map(|step| if *step < 0 { -step } else { step + 1 }).max().unwrap_or(0);
        let edge = furthest.max(SLIPPAGE_STEPS_MIN);
        let column = |step: i64| Counted {
            n: whole(tally.slippage.get(&step).copied().unwrap_or(0)),
            tone: tone(step),
            label: slippage_label(step),
        };
        Self {
            copies: sum(|_| true),
            worse: sum(|step| *step > 0),
            better: sum(|step| *step < 0),
            same: sum(|step| *step == 0),
            gain_micros: UsdcMicros(tally.slippage_cost_micros.0.saturating_neg()),
            columns: histogram::columns((-edge..edge).map(column)),
            edge_micros: edge * 1_000,
        }
    }
}

/// A step begins at its number: step 0 is less than a tenth of a cent worse.
fn tone(step: i64) -> &'static str {
    match step {
        1.. => "worse",
        0 => "",
        _ => "better",
    }
}

fn slippage_label(step: i64) -> String {
    let tenths = |n: i64| format!("{}.{}", n / 10, n % 10);
    match step {
        0.. => format!("{} to {}¢ worse", tenths(step), tenths(step + 1)),
        _ => format!("{} to {}¢ better", tenths(-step - 1), tenths(-step)),
    }
}

impl Lags {
    /// Computes the distribution from the statistics of attempts.
    pub fn of(tally: &AttemptStats) -> Self {
        let next = |place: usize| LAG_STEPS.get(place + 1).copied();
        let column = |(place, from): (usize, &i64)| Counted {
            n: whole(tally.lag.get(from).copied().unwrap_or(0)),
            tone: "",
            label: match next(place) {
                Some(to) => format!("{} to {}", seconds(*from), seconds(to)),
                None => format!("{} or more", seconds(*from)),
            },
        };
        Self {
            groups: tally.lag.values().fold(0, |sum, n| sum.saturating_add(whole(*n))),
            median_seconds: tally.lag_median_seconds(),
            columns: histogram::columns(LAG_STEPS.iter().enumerate().map(column)),
        }
    }
}

fn seconds(n: i64) -> String {
    if n < 60 { format!("{n} s") } else { format!("{} min", n / 60) }
}

impl ReasonShare {
    /// Returns all reasons, the most frequent first.
    pub fn all(tally: &AttemptStats) -> Vec<Self> {
        let most = tally.reasons.values().copied().max().unwrap_or(0);
        let share = |(code, n): (&ReasonCode, &u64)| Self {
            code: *code,
            skips: whole(*n),
            share_bps: Bps::of(whole(*n), whole(tally.skipped)).unwrap_or_default(),
            width: histogram::part_of(whole(*n), whole(most), histogram::WIDTH),
        };
        let mut shares: Vec<Self> = tally.reasons.iter().map(share).collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.skips));
        shares
    }
}

/// Converts a count; the largest `i64` for a count that does not fit.
pub fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_prices_are_left_of_the_middle_and_worse_ones_right_of_it() {
        let tally = AttemptStats { slippage: [(-1, 2), (0, 3), (4, 5)].into(), ..AttemptStats::default() };
        let slippage = Slippage::of(&tally);
        assert_eq!((slippage.copies, slippage.better, slippage.same, slippage.worse), (10, 2, 3, 5));
        assert_eq!((slippage.columns.len(), slippage.edge_micros), (20, 10_000));
        let at = |place: usize| {
            let column = &slippage.columns[place];
            (column.n, column.tone, column.label.as_str())
        };
        assert_eq!(at(9), (2, "better", "0.0 to 0.1¢ better"));
        assert_eq!(at(10), (3, "", "0.0 to 0.1¢ worse"));
        assert_eq!(at(14), (5, "worse", "0.4 to 0.5¢ worse"));
        let far = AttemptStats { slippage: [(-50, 1), (50, 1)].into(), ..AttemptStats::default() };
        assert_eq!(Slippage::of(&far).columns.iter().map(|column| column.n).sum::<i64>(), 2, "none is left out");
    }

    #[test]
    fn every_lag_has_its_step_and_every_reason_its_share_of_the_skips() {
        let tally = AttemptStats {
            skipped: 4,
            lag: [(3, 1), (3_600, 2)].into(),
            reasons: [(ReasonCode::SpreadTooWide, 1), (ReasonCode::InsufficientDepth, 4)].into(),
            ..AttemptStats::default()
        };
        let lags = Lags::of(&tally);
        assert_eq!((lags.groups, lags.columns.len()), (3, LAG_STEPS.len()));
        let labels = [&lags.columns[3].label, &lags.columns[9].label, &lags.columns[13].label];
        assert_eq!(labels, ["3 s to 5 s", "1 min to 2 min", "60 min or more"]);
        let shares: Vec<_> =
            ReasonShare::all(&tally).into_iter().map(|share| (share.skips, share.share_bps.0, share.width)).collect();
        assert_eq!(shares, [(4, 10_000, 1_000), (1, 2_500, 250)]);
    }
}
