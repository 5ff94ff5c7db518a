//! Requests for the markets of one event: a neg-risk conversion moves outcomes of every market of its event.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::market::facts::Market;
use crate::domain::money::ids::MarketId;
use crate::polymarket::http::client::{Call, Polymarket, query_text};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::gamma::parse_market;

impl Polymarket {
    /// Returns every market of the event that `market` belongs to, itself included. Empty when Gamma knows no event.
    ///
    /// # Errors
    /// [`PolymarketError`] when Gamma does not answer. A market of the event that cannot be parsed is an error too: if it were
    /// left out, the shares that moved in it would be lost.
    pub async fn event_markets(&self, market: &MarketId) -> Result<Vec<Market>, PolymarketError> {
        for closed in ["", "&closed=true"] {
            let limit = self.fresh_limit();
            let path = format!("/markets?condition_ids={market}{closed}&limit={limit}");
            let call = Call::get(Endpoint::Markets, Priority::Bulk, path);
            let Some(slug) = self.ask(call, |text| event_slug(text, market)).await? else { continue };
            let path = format!("/events/slug/{}", query_text(&slug));
            return match self.ask(Call::get(Endpoint::Markets, Priority::Bulk, path), markets_of_event).await {
                Err(error) if error.is_not_found() => Ok(Vec::new()),
                answer => answer,
            };
        }
        Ok(Vec::new())
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

/// Parses all markets of an event.
///
/// # Errors
/// When one of them cannot be parsed.
pub(in crate::polymarket) fn markets_of_event(text: &str) -> Result<Vec<Market>, String> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        markets: Vec<&'a RawValue>,
    }
    let event: Event<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    event.markets.into_iter().map(|raw| parse_market(raw.get()).map(|found| found.market)).collect()
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
        let ids: Vec<MarketId> = markets_of_event(&text(&other)).unwrap().into_iter().map(|market| market.id).collect();
        assert_eq!(ids, [id("a"), id("b")]);
        assert!(markets_of_event(&text("{}")).is_err());
        assert!(markets_of_event("{}").is_err());
    }
}
