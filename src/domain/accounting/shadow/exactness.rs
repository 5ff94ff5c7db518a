//! Whether a leader's books agree with the venue: EXACT, ADJUSTED or NOT_EXACT (spec 5, Position check).

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::money::ids::EventId;
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{Timestamp, UsdcMicros};

/// Why the books of a leader are not exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InexactCause {
    /// The positions could not be read since we follow, so there is no opening yet.
    NoOpening,
    /// A position check found a difference.
    Drift,
    /// The last position check could not read the positions.
    UnreadablePositions,
    /// A stored row is not in the ledger yet, for example a redemption whose payout is not known.
    WaitingRows,
    /// A row of a kind that we do not know.
    UnknownKind,
    /// Shares were opened at 0 because no price was known.
    UnpricedOpening,
    /// A redemption was booked at 1 because its payout was not known after 24 hours.
    PayoutAssumed,
    /// The positions do not show what a conversion, migration or range row moved.
    UnresolvedConversion,
    /// A row that could not be applied (MERGE_SPLIT_NOT_APPLICABLE).
    RowNotApplied,
}
text_enum!(InexactCause {
    NoOpening => "NO_OPENING",
    Drift => "DRIFT",
    UnreadablePositions => "UNREADABLE_POSITIONS",
    WaitingRows => "WAITING_ROWS",
    UnknownKind => "UNKNOWN_KIND",
    UnpricedOpening => "UNPRICED_OPENING",
    PayoutAssumed => "PAYOUT_ASSUMED",
    UnresolvedConversion => "UNRESOLVED_CONVERSION",
    RowNotApplied => "ROW_NOT_APPLIED",
});

/// The word for the state of a leader's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExactnessState {
    Exact,
    Adjusted,
    NotExact,
}
text_enum!(ExactnessState { Exact => "EXACT", Adjusted => "ADJUSTED", NotExact => "NOT_EXACT" });

/// The state of a leader's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exactness {
    Exact,
    /// They agree with the venue after `n` checks that adjusted them, the last one at `last`, together by `value`.
    Adjusted {
        n: u64,
        last: Timestamp,
        value: UsdcMicros,
    },
    /// They may differ since the first of the causes that have not ended.
    NotExact {
        since: Timestamp,
        cause: InexactCause,
    },
}

/// A fact that changes whether books are exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExactnessFact {
    /// The leader is followed and has no opening yet.
    Followed { at: Timestamp },
    /// The opening was booked. For a leader followed before openings existed, `adjusted` is the value of its
    /// ADJUSTMENT entries.
    Opened { adjusted: Option<(Timestamp, UsdcMicros)> },
    /// A row or an opening that harms exactness until a later check agrees. WAITING_ROWS, NO_OPENING and DRIFT have
    /// facts of their own.
    Harmed { at: Timestamp, cause: InexactCause },
    /// A stored row waits to be booked.
    RowWaits { event: EventId, at: Timestamp },
    /// The row was booked, or it was found that it cannot be.
    RowResolved { event: EventId },
    /// A position check. `at` is when the positions were read.
    Checked { at: Timestamp, outcome: CheckOutcome },
}

/// The outcome of a position check. Its words are the states of the table `position_check` (spec 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutcome {
    /// No drift.
    Exact,
    /// A drift that was not ended.
    Drifting,
    /// Drifts that stood were ended; others must stand in a later check first. The word of the table is that of a drift.
    PartlyAdjusted { value: UsdcMicros },
    /// Every drift was ended.
    Adjusted { value: UsdcMicros },
    /// The positions could not be read.
    Unreadable,
}

/// The facts of one leader's books, folded in the order of their time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BooksRecord {
    causes: BTreeMap<InexactCause, Timestamp>,
    waiting: BTreeMap<EventId, Timestamp>,
    resolved: BTreeSet<EventId>,
    n_adjustments: u64,
    last_adjustment: Option<Timestamp>,
    adjusted: UsdcMicros,
}

impl CheckOutcome {
    /// Returns the word of the table `position_check`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "EXACT",
            Self::Drifting | Self::PartlyAdjusted { .. } => "DRIFTING",
            Self::Adjusted { .. } => "ADJUSTED",
            Self::Unreadable => "UNREADABLE",
        }
    }

    /// Returns whether a drift is left.
    pub const fn is_drifting(self) -> bool {
        matches!(self, Self::Drifting | Self::PartlyAdjusted { .. })
    }

    /// Returns the absolute value of what the check adjusted; `None` when it adjusted nothing.
    pub const fn adjusted(self) -> Option<UsdcMicros> {
        match self {
            Self::Adjusted { value } | Self::PartlyAdjusted { value } => Some(value),
            Self::Exact | Self::Drifting | Self::Unreadable => None,
        }
    }
}

impl Exactness {
    /// Returns the word for the state.
    pub const fn state(self) -> ExactnessState {
        match self {
            Self::Exact => ExactnessState::Exact,
            Self::Adjusted { .. } => ExactnessState::Adjusted,
            Self::NotExact { .. } => ExactnessState::NotExact,
        }
    }
}

impl BooksRecord {
    /// Returns the record of these facts.
    pub fn of<'a>(facts: impl IntoIterator<Item = &'a ExactnessFact>) -> Self {
        let mut record = Self::default();
        facts.into_iter().for_each(|fact| record.take(fact));
        record
    }

    /// Adds a fact that is not older than those added before.
    pub fn take(&mut self, fact: &ExactnessFact) {
        match fact {
            ExactnessFact::Followed { at } => self.note(InexactCause::NoOpening, *at),
            ExactnessFact::Opened { adjusted } => {
                self.causes.remove(&InexactCause::NoOpening);
                if let Some((at, value)) = adjusted {
                    self.count(*at, *value);
                }
            }
            ExactnessFact::Harmed { at, cause } => self.note(*cause, *at),
            ExactnessFact::RowWaits { event, at } => {
                if !self.resolved.contains(event) {
                    self.waiting.entry(*event).or_insert(*at);
                }
            }
            ExactnessFact::RowResolved { event } => {
                self.waiting.remove(event);
                self.resolved.insert(*event);
            }
            ExactnessFact::Checked { at, outcome } => self.check(*at, *outcome),
        }
    }

    fn note(&mut self, cause: InexactCause, at: Timestamp) {
        let since = self.causes.entry(cause).or_insert(at);
        *since = at.min(*since);
    }

    /// A check that agrees ends what was before it, except a missing opening: only an opening ends that.
    fn check(&mut self, at: Timestamp, outcome: CheckOutcome) {
        match outcome {
            CheckOutcome::Unreadable => self.note(InexactCause::UnreadablePositions, at),
            CheckOutcome::Drifting | CheckOutcome::PartlyAdjusted { .. } => {
                self.causes.remove(&InexactCause::UnreadablePositions);
                self.note(InexactCause::Drift, at);
            }
            CheckOutcome::Exact | CheckOutcome::Adjusted { .. } => {
                self.causes.retain(|cause, since| *cause == InexactCause::NoOpening || *since > at);
            }
        }
        if let Some(value) = outcome.adjusted() {
            self.count(at, value);
        }
    }

    fn count(&mut self, at: Timestamp, value: UsdcMicros) {
        self.n_adjustments = self.n_adjustments.saturating_add(1);
        self.last_adjustment = self.last_adjustment.max(Some(at));
        self.adjusted.0 = self.adjusted.0.saturating_add(value.0);
    }

    /// Returns the state of the books.
    pub fn exactness(&self) -> Exactness {
        let waiting = self.waiting.values().min().map(|since| (*since, InexactCause::WaitingRows));
        let causes = self.causes.iter().map(|(cause, since)| (*since, *cause));
        match (causes.chain(waiting).min(), self.last_adjustment) {
            (Some((since, cause)), _) => Exactness::NotExact { since, cause },
            (None, Some(last)) => Exactness::Adjusted { n: self.n_adjustments, last, value: self.adjusted },
            (None, None) => Exactness::Exact,
        }
    }

    /// Returns the number of adjustments and their value so far, also while the books are not exact.
    pub const fn adjustments(&self) -> (u64, UsdcMicros) {
        (self.n_adjustments, self.adjusted)
    }
}
