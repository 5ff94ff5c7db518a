//! The sums a portfolio is judged by (spec section 9).

use super::lot::Valuation;
use crate::domain::money::units::{UnitError, UsdcMicros};

/// What a page and a snapshot show. Realized and unrealized make up equity less deposits, to the micro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    pub equity: UsdcMicros,
    pub cash: UsdcMicros,
    /// Value of long and short lots together, without regard to sign.
    pub exposure: UsdcMicros,
    pub realized: UsdcMicros,
    pub unrealized: UsdcMicros,
    pub deposits: UsdcMicros,
}

/// Sums over all entries and lots.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::domain) struct Totals {
    pub(in crate::domain) cash: UsdcMicros,
    pub(in crate::domain) realized: UsdcMicros,
    pub(in crate::domain) deposits: UsdcMicros,
    pub(in crate::domain) cost: UsdcMicros,
    pub(in crate::domain) value: UsdcMicros,
    pub(in crate::domain) exposure: UsdcMicros,
}

impl Totals {
    /// These sums after `change`.
    ///
    /// # Errors
    /// `UnitError::Overflow` when one of them, or a figure made of them, would not fit.
    pub(in crate::domain) fn moved(&self, change: &Self) -> Result<Self, UnitError> {
        let moved = Self {
            cash: self.cash.plus(change.cash)?,
            realized: self.realized.plus(change.realized)?,
            deposits: self.deposits.plus(change.deposits)?,
            cost: self.cost.plus(change.cost)?,
            value: self.value.plus(change.value)?,
            exposure: self.exposure.plus(change.exposure)?,
        };
        moved.cash.plus(moved.value)?;
        moved.value.minus(moved.cost)?;
        Ok(moved)
    }

    /// The change that takes one lot from one valuation to another.
    pub(in crate::domain) fn revalued(from: Valuation, to: Valuation) -> Result<Self, UnitError> {
        let (value, exposure) = (to.value.minus(from.value)?, to.exposure.minus(from.exposure)?);
        Ok(Self { value, exposure, ..Self::default() })
    }

    /// `moved` has seen to it that all of them fit.
    pub(in crate::domain) fn figures(&self) -> Figures {
        Figures {
            equity: UsdcMicros(self.cash.0.saturating_add(self.value.0)),
            cash: self.cash,
            exposure: self.exposure,
            realized: self.realized,
            unrealized: UsdcMicros(self.value.0.saturating_sub(self.cost.0)),
            deposits: self.deposits,
        }
    }
}
