//! What a portfolio would bring if everything were sold now: its cash, and its holdings at the best bid less fees (spec 9).

use super::portfolio::Lot;
use crate::domain::market::facts::FeeSchedule;
use crate::domain::market::fee::taker_fee;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::{PriceMicros, ShareMicros, UnitError, UsdcMicros};

/// Returns what one lot would bring: its shares at the best bid, 0 without one, less the taker's fee; at the payout
/// without a fee once that is known. Shares below zero are bought back at the best ask, 1 without one. A market whose
/// schedule is not known takes the highest one, as in a decision.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn lot_sold_now(lot: &Lot, schedule: Option<FeeSchedule>) -> Result<UsdcMicros, UnitError> {
    let price = if lot.shares >= ShareMicros::ZERO || lot.is_resolved {
        lot.sale_price
    } else {
        lot.quote.and_then(|quote| quote.ask).unwrap_or(PriceMicros::ONE)
    };
    let brought = price.proceeds_of(lot.shares)?;
    if lot.is_resolved {
        return Ok(brought);
    }
    brought.minus(taker_fee(lot.shares.magnitude()?, price, schedule.unwrap_or(FeeSchedule::HIGHEST))?)
}

/// Returns the cash and what all lots would bring. `schedule` is the fee of a market, where it is known.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn sold_now(
    cash: UsdcMicros,
    lots: &[Lot],
    schedule: impl Fn(&MarketId) -> Option<FeeSchedule>,
) -> Result<UsdcMicros, UnitError> {
    lots.iter().try_fold(cash, |sum, lot| sum.plus(lot_sold_now(lot, lot.market.as_ref().and_then(&schedule))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::accounting::ledger::{EntryType, PortfolioId};
    use crate::domain::accounting::mark::{Mark, Quote};
    use crate::domain::accounting::portfolio::Portfolio;
    use crate::testkit::samples::{ALICE, asset, at, deposit, entry, price};

    const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;

    /// What 147.06 shares bought at 0.51 would bring beside a cash of 1,000,000 micros.
    fn brought(shares: i64, marks: &[Mark], rate_micros: i64) -> i64 {
        brought_at(shares, marks, Some(FeeSchedule { rate_micros, exponent: 1 }))
    }

    fn brought_at(shares: i64, marks: &[Mark], schedule: Option<FeeSchedule>) -> i64 {
        let mut portfolio = Portfolio::new(GLOBAL);
        portfolio.apply(&deposit(GLOBAL, 76_000_600)).unwrap();
        let mut bought = entry(GLOBAL, EntryType::TradeFill, 10, shares, -75_000_600);
        bought.attributed_user = Some(ALICE);
        portfolio.apply(&bought).unwrap();
        for mark in marks {
            portfolio.set_mark(&asset(10), *mark).unwrap();
        }
        let lots: Vec<Lot> = portfolio.lots().collect();
        sold_now(portfolio.figures().cash, &lots, |_| schedule).unwrap().0
    }

    #[test]
    fn holdings_bring_the_best_bid_less_the_fee_and_nothing_without_a_bid() {
        let quote = |bid: Option<i64>, ask: Option<i64>| Mark::Quote(Quote::new(bid.map(price), ask.map(price), at(0)));
        let shares = 147_060_000;
        assert_eq!(brought(shares, &[], 0), 1_000_000);
        assert_eq!(brought(shares, &[quote(Some(500_000), Some(520_000))], 0), 1_000_000 + 73_530_000);
        // 147.06 * 0.05 * 0.5 * 0.5 = 1.83825
        assert_eq!(brought(shares, &[quote(Some(500_000), Some(520_000))], 50_000), 1_000_000 + 73_530_000 - 1_838_250);
        assert_eq!(brought(shares, &[quote(None, Some(20_000))], 50_000), 1_000_000);
        // A fee that is not known is the highest: 147.06 * 0.07 * 0.5 * 0.5 = 2.57355
        let unknown = brought_at(shares, &[quote(Some(500_000), Some(520_000))], None);
        assert_eq!(unknown, 1_000_000 + 73_530_000 - 2_573_550);
        assert_eq!(brought(shares, &[Mark::Payout(price(500_000))], 50_000), 1_000_000 + 73_530_000);
    }

    #[test]
    fn shares_below_zero_are_bought_back_at_the_ask() {
        let quote = |ask: Option<i64>| Mark::Quote(Quote::new(Some(price(400_000)), ask.map(price), at(0)));
        assert_eq!(brought(-10_000_000, &[quote(Some(500_000))], 0), 1_000_000 - 5_000_000);
        assert_eq!(brought(-10_000_000, &[quote(None)], 0), 1_000_000 - 10_000_000);
    }
}
