//! Requests for a market's facts: from Gamma, and from the CLOB's compact route where Gamma has gaps.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::market::facts::{FeeSchedule, Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros};
use crate::polymarket::http::client::{Call, Polymarket, query_text};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::gamma::{
    GammaMarket, are_distinct, delay_ms, fee_schedule, figure, least_shares, parse_event_tags, parse_listed,
    parse_markets,
};

/// A market as `/clob-markets` returns it: enough to trade on, without texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactMarket {
    pub outcomes: Vec<OutcomeAsset>,
    pub tick: Option<PriceMicros>,
    pub min_shares: Option<ShareMicros>,
    pub neg_risk: bool,
    pub fee: FeeSchedule,
    /// Whether orders that take liquidity are held for 250 ms.
    pub delays_takers: bool,
}

/// How the CLOB trades a market, as `/markets/{condition}` of the CLOB returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TradingRules {
    /// How long an order that takes liquidity is held.
    pub taker_delay_ms: Option<i64>,
    pub accepts_orders: Option<bool>,
}

/// The delay for takers in markets with `itode` (venue 2.4).
const ITODE_DELAY_MS: i64 = 250;
/// Markets of one request to Gamma; as many as the smallest limit of its answers.
const LISTED_MAX: usize = 20;

impl Polymarket {
    /// Returns the market's facts, or `None` when neither source knows it. Payouts are not included: see
    /// [`Self::resolution`].
    ///
    /// # Errors
    /// [`PolymarketError`] when neither source answers.
    pub async fn market(&self, market: &MarketId) -> Result<Option<Market>, PolymarketError> {
        self.market_with(market, Priority::Bulk).await
    }

    /// Does the same as [`Self::market`], with the priority that a decision needs.
    ///
    /// # Errors
    /// [`PolymarketError`] when neither source answers.
    pub async fn market_with(&self, market: &MarketId, priority: Priority) -> Result<Option<Market>, PolymarketError> {
        let (described, compact, rules) = tokio::join!(
            self.gamma_market(market, priority),
            self.compact_market(market, priority),
            self.trading_rules(market, priority),
        );
        let (described, compact) = match (described, compact) {
            (Err(error), Err(_) | Ok(None)) | (Ok(None), Err(error)) => return Err(error),
            (described, compact) => (described.ok().flatten(), compact.ok().flatten()),
        };
        // Only part of the facts when Gamma does not know it. The question is empty then, which tells the database to keep
        // the other stored facts.
        let Some(mut found) = described.or_else(|| compact.as_ref().map(|_| by_id_alone(market))) else {
            return Ok(None);
        };
        found.market.tags = match &found.market.event {
            Some(event) if found.market.tags.is_empty() => self.event_tags(&event.slug, priority).await,
            _ => found.market.tags,
        };
        Ok(Some(completed(found, compact, rules.unwrap_or_default())))
    }

    /// Returns the facts of those of the markets that Gamma lists as closed, in no order, with one request for
    /// 20 of them. They lack what only the CLOB knows, which a closed market does not need.
    ///
    /// # Errors
    /// [`PolymarketError`] when Gamma does not answer.
    pub async fn closed_markets(&self, markets: &[MarketId]) -> Result<Vec<Market>, PolymarketError> {
        let mut found = Vec::new();
        for wanted in markets.chunks(LISTED_MAX) {
            let ids: Vec<String> = wanted.iter().map(|id| format!("condition_ids={id}")).collect();
            // No answer has more rows than the smallest limit.
            let limit = self.fresh_limit();
            let path = format!("/markets?{}&closed=true&limit={limit}", ids.join("&"));
            let call = Call::get(Endpoint::Markets, Priority::Bulk, path);
            let listed = self.ask(call, |text| parse_listed(text, wanted)).await?;
            found.extend(listed.into_iter().map(|found| found.market));
        }
        Ok(found)
    }

    /// Returns the tags of an event; none when Gamma does not answer, because they are asked for again at the next
    /// refresh.
    async fn event_tags(&self, slug: &str, priority: Priority) -> Vec<String> {
        let path = format!("/events/slug/{}", query_text(slug));
        self.ask(Call::get(Endpoint::Markets, priority, path), parse_event_tags).await.unwrap_or_default()
    }

    /// Returns how the CLOB trades the market. Nothing of it is known when the CLOB does not know the market.
    async fn trading_rules(&self, market: &MarketId, priority: Priority) -> Result<TradingRules, PolymarketError> {
        let call = Call::get(Endpoint::ClobMarket, priority, format!("/markets/{market}"));
        match self.ask(call, parse_trading_rules).await {
            Err(error) if error.is_not_found() => Ok(TradingRules::default()),
            answer => answer,
        }
    }

    /// Returns the market that an outcome token belongs to, or `None` when the CLOB does not know the token.
    ///
    /// # Errors
    /// [`PolymarketError`] when the CLOB does not answer.
    pub async fn market_by_token(&self, asset: &AssetId) -> Result<Option<MarketId>, PolymarketError> {
        let call = Call::get(Endpoint::MarketByToken, Priority::Bulk, format!("/markets-by-token/{asset}"));
        match self.ask(call, parse_market_by_token).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Returns a limit that makes the URL a new one, although there can only be one market. Gamma answers lists from a cache
    /// for five minutes, and would report a market as unknown or open long after that changed.
    pub(in crate::polymarket) fn fresh_limit(&self) -> i64 {
        const LEAST: i64 = 20;
        const MOST: i64 = 100;
        LEAST + self.gate().fresh_end(self.clock().now()).rem_euclid(MOST - LEAST + 1)
    }

    /// Asks Gamma twice, because it hides closed markets unless they are requested.
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

fn by_id_alone(market: &MarketId) -> GammaMarket {
    GammaMarket { market: Market::unknown(market.clone()), lacks_fee: true }
}

/// Fills the gaps in Gamma's facts from the CLOB's.
fn completed(found: GammaMarket, compact: Option<CompactMarket>, rules: TradingRules) -> Market {
    let GammaMarket { mut market, lacks_fee } = found;
    let itode = compact.as_ref().is_some_and(|compact| compact.delays_takers).then_some(ITODE_DELAY_MS);
    let delay = rules.taker_delay_ms.or(market.taker_delay_ms);
    // The CLOB's answer without a delay says that there is none; no answer says nothing.
    market.taker_delay_ms = delay.max(itode).or_else(|| compact.as_ref().map(|_| 0));
    market.accepts_orders &= rules.accepts_orders.unwrap_or(true);
    let Some(compact) = compact else {
        return market;
    };
    if market.outcomes.is_empty() {
        market.outcomes = compact.outcomes;
        market.neg_risk |= compact.neg_risk;
    }
    if lacks_fee {
        (market.fee, market.fee_known) = (compact.fee, true);
    }
    market.tick = market.tick.or(compact.tick);
    market.min_shares = market.min_shares.or(compact.min_shares);
    market
}

/// Parses the answer of the CLOB's `/markets/{condition}`.
///
/// # Errors
/// When the text is not a JSON object.
pub fn parse_trading_rules(text: &str) -> Result<TradingRules, String> {
    #[derive(Deserialize)]
    struct RawRules<'a> {
        #[serde(borrow, default)]
        seconds_delay: Option<&'a RawValue>,
        #[serde(default)]
        accepting_orders: Option<bool>,
    }
    let raw: RawRules<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(TradingRules {
        taker_delay_ms: figure(raw.seconds_delay).and_then(delay_ms),
        accepts_orders: raw.accepting_orders,
    })
}

/// Parses the answer of `/clob-markets`.
///
/// # Errors
/// When the text is not a market, or its fee details cannot be parsed.
pub fn parse_compact_market(text: &str) -> Result<CompactMarket, String> {
    let raw: RawCompact = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let outcome = |(index, token): (i64, RawToken)| {
        let asset = AssetId::parse(&token.t).map_err(|error| error.to_string())?;
        Ok(OutcomeAsset { asset, outcome: token.o.unwrap_or_default(), index, payout: None })
    };
    // If a token is missing or repeated, all outcomes count as unknown: the indexes of the others would be wrong.
    let tokens: Option<Vec<RawToken>> = raw.t.into_iter().collect();
    let mut outcomes = (0..).zip(tokens.unwrap_or_default()).map(outcome).collect::<Result<Vec<_>, String>>()?;
    if !are_distinct(outcomes.iter().map(|outcome| &outcome.asset)) {
        outcomes.clear();
    }
    // No fee details mean no fee; details that cannot be parsed are an error, because the trade may not be free.
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
        delays_takers: raw.itode.unwrap_or(false),
    })
}

/// Parses the answer of `/markets-by-token`.
///
/// # Errors
/// When the text has no valid condition id.
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
    #[serde(default)]
    itode: Option<bool>,
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
