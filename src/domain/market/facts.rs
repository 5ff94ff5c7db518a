//! The facts of a market: its outcomes, its close time, its taker fee (spec 2 and 7.8).

use serde::{Deserialize, Serialize};

use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};

/// The facts of a market that a decision or a ledger may depend on. They are refreshed when they change; ids never
/// change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    pub id: MarketId,
    pub question: String,
    pub slug: String,
    pub close_time: Option<Timestamp>,
    /// False once the venue reports the market as closed, resolved or not.
    pub active: bool,
    /// False while the venue takes no orders for the market, closed or not.
    pub accepts_orders: bool,
    pub resolved_at: Option<Timestamp>,
    pub blacklisted: bool,
    pub neg_risk: bool,
    /// The highest schedule known while `fee_known` is false.
    pub fee: FeeSchedule,
    /// Whether Gamma or the CLOB has answered what takers pay.
    pub fee_known: bool,
    /// How long the venue holds an order that takes liquidity before it matches; `None` while it is unknown.
    pub taker_delay_ms: Option<i64>,
    pub event: Option<MarketEvent>,
    /// Gamma's tag slugs of the market and of its event, in lower case.
    pub tags: Vec<String>,
    pub tick: Option<PriceMicros>,
    pub min_shares: Option<ShareMicros>,
    /// In outcome order. Empty while the outcomes are unknown.
    pub outcomes: Vec<OutcomeAsset>,
}

/// The event of Gamma that a market belongs to. All markets of one event are one piece of evidence (spec 14).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MarketEvent {
    pub id: String,
    pub slug: String,
    /// Hostile text; empty while it is not known.
    pub title: String,
}

/// One outcome token of a market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeAsset {
    pub asset: AssetId,
    pub outcome: String,
    pub index: i64,
    /// Known after the market has resolved: 0, 1 or a split.
    pub payout: Option<PriceMicros>,
}

/// The parameters of the fee `shares * rate * (p * (1 - p)) ^ exponent`, paid by takers only. The default takes no fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeeSchedule {
    /// In millionths: 0.07 is 70_000.
    pub rate_micros: i64,
    pub exponent: u32,
}

impl FeeSchedule {
    /// The highest schedule of the venue, paid in a market whose own is not known (spec 7.1).
    pub const HIGHEST: Self = Self { rate_micros: 70_000, exponent: 1 };
}

impl Market {
    /// Returns whether the facts of the market have been fetched. One that is known only by id has no outcomes.
    pub fn is_known(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// Returns whether the venue takes orders for the market.
    pub fn is_open(&self) -> bool {
        self.active && self.accepts_orders && self.resolved_at.is_none()
    }

    /// Returns the time at which an open market closes; `None` when it is not known at `now`.
    ///
    /// An end date that has passed while the market is open does not close it: end dates pass months early, and in sports they
    /// are the kick-off (spec 7.3).
    pub fn closes_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.close_time.filter(|close| !self.is_open() || *close > now)
    }

    /// Returns a market that we know only by id, from a row; its other facts have not been fetched yet.
    pub fn unknown(id: MarketId) -> Self {
        Self {
            id,
            question: String::new(),
            slug: String::new(),
            close_time: None,
            active: true,
            accepts_orders: true,
            resolved_at: None,
            blacklisted: false,
            neg_risk: false,
            fee: FeeSchedule::HIGHEST,
            fee_known: false,
            taker_delay_ms: None,
            event: None,
            tags: Vec::new(),
            tick: None,
            min_shares: None,
            outcomes: Vec::new(),
        }
    }

    /// Returns the payout of `asset` in the resolved market; `None` while it is unknown.
    pub fn payout_of(&self, asset: &AssetId) -> Option<PriceMicros> {
        self.outcomes.iter().find(|outcome| outcome.asset == *asset).and_then(|outcome| outcome.payout)
    }
}
