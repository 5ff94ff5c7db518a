//! Statistics of copy attempts: results, reasons of skips, slippage against the leader, detection lag.
//!
//! In    the few facts of each attempt that are counted.
//! Out   counts and sums that add up: the statistics of two hours are the sum of those of each hour. The JSON is a
//!       contract with the table `attempt_tally`, which holds whole hours.
//! Fails never: counts saturate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::Side;
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, UsdcMicros};

/// The width of a slippage step: a tenth of a cent.
pub const SLIPPAGE_STEP_MICROS: i64 = 1_000;
/// Slippage beyond this many steps is counted in the last step.
const SLIPPAGE_STEPS_MAX: i64 = 50;
/// The lower bound of each lag step, in seconds.
pub const LAG_STEPS: [i64; 14] = [0, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 900, 3_600];

/// The facts of one attempt that are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFacts {
    pub decision: DecisionKind,
    pub reasons: Vec<ReasonCode>,
    pub filled_ratio: Bps,
    pub filled_notional: UsdcMicros,
    pub filled_shares: ShareMicros,
    pub vwap: Option<PriceMicros>,
    pub reference: Option<PriceMicros>,
    /// `None` for a MERGE, SPLIT or CONVERSION, which have no price.
    pub side: Option<Side>,
    /// From the earliest fill of the group until we detected it.
    pub lag_ms: i64,
}

/// Counts and sums over attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttemptStats {
    /// Copies that filled the whole target.
    pub copied: u64,
    /// Copies that filled a part of it.
    pub partly: u64,
    pub skipped: u64,
    /// A skip is counted under each of its reasons.
    pub reasons: BTreeMap<ReasonCode, u64>,
    /// By tenths of a cent worse than the leader's average price; negative is better.
    pub slippage: BTreeMap<i64, u64>,
    /// By the lower bounds of [`LAG_STEPS`].
    pub lag: BTreeMap<i64, u64>,
    pub filled_micros: UsdcMicros,
    /// The extra cost of our prices compared with the leader's.
    pub slippage_cost_micros: UsdcMicros,
}

impl AttemptStats {
    /// Adds one attempt.
    pub fn add(&mut self, attempt: &AttemptFacts) {
        count(&mut self.lag, lag_step(attempt.lag_ms));
        if attempt.decision == DecisionKind::Skip {
            self.skipped = self.skipped.saturating_add(1);
            attempt.reasons.iter().for_each(|reason| count(&mut self.reasons, *reason));
            return;
        }
        let whole = attempt.filled_ratio >= Bps::WHOLE;
        let counted = if whole { &mut self.copied } else { &mut self.partly };
        *counted = counted.saturating_add(1);
        self.filled_micros.0 = self.filled_micros.0.saturating_add(attempt.filled_notional.0);
        let Some(worse) = worsening(attempt) else { return };
        count(&mut self.slippage, slippage_step(worse));
        let cost = i128::from(worse).saturating_mul(i128::from(attempt.filled_shares.0)).div_euclid(1_000_000);
        let cost = i64::try_from(cost).unwrap_or_default();
        self.slippage_cost_micros.0 = self.slippage_cost_micros.0.saturating_add(cost);
    }

    /// Adds the counts and sums of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.copied = self.copied.saturating_add(other.copied);
        self.partly = self.partly.saturating_add(other.partly);
        self.skipped = self.skipped.saturating_add(other.skipped);
        merge_counts(&mut self.reasons, &other.reasons);
        merge_counts(&mut self.slippage, &other.slippage);
        merge_counts(&mut self.lag, &other.lag);
        self.filled_micros.0 = self.filled_micros.0.saturating_add(other.filled_micros.0);
        self.slippage_cost_micros.0 = self.slippage_cost_micros.0.saturating_add(other.slippage_cost_micros.0);
    }

    /// Returns the number of copies, whole or in part.
    pub fn executed(&self) -> u64 {
        self.copied.saturating_add(self.partly)
    }

    /// Returns the number of all attempts.
    pub fn attempts(&self) -> u64 {
        self.executed().saturating_add(self.skipped)
    }

    /// Returns the lag step of the median attempt, in seconds; `None` without attempts.
    pub fn lag_median_seconds(&self) -> Option<i64> {
        let half = self.lag.values().fold(0_u64, |sum, n| sum.saturating_add(*n)).div_ceil(2);
        let mut seen = 0_u64;
        self.lag.iter().find_map(|(step, n)| {
            seen = seen.saturating_add(*n);
            (*n > 0 && seen >= half).then_some(*step)
        })
    }
}

/// Returns how much worse our average price was than the leader's, in micros per share; negative is better.
fn worsening(attempt: &AttemptFacts) -> Option<i64> {
    let (ours, theirs) = (attempt.vwap?.micros(), attempt.reference?.micros());
    match attempt.side? {
        Side::Buy => ours.checked_sub(theirs),
        Side::Sell => theirs.checked_sub(ours),
    }
}

fn slippage_step(worse_micros: i64) -> i64 {
    worse_micros.div_euclid(SLIPPAGE_STEP_MICROS).clamp(SLIPPAGE_STEPS_MAX.saturating_neg(), SLIPPAGE_STEPS_MAX)
}

fn lag_step(lag_ms: i64) -> i64 {
    let seconds = lag_ms.max(0).div_euclid(1_000);
    LAG_STEPS.into_iter().rev().find(|step| *step <= seconds).unwrap_or_default()
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let counted = counts.entry(key).or_default();
    *counted = counted.saturating_add(1);
}

fn merge_counts<K: Ord + Copy>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, n) in from {
        let counted = into.entry(*key).or_default();
        *counted = counted.saturating_add(*n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(vwap: i64, reference: i64, ratio: i64) -> AttemptFacts {
        AttemptFacts {
            decision: DecisionKind::Execute,
            reasons: Vec::new(),
            filled_ratio: Bps(ratio),
            filled_notional: UsdcMicros(5_000_000),
            filled_shares: ShareMicros(10_000_000),
            vwap: PriceMicros::new(vwap).ok(),
            reference: PriceMicros::new(reference).ok(),
            side: Some(Side::Buy),
            lag_ms: 4_200,
        }
    }

    fn skipped(reasons: &[ReasonCode]) -> AttemptFacts {
        AttemptFacts {
            decision: DecisionKind::Skip,
            reasons: reasons.to_vec(),
            vwap: None,
            lag_ms: 61_000,
            ..bought(0, 500_000, 0)
        }
    }

    #[test]
    fn worse_is_positive_on_both_sides_and_counted_by_tenths_of_a_cent() {
        let check = |side, vwap: i64, reference: i64, step: i64, cost: i64| {
            let mut stats = AttemptStats::default();
            stats.add(&AttemptFacts { side: Some(side), ..bought(vwap, reference, 10_000) });
            assert_eq!(stats.slippage, BTreeMap::from([(step, 1)]), "{side:?} {vwap} {reference}");
            assert_eq!(stats.slippage_cost_micros, UsdcMicros(cost), "{side:?} {vwap} {reference}");
        };
        check(Side::Buy, 500_000, 500_000, 0, 0);
        check(Side::Buy, 500_999, 500_000, 0, 9_990);
        check(Side::Buy, 501_000, 500_000, 1, 10_000);
        check(Side::Buy, 499_999, 500_000, -1, -10);
        check(Side::Sell, 499_000, 500_000, 1, 10_000);
        check(Side::Sell, 501_000, 500_000, -1, -10_000);
        check(Side::Buy, 900_000, 500_000, 50, 4_000_000);
        check(Side::Sell, 900_000, 500_000, -50, -4_000_000);
    }

    #[test]
    fn a_lag_is_counted_in_the_step_that_it_has_reached() {
        for (lag_ms, step) in
            [(-5, 0), (0, 0), (999, 0), (1_000, 1), (4_999, 3), (5_000, 5), (59_999, 30), (9e9 as i64, 3_600)]
        {
            assert_eq!(lag_step(lag_ms), step, "{lag_ms}");
        }
    }

    #[test]
    fn two_statistics_add_up_to_the_statistics_of_both() {
        let all = [
            bought(510_000, 500_000, 10_000),
            bought(500_000, 500_000, 9_999),
            skipped(&[ReasonCode::SpreadTooWide, ReasonCode::InsufficientDepth]),
            skipped(&[ReasonCode::SpreadTooWide]),
        ];
        let stats_of = |attempts: &[AttemptFacts]| {
            let mut stats = AttemptStats::default();
            attempts.iter().for_each(|attempt| stats.add(attempt));
            stats
        };
        let mut sum = stats_of(&all[..1]);
        sum.merge(&stats_of(&all[1..]));
        assert_eq!(sum, stats_of(&all));
        assert_eq!((sum.copied, sum.partly, sum.skipped, sum.attempts()), (1, 1, 2, 4));
        assert_eq!(sum.reasons[&ReasonCode::SpreadTooWide], 2);
        assert_eq!(sum.lag_median_seconds(), Some(3));
        assert_eq!(AttemptStats::default().lag_median_seconds(), None);
    }

    #[test]
    fn the_json_of_statistics_is_a_contract() {
        let mut stats = AttemptStats::default();
        stats.add(&bought(511_000, 500_000, 10_000));
        stats.add(&skipped(&[ReasonCode::SpreadTooWide]));
        let text = concat!(
            r#"{"copied":1,"partly":0,"skipped":1,"reasons":{"SPREAD_TOO_WIDE":1},"slippage":{"11":1},"#,
            r#""lag":{"3":1,"60":1},"filled_micros":5000000,"slippage_cost_micros":110000}"#,
        );
        assert_eq!(serde_json::to_string(&stats).unwrap(), text);
        assert_eq!(serde_json::from_str::<AttemptStats>(text).unwrap(), stats);
    }
}
