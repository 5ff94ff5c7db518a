//! Whether a leader's books are true to the venue, and since when they are not (spec 5).

use serde::{Deserialize, Serialize};

use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

/// The result of a position check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckState {
    /// The shadow and the venue agree to less than 0.0001 share.
    Exact,
    /// They differ, and the difference has not stood long enough to be ended.
    Drifting,
    /// They differed, and the entries of this check ended it.
    Adjusted,
    /// The venue did not tell what the leader holds.
    Unreadable,
}
text_enum!(CheckState {
    Exact => "EXACT",
    Drifting => "DRIFTING",
    Adjusted => "ADJUSTED",
    Unreadable => "UNREADABLE",
});

/// What makes a position check due, and in part the books not exact until one agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suspicion {
    NegativeHolding,
    /// A redemption paid for more shares than the shadow held.
    BeyondHolding,
    Conversion,
    LateRow,
    UnknownKind,
    /// A row that is stored and could not be booked.
    NotApplicable,
    /// A conversion of which the positions do not say which shares it took.
    UnresolvedConversion,
    /// An opening for which no price was to be had.
    OpeningAtZero,
    /// A redemption whose payout was not known after 24 h.
    PayoutAssumed,
}
text_enum!(Suspicion {
    NegativeHolding => "NEGATIVE_HOLDING",
    BeyondHolding => "BEYOND_HOLDING",
    Conversion => "CONVERSION",
    LateRow => "LATE_ROW",
    UnknownKind => "UNKNOWN_KIND",
    NotApplicable => "NOT_APPLICABLE",
    UnresolvedConversion => "UNRESOLVED_CONVERSION",
    OpeningAtZero => "OPENING_AT_ZERO",
    PayoutAssumed => "PAYOUT_ASSUMED",
});

impl Suspicion {
    /// Returns whether the books are not exact from now until a later check agrees; otherwise the suspicion only makes
    /// a check due.
    pub const fn makes_inexact(self) -> bool {
        match self {
            Self::NegativeHolding | Self::BeyondHolding | Self::Conversion | Self::LateRow => false,
            Self::UnknownKind
            | Self::NotApplicable
            | Self::UnresolvedConversion
            | Self::OpeningAtZero
            | Self::PayoutAssumed => true,
        }
    }
}

/// Why books are not exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// What the leader held when following began is not booked yet.
    NoOpening,
    Drift,
    Unreadable,
    /// Redemptions wait for the payout of their market.
    WaitingRows,
    Suspected(Suspicion),
}

/// One difference between the shadow and the venue, as a check found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub asset: AssetId,
    pub market: Option<MarketId>,
    /// What the venue says that the leader holds.
    pub leader_share_micros: ShareMicros,
    /// What the shadow holds, of the rows that the position counts.
    pub shadow_share_micros: ShareMicros,
    /// The absolute difference at the mark.
    pub value_micros: UsdcMicros,
    /// The first check that found this very difference.
    pub since: Timestamp,
}

/// A suspicion that is not cleared: when it began, when it was last renewed, and which it was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenDoubt {
    pub since: Timestamp,
    pub last: Timestamp,
    pub first: Suspicion,
}

/// The facts that exactness follows from.
#[derive(Debug, Clone, Default)]
pub struct BooksRecord {
    pub created_at: Timestamp,
    pub opened_at: Option<Timestamp>,
    /// The newest check first, at least back to the last one that agreed.
    pub checks: Vec<(Timestamp, CheckState)>,
    pub doubt: Option<OpenDoubt>,
    /// When the oldest row began to wait for its payout.
    pub waiting_since: Option<Timestamp>,
    pub adjustments: Adjustments,
}

/// The ADJUSTMENT entries of a leader's shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adjustments {
    /// Checks, redemptions and conversions that needed one; what late rows took back is not counted.
    pub n: i64,
    pub last: Option<Timestamp>,
    /// The cash that the entries of each asset and cause moved, as absolute amounts.
    pub moved: UsdcMicros,
}

/// Whether the books of a leader are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exactness {
    Exact,
    Adjusted,
    NotExact { since: Timestamp, cause: Cause },
}

impl Exactness {
    /// Returns the word that JSON and metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "EXACT",
            Self::Adjusted => "ADJUSTED",
            Self::NotExact { .. } => "NOT_EXACT",
        }
    }
}

impl BooksRecord {
    /// Returns the state of the books: not exact since the earliest cause that is still there.
    pub fn exactness(&self) -> Exactness {
        let mut causes = Vec::new();
        if self.opened_at.is_none() {
            causes.push((self.created_at, Cause::NoOpening));
        }
        let agrees = |state: CheckState| matches!(state, CheckState::Exact | CheckState::Adjusted);
        let disagreeing = self.checks.iter().take_while(|(_, state)| !agrees(*state));
        if let Some((since, state)) = disagreeing.last() {
            let cause = if *state == CheckState::Drifting { Cause::Drift } else { Cause::Unreadable };
            causes.push((*since, cause));
        }
        let cleared = |doubt: &OpenDoubt| self.checks.iter().any(|(at, state)| agrees(*state) && *at > doubt.last);
        if let Some(doubt) = self.doubt.filter(|doubt| !cleared(doubt)) {
            causes.push((doubt.since, Cause::Suspected(doubt.first)));
        }
        causes.extend(self.waiting_since.map(|since| (since, Cause::WaitingRows)));
        match causes.into_iter().min() {
            Some((since, cause)) => Exactness::NotExact { since, cause },
            None if self.adjustments.n > 0 => Exactness::Adjusted,
            None => Exactness::Exact,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn opened() -> BooksRecord {
        BooksRecord { created_at: at(1), opened_at: Some(at(2)), ..BooksRecord::default() }
    }

    fn not_exact(since: i64, cause: Cause) -> Exactness {
        Exactness::NotExact { since: at(since), cause }
    }

    #[test]
    fn books_are_not_exact_since_the_first_cause_that_is_still_there() {
        use CheckState::{Adjusted, Drifting, Exact, Unreadable};
        let check = |record: &BooksRecord, expected| assert_eq!(record.exactness(), expected, "{record:?}");
        check(&BooksRecord { opened_at: None, ..opened() }, not_exact(1, Cause::NoOpening));
        check(&opened(), Exactness::Exact);
        let checked = |checks: &[(i64, CheckState)]| BooksRecord {
            checks: checks.iter().map(|(seconds, state)| (at(*seconds), *state)).collect(),
            ..opened()
        };
        check(&checked(&[(9, Exact), (8, Drifting)]), Exactness::Exact);
        check(&checked(&[(9, Drifting), (8, Drifting), (7, Exact), (6, Drifting)]), not_exact(8, Cause::Drift));
        check(&checked(&[(9, Drifting), (8, Unreadable), (7, Adjusted)]), not_exact(8, Cause::Unreadable));
        let waiting = BooksRecord { waiting_since: Some(at(5)), ..checked(&[(9, Drifting)]) };
        check(&waiting, not_exact(5, Cause::WaitingRows));
        let adjusted = Adjustments { n: 1, last: Some(at(9)), moved: UsdcMicros(5) };
        check(&BooksRecord { adjustments: adjusted, ..checked(&[(9, Adjusted)]) }, Exactness::Adjusted);
    }

    #[test]
    fn a_doubt_ends_with_a_later_check_that_agrees() {
        let doubt = Some(OpenDoubt { since: at(3), last: at(5), first: Suspicion::UnknownKind });
        let with = |checks: &[(i64, CheckState)]| BooksRecord {
            doubt,
            checks: checks.iter().map(|(seconds, state)| (at(*seconds), *state)).collect(),
            ..opened()
        };
        let suspected = not_exact(3, Cause::Suspected(Suspicion::UnknownKind));
        for (checks, expected) in [
            (vec![], suspected),
            (vec![(5, CheckState::Exact)], suspected),
            (vec![(6, CheckState::Drifting)], suspected),
            (vec![(6, CheckState::Exact)], Exactness::Exact),
            (vec![(7, CheckState::Drifting), (6, CheckState::Adjusted)], not_exact(7, Cause::Drift)),
        ] {
            assert_eq!(with(&checks).exactness(), expected, "{checks:?}");
        }
    }
}
