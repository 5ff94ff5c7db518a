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
const BATCH_MAX: usize = 500;
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

    /// Returns the midpoints of those `assets` that the CLOB has a book with two sides of, requested in batches.
    ///
    /// A refused batch is halved: one closed market must not hide the prices of the others.
    ///
    /// # Errors
    /// Any [`PolymarketError`] but a refusal.
    pub async fn midpoints(&self, assets: &[AssetId]) -> Result<BTreeMap<AssetId, PriceMicros>, PolymarketError> {
        Ok(self.batches(Endpoint::Midpoints, "/midpoints", assets, parse_prices).await?.into_iter().flatten().collect())
    }

    /// Returns the spreads, best ask less best bid, of those `assets` that the CLOB has a book with two sides of,
    /// requested like [`Self::midpoints`].
    ///
    /// # Errors
    /// Any [`PolymarketError`] but a refusal.
    pub async fn spreads(&self, assets: &[AssetId]) -> Result<BTreeMap<AssetId, PriceMicros>, PolymarketError> {
        Ok(self.batches(Endpoint::Spreads, "/spreads", assets, parse_prices).await?.into_iter().flatten().collect())
    }

    /// Returns the books of those `assets` that the CLOB has a book of, also books with one side, requested like
    /// [`Self::midpoints`]. They give assets a value and decide nothing.
    ///
    /// # Errors
    /// Any [`PolymarketError`] but a refusal.
    pub async fn books(&self, assets: &[AssetId]) -> Result<BTreeMap<AssetId, BookAnswer>, PolymarketError> {
        let answers = self.batches(Endpoint::Books, "/books", assets, parse_books).await?;
        let named = |answer: BookAnswer| Some((answer.asset.clone()?, answer));
        Ok(answers.into_iter().flatten().filter_map(named).collect())
    }

    /// Requests a route of many assets in batches, and halves those that are refused.
    async fn batches<T>(
        &self,
        endpoint: Endpoint,
        path: &str,
        assets: &[AssetId],
        read: fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, PolymarketError> {
        let mut answers = Vec::new();
        let mut batches: Vec<&[AssetId]> = assets.chunks(BATCH_MAX).collect();
        let mut refusals = 0;
        while let Some(batch) = batches.pop() {
            let wanted: Vec<_> = batch.iter().map(|asset| serde_json::json!({ "token_id": asset })).collect();
            let body = Some(serde_json::Value::Array(wanted).to_string());
            let call = Call { endpoint, priority: Priority::Bulk, path: path.to_owned(), body };
            match self.ask(call, read).await {
                Ok(answer) => answers.push(answer),
                Err(error @ PolymarketError::Refused { .. }) => {
                    refusals += 1;
                    tracing::debug!(%endpoint, assets = batch.len(), %error, "a batch was refused");
                    if batch.len() > 1 && refusals < REFUSALS_MAX {
                        let (left, right) = batch.split_at(batch.len() / 2);
                        batches.extend([left, right]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
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
pub fn parse_prices(text: &str) -> Result<BTreeMap<AssetId, PriceMicros>, String> {
    let raw: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let readable = |(token, price): (String, &RawValue)| {
        let price = decimal_text::decimal_of(price).ok()??;
        Some((AssetId::parse(&token).ok()?, PriceMicros::from_decimal(price).ok()?))
    };
    Ok(raw.into_iter().filter_map(readable).collect())
}

/// Parses an array of books. A book that cannot be parsed is left out: its asset keeps its last mark.
///
/// # Errors
/// When the text is not an array.
pub fn parse_books(text: &str) -> Result<Vec<BookAnswer>, String> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(raw.into_iter().filter_map(|book| parse_book(book.get()).ok()).collect())
}
