//! Requests for the Data API's own lag behind the chain.

use serde::Deserialize;

use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;

impl Polymarket {
    /// Returns the seconds between a block and the time its rows are served; normally about four.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    pub async fn data_api_lag_seconds(&self) -> Result<i64, PolymarketError> {
        let call = Call::get(Endpoint::Status, Priority::Interactive, "/v2/status".to_owned());
        self.ask(call, parse_status).await
    }
}

/// Parses the answer of `/v2/status`.
///
/// # Errors
/// When the text has no lag.
pub fn parse_status(text: &str) -> Result<i64, String> {
    let status: Status = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(status.data.serving.lag_seconds)
}

#[derive(Deserialize)]
struct Status {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    serving: Serving,
}

#[derive(Deserialize)]
pub(in crate::polymarket) struct Serving {
    lag_seconds: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_read_and_anything_else_is_refused() {
        let recorded =
            r#"{"data":{"computed_at":"2026-09-14T10:24:36Z","serving":{"lag_seconds":4,"worst":"activity_feed"}}}"#;
        assert_eq!(parse_status(recorded), Ok(4));
        assert!(parse_status("{}").is_err());
        assert!(parse_status("<html>").is_err());
    }
}
