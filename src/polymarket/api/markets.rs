//! Asking for a market's facts: Gamma first, the CLOB's compact route for what Gamma does not know.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::market::facts::{FeeSchedule, Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros};
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::gamma::{GammaMarket, are_distinct, fee_schedule, figure, least_shares, parse_markets};

/// What `/clob-markets` knows: enough to trade on, no words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactMarket {
    pub outcomes: Vec<OutcomeAsset>,
    pub tick: Option<PriceMicros>,
    pub min_shares: Option<ShareMicros>,
    pub neg_risk: bool,
    pub fee: FeeSchedule,
}

impl Polymarket {
    /// The market's facts, or `None` when nobody knows it. Payouts are not among them: see `resolution`.
    ///
    /// # Errors
    /// When neither source answers.
    pub async fn market(&self, market: &MarketId) -> Result<Option<Market>, PolymarketError> {
        self.market_with(market, Priority::Bulk).await
    }

    /// The same, as urgently as a decision needs it.
    pub async fn market_with(&self, market: &MarketId, priority: Priority) -> Result<Option<Market>, PolymarketError> {
        let described = self.gamma_market(market, priority).await;
        let complete = matches!(&described, Ok(Some(found)) if !found.market.outcomes.is_empty() && !found.lacks_fee);
        let compact = if complete { Ok(None) } else { self.compact_market(market, priority).await };
        match (described, compact) {
            // A fee that could not be looked up is not a fee of zero.
            (Ok(Some(found)), Err(error)) if found.lacks_fee => Err(error),
            (Ok(Some(found)), compact) => Ok(Some(completed(found, compact.ok().flatten()))),
            // Half a description: without a question, which tells whoever keeps facts to keep the rest of what they have.
            (_, Ok(Some(compact))) => Ok(Some(completed(
                GammaMarket { market: Market::unknown(market.clone()), lacks_fee: true },
                Some(compact),
            ))),
            (Ok(None), Ok(None)) => Ok(None),
            (Err(error), _) | (Ok(None), Err(error)) => Err(error),
        }
    }

    /// The condition that an outcome token belongs to.
    pub async fn market_by_token(&self, asset: &AssetId) -> Result<Option<MarketId>, PolymarketError> {
        let call = Call::get(Endpoint::MarketByToken, Priority::Bulk, format!("/markets-by-token/{asset}"));
        match self.ask(call, parse_market_by_token).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// A limit that makes the URL a new one, though one market is all there can be: Gamma's lists are answered from a
    /// cache for five minutes, which would tell of a market that it is unknown, or open, long after.
    pub(in crate::polymarket) fn fresh_limit(&self) -> i64 {
        const LEAST: i64 = 20;
        const MOST: i64 = 100;
        LEAST + self.gate().fresh_end(self.clock().now()).rem_euclid(MOST - LEAST + 1)
    }

    /// Gamma hides closed markets unless asked for them, so it is asked twice.
    async fn gamma_market(
        &self,
        market: &MarketId,
        priority: Priority,
    ) -> Result<Option<GammaMarket>, PolymarketError> {
        for closed in ["", "&closed=true"] {
            let limit = self.fresh_limit();
            let path = format!("/markets?condition_ids={market}{closed}&limit={limit}");
            let call = Call::get(Endpoint::Markets, priority, path);
            if let Some(found) = self.ask(call, |text| parse_markets(text, market)).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn compact_market(
        &self,
        market: &MarketId,
        priority: Priority,
    ) -> Result<Option<CompactMarket>, PolymarketError> {
        let call = Call::get(Endpoint::ClobMarket, priority, format!("/clob-markets/{market}"));
        match self.ask(call, parse_compact_market).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        }
    }
}

/// Gamma's description with its holes filled from the CLOB.
fn completed(found: GammaMarket, compact: Option<CompactMarket>) -> Market {
    let GammaMarket { mut market, lacks_fee } = found;
    let Some(compact) = compact else {
        return market;
    };
    if market.outcomes.is_empty() {
        market.outcomes = compact.outcomes;
        market.neg_risk |= compact.neg_risk;
    }
    if lacks_fee {
        market.fee = compact.fee;
    }
    market.tick = market.tick.or(compact.tick);
    market.min_shares = market.min_shares.or(compact.min_shares);
    market
}

pub fn parse_compact_market(text: &str) -> Result<CompactMarket, String> {
    let raw: RawCompact = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let outcome = |(index, token): (i64, RawToken)| {
        let asset = AssetId::parse(&token.t).map_err(|error| error.to_string())?;
        Ok(OutcomeAsset { asset, outcome: token.o.unwrap_or_default(), index, payout: None })
    };
    // A missing token, or one that stands twice, makes the whole set unknown: the others' places would be wrong.
    let tokens: Option<Vec<RawToken>> = raw.t.into_iter().collect();
    let mut outcomes = (0..).zip(tokens.unwrap_or_default()).map(outcome).collect::<Result<Vec<_>, String>>()?;
    if !are_distinct(outcomes.iter().map(|outcome| &outcome.asset)) {
        outcomes.clear();
    }
    // No fee details mean no fee; details that cannot be read are an error, never a free trade.
    let fee = match raw.fd {
        Some(details) => fee_schedule(details.r, details.e).ok_or("fee details without a rate")?,
        None => FeeSchedule::default(),
    };
    Ok(CompactMarket {
        outcomes,
        tick: figure(raw.mts).and_then(|tick| PriceMicros::from_decimal(tick).ok()),
        min_shares: least_shares(raw.mos),
        neg_risk: raw.nr.unwrap_or(false),
        fee,
    })
}

pub(in crate::polymarket) fn parse_market_by_token(text: &str) -> Result<MarketId, String> {
    #[derive(Deserialize)]
    struct Answer {
        condition_id: String,
    }
    let answer: Answer = serde_json::from_str(text).map_err(|error| error.to_string())?;
    MarketId::parse(&answer.condition_id).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct RawCompact<'a> {
    /// Tokens; an entry may be null while a market is being set up.
    t: Vec<Option<RawToken>>,
    #[serde(borrow, default)]
    mts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    mos: Option<&'a RawValue>,
    #[serde(default)]
    nr: Option<bool>,
    #[serde(borrow, default)]
    fd: Option<RawFee<'a>>,
}

#[derive(Deserialize)]
struct RawToken {
    t: String,
    #[serde(default)]
    o: Option<String>,
}

#[derive(Deserialize)]
struct RawFee<'a> {
    #[serde(borrow, default)]
    r: Option<&'a RawValue>,
    #[serde(borrow, default)]
    e: Option<&'a RawValue>,
}
