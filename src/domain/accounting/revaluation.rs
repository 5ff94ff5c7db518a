//! How new prices and the passing of time change the value of a portfolio (spec 9).

use super::exposure::Exposures;
use super::mark::{Mark, Marks};
use super::portfolio::{Holding, Portfolio, PortfolioError};
use super::totals::Totals;
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{Timestamp, UnitError};

impl Portfolio {
    /// Adds a price and revalues every lot of the asset. Returns false when nothing changed. The time of the price counts
    /// as reached; see [`Self::age`].
    ///
    /// # Errors
    /// [`PortfolioError::Unit`] when a total would not fit; nothing has changed then.
    pub fn set_mark(&mut self, asset: &AssetId, mark: Mark) -> Result<bool, PortfolioError> {
        let now = match mark {
            Mark::Payout(_) => self.now,
            Mark::Quote(quote) => self.now.max(quote.at),
            Mark::Midpoint(_, at) | Mark::LastTrade(_, at) => self.now.max(at),
        };
        let Some(holding) = self.holdings.get_mut(asset) else {
            let marks = Marks::default().with(mark);
            self.holdings.insert(asset.clone(), Holding { marks, ..Holding::default() });
            self.now = now;
            return Ok(true);
        };
        let marks = holding.marks.with(mark);
        if marks == holding.marks {
            return Ok(false);
        }
        self.totals = holding.revalue(marks, now, self.totals, &mut self.exposures)?;
        self.now = now;
        Ok(true)
    }

    /// Values every lot at marks as old as they are at `now`. Costs one look at each held asset, so call it when prices
    /// are refreshed and before a snapshot. Does nothing when `now` is not later than the time reached.
    ///
    /// # Errors
    /// [`PortfolioError::Unit`] when a total would not fit; the lots before that one are revalued then.
    pub fn age(&mut self, now: Timestamp) -> Result<(), PortfolioError> {
        if now <= self.now {
            return Ok(());
        }
        self.now = now;
        for holding in self.holdings.values_mut().filter(|holding| !holding.lots.is_empty()) {
            self.totals = holding.revalue(holding.marks, now, self.totals, &mut self.exposures)?;
        }
        Ok(())
    }

    /// Returns the number of held assets whose mark is stale at the time reached.
    pub fn stale_assets(&self) -> usize {
        let held = self.holdings.values().filter(|holding| !holding.lots.is_empty());
        held.filter(|holding| holding.marks.at(self.now).is_stale).count()
    }
}

impl Holding {
    /// Values the lots with these marks at `now`, and returns the sums of the portfolio after that.
    ///
    /// # Errors
    /// [`UnitError`] when a total would not fit; nothing has changed then.
    fn revalue(
        &mut self,
        marks: Marks,
        now: Timestamp,
        totals: Totals,
        exposures: &mut Exposures,
    ) -> Result<Totals, UnitError> {
        let mut totals = totals;
        let mut valued = Vec::with_capacity(self.lots.len());
        for lot in &self.lots {
            let valuation = marks.value(lot.position, now)?;
            totals = totals.moved(&Totals::revalued(lot.valuation, valuation)?)?;
            valued.push(valuation);
        }
        self.marks = marks;
        for (lot, valuation) in self.lots.iter_mut().zip(valued) {
            let change = valuation.exposure.0.saturating_sub(lot.valuation.exposure.0);
            exposures.grow_leader(lot.leader, change);
            if let Some(market) = self.market {
                exposures.grow_market(market, change);
            }
            lot.valuation = valuation;
        }
        Ok(totals)
    }
}
