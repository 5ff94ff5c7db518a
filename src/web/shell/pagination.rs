//! Pagination and filters of lists: `{data, next_cursor}`, and the parsers of query parameters.
//!
//! A blank parameter counts as absent, because a form sends an empty field that way.

use std::str::FromStr;

use serde::Serialize;

use crate::db::{Cursor, Db, DbError, Page};
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::web::server::error::WebError;
use crate::web::server::format::path_segment;

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;
/// The most markets to choose from when a text matches several.
const CANDIDATES: i64 = 12;

/// One page of a list, newest first.
#[derive(Debug, Serialize)]
pub struct List<T> {
    /// The rows.
    pub data: Vec<T>,
    /// The `cursor` of the next, older page; null at the end.
    pub next_cursor: Option<String>,
    /// Set when matches are so rare that the search stopped at this time; `next_cursor` continues it further back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_back_to: Option<Timestamp>,
}

/// The result of a search for a market by the text of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarketSearch {
    /// No text was given.
    Any,
    One(MarketId),
    /// The text matches several markets. These are some of them.
    Several(Vec<MarketId>),
    None,
}

impl<T> List<T> {
    /// Creates a list from the views of the rows of `page`.
    pub fn new<R>(data: Vec<T>, page: &Page<R>) -> Self {
        Self { data, next_cursor: page.next.map(|cursor| cursor.to_string()), looked_back_to: page.looked_back_to }
    }
}

impl MarketSearch {
    /// Finds the market whose id, question or slug is `text`, or else those with `text` in their question or slug.
    ///
    /// # Errors
    /// [`DbError`] when the database does not answer.
    pub async fn read(db: &Db, text: Option<&str>) -> Result<Self, DbError> {
        let Some(text) = given(text) else { return Ok(Self::Any) };
        if let Ok(id) = MarketId::parse(text) {
            return Ok(Self::One(id));
        }
        let mut found = db.markets_named(text, CANDIDATES).await?;
        if found.is_empty() {
            found = db.search_markets(text, CANDIDATES).await?;
        }
        Ok(match found.len() {
            0 => Self::None,
            1 => found.pop().map_or(Self::None, Self::One),
            _ => Self::Several(found),
        })
    }

    /// Returns the one market of the search; `None` without a text. For callers that cannot offer a choice.
    ///
    /// # Errors
    /// [`WebError::Mistake`] when `text` does not match exactly one market.
    pub fn one(self, text: Option<&str>) -> Result<Option<MarketId>, WebError> {
        let text: String = text.unwrap_or_default().chars().take(100).collect();
        match self {
            Self::Any => Ok(None),
            Self::One(id) => Ok(Some(id)),
            Self::Several(_) => Err(WebError::Mistake(format!("`market`: `{text}` fits several markets, give its id"))),
            Self::None => Err(WebError::Mistake(format!(
                "`market`: `{text}` is not a condition id, nor is it in the name of a market we know"
            ))),
        }
    }
}

/// Returns the trimmed text, if it is not blank.
pub fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// Parses how many rows to answer with. A number out of bounds is brought within 1 to 200.
///
/// # Errors
/// [`WebError::Mistake`] for a text that is not a number.
pub fn limit(text: Option<&str>) -> Result<usize, WebError> {
    let Some(text) = given(text) else { return Ok(LIMIT) };
    let asked: usize = text.parse().map_err(|_| mistake("limit", text, "is not a number"))?;
    Ok(asked.clamp(1, LIMIT_MAX))
}

/// Parses a cursor that a list returned as `next_cursor`.
///
/// # Errors
/// [`WebError::Mistake`] for any other text.
pub fn cursor(text: Option<&str>) -> Result<Option<Cursor>, WebError> {
    let read = given(text).map(str::parse).transpose();
    read.map_err(|_| WebError::Mistake("`cursor` is not one that a list gave".to_owned()))
}

/// Parses the id of a followed user.
///
/// # Errors
/// [`WebError::Mistake`] for a text that is not a number.
pub fn user(text: Option<&str>) -> Result<Option<FollowedUserId>, WebError> {
    let Some(text) = given(text) else { return Ok(None) };
    let id = text.parse().map_err(|_| mistake("user", text, "is not the number of a followed user"))?;
    Ok(Some(FollowedUserId(id)))
}

/// Parses one of the words of the enum `T`.
///
/// # Errors
/// [`WebError::Mistake`] for any other word.
pub fn word<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, WebError> {
    let Some(text) = given(text) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| mistake(name, text, "is not one of its words"))
}

/// Parses an ISO 8601 time. Without a zone it is UTC; without a time it is the start of the day.
///
/// # Errors
/// [`WebError::Mistake`] for any other text.
pub fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, WebError> {
    let Some(text) = given(text) else { return Ok(None) };
    let spellings = [text.to_owned(), format!("{text}Z"), format!("{text}:00Z"), format!("{text}T00:00:00Z")];
    let read = spellings.iter().find_map(|spelling| Timestamp::parse_iso(spelling).ok());
    read.map(Some).ok_or_else(|| mistake(name, text, "is not an ISO 8601 time"))
}

fn mistake(name: &str, text: &str, problem: &str) -> WebError {
    let text: String = text.chars().take(100).collect();
    WebError::Mistake(format!("`{name}`: `{text}` {problem}"))
}

/// Returns the address `path?name=value&..` of the parameters that are not blank.
pub fn address(path: &str, words: &[(&str, Option<&str>)]) -> String {
    let pairs = words.iter().filter_map(|(name, value)| Some(format!("{name}={}", path_segment(given(*value)?))));
    let query = pairs.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::events::event::Side;

    #[test]
    fn a_limit_stays_within_bounds_and_a_foreign_cursor_is_the_visitors_mistake() {
        let limits = [None, Some(""), Some("0"), Some("7"), Some("9999")].map(|text| limit(text).unwrap());
        assert_eq!(limits, [50, 50, 1, 7, 200]);
        assert!(matches!(limit(Some("many")), Err(WebError::Mistake(_))));
        assert!(matches!(cursor(None), Ok(None)));
        assert!(matches!(cursor(Some("nonsense")), Err(WebError::Mistake(_))));
    }

    #[test]
    fn a_time_is_utc_and_may_be_as_short_as_a_form_sends_it() {
        let check = |text: &str, iso: &str| {
            assert_eq!(time("from", Some(text)).unwrap().map(Timestamp::iso).as_deref(), Some(iso), "{text}");
        };
        check("2026-01-15T12:34", "2026-01-15T12:34:00.000Z");
        check("2026-01-15T12:34:56", "2026-01-15T12:34:56.000Z");
        check("2026-01-15T12:34:56.789Z", "2026-01-15T12:34:56.789Z");
        check("2026-01-15", "2026-01-15T00:00:00.000Z");
        assert_eq!(time("from", Some(" ")).unwrap(), None);
        assert_eq!(time("from", Some("noon")).unwrap_err().to_string(), "`from`: `noon` is not an ISO 8601 time");
    }

    #[test]
    fn a_wrong_word_is_named_with_its_field() {
        assert_eq!(word::<Side>("side", Some("BUY")).unwrap(), Some(Side::Buy));
        assert_eq!(word::<Side>("side", Some("")).unwrap(), None);
        assert_eq!(word::<Side>("side", Some("buy")).unwrap_err().to_string(), "`side`: `buy` is not one of its words");
    }

    #[test]
    fn an_address_holds_any_text_and_nothing_blank() {
        assert_eq!(address("/trades", &[("user", None), ("side", Some(""))]), "/trades");
        assert_eq!(
            address("/trades", &[("market", Some("a&b=c #")), ("tab", Some("x"))]),
            "/trades?market=a%26b%3Dc%20%23&tab=x"
        );
    }
}
