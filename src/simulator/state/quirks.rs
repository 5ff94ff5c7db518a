//! What the routes say about a market that differs from what it is. A test sets it, source by source.

use crate::domain::money::units::{PriceMicros, Timestamp};

/// The differences of one market. The default has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MarketQuirks {
    pub resolution: ResolutionAnswer,
    /// `/v2/tokens` knows the tokens and calls them unresolved.
    pub without_final_price: bool,
    /// Gamma calls the resolved market closed and proposed, with the last prices before the end.
    pub gamma_unresolved: bool,
    /// Positions of this market have no current price.
    pub without_position_price: bool,
    /// The end date that is printed, in place of the real end of trading. It may be long past.
    pub end_date: Option<Timestamp>,
    /// A closed market that goes on accepting orders, as recorded twice.
    pub accepts_when_closed: bool,
    /// `seconds_delay`: how long the CLOB holds a taker's order, in seconds.
    pub taker_delay_s: i64,
    /// `itode`: taker orders are held for 250 ms.
    pub delays_takers: bool,
    /// Gamma says nothing about fees: neither whether there are any, nor their schedule.
    pub gamma_without_fee: bool,
    /// Gamma does not list the market.
    pub unknown_to_gamma: bool,
    /// The CLOB's market routes answer 404. Its book is there.
    pub unknown_to_clob: bool,
}

/// What `/v2/resolutions` says about a resolved market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResolutionAnswer {
    /// The phase of the market; once resolved, its payouts.
    #[default]
    Full,
    /// Once resolved a `price` of the first outcome, without `payouts`.
    PriceOnly,
    /// No row at all.
    NoRow,
    /// A proposal without a dispute: the proposed price of the first outcome.
    Proposed(PriceMicros),
    /// A dispute: the price that was proposed first, and the one proposed after it.
    Disputed { proposed: PriceMicros, reproposed: PriceMicros },
}
