//! What one configuration decided, counted.

use std::collections::BTreeMap;

use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::decide::{DecisionKind, ReasonCode};
use crate::domain::money::units::{UnitError, UsdcMicros};

/// Decisions by kind and reason, and what the copies were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    pub executed: u64,
    pub skipped: u64,
    /// Every code of a skip counts: the sum is more than `skipped`.
    pub by_reason: BTreeMap<ReasonCode, u64>,
    /// Cash of the fills, both directions.
    pub filled_notional: UsdcMicros,
    pub fees: UsdcMicros,
}

impl Tally {
    /// # Errors
    /// `UnitError::Overflow`.
    pub(super) fn count(&mut self, attempt: &CopyAttempt) -> Result<(), UnitError> {
        match attempt.decision {
            DecisionKind::Execute => {
                self.filled_notional = self.filled_notional.plus(attempt.filled_notional)?;
                self.fees = self.fees.plus(UsdcMicros(attempt.explanation.fee_micros))?;
                self.executed = self.executed.saturating_add(1);
            }
            DecisionKind::Skip => self.skipped = self.skipped.saturating_add(1),
        }
        for reason in &attempt.reasons {
            let count = self.by_reason.entry(*reason).or_default();
            *count = count.saturating_add(1);
        }
        Ok(())
    }
}
