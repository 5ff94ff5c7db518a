//! The parts of a book's text, which both readers of a book return: `book_scan` and `book_text`.

use std::borrow::Cow;

use crate::domain::money::units::{PriceMicros, ShareMicros};

/// One side of a book, in the order of the answer.
pub type WireLevels = Vec<(PriceMicros, ShareMicros)>;

/// The parts of a book's text, with the levels not yet sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::polymarket) struct BookParts<'a> {
    pub bids: WireLevels,
    pub asks: WireLevels,
    pub asset_id: Cow<'a, str>,
    pub hash: Cow<'a, str>,
    pub timestamp: Cow<'a, str>,
    pub tick_size: Cow<'a, str>,
    pub min_order_size: Cow<'a, str>,
    pub last_trade_price: Cow<'a, str>,
}
