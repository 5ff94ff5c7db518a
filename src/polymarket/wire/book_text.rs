//! Parses the JSON text of a book into an [`OrderBook`], fast enough for a decision.
//!
//! There are two readers. `quick` scans the text as the CLOB sends it, byte by byte, without building a tree. `general`
//! uses serde; it reads every other text, and produces every error. A property test checks that both agree.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::book_parts::{BookParts, WireLevels};
use super::book_scan::quick;
use super::decimal_text;
use crate::domain::market::book::OrderBook;
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};

/// A book as the CLOB sent it, and the same book sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookAnswer {
    pub book: OrderBook,
    pub bids: WireLevels,
    pub asks: WireLevels,
    pub asset: Option<AssetId>,
    /// Identifies the snapshot; empty if the CLOB sent none.
    pub hash: String,
    /// The CLOB's time of the book; not documented is whether it is the time of the last change or of sending.
    pub time: Option<Timestamp>,
    pub tick: Option<PriceMicros>,
    pub min_shares: Option<ShareMicros>,
    pub last_trade_price: Option<PriceMicros>,
}

/// Parses a book's text, with the levels in any order.
///
/// # Errors
/// The reason, when the text is not a book: cut, out of range, or a side is missing.
pub fn parse_book(text: &str) -> Result<BookAnswer, String> {
    let parts = parts(text)?;
    let book = sorted(&parts)?;
    let optional = |text: &str| decimal_text::micros(text).ok();
    let price = |text: &str| optional(text).and_then(|micros| PriceMicros::new(micros).ok());
    Ok(BookAnswer {
        book,
        asset: AssetId::parse(&parts.asset_id).ok(),
        hash: parts.hash.chars().take(128).collect(),
        time: parts.timestamp.parse().ok().map(Timestamp::from_millis),
        tick: price(&parts.tick_size),
        min_shares: optional(&parts.min_order_size).map(ShareMicros).filter(|least| *least >= ShareMicros::ZERO),
        last_trade_price: price(&parts.last_trade_price),
        bids: parts.bids,
        asks: parts.asks,
    })
}

/// Returns the sorted book alone; a benchmark measures this.
///
/// # Errors
/// The same as [`parse_book`].
pub fn parse_order_book(text: &str) -> Result<OrderBook, String> {
    sorted(&parts(text)?)
}

fn parts(text: &str) -> Result<BookParts<'_>, String> {
    match quick(text) {
        Some(parts) => Ok(parts),
        None => general(text),
    }
}

fn sorted(parts: &BookParts) -> Result<OrderBook, String> {
    OrderBook::from_levels(parts.bids.iter().copied(), parts.asks.iter().copied()).map_err(|error| error.to_string())
}

/// Parses any JSON text of a book with serde.
///
/// # Errors
/// The reason, when the text is not a book.
pub(in crate::polymarket) fn general(text: &str) -> Result<BookParts<'_>, String> {
    let raw: RawBook = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(BookParts {
        bids: levels("bids", raw.bids)?,
        asks: levels("asks", raw.asks)?,
        asset_id: text_of(raw.asset_id),
        hash: text_of(raw.hash),
        timestamp: text_of(raw.timestamp),
        tick_size: text_of(raw.tick_size),
        min_order_size: text_of(raw.min_order_size),
        last_trade_price: text_of(raw.last_trade_price),
    })
}

#[derive(Deserialize)]
pub(in crate::polymarket) struct RawBook<'a> {
    // Both sides must be present; null means an empty side.
    #[serde(borrow, deserialize_with = "present")]
    bids: Option<Vec<RawLevel<'a>>>,
    #[serde(borrow, deserialize_with = "present")]
    asks: Option<Vec<RawLevel<'a>>>,
    #[serde(borrow, default)]
    asset_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    hash: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tick_size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    min_order_size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    last_trade_price: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(in crate::polymarket) struct RawLevel<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    size: &'a RawValue,
}

/// A plain `Option` field may be missing. With `deserialize_with`, serde requires the field to be present.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

fn levels(side: &str, raw: Option<Vec<RawLevel>>) -> Result<WireLevels, String> {
    let level = |raw: RawLevel| {
        let price = PriceMicros::new(micros(raw.price)?).map_err(|error| error.to_string())?;
        Ok((price, ShareMicros(micros(raw.size)?)))
    };
    raw.unwrap_or_default()
        .into_iter()
        .map(level)
        .collect::<Result<_, String>>()
        .map_err(|why| format!("{side}: {why}"))
}

fn micros(raw: &RawValue) -> Result<i64, String> {
    decimal_text::micros(unquoted(raw)).map_err(|error| error.to_string())
}

/// Returns the content of a JSON string, or the text of a number.
fn text_of(raw: Option<&RawValue>) -> Cow<'_, str> {
    raw.map_or(Cow::Borrowed(""), |raw| match serde_json::from_str::<Cow<'_, str>>(raw.get()) {
        Ok(text) => text,
        Err(_) => Cow::Borrowed(raw.get()),
    })
}

fn unquoted(raw: &RawValue) -> &str {
    let text = raw.get();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = r#"{"market":"0x7a","asset_id":"111","timestamp":"1790619014171","hash":"c0ad",
        "bids":[{"price":"0.46","size":"171"},{"price":"0.5","size":"88.18"}],
        "asks":[{"price":"0.52","size":"123.41"},{"price":"0.51","size":"251.52"}],
        "min_order_size":"5","tick_size":"0.01","neg_risk":false,"last_trade_price":"0.490"}"#;

    fn tops(book: &OrderBook) -> (i64, i64, usize, usize) {
        (book.best_bid().micros(), book.best_ask().micros(), book.bids().len(), book.asks().len())
    }

    #[test]
    fn a_book_is_parsed_best_level_first_whatever_the_order_of_its_levels() {
        let answer = parse_book(PLAIN).unwrap();
        assert_eq!(tops(&answer.book), (500_000, 510_000, 2, 2));
        assert_eq!(answer.bids[0].0.micros(), 460_000, "the order of the answer is kept too");
        assert_eq!((answer.hash.as_str(), answer.asset.unwrap().as_str()), ("c0ad", "111"));
        assert_eq!(answer.time, Some(Timestamp::from_millis(1_790_619_014_171)));
        assert_eq!((answer.tick.unwrap().micros(), answer.min_shares.unwrap().0), (10_000, 5_000_000));
        assert_eq!(answer.last_trade_price.unwrap().micros(), 490_000);
        assert!(quick(PLAIN).is_some(), "the quick reader handles the CLOB's own format");
    }

    #[test]
    fn the_general_reader_parses_other_formats_to_the_same_book() {
        for text in [
            r#"{"bids":[{"price":0.5,"size":2}],"asks":[]}"#,
            r#"{"bids":[{"size":"2.0","price":"0.5000000"}],"asks":null}"#,
            r#"{"asks":[],"bids":[{"price":"5e-1","size":"2","extra":{"deep":[1]}}],"new":{"a":"]"}}"#,
            "{ \"bids\" : [ { \"price\" : \"0.5\" , \"size\" : \"2\" } ] , \"asks\" : [ ] }",
            r#"{"bids":[{"price":"0.5","size":"1"},{"price":"0.50","size":"1"},{"price":"0.4","size":"0"}],"asks":[]}"#,
        ] {
            let answer = parse_book(text).unwrap();
            assert_eq!(tops(&answer.book), (500_000, 1_000_000, 1, 0), "{text}");
            assert_eq!(answer.book.bids()[0].shares.0, 2_000_000, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_book_is_an_error_with_a_reason() {
        for text in [
            "",
            "{}",
            "[]",
            "null",
            "<html>429</html>",
            r#"{"bids":[]}"#,
            r#"{"error":"No orderbook exists for the requested token id"}"#,
            r#"{"bids":[{"price":"1.01","size":"1"}],"asks":[]}"#,
            r#"{"bids":[{"price":"-0.01","size":"1"}],"asks":[]}"#,
            r#"{"bids":[{"price":"0.5","size":"-1"}],"asks":[]}"#,
            r#"{"bids":[{"price":"0.5","size":"99999999999999999999"}],"asks":[]}"#,
            r#"{"bids":[{"price":"half","size":"1"}],"asks":[]}"#,
            r#"{"bids":[{"price":"0.5"}],"asks":[]}"#,
            r#"{"bids":[],"asks":[]} trailing"#,
        ] {
            assert!(parse_book(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_book_cut_at_any_byte_is_an_error_and_no_panic() {
        for end in 0..PLAIN.len() {
            assert!(parse_book(&PLAIN[..end]).is_err(), "cut at {end}");
        }
    }

    fn level() -> impl Strategy<Value = String> {
        ("0(\\.[0-9]{1,8})?|1", "[0-9]{1,8}(\\.[0-9]{1,8})?")
            .prop_map(|(p, s)| format!(r#"{{"price":"{p}","size":"{s}"}}"#))
    }

    proptest! {
        #[test]
        fn the_quick_reader_agrees_with_serde(
            bids in prop::collection::vec(level(), 0..6),
            asks in prop::collection::vec(level(), 0..6),
            spaced in any::<bool>(),
        ) {
            let mut text = format!(r#"{{"asset_id":"7","bids":[{}],"hash":"ab","asks":[{}]}}"#, bids.join(","), asks.join(","));
            if spaced {
                text = text.replace(':', " : ").replace('[', "[\n ").replace(',', " ,\t");
            }
            if let Some(parts) = quick(&text) {
                prop_assert_eq!(Ok(parts), general(&text));
            }
        }

        #[test]
        fn a_broken_byte_never_makes_the_readers_disagree(at in 0..PLAIN.len(), byte in any::<u8>()) {
            let mut bytes = PLAIN.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(text) = std::str::from_utf8(&bytes) && let Some(parts) = quick(text) {
                prop_assert_eq!(Ok(parts), general(text));
            }
        }

        #[test]
        fn any_text_gives_an_answer_and_no_panic(text in "\\PC*") {
            let _ = parse_book(&text);
        }
    }
}
