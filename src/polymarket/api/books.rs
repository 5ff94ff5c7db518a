//! Requests to the CLOB: books for decisions, and its time.

use crate::domain::money::ids::AssetId;
use crate::domain::money::units::Timestamp;
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::book_text::{BookAnswer, parse_book};

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
