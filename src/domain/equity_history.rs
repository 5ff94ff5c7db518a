//! What the circuit breakers measure from: equity at 00:00 UTC, on Monday, and at its peak (spec section 7.3).
//!
//! Fed by the minute snapshots, in order. A portfolio younger than the day or week starts from its opening deposit,
//! which is also its first peak.

use serde::{Deserialize, Serialize};

use super::portfolio_view::Baselines;
use super::units::{Timestamp, UsdcMicros};

/// Equity as one snapshot has it, or as it stood at a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EquityAt {
    pub time: Timestamp,
    pub equity_micros: UsdcMicros,
}

/// The few facts of all snapshots that baselines need. Part of the checkpoint.
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
}

impl EquityHistory {
    /// The first deposit; later ones change nothing.
    pub fn open(&mut self, deposit: UsdcMicros) {
        if self.opening_micros.is_none() {
            self.opening_micros = Some(deposit);
            self.peak_micros = Some(self.peak().max(deposit));
        }
    }

    /// Takes the snapshot of `time`. One at or before the last is known already and is ignored: false.
    pub fn note(&mut self, time: Timestamp, equity_micros: UsdcMicros) -> bool {
        if self.last.is_some_and(|last| time <= last.time) {
            return false;
        }
        let now = EquityAt { time, equity_micros };
        self.day = Some(self.rolled(self.day, time.day_start(), now));
        self.week = Some(self.rolled(self.week, time.week_start(), now));
        self.peak_micros =
            Some(self.peak_micros.map_or(equity_micros.max(self.opening()), |peak| peak.max(equity_micros)));
        self.last = Some(now);
        true
    }

    /// Measures the drawdown from `equity` on: an admin's word.
    pub fn reset_peak(&mut self, equity: UsdcMicros) {
        self.peak_micros = Some(equity);
    }

    /// As they stand at `now`. Each is the last snapshot at or before its boundary.
    pub fn baselines(&self, now: Timestamp) -> Baselines {
        Baselines {
            day_start: self.at_boundary(self.day, now.day_start()),
            week_start: self.at_boundary(self.week, now.week_start()),
            peak: self.peak(),
        }
    }

    fn at_boundary(&self, kept: Option<EquityAt>, boundary: Timestamp) -> UsdcMicros {
        match (self.last, kept) {
            (Some(last), _) if last.time <= boundary => last.equity_micros,
            (_, Some(kept)) => kept.equity_micros,
            _ => self.opening(),
        }
    }

    /// The equity at `boundary`, the latest one `now` has passed.
    fn rolled(&self, kept: Option<EquityAt>, boundary: Timestamp, now: EquityAt) -> EquityAt {
        match (kept, self.last) {
            (Some(kept), _) if kept.time >= boundary => kept,
            _ if now.time == boundary => now,
            (_, Some(last)) => EquityAt { time: boundary, equity_micros: last.equity_micros },
            _ => EquityAt { time: boundary, equity_micros: self.opening() },
        }
    }

    fn opening(&self) -> UsdcMicros {
        self.opening_micros.unwrap_or_default()
    }

    fn peak(&self) -> UsdcMicros {
        self.peak_micros.unwrap_or(self.opening())
    }
}
