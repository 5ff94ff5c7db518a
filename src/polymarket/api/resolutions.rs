//! Requests for the resolution of a market, from `/v2/resolutions`: the only source of payouts.

use serde::Deserialize;

use crate::domain::money::ids::MarketId;
use crate::domain::money::units::{PriceMicros, Timestamp};
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;

/// The payout of each outcome, in outcome order: 0 and 1, or a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    pub payouts: Vec<PriceMicros>,
    /// The time of resolution, or of the last update where the API does not state it.
    pub resolved_at: Option<Timestamp>,
}

impl Polymarket {
    /// Returns the market's payouts, or `None` while it has none.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    pub async fn resolution(&self, market: &MarketId) -> Result<Option<Resolution>, PolymarketError> {
        let path = format!("/v2/resolutions?condition={market}");
        let call = Call::get(Endpoint::Resolutions, Priority::Bulk, path);
        match self.ask(call, |text| parse_resolutions(text, market)).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer,
        }
    }
}

/// Picks the final payouts of `market`; a proposal or a dispute is not final.
///
/// # Errors
/// When the text is not such an answer, or a payout is not a price.
pub fn parse_resolutions(text: &str, market: &MarketId) -> Result<Option<Resolution>, String> {
    let answer: Envelope = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let of_market = |row: &Row| match row.condition_id.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => MarketId::parse(id).is_ok_and(|id| id == *market),
        // The request was for one condition only.
        None => true,
    };
    let Some(row) = answer.data.into_iter().find(|row| row.status == "resolved" && of_market(row)) else {
        return Ok(None);
    };
    let payouts = row.payouts.unwrap_or_default().into_iter().map(PriceMicros::new).collect::<Result<Vec<_>, _>>();
    let payouts = payouts.map_err(|error| format!("payouts: {error}"))?;
    let time = |text: Option<String>| text.and_then(|text| Timestamp::parse_iso(&text).ok());
    let resolved_at = time(row.resolved_at).or_else(|| time(row.last_update_timestamp));
    Ok((!payouts.is_empty()).then_some(Resolution { payouts, resolved_at }))
}

#[derive(Deserialize)]
struct Envelope {
    data: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    condition_id: Option<String>,
    status: String,
    #[serde(default)]
    payouts: Option<Vec<i64>>,
    #[serde(default)]
    resolved_at: Option<String>,
    #[serde(default)]
    last_update_timestamp: Option<String>,
}
