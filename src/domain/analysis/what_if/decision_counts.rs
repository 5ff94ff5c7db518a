//! The decisions of one configuration, counted.

use std::collections::BTreeMap;

use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::money::units::{UnitError, UsdcMicros};

/// Decisions by kind and reason, and the sums of the copies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DecisionCounts {
    pub executed: u64,
    pub skipped: u64,
    /// Each code of a skip is counted, so the sum may be more than `skipped`.
    pub by_reason: BTreeMap<ReasonCode, u64>,
    /// Cash of the fills, buys and sells together.
    pub filled_notional: UsdcMicros,
    pub fees: UsdcMicros,
}

impl DecisionCounts {
    /// Adds one attempt.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
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
