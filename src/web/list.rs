//! What lists share: `{data, next_cursor}`, and the two words of a query that every list knows.

use serde::Serialize;

use super::error::WebError;
use crate::{db::Cursor, domain::ids::MarketId};

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;

/// One page of a list, newest first.
#[derive(Debug, Serialize)]
pub struct List<T> {
    pub data: Vec<T>,
    /// Ask again with `cursor` set to this for what is older; null at the end.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    pub fn new(data: Vec<T>, next: Option<Cursor>) -> Self {
        Self { data, next_cursor: next.map(|cursor| cursor.to_string()) }
    }
}

/// How many rows to answer with; what is out of bounds is brought within.
pub fn limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)
}

/// # Errors
/// `WebError::Mistake` for a cursor that no list gave.
pub fn cursor(text: Option<&str>) -> Result<Option<Cursor>, WebError> {
    let read = text.map(str::parse).transpose();
    read.map_err(|_| WebError::Mistake("`cursor` is not one that a list gave".to_owned()))
}

/// # Errors
/// `WebError::Mistake` for text that is no condition id.
pub fn market(text: Option<&str>) -> Result<Option<MarketId>, WebError> {
    text.map(MarketId::parse).transpose().map_err(|error| WebError::Mistake(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_stays_within_bounds_and_a_foreign_cursor_is_the_visitors_mistake() {
        assert_eq!((limit(None), limit(Some(0)), limit(Some(7)), limit(Some(9999))), (50, 1, 7, 200));
        assert!(matches!(cursor(None), Ok(None)));
        assert!(matches!(cursor(Some("nonsense")), Err(WebError::Mistake(_))));
    }
}
