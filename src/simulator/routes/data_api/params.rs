//! Query parameters of the Data API, and the rules that several routes share.

use crate::domain::money::ids::{MarketId, Wallet};
use crate::simulator::http::request::Request;
use crate::simulator::http::response::Response;
use crate::simulator::state::chain::{CTF_EXCHANGE, NEG_RISK_EXCHANGE};
use crate::simulator::state::exchange::Exchange;

/// Decoded parameters. A name in camelCase is the same as the name in snake_case.
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the parameters of a request.
    pub fn of(request: &Request) -> Self {
        let snake_case = |name: String| {
            let mut snake = String::with_capacity(name.len() + 4);
            for letter in name.chars() {
                if letter.is_ascii_uppercase() {
                    snake.push('_');
                }
                snake.push(letter.to_ascii_lowercase());
            }
            match snake.as_str() {
                "condition_id" => "condition".to_owned(),
                _ => snake,
            }
        };
        Self(request.pairs().into_iter().map(|(name, value)| (snake_case(name), value)).collect())
    }

    /// Returns the value of a parameter; `None` also when it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns a time in whole seconds; 0 when the parameter is missing.
    ///
    /// # Errors
    /// A response with status 400 when it is not a whole number.
    pub fn seconds(&self, name: &str) -> Result<i64, Response> {
        let bad = |_| {
            let message = format!("Failed to deserialize query string: {name}: invalid digit found in string");
            Response::data_error(400, &message, Some(name))
        };
        self.text(name).map_or(Ok(0), |text| text.parse().map_err(bad))
    }

    /// Returns a flag; `default` when the parameter is missing.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.text(name).map_or(default, |text| text == "true")
    }

    /// Returns a fraction; `default` when the parameter is missing or not a number.
    pub fn float(&self, name: &str, default: f64) -> f64 {
        self.text(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(default)
    }

    /// Returns the required `user`.
    ///
    /// # Errors
    /// A response with status 400 when it is missing, not a wallet, or a contract of the exchange.
    pub fn wallet(&self) -> Result<Wallet, Response> {
        let text = self.text("user").ok_or_else(|| {
            Response::data_error(400, "Failed to deserialize query string: missing field `user`", Some("user"))
        })?;
        let wallet = Wallet::parse(text)
            .map_err(|_| Response::data_error(400, &format!("user: invalid address {text}"), Some("user")))?;
        if [CTF_EXCHANGE, NEG_RISK_EXCHANGE].contains(&wallet.as_str()) {
            return Err(Response::data_error(400, "user is a protocol contract", Some("user")));
        }
        Ok(wallet)
    }

    /// Returns the page size: 1 to 1000, by default 100.
    ///
    /// # Errors
    /// A response with status 400 when it is not a number from 0 to 1000.
    pub fn limit(&self) -> Result<usize, Response> {
        let Some(text) = self.text("limit") else { return Ok(100) };
        match text.parse::<usize>() {
            Ok(limit) if limit <= 1000 => Ok(limit.max(1)),
            _ => Err(Response::data_error(
                400,
                "Failed to deserialize query string: limit: limit must be between 0 and 1000",
                None,
            )),
        }
    }

    /// Returns the markets that the request names, by condition (at most 20) or by event; `None` when it names none. A
    /// request may not name both.
    ///
    /// # Errors
    /// A response with status 400 when it names both, more than 20 conditions, or an invalid one.
    pub fn conditions(&self, exchange: &Exchange) -> Result<Option<Vec<MarketId>>, Response> {
        match (self.text("condition"), self.text("event_id")) {
            (Some(_), Some(_)) => Err(Response::data_error(400, "condition and event_id exclude each other", None)),
            (Some(text), None) => {
                let ids: Result<Vec<MarketId>, _> = text.split(',').map(MarketId::parse).collect();
                match ids {
                    Ok(ids) if ids.len() <= 20 => Ok(Some(ids)),
                    Ok(_) => Err(Response::data_error(400, "condition: at most 20 values", Some("condition"))),
                    Err(error) => Err(Response::data_error(400, &error.to_string(), Some("condition"))),
                }
            }
            (None, Some(text)) => {
                let events: Vec<&str> = text.split(',').collect();
                let of_events = exchange.markets().filter(|market| events.contains(&market.event.id.as_str()));
                Ok(Some(of_events.map(|market| market.id().clone()).collect()))
            }
            (None, None) => Ok(None),
        }
    }
}
