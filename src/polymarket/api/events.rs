//! Requests for the markets of one event: a neg-risk conversion moves outcomes of every market of its event.

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::market::facts::Market;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::Bps;
use crate::polymarket::http::client::{Call, Polymarket, query_text};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::decimal_text;
use crate::polymarket::wire::gamma::parse_market;

/// The most basis points that a fee can be.
const BPS_MAX: i64 = 10_000;
/// Characters of a wrong value that an error shows.
const SHOWN_MAX: usize = 40;

/// What Gamma says of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMarkets {
    /// Every market of the event.
    pub markets: Vec<Market>,
    /// The part of a conversion that the neg-risk contract keeps (venue 1.4).
    pub conversion_fee: Bps,
}

impl Polymarket {
    /// Returns every market of the event that `market` belongs to, itself included, and the event's fee. `None` when Gamma
    /// knows no event.
    ///
    /// # Errors
    /// [`PolymarketError`] when Gamma does not answer. A market of the event that cannot be parsed is an error too: if it were
    /// left out, the shares that moved in it would be lost. So is a fee that cannot be parsed.
    pub async fn event_markets(&self, market: &MarketId) -> Result<Option<EventMarkets>, PolymarketError> {
        for closed in ["", "&closed=true"] {
            let limit = self.fresh_limit();
            let path = format!("/markets?condition_ids={market}{closed}&limit={limit}");
            let call = Call::get(Endpoint::Markets, Priority::Bulk, path);
            let Some(slug) = self.ask(call, |text| event_slug(text, market)).await? else { continue };
            let path = format!("/events/slug/{}", query_text(&slug));
            return match self.ask(Call::get(Endpoint::Markets, Priority::Bulk, path), event_of).await {
                Ok(event) => Ok(Some(event)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            };
        }
        Ok(None)
    }
}

/// Returns the slug of the first event of the wanted market, from the answer of `/markets`.
///
/// # Errors
/// When the text is not a JSON array.
pub(in crate::polymarket) fn event_slug(text: &str, wanted: &MarketId) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Listed<'a> {
        condition_id: &'a str,
        #[serde(default)]
        events: Vec<Event>,
    }
    #[derive(Deserialize)]
    struct Event {
        slug: String,
    }
    let markets: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let listed = markets.into_iter().filter_map(|raw| serde_json::from_str::<Listed<'_>>(raw.get()).ok());
    let mut found = listed.filter(|listed| MarketId::parse(listed.condition_id).is_ok_and(|id| id == *wanted));
    Ok(found.next().and_then(|listed| listed.events.into_iter().next()).map(|event| event.slug))
}

/// Parses all markets of an event, and the fee of its conversions. Gamma leaves out empty fields, so an event without a fee
/// takes none.
///
/// # Errors
/// When one of the markets, or the fee, cannot be parsed.
pub(in crate::polymarket) fn event_of(text: &str) -> Result<EventMarkets, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Event<'a> {
        #[serde(borrow)]
        markets: Vec<&'a RawValue>,
        #[serde(borrow, default)]
        neg_risk_fee_bips: Option<&'a RawValue>,
    }
    let event: Event<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let conversion_fee = event.neg_risk_fee_bips.map_or(Ok(Bps(0)), bips)?;
    let markets = event.markets.into_iter().map(|raw| parse_market(raw.get()).map(|found| found.market));
    Ok(EventMarkets { markets: markets.collect::<Result<_, _>>()?, conversion_fee })
}

/// Returns a fee; nothing for an empty text.
///
/// # Errors
/// When the value is not a whole number of basis points.
fn bips(raw: &RawValue) -> Result<Bps, String> {
    let whole = |figure: Decimal| figure.to_i64().filter(|whole| Decimal::from(*whole) == figure);
    let read = match decimal_text::decimal_of(raw) {
        Ok(None) => Some(0),
        Ok(Some(figure)) => whole(figure).filter(|bips| (0..=BPS_MAX).contains(bips)),
        Err(_) => None,
    };
    let shown: String = raw.get().chars().take(SHOWN_MAX).collect();
    read.map(Bps).ok_or_else(|| format!("`negRiskFeeBips` is `{shown}`; allowed is a whole number from 0 to {BPS_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> MarketId {
        MarketId::parse(&format!("0x{}", digit.repeat(64))).unwrap()
    }

    #[test]
    fn the_event_is_that_of_the_wanted_market() {
        let text = format!(
            r#"[{{"conditionId":"{}","events":[{{"slug":"other"}}]}},{{"question":"no id"}},
                {{"conditionId":"{}","events":[{{"slug":"who-wins","id":"1"}}]}}]"#,
            id("a"),
            id("b")
        );
        assert_eq!(event_slug(&text, &id("b")), Ok(Some("who-wins".to_owned())));
        assert_eq!(event_slug(&text, &id("c")), Ok(None));
        assert_eq!(event_slug("[]", &id("c")), Ok(None));
        assert!(event_slug("<html>", &id("c")).is_err());
    }

    #[test]
    fn an_event_with_an_unreadable_market_is_an_error() {
        let text = |second: &str| format!(r#"{{"slug":"x","markets":[{{"conditionId":"{}"}},{second}]}}"#, id("a"));
        let other = format!(r#"{{"conditionId":"{}"}}"#, id("b"));
        let ids: Vec<MarketId> = event_of(&text(&other)).unwrap().markets.into_iter().map(|market| market.id).collect();
        assert_eq!(ids, [id("a"), id("b")]);
        assert!(event_of(&text("{}")).is_err());
        assert!(event_of("{}").is_err());
    }

    #[test]
    fn the_fee_of_conversions_is_that_of_the_event_and_a_wrong_one_is_an_error() {
        let fee = |field: &str| event_of(&format!(r#"{{"slug":"x"{field},"markets":[]}}"#));
        let known = |field: &str| fee(field).unwrap().conversion_fee;
        assert_eq!(known(""), Bps(0));
        assert_eq!(known(r#","negRiskFeeBips":null"#), Bps(0));
        assert_eq!(known(r#","negRiskFeeBips":0"#), Bps(0));
        assert_eq!(known(r#","negRiskFeeBips":30"#), Bps(30));
        assert_eq!(known(r#","negRiskFeeBips":"25""#), Bps(25));
        for wrong in ["-1", "10001", "0.5", r#""many""#, "[]"] {
            let error = fee(&format!(r#","negRiskFeeBips":{wrong}"#)).unwrap_err();
            assert!(error.contains("`negRiskFeeBips`") && error.contains("from 0 to 10000"), "{wrong}: {error}");
        }
    }
}
