//! Marks: the prices at which assets are valued (spec 9).

use crate::domain::money::units::PriceMicros;

/// A price at which an asset may be valued. The first known one in this order counts; without any, the average cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The payout of the resolved market.
    Payout(PriceMicros),
    /// The latest price half way between bid and ask.
    Midpoint(PriceMicros),
    /// The last known trade: a fill of a leader, or the last trade of the book.
    LastTrade(PriceMicros),
}

/// All known prices of one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    pub payout: Option<PriceMicros>,
    pub midpoint: Option<PriceMicros>,
    pub last_trade: Option<PriceMicros>,
}

impl Marks {
    /// Returns the price that counts; `None` means that the average cost counts.
    pub fn best(self) -> Option<PriceMicros> {
        self.payout.or(self.midpoint).or(self.last_trade)
    }

    /// Returns these marks with one of them replaced.
    pub fn with(self, mark: Mark) -> Self {
        match mark {
            Mark::Payout(price) => Self { payout: Some(price), ..self },
            Mark::Midpoint(price) => Self { midpoint: Some(price), ..self },
            Mark::LastTrade(price) => Self { last_trade: Some(price), ..self },
        }
    }
}
