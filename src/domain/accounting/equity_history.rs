//! The baselines of the circuit breakers: equity at 00:00 UTC, on Monday, and at its peak (spec 7.3).
//!
//! The minute snapshots are added in order. A portfolio younger than the day or week starts from its opening deposit,
//! which is also its first peak. After a gap over the boundary the first equity at fresh marks counts: until then the
//! loss is not known.

use serde::{Deserialize, Serialize};

use super::view::Baselines;
use crate::domain::money::units::{Timestamp, UsdcMicros};

/// A snapshot this much older than 00:00 UTC still is the equity of that time.
const BEFORE_MS: i64 = 10 * 60_000;

/// The equity of one snapshot, or at the start of a day or week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EquityAt {
    pub time: Timestamp,
    pub equity_micros: UsdcMicros,
}

/// The few facts about past snapshots that the baselines need. Part of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EquityHistory {
    /// The opening deposit.
    pub opening_micros: Option<UsdcMicros>,
    /// The highest since the opening or the last reset.
    pub peak_micros: Option<UsdcMicros>,
    /// Equity at the latest 00:00 UTC that a snapshot has passed.
    pub day: Option<EquityAt>,
    /// The same for the latest Monday.
    pub week: Option<EquityAt>,
    pub last: Option<EquityAt>,
    /// When the peak was last reset. The JSON omits it until the first reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<Timestamp>,
}

impl EquityHistory {
    /// Takes a deposit, or a withdrawal as negative cash. The first one opens the portfolio; each later one moves the
    /// baselines and the peak by its amount, so that it is neither profit nor loss nor drawdown (spec 7.3).
    pub fn take_transfer(&mut self, cash: UsdcMicros) {
        let Some(opening) = &mut self.opening_micros else {
            self.opening_micros = Some(cash);
            self.peak_micros = Some(self.peak().max(cash));
            return;
        };
        let kept = [&mut self.day, &mut self.week, &mut self.last].into_iter().flatten();
        let equities = kept.map(|kept| &mut kept.equity_micros);
        for equity in equities.chain([opening]).chain(&mut self.peak_micros) {
            equity.0 = equity.0.saturating_add(cash.0);
        }
    }

    /// Adds the snapshot of `time`. `is_fresh` is false when a held asset had a stale mark. Returns false and ignores it
    /// when it is not newer than the last one.
    pub fn note(&mut self, time: Timestamp, equity_micros: UsdcMicros, is_fresh: bool) -> bool {
        if self.last.is_some_and(|last| time <= last.time) {
            return false;
        }
        let now = EquityAt { time, equity_micros };
        self.day = self.rolled(self.day, time.day_start(), now, is_fresh);
        self.week = self.rolled(self.week, time.week_start(), now, is_fresh);
        self.peak_micros =
            Some(self.peak_micros.map_or(equity_micros.max(self.opening()), |peak| peak.max(equity_micros)));
        self.last = Some(now);
        true
    }

    /// Applies a reset that an admin ordered at `at`: from then on the drawdown is measured from `peak`, the highest
    /// equity since `at`. Returns false and ignores it when this reset, or a later one, was applied before.
    pub fn note_reset(&mut self, at: Timestamp, peak: UsdcMicros) -> bool {
        if self.reset_at.is_some_and(|known| at <= known) {
            return false;
        }
        self.peak_micros = Some(peak);
        self.reset_at = Some(at);
        true
    }

    /// Returns the baselines at `now`. Each is the snapshot of its boundary or the newest of the 10 minutes before;
    /// without one, the first equity since then whose held assets had fresh marks.
    pub fn baselines(&self, now: Timestamp) -> Baselines {
        Baselines {
            day_start: self.at_boundary(self.day, now.day_start()),
            week_start: self.at_boundary(self.week, now.week_start()),
            peak: self.peak(),
        }
    }

    /// Returns whether `time` is a snapshot that counts as the one of `boundary`.
    pub fn counts_at(time: Timestamp, boundary: Timestamp) -> bool {
        time <= boundary && boundary.millis_since(time) <= BEFORE_MS
    }

    fn at_boundary(&self, kept: Option<EquityAt>, boundary: Timestamp) -> Option<UsdcMicros> {
        match (self.last, kept) {
            (_, Some(kept)) if kept.time >= boundary => Some(kept.equity_micros),
            (Some(last), _) => Self::counts_at(last.time, boundary).then_some(last.equity_micros),
            (None, _) => Some(self.opening()),
        }
    }

    /// Returns what is known of the equity at `boundary`, the latest boundary before `now`.
    fn rolled(&self, kept: Option<EquityAt>, boundary: Timestamp, now: EquityAt, is_fresh: bool) -> Option<EquityAt> {
        let at_boundary = |equity_micros| Some(EquityAt { time: boundary, equity_micros });
        match (kept, self.last) {
            (Some(kept), _) if kept.time >= boundary => Some(kept),
            _ if now.time == boundary => Some(now),
            (_, None) => at_boundary(self.opening()),
            (_, Some(last)) if Self::counts_at(last.time, boundary) => at_boundary(last.equity_micros),
            _ if is_fresh => at_boundary(now.equity_micros),
            (kept, _) => kept,
        }
    }

    fn opening(&self) -> UsdcMicros {
        self.opening_micros.unwrap_or_default()
    }

    fn peak(&self) -> UsdcMicros {
        self.peak_micros.unwrap_or(self.opening())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPOSIT: UsdcMicros = UsdcMicros(1000);

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    /// A history that opened with 1000 and then took these snapshots, all at fresh marks.
    fn history(snapshots: &[(&str, i64)]) -> EquityHistory {
        let mut history = EquityHistory::default();
        history.take_transfer(DEPOSIT);
        for (time, equity) in snapshots {
            assert!(history.note(at(time), UsdcMicros(*equity), true), "{time}");
        }
        history
    }

    fn check(history: &EquityHistory, now: &str, day: impl Into<Option<i64>>, week: impl Into<Option<i64>>) {
        let baselines = history.baselines(at(now));
        let found = (baselines.day_start.map(|day| day.0), baselines.week_start.map(|week| week.0));
        assert_eq!(found, (day.into(), week.into()), "{history:?} at {now}");
    }

    #[test]
    fn day_and_week_start_from_the_snapshot_of_their_boundary_or_of_the_minutes_before() {
        // 2026-11-22 is a Sunday: its week began on the 16th, the next one on the 23rd.
        check(&history(&[]), "2026-11-22T10:00:00Z", 1000, 1000);
        check(&history(&[("2026-11-22T09:00:00Z", 900)]), "2026-11-22T10:00:00Z", 1000, 1000);
        let night = [("2026-11-22T23:58:00Z", 900), ("2026-11-22T23:59:00Z", 910)];
        check(&history(&night), "2026-11-22T23:59:59.999Z", 1000, 1000);
        check(&history(&night), "2026-11-23T00:00:00Z", 910, 910);
        check(&history(&night), "2026-11-23T00:00:00.001Z", 910, 910);
        let midnight = [night[0], night[1], ("2026-11-23T00:00:00Z", 920), ("2026-11-23T00:01:00Z", 930)];
        check(&history(&midnight[..3]), "2026-11-23T00:00:30Z", 920, 920);
        check(&history(&midnight), "2026-11-23T00:01:30Z", 920, 920);
        // Opened on the Saturday: older than the day, younger than the week. No snapshot near 00:00: the first of Sunday.
        let saturday = [("2026-11-21T12:00:00Z", 700), ("2026-11-22T00:01:00Z", 600)];
        check(&history(&saturday), "2026-11-22T10:00:00Z", 600, 1000);
        let near = [("2026-11-21T23:50:00Z", 700), ("2026-11-22T00:01:00Z", 600)];
        check(&history(&near), "2026-11-22T10:00:00Z", 700, 1000);
        let late = [("2026-11-21T23:49:59Z", 700), ("2026-11-22T00:01:00Z", 600)];
        check(&history(&late), "2026-11-22T10:00:00Z", 600, 1000);
    }

    #[test]
    fn after_a_gap_the_first_equity_at_fresh_marks_is_the_baseline() {
        // Off from Friday noon to Monday morning: the loss of the weekend is not a loss of Monday or of its week.
        let mut history = history(&[("2026-11-20T12:00:00Z", 1000)]);
        check(&history, "2026-11-23T08:00:30Z", None, None);
        assert!(history.note(at("2026-11-23T08:00:00Z"), UsdcMicros(990), false));
        check(&history, "2026-11-23T08:00:30Z", None, None);
        assert!(history.note(at("2026-11-23T08:01:00Z"), UsdcMicros(700), true));
        check(&history, "2026-11-23T08:01:30Z", 700, 700);
        assert!(history.note(at("2026-11-23T08:02:00Z"), UsdcMicros(680), true));
        check(&history, "2026-11-23T23:59:59Z", 700, 700);
        // The next day is waited for again, the week is not.
        check(&history, "2026-11-24T09:00:00Z", None, 700);
        assert!(history.note(at("2026-11-24T09:00:00Z"), UsdcMicros(650), true));
        check(&history, "2026-11-24T09:00:00Z", 650, 700);
        assert_eq!(history.baselines(at("2026-11-24T09:00:00Z")).peak.0, 1000, "the drawdown knows no gap");
    }

    #[test]
    fn the_peak_is_the_highest_since_the_opening_or_the_reset() {
        let peak = |history: &EquityHistory| history.baselines(at("2026-11-22T10:00:00Z")).peak.0;
        assert_eq!(peak(&history(&[])), 1000);
        assert_eq!(peak(&history(&[("2026-11-22T09:00:00Z", 999)])), 1000);
        let mut risen = history(&[("2026-11-22T09:00:00Z", 1001), ("2026-11-22T09:01:00Z", 900)]);
        assert_eq!(peak(&risen), 1001);
        assert!(risen.note_reset(Timestamp::from_millis(7), UsdcMicros(900)));
        assert!(!risen.note_reset(Timestamp::from_millis(7), UsdcMicros(1)), "the same reset again");
        assert_eq!(peak(&risen), 900);
        assert!(risen.note(at("2026-11-22T09:02:00Z"), UsdcMicros(899), true));
        assert_eq!(peak(&risen), 900);
        assert!(risen.note(at("2026-11-22T09:03:00Z"), UsdcMicros(901), true));
        assert_eq!(peak(&risen), 901);
    }

    #[test]
    fn a_shadow_has_no_deposit_and_starts_from_zero() {
        let mut history = EquityHistory::default();
        let zero = Baselines { day_start: Some(UsdcMicros(0)), week_start: Some(UsdcMicros(0)), peak: UsdcMicros(0) };
        assert_eq!(history.baselines(at("2026-11-22T10:00:00Z")), zero);
        history.note(at("2026-11-22T10:00:00Z"), UsdcMicros(-5), true);
        assert_eq!(history.baselines(at("2026-11-22T10:00:01Z")), zero);
        assert!(history.note(at("2026-11-22T23:59:00Z"), UsdcMicros(-6), true));
        assert_eq!(history.baselines(at("2026-11-23T00:00:01Z")).day_start, Some(UsdcMicros(-6)));
    }

    #[test]
    fn a_minute_is_noted_once_and_never_backwards() {
        let mut history = history(&[("2026-11-22T09:00:00Z", 900)]);
        let before = history;
        assert!(!history.note(at("2026-11-22T09:00:00Z"), UsdcMicros(5000), true));
        assert!(!history.note(at("2026-11-22T08:59:00Z"), UsdcMicros(5000), true));
        assert_eq!(history, before);
    }

    #[test]
    fn a_later_deposit_or_withdrawal_moves_baselines_and_peak_by_its_amount() {
        let check = |snapshots: &[(&str, i64)], transfers: &[i64], day: i64, week: i64, peak: i64| {
            let mut history = history(snapshots);
            transfers.iter().for_each(|cash| history.take_transfer(UsdcMicros(*cash)));
            let baselines = history.baselines(at("2026-11-23T10:00:00Z"));
            let found = (baselines.day_start.unwrap().0, baselines.week_start.unwrap().0, baselines.peak.0);
            assert_eq!(found, (day, week, peak), "{snapshots:?} {transfers:?}");
        };
        check(&[], &[5000], 6000, 6000, 6000);
        check(&[], &[5000, -400], 5600, 5600, 5600);
        check(&[("2026-11-22T23:59:00Z", 900), ("2026-11-23T00:00:00Z", 900)], &[50], 950, 950, 1050);
        check(&[("2026-11-22T23:59:00Z", 900), ("2026-11-23T00:05:00Z", 1200)], &[-300], 600, 600, 900);
    }
}
