//! Parses Gamma's description of a market: empty fields are left out, arrays may be inside strings, ids depend on the version.

use std::collections::BTreeSet;

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal_text;
use crate::domain::market::facts::{FeeSchedule, Market, MarketEvent, OutcomeAsset};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, micros_half_up};

/// A market's facts, and whether Gamma left out the fee, which the CLOB can add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GammaMarket {
    pub market: Market,
    /// Gamma does not say what takers pay: neither that the market is free, nor a schedule.
    pub lacks_fee: bool,
}

/// Parses the answer of `/markets`, and picks the market with this condition, if it is in the answer.
///
/// Gamma has ignored unknown filters before, so the id is always compared.
///
/// # Errors
/// When the text is not a JSON array.
pub fn parse_markets(text: &str, wanted: &MarketId) -> Result<Option<GammaMarket>, String> {
    let markets: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut found = markets.into_iter().filter_map(|raw| parse_market(raw.get()).ok());
    Ok(found.find(|found| found.market.id == *wanted))
}

/// Parses the answer of `/markets`, and returns the wanted markets that are in it.
///
/// # Errors
/// When the text is not a JSON array.
pub fn parse_listed(text: &str, wanted: &[MarketId]) -> Result<Vec<GammaMarket>, String> {
    let markets: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let found = markets.into_iter().filter_map(|raw| parse_market(raw.get()).ok());
    Ok(found.filter(|found| wanted.contains(&found.market.id)).collect())
}

/// Parses one market.
///
/// # Errors
/// The reason, when the text is not a market or has no condition. Facts that cannot be parsed count as unknown.
pub fn parse_market(text: &str) -> Result<GammaMarket, String> {
    let raw: RawMarket = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let id = MarketId::parse(raw.condition_id).map_err(|error| error.to_string())?;
    let fee = raw.fee();
    let market = Market {
        close_time: raw.end_date.as_deref().and_then(|text| Timestamp::parse_iso(text).ok()),
        active: raw.active.unwrap_or(true) && !raw.closed.unwrap_or(false),
        accepts_orders: raw.accepting_orders.unwrap_or(true),
        neg_risk: raw.neg_risk.unwrap_or(false),
        fee: fee.unwrap_or(FeeSchedule::HIGHEST),
        fee_known: fee.is_some(),
        taker_delay_ms: figure(raw.seconds_delay).and_then(delay_ms),
        event: raw.event(),
        tags: tags(raw.tags),
        tick: figure(raw.order_price_min_tick_size).and_then(|tick| PriceMicros::from_decimal(tick).ok()),
        min_shares: least_shares(raw.order_min_size),
        outcomes: raw.outcome_assets(),
        question: raw.question.unwrap_or_default(),
        slug: raw.slug.unwrap_or_default(),
        ..Market::unknown(id)
    };
    Ok(GammaMarket { market, lacks_fee: fee.is_none() })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::polymarket) struct RawMarket<'a> {
    condition_id: &'a str,
    #[serde(default)]
    question: Option<String>,
    #[serde(default)]
    slug: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(borrow, default)]
    outcomes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    clob_token_ids: Option<&'a RawValue>,
    #[serde(borrow, default)]
    position_ids: Option<&'a RawValue>,
    #[serde(default)]
    end_date: Option<String>,
    #[serde(default)]
    active: Option<bool>,
    #[serde(default)]
    closed: Option<bool>,
    #[serde(default)]
    accepting_orders: Option<bool>,
    #[serde(borrow, default)]
    seconds_delay: Option<&'a RawValue>,
    #[serde(borrow, default)]
    events: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tags: Option<&'a RawValue>,
    #[serde(default)]
    neg_risk: Option<bool>,
    #[serde(borrow, default)]
    order_price_min_tick_size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    order_min_size: Option<&'a RawValue>,
    #[serde(default)]
    fees_enabled: Option<bool>,
    #[serde(borrow, default)]
    fee_schedule: Option<RawSchedule<'a>>,
}

#[derive(Deserialize)]
pub(in crate::polymarket) struct RawSchedule<'a> {
    #[serde(borrow, default)]
    rate: Option<&'a RawValue>,
    #[serde(borrow, default)]
    exponent: Option<&'a RawValue>,
}

impl RawMarket<'_> {
    /// The version decides which field has the ids, because old markets that are used as legs have both fields.
    fn outcome_assets(&self) -> Vec<OutcomeAsset> {
        let ids = if self.version.as_deref() == Some("v2") { self.position_ids } else { self.clob_token_ids };
        let labels = texts(self.outcomes).unwrap_or_default();
        let assets: Option<Vec<AssetId>> =
            texts(ids).and_then(|ids| ids.iter().map(|id| AssetId::parse(id).ok()).collect());
        let outcome = |(index, asset): (i64, AssetId)| OutcomeAsset {
            asset,
            outcome: usize::try_from(index).ok().and_then(|at| labels.get(at)).cloned().unwrap_or_default(),
            index,
            payout: None,
        };
        // If one id is invalid or repeated, all outcomes count as unknown: a wrong index is worse than none.
        let assets = assets.filter(|assets| are_distinct(assets.iter()));
        (0..).zip(assets.unwrap_or_default()).map(outcome).collect()
    }

    /// Returns `None` when Gamma does not say what takers pay. A missing `feesEnabled` does not say that it is nothing.
    fn fee(&self) -> Option<FeeSchedule> {
        if self.fees_enabled == Some(false) {
            return Some(FeeSchedule::default());
        }
        let schedule = self.fee_schedule.as_ref()?;
        fee_schedule(schedule.rate, schedule.exponent)
    }

    /// Returns the first event of the market, if it has an id.
    fn event(&self) -> Option<MarketEvent> {
        #[derive(Deserialize)]
        struct RawEvent<'a> {
            #[serde(borrow)]
            id: &'a RawValue,
            #[serde(default)]
            slug: Option<String>,
            #[serde(default)]
            title: Option<String>,
        }
        let events: Vec<RawEvent<'_>> = serde_json::from_str(self.events?.get()).ok()?;
        let first = events.into_iter().next()?;
        // Ids are texts; a number would be the same id.
        let id = first.id.get().trim_matches('"').to_owned();
        let is_id = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        is_id.then(|| MarketEvent { id, slug: first.slug.unwrap_or_default(), title: first.title.unwrap_or_default() })
    }
}

/// Parses the tags of an event, as `/events/slug/{slug}` returns it.
///
/// # Errors
/// When the text is not a JSON object.
pub(in crate::polymarket) fn parse_event_tags(text: &str) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct RawEvent<'a> {
        #[serde(borrow, default)]
        tags: Option<&'a RawValue>,
    }
    let event: RawEvent<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(tags(event.tags))
}

/// Returns the slugs of a list of tags in lower case, each once. A tag that has no slug is left out.
fn tags(raw: Option<&RawValue>) -> Vec<String> {
    #[derive(Deserialize)]
    struct RawTag {
        #[serde(default)]
        slug: Option<String>,
    }
    let list = raw.and_then(|raw| serde_json::from_str::<Vec<Option<RawTag>>>(raw.get()).ok()).unwrap_or_default();
    let slugs = list.into_iter().filter_map(|tag| tag?.slug);
    let slugs: BTreeSet<String> = slugs.map(|slug| slug.to_lowercase()).filter(|slug| !slug.is_empty()).collect();
    slugs.into_iter().collect()
}

/// The longest delay that is believed; the venue has a few seconds.
const DELAY_MOST_S: i64 = 60;

/// Returns a delay in seconds as milliseconds; `None` when it is negative or absurd.
pub(in crate::polymarket) fn delay_ms(seconds: Decimal) -> Option<i64> {
    let is_good = (Decimal::ZERO..=Decimal::from(DELAY_MOST_S)).contains(&seconds);
    seconds.checked_mul(Decimal::from(1_000)).filter(|_| is_good).and_then(|millis| millis.to_i64())
}

/// Returns whether each outcome has its own token.
pub(in crate::polymarket) fn are_distinct<'a>(mut assets: impl Iterator<Item = &'a AssetId>) -> bool {
    let mut seen = BTreeSet::new();
    assets.all(|asset| seen.insert(asset))
}

/// Returns a schedule with this rate and exponent; a missing exponent means one.
pub(in crate::polymarket) fn fee_schedule(rate: Option<&RawValue>, exponent: Option<&RawValue>) -> Option<FeeSchedule> {
    let rate = figure(rate).filter(|rate| (Decimal::ZERO..=Decimal::ONE).contains(rate))?;
    let exponent = figure(exponent).unwrap_or(Decimal::ONE);
    let whole = exponent.to_u32().filter(|whole| Decimal::from(*whole) == exponent)?;
    Some(FeeSchedule { rate_micros: micros_half_up(rate).ok()?, exponent: whole })
}

/// Returns the smallest order size; a negative one counts as missing.
pub(in crate::polymarket) fn least_shares(raw: Option<&RawValue>) -> Option<ShareMicros> {
    let least = figure(raw).and_then(|size| ShareMicros::from_decimal(size).ok());
    least.filter(|least| *least >= ShareMicros::ZERO)
}

/// Returns the decimal in a JSON value, if there is one.
pub(in crate::polymarket) fn figure(raw: Option<&RawValue>) -> Option<Decimal> {
    raw.and_then(|raw| decimal_text::decimal_of(raw).ok().flatten())
}

/// Parses a list of texts, given as an array or as a string that contains one.
pub(in crate::polymarket) fn texts(raw: Option<&RawValue>) -> Option<Vec<String>> {
    let raw = raw?.get();
    match serde_json::from_str::<String>(raw) {
        Ok(inner) => serde_json::from_str(&inner).ok(),
        Err(_) => serde_json::from_str(raw).ok(),
    }
}
