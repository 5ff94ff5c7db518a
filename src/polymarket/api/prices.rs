//! Requests for the prices of many outcomes at once: midpoints, spreads, and books where there is no midpoint (spec 9).

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::domain::accounting::mark::Quote;
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{PriceMicros, Timestamp};
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::book_text::parse_book;
use crate::polymarket::wire::decimal_text;

/// The CLOB accepts no more assets in one request.
const ASSETS_MAX: usize = 500;
/// A book is a hundred times longer than a midpoint.
const BOOKS_MAX: usize = 100;

/// What a question about many assets brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batched<T> {
    pub found: BTreeMap<AssetId, T>,
    /// Assets that the CLOB refused also when asked for alone, or whose market the Data API calls closed after a batch
    /// with them was refused.
    pub refused: Vec<AssetId>,
    /// Assets that were left for later, because the requests that were allowed had been made.
    pub unasked: Vec<AssetId>,
}

impl Polymarket {
    /// Returns the midpoints of those `assets` that the CLOB has one for, with at most `requests` requests.
    ///
    /// One closed market must not hide the prices of the others. When a batch is refused, the Data API is asked which of
    /// its tokens are closed, and the batch is asked for again without them; if it is refused still, it is halved, down to
    /// the assets that are refused alone.
    ///
    /// # Errors
    /// Any [`PolymarketError`] but a refusal.
    pub async fn midpoints(
        &self,
        assets: &[AssetId],
        requests: usize,
    ) -> Result<Batched<PriceMicros>, PolymarketError> {
        let read = |text: &str| parse_prices(text);
        self.batched((Endpoint::Midpoints, "/midpoints", ASSETS_MAX), assets, requests, read).await
    }

    /// Returns the spreads of those `assets` that the CLOB has one for, as [`Self::midpoints`].
    ///
    /// # Errors
    /// Any [`PolymarketError`] but a refusal.
    pub async fn spreads(&self, assets: &[AssetId], requests: usize) -> Result<Batched<PriceMicros>, PolymarketError> {
        let read = |text: &str| parse_prices(text);
        self.batched((Endpoint::Spreads, "/spreads", ASSETS_MAX), assets, requests, read).await
    }

    /// Returns the best prices of the books of those `assets` that the CLOB has one for, as [`Self::midpoints`]. A book
    /// with an empty side has no best price there. For values only: a decision fetches its book itself.
    ///
    /// # Errors
    /// Any [`PolymarketError`] but a refusal.
    pub async fn book_quotes(&self, assets: &[AssetId], requests: usize) -> Result<Batched<Quote>, PolymarketError> {
        let now = self.clock().now();
        let read = move |text: &str| parse_quotes(text, now);
        self.batched((Endpoint::Books, "/books", BOOKS_MAX), assets, requests, read).await
    }

    async fn batched<T>(
        &self,
        (endpoint, path, most): (Endpoint, &str, usize),
        assets: &[AssetId],
        requests: usize,
        read: impl Fn(&str) -> Result<BTreeMap<AssetId, T>, String>,
    ) -> Result<Batched<T>, PolymarketError> {
        let mut answer = Batched { found: BTreeMap::new(), refused: Vec::new(), unasked: Vec::new() };
        // Each with whether its closed tokens may still be looked for.
        let mut batches: Vec<(Vec<AssetId>, bool)> = assets.chunks(most).map(|chunk| (chunk.to_vec(), true)).collect();
        let mut left = requests;
        while let Some((batch, is_whole)) = batches.pop() {
            if left == 0 {
                answer.unasked.extend(batch);
                continue;
            }
            left -= 1;
            let wanted: Vec<_> = batch.iter().map(|asset| serde_json::json!({ "token_id": asset })).collect();
            let body = Some(serde_json::Value::Array(wanted).to_string());
            let call = Call { endpoint, priority: Priority::Bulk, path: path.to_owned(), body };
            match self.ask(call, &read).await {
                Ok(found) => answer.found.extend(found),
                Err(PolymarketError::Refused { .. }) if batch.len() == 1 => answer.refused.extend(batch),
                Err(error @ PolymarketError::Refused { .. }) => {
                    tracing::debug!(assets = batch.len(), %error, "prices refused");
                    let closed = if is_whole { self.closed(&batch).await } else { Vec::new() };
                    let (out, open): (Vec<_>, Vec<_>) = batch.into_iter().partition(|asset| closed.contains(asset));
                    if out.is_empty() {
                        let (one, other) = open.split_at(open.len() / 2);
                        batches.extend([(other.to_vec(), false), (one.to_vec(), false)]);
                    } else if !open.is_empty() {
                        batches.push((open, false));
                    }
                    answer.refused.extend(out);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }

    /// Returns which of `assets` the Data API calls closed or resolved; none when it does not answer.
    async fn closed(&self, assets: &[AssetId]) -> Vec<AssetId> {
        let tokens = self.tokens(assets).await.unwrap_or_default();
        tokens.into_iter().filter(|token| token.is_closed || token.is_resolved).map(|token| token.asset).collect()
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

/// Parses an array of books to their best prices. A book that cannot be parsed, or does not name its asset, is left out.
///
/// # Errors
/// When the text is not an array.
pub fn parse_quotes(text: &str, now: Timestamp) -> Result<BTreeMap<AssetId, Quote>, String> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let quote = |raw: &RawValue| {
        let answer = parse_book(raw.get()).ok()?;
        Some((answer.asset?, Quote::new(Some(answer.book.best_bid()), Some(answer.book.best_ask()), now)))
    };
    Ok(raw.into_iter().filter_map(quote).collect())
}
