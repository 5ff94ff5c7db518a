//! What an asset is marked at (spec section 9).

use crate::domain::money::units::PriceMicros;

/// A price an asset may be marked at. The first known of them counts, in this order; after them the average cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// What the resolved market pays.
    Payout(PriceMicros),
    /// The latest half-way price between bid and ask.
    Midpoint(PriceMicros),
    /// The last trade seen, a leader's fill or the book's.
    LastTrade(PriceMicros),
}

/// All that is known of an asset's price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    pub payout: Option<PriceMicros>,
    pub midpoint: Option<PriceMicros>,
    pub last_trade: Option<PriceMicros>,
}

impl Marks {
    /// The price that counts; `None` leaves the average cost.
    pub fn best(self) -> Option<PriceMicros> {
        self.payout.or(self.midpoint).or(self.last_trade)
    }

    pub fn with(self, mark: Mark) -> Self {
        match mark {
            Mark::Payout(price) => Self { payout: Some(price), ..self },
            Mark::Midpoint(price) => Self { midpoint: Some(price), ..self },
            Mark::LastTrade(price) => Self { last_trade: Some(price), ..self },
        }
    }
}
