//! Requests for the resolution of a market, from `/v2/resolutions`: the first source of payouts (spec 3.1).

use serde::Deserialize;

use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::{PriceMicros, Timestamp};
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;

/// The row of one market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    pub stage: ResolutionStage,
    /// The payout of each outcome, in outcome order: 0 and 1, or a split. Empty until the market is resolved, and when
    /// the row of a resolved market does not have them.
    pub payouts: Vec<PriceMicros>,
    /// The time of resolution, or of the last update where the API does not state it.
    pub resolved_at: Option<Timestamp>,
}

impl Polymarket {
    /// Returns the row of the market, or `None` when it has none.
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

/// Picks the row of `market`, a resolved one before any other. Only a resolved row has payouts: a proposal or a dispute
/// is not final.
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
    let mut rows: Vec<Row> = answer.data.into_iter().filter(of_market).collect();
    rows.sort_by_key(|row| stage_of(&row.status) != ResolutionStage::Resolved);
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let time = |text: Option<String>| text.and_then(|text| Timestamp::parse_iso(&text).ok());
    let stage = stage_of(&row.status);
    if stage != ResolutionStage::Resolved {
        return Ok(Some(Resolution { stage, payouts: Vec::new(), resolved_at: None }));
    }
    let payouts = row.payouts.unwrap_or_default().into_iter().map(PriceMicros::new).collect::<Result<Vec<_>, _>>();
    let payouts = payouts.map_err(|error| format!("payouts: {error}"))?;
    let resolved_at = time(row.resolved_at).or_else(|| time(row.last_update_timestamp));
    Ok(Some(Resolution { stage, payouts, resolved_at }))
}

/// Returns the stage that a status means; an unknown status settles nothing.
fn stage_of(status: &str) -> ResolutionStage {
    match status {
        "resolved" => ResolutionStage::Resolved,
        "proposed" => ResolutionStage::Proposed,
        "challenged" | "reproposed" | "disputed" | "arbitration" => ResolutionStage::Disputed,
        _ => ResolutionStage::Open,
    }
}

#[derive(Deserialize)]
struct Envelope {
    data: Vec<Row>,
}

#[derive(Deserialize)]
pub(in crate::polymarket) struct Row {
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
