//! Parses a page of `/v2/activity` row by row: a row that cannot be parsed is set aside with its text, and the other rows
//! are used (venue 1.2).
//!
//! Rows change after they first appear (names, slugs, outcome indexes): only fields that never change are read here.

use std::borrow::Cow;

use bytestring::ByteString;
use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal_text::{NumberError, decimal_of};
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, IdError, MarketId, Wallet};
use crate::domain::money::units::Timestamp;

/// Recorded cursors have 150 to 300 bytes. Ours are kept until the last page, and are a part of a URL.
const CURSOR_BYTES_MAX: usize = 4_096;
/// Seconds of the year 2100: no block has a later time.
const SECONDS_MAX: i64 = 4_102_444_800;

/// A page: rows in the feed's order, good and bad, and the cursor of the next page.
#[derive(Debug, Clone)]
pub struct ActivityPage {
    pub rows: Vec<Result<WireRow, BadRow>>,
    /// `None` on the last page.
    pub next_cursor: Option<String>,
}

/// A row that could not be parsed: it becomes a dead letter, one per distinct text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    pub text: String,
    pub reason: String,
}

/// The fields of a row that never change, as types. Empty texts are `None`. Numbers are decimals rounded to six places, but
/// the price is as printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireRow {
    pub wallet: Option<Wallet>,
    pub time: Timestamp,
    /// The API's type: TRADE, MERGE, REWARD, or an unknown one.
    pub kind: String,
    pub condition: Option<MarketId>,
    pub token: Option<AssetId>,
    pub side: Option<Side>,
    /// The API's text of the side: BUY, SELL, or IN and OUT of a tip.
    pub side_text: String,
    pub size: Option<Decimal>,
    pub usdc_size: Option<Decimal>,
    pub price: Option<Decimal>,
    pub tx_hash: String,
    /// A row about a combo, of any kind, known by its ids: it is stored, and left out of books and copies (spec 3.1).
    pub is_combo: bool,
    /// The row's JSON text, a part of the answer that is not copied.
    pub text: ByteString,
}

/// Why a row cannot be parsed.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("not a row: {0}")]
    Shape(#[from] serde_json::Error),
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("{field}: {problem}")]
    Number { field: &'static str, problem: NumberError },
    #[error("`{0}` is not a block time")]
    Time(Decimal),
    #[error("`{0}` is not a transaction hash")]
    TxHash(String),
    #[error("`{0}` is not a kind of row")]
    Kind(String),
    #[error("`{0}` is not a side")]
    Side(String),
    #[error("{0} row without {1}")]
    Missing(String, &'static str),
    #[error("{field} of `{value}` is out of range")]
    OutOfRange { field: &'static str, value: Decimal },
}

/// Parses a page.
///
/// # Errors
/// When the text is not a page: cut, empty, HTML, or a page that announces more rows without a cursor.
pub fn parse_page(text: impl Into<ByteString>) -> Result<ActivityPage, String> {
    let text = text.into();
    let page: Envelope = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let next_cursor = page.pagination.next()?;
    let rows = page.data.iter().map(|row| WireRow::parse_part(text.slice_ref(row.get()))).collect();
    Ok(ActivityPage { rows, next_cursor })
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    pagination: Pagination,
}

/// The end of every list of the Data API (venue 1.1).
#[derive(Deserialize, Default, Debug)]
pub(in crate::polymarket) struct Pagination {
    #[serde(default)]
    has_more: Option<bool>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Pagination {
    /// Returns the next page's cursor.
    ///
    /// # Errors
    /// When the page says `has_more` but has no cursor: the window would end early.
    pub(in crate::polymarket) fn next(self) -> Result<Option<String>, String> {
        let cursor = self.next_cursor.filter(|cursor| !cursor.is_empty());
        if let Some(long) = cursor.as_ref().filter(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
            return Err(format!("the next cursor has {} bytes, it should have at most {CURSOR_BYTES_MAX}", long.len()));
        }
        match (self.has_more, cursor) {
            (Some(true), None) => Err("the page has more rows but no cursor".to_owned()),
            (Some(false), _) => Ok(None),
            (_, cursor) => Ok(cursor),
        }
    }
}

/// The fields of a row that we read; the other fields may appear, disappear or change their type.
#[derive(Deserialize)]
pub(in crate::polymarket) struct RawRow<'a> {
    #[serde(borrow, default)]
    proxy_wallet: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: &'a RawValue,
    #[serde(borrow, default)]
    condition_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usdc_size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    price: Option<&'a RawValue>,
    #[serde(borrow, default)]
    token_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    side: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    transaction_hash: Option<Cow<'a, str>>,
}

impl WireRow {
    /// Parses one row.
    ///
    /// # Errors
    /// [`BadRow`] with the row's text and the reason.
    pub fn parse(text: &str) -> Result<Self, BadRow> {
        Self::parse_part(text.into())
    }

    fn parse_part(text: ByteString) -> Result<Self, BadRow> {
        Self::read(&text).map_err(|error| BadRow { text: text.to_string(), reason: error.to_string() })
    }

    fn read(text: &ByteString) -> Result<Self, RowError> {
        let raw: RawRow = serde_json::from_str(text)?;
        let kind = raw.kind.as_deref().unwrap_or_default();
        let side_text = filled(&raw.side).unwrap_or_default();
        if kind.is_empty() || !is_a_word(kind) {
            return Err(RowError::Kind(kind.chars().take(100).collect()));
        }
        if !is_a_word(side_text) {
            return Err(RowError::Side(side_text.chars().take(100).collect()));
        }
        let condition = filled(&raw.condition_id).map(MarketId::parse).transpose()?;
        let token = filled(&raw.token_id).map(AssetId::parse).transpose()?;
        Ok(Self {
            wallet: filled(&raw.proxy_wallet).map(Wallet::parse).transpose()?,
            time: block_time(raw.timestamp)?,
            // The flag of that name proves nothing, and some kinds lack it.
            is_combo: condition.as_ref().is_some_and(MarketId::is_combo)
                || token.as_ref().is_some_and(AssetId::is_combo),
            condition,
            token,
            side: side_text.parse().ok(),
            side_text: side_text.to_owned(),
            size: figure("size", raw.size)?.map(six_decimals),
            usdc_size: figure("usdc_size", raw.usdc_size)?.map(six_decimals),
            price: figure("price", raw.price)?,
            tx_hash: tx_hash(filled(&raw.transaction_hash).unwrap_or_default())?,
            kind: kind.to_owned(),
            text: text.clone(),
        })
    }
}

/// Kinds and sides are part of an event's id, whose parts are separated by colons.
fn is_a_word(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn filled<'a>(text: &'a Option<Cow<'_, str>>) -> Option<&'a str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn figure(field: &'static str, raw: Option<&RawValue>) -> Result<Option<Decimal>, RowError> {
    raw.map_or(Ok(None), |raw| decimal_of(raw).map_err(|problem| RowError::Number { field, problem }))
}

/// Rounds off the errors of floats, such as 2538.2661200000002; the chain counts in millionths.
fn six_decimals(value: Decimal) -> Decimal {
    value.round_dp_with_strategy(6, RoundingStrategy::MidpointAwayFromZero)
}

fn block_time(raw: &RawValue) -> Result<Timestamp, RowError> {
    let seconds = figure("timestamp", Some(raw))?.unwrap_or_default();
    seconds
        .to_i64()
        .filter(|&whole| (1..=SECONDS_MAX).contains(&whole) && Decimal::from(whole) == seconds)
        .and_then(|whole| Timestamp::from_seconds(whole).ok())
        .ok_or(RowError::Time(seconds))
}

/// Returns the hash in lower case; empty for rows without a transaction.
fn tx_hash(text: &str) -> Result<String, RowError> {
    let hex = text.strip_prefix("0x").unwrap_or(text);
    if hex.len() <= 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(RowError::TxHash(text.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"data":[
        {"proxy_wallet":"0xC2ad03f79ca3f3c17d8c7de2612ce0c89b7d40ed","timestamp":1790620238,"type":"TRADE","size":5.0,
         "condition_id":"0x70cd1632e0469a457fa385f00f241911493a293faeb22ec0a0fe023d661b3d8b","usdc_size":1.67616,
         "transaction_hash":"0xA4","price":0.32,"token_id":"84","side":"BUY","outcome_index":999,"new_field":{"a":[1]}},
        {"timestamp":"soon","type":"TRADE"},
        17
    ],"pagination":{"limit":3,"offset":0,"has_more":true,"next_cursor":"abc"}}"#;

    #[test]
    fn a_bad_row_is_set_aside_and_the_other_rows_of_the_page_are_used() {
        let page = parse_page(PAGE).unwrap();
        assert_eq!(page.next_cursor.as_deref(), Some("abc"));
        let [Ok(good), Err(bad), Err(no_row)] = page.rows.as_slice() else { panic!("{:?}", page.rows) };
        assert_eq!(good.wallet.as_ref().unwrap().as_str(), "0xc2ad03f79ca3f3c17d8c7de2612ce0c89b7d40ed");
        assert_eq!((good.side, good.tx_hash.as_str()), (Some(Side::Buy), "0xa4"));
        assert_eq!(bad.text, r#"{"timestamp":"soon","type":"TRADE"}"#);
        assert!(bad.reason.contains("timestamp"), "{}", bad.reason);
        assert_eq!(no_row.text, "17");
    }

    #[test]
    fn the_text_of_a_row_is_a_part_of_the_answer_and_no_copy() {
        let answer = ByteString::from(PAGE);
        let page = parse_page(answer.clone()).unwrap();
        let Ok(row) = &page.rows[0] else { panic!("{:?}", page.rows) };
        let begin = row.text.as_bytes().as_ptr().addr() - answer.as_bytes().as_ptr().addr();
        assert_eq!(answer.get(begin..begin + row.text.len()), Some(&*row.text));
    }

    #[test]
    fn a_page_with_more_rows_and_no_cursor_is_an_error() {
        let page =
            |tail: &str| parse_page(format!(r#"{{"data":[],"pagination":{tail}}}"#)).map(|page| page.next_cursor);
        assert!(page(r#"{"has_more":true,"next_cursor":null}"#).is_err());
        assert!(page(r#"{"has_more":true}"#).is_err());
        assert_eq!(page(r#"{"has_more":false,"next_cursor":null}"#), Ok(None));
        assert_eq!(page(r#"{"has_more":true,"next_cursor":"x"}"#), Ok(Some("x".to_owned())));
        let long = format!(r#"{{"has_more":true,"next_cursor":"{}"}}"#, "x".repeat(CURSOR_BYTES_MAX + 1));
        assert!(page(&long).unwrap_err().contains("4097 bytes"), "a cursor is a part of the next URL");
        assert!(parse_page(r#"{"pagination":{}}"#).is_err(), "a page without data is not an empty page");
    }
}
