//! The sums over a portfolio (spec 9).

use super::lot::Valuation;
use crate::domain::money::units::{UnitError, UsdcMicros};

/// The sums that pages and snapshots show. Realized plus unrealized equals equity minus deposits, to the micro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    pub equity: UsdcMicros,
    pub cash: UsdcMicros,
    /// The sum of the values of all lots, long and short, each without its sign.
    pub exposure: UsdcMicros,
    pub realized: UsdcMicros,
    pub unrealized: UsdcMicros,
    pub deposits: UsdcMicros,
}

/// The sums over all entries and lots, from which [`Figures`] are computed.
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
    /// Returns these sums after `change`.
    ///
    /// # Errors
    /// [`UnitError::Overflow`] when one of them, or a figure computed from them, would not fit.
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

    /// Returns the change of the sums when one lot goes from one valuation to another.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub(in crate::domain) fn revalued(from: Valuation, to: Valuation) -> Result<Self, UnitError> {
        let (value, exposure) = (to.value.minus(from.value)?, to.exposure.minus(from.exposure)?);
        Ok(Self { value, exposure, ..Self::default() })
    }

    /// Returns the figures. [`Self::moved`] has checked that they fit.
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
