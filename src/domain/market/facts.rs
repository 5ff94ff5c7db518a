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
    pub resolved_at: Option<Timestamp>,
    pub blacklisted: bool,
    pub neg_risk: bool,
    pub fee: FeeSchedule,
    pub tick: Option<PriceMicros>,
    pub min_shares: Option<ShareMicros>,
    /// In outcome order. Empty while the outcomes are unknown.
    pub outcomes: Vec<OutcomeAsset>,
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

/// The parameters of the fee `shares * rate * (p * (1 - p)) ^ exponent`, paid by takers only. The default is no fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeeSchedule {
    /// In millionths: 0.07 is 70_000.
    pub rate_micros: i64,
    pub exponent: u32,
}

impl Market {
    /// Returns a market that we know only by id, from a row; its other facts have not been fetched yet.
    pub fn unknown(id: MarketId) -> Self {
        Self {
            id,
            question: String::new(),
            slug: String::new(),
            close_time: None,
            active: true,
            resolved_at: None,
            blacklisted: false,
            neg_risk: false,
            fee: FeeSchedule::default(),
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
