//! Requests to the CLOB: books for decisions, midpoints for marks, its time.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{PriceMicros, Timestamp};
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::book_text::{BookAnswer, parse_book};
use crate::polymarket::wire::decimal_text;

/// The CLOB accepts no more assets in one request.
const MIDPOINTS_MAX: usize = 500;
/// Number of refused batches after which the other assets wait for the next round.
const REFUSALS_MAX: usize = 40;

impl Polymarket {
    /// Returns the book of one outcome. With [`Priority::Interactive`] it takes at most five seconds.
    ///
    /// # Errors
    /// [`PolymarketError`]; `is_not_found` when the CLOB has no book, because the asset is unknown, closed, or not open yet.
    pub async fn book(&self, asset: &AssetId, priority: Priority) -> Result<BookAnswer, PolymarketError> {
        let call = Call::get(Endpoint::Book, priority, format!("/book?token_id={asset}"));
        self.ask(call, |text| {
            let answer = parse_book(text)?;
            match &answer.asset {
                Some(other) if other != asset => Err(format!("the book is of `{other}`, not of the requested asset")),
                _ => Ok(answer),
            }
        })
        .await
    }

    /// Returns the midpoints of those `assets` that the CLOB knows, requested in batches.
    ///
    /// A refused batch is halved: one closed market must not hide the prices of the others.
    ///
    /// # Errors
    /// Any [`PolymarketError`] but a refusal.
    pub async fn midpoints(&self, assets: &[AssetId]) -> Result<BTreeMap<AssetId, PriceMicros>, PolymarketError> {
        let mut midpoints = BTreeMap::new();
        let mut batches: Vec<&[AssetId]> = assets.chunks(MIDPOINTS_MAX).collect();
        let mut refusals = 0;
        while let Some(batch) = batches.pop() {
            match self.midpoint_batch(batch).await {
                Ok(found) => midpoints.extend(found),
                Err(error @ PolymarketError::Refused { .. }) => {
                    refusals += 1;
                    tracing::debug!(assets = batch.len(), %error, "midpoints refused");
                    if batch.len() > 1 && refusals < REFUSALS_MAX {
                        let (left, right) = batch.split_at(batch.len() / 2);
                        batches.extend([left, right]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(midpoints)
    }

    async fn midpoint_batch(&self, batch: &[AssetId]) -> Result<BTreeMap<AssetId, PriceMicros>, PolymarketError> {
        let wanted: Vec<_> = batch.iter().map(|asset| serde_json::json!({ "token_id": asset })).collect();
        let body = Some(serde_json::Value::Array(wanted).to_string());
        let path = "/midpoints".to_owned();
        self.ask(Call { endpoint: Endpoint::Midpoints, priority: Priority::Bulk, path, body }, parse_midpoints).await
    }

    /// Returns the CLOB's time, in whole seconds.
    ///
    /// # Errors
    /// [`PolymarketError`] when it cannot be fetched or parsed.
    pub async fn server_time(&self) -> Result<Timestamp, PolymarketError> {
        let call = Call::get(Endpoint::ServerTime, Priority::Interactive, "/time".to_owned());
        self.ask(call, |text| {
            let seconds: i64 = text.trim().trim_matches('"').parse().map_err(|_| "not whole seconds".to_owned())?;
            Timestamp::from_seconds(seconds).map_err(|error| error.to_string())
        })
        .await
    }
}

/// Parses `{"token": "0.505", …}`. A price that cannot be parsed is left out: the asset keeps its last mark.
///
/// # Errors
/// When the text is not such an object.
pub fn parse_midpoints(text: &str) -> Result<BTreeMap<AssetId, PriceMicros>, String> {
    let raw: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let readable = |(token, price): (String, &RawValue)| {
        let price = decimal_text::decimal_of(price).ok()??;
        Some((AssetId::parse(&token).ok()?, PriceMicros::from_decimal(price).ok()?))
    };
    Ok(raw.into_iter().filter_map(readable).collect())
}
