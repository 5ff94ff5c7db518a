//! An order book whose sides are sorted and in range for ever (spec section 7.4).

use super::units::{PriceMicros, ShareMicros};

/// Shares on offer at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    pub price: PriceMicros,
    pub shares: ShareMicros,
}

/// Both sides, best level first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderBook {
    bids: Vec<Level>,
    asks: Vec<Level>,
}
