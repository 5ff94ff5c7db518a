//! The quick reader of a book's text: one pass over the bytes, without a tree and without decimals.
//!
//! It knows the format that the CLOB sends: an object of plain strings, numbers and words, in which `bids` and `asks` are
//! arrays of `{"price":"0.46","size":"171"}`. For any other text it returns `None`, and the general reader decides.

use std::borrow::Cow;

use super::book_parts::{BookParts, WireLevels};
use crate::domain::money::units::{PriceMicros, ShareMicros};

/// Capacity for a usual side, so that a side needs one allocation.
const LEVELS_USUAL: usize = 64;

/// Returns the parts of a book in its usual format; `None` for every other text, broken ones included.
pub(in crate::polymarket) fn quick(text: &str) -> Option<BookParts<'_>> {
    let mut scan = Scan { text, rest: text.as_bytes() };
    let mut parts = BookParts::default();
    let mut seen = Seen::default();
    scan.token(b'{')?;
    loop {
        let key = scan.string()?;
        scan.token(b':')?;
        match key {
            "bids" if !seen.bids => {
                parts.bids = scan.levels()?;
                seen.bids = true;
            }
            "asks" if !seen.asks => {
                parts.asks = scan.levels()?;
                seen.asks = true;
            }
            "bids" | "asks" => return None,
            "asset_id" => once(&mut parts.asset_id, scan.string()?)?,
            "hash" => once(&mut parts.hash, scan.string()?)?,
            "timestamp" => once(&mut parts.timestamp, scan.string()?)?,
            "tick_size" => once(&mut parts.tick_size, scan.string()?)?,
            "min_order_size" => once(&mut parts.min_order_size, scan.string()?)?,
            "last_trade_price" => once(&mut parts.last_trade_price, scan.string()?)?,
            _ => scan.skip_plain_value()?,
        }
        match scan.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scan.spaces();
    (scan.rest.is_empty() && seen.bids && seen.asks).then_some(parts)
}

#[derive(Default)]
struct Seen {
    bids: bool,
    asks: bool,
}

/// Stores a text. A repeated key returns `None`, because the general reader has to refuse it.
fn once<'a>(place: &mut Cow<'a, str>, text: &'a str) -> Option<()> {
    if !place.is_empty() || text.is_empty() {
        return None;
    }
    *place = Cow::Borrowed(text);
    Some(())
}

struct Scan<'a> {
    text: &'a str,
    /// The bytes left to read.
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn spaces(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Returns the next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        self.spaces();
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn token(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    /// Reads a string without escapes and control characters.
    fn string(&mut self) -> Option<&'a str> {
        self.token(b'"')?;
        let length = plain_length(self.rest)?;
        let start = self.text.len() - self.rest.len();
        self.rest = self.rest.get(length + 1..)?;
        self.text.get(start..start + length)
    }

    /// Skips a string or one of the three words. It does not skip numbers: they have too many invalid spellings to check here.
    fn skip_plain_value(&mut self) -> Option<()> {
        self.spaces();
        if self.rest.first() == Some(&b'"') {
            return self.string().map(|_| ());
        }
        let words = [b"true".as_slice(), b"false", b"null"];
        self.rest = words.into_iter().find_map(|word| self.rest.strip_prefix(word))?;
        Some(())
    }

    fn levels(&mut self) -> Option<WireLevels> {
        self.token(b'[')?;
        self.spaces();
        if let [b']', rest @ ..] = self.rest {
            self.rest = rest;
            return Some(WireLevels::new());
        }
        let mut levels = WireLevels::with_capacity(LEVELS_USUAL);
        loop {
            let (price, size) = match compact_level(self.rest) {
                Some((price, size, rest)) => {
                    self.rest = rest;
                    (price, size)
                }
                None => self.spaced_level()?,
            };
            levels.push((PriceMicros::new(price).ok()?, ShareMicros(size)));
            match self.next()? {
                b',' => {}
                b']' => return Some(levels),
                _ => return None,
            }
        }
    }

    /// Reads a level with white space between its parts.
    fn spaced_level(&mut self) -> Option<(i64, i64)> {
        self.token(b'{')?;
        let price = self.spaced_figure("price")?;
        self.token(b',')?;
        let size = self.spaced_figure("size")?;
        self.token(b'}')?;
        Some((price, size))
    }

    fn spaced_figure(&mut self, key: &str) -> Option<i64> {
        if self.string()? != key {
            return None;
        }
        self.token(b':')?;
        self.token(b'"')?;
        let (micros, rest) = figure(self.rest)?;
        self.rest = rest;
        Some(micros)
    }
}

/// Reads a level without white space, as the CLOB writes it, and returns the bytes after it.
#[inline]
fn compact_level(rest: &[u8]) -> Option<(i64, i64, &[u8])> {
    let (price, rest) = figure(rest.strip_prefix(br#"{"price":""#)?)?;
    let (size, rest) = figure(rest.strip_prefix(br#","size":""#)?)?;
    Some((price, size, rest.strip_prefix(b"}")?))
}

/// Reads digits up to a closing quote, with at most six decimals, as millionths, and returns the bytes after the quote.
#[inline]
fn figure(rest: &[u8]) -> Option<(i64, &[u8])> {
    const WHOLE_DIGITS_MAX: usize = 12;
    const SCALES: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    let (whole, n_whole) = digits(0, rest);
    if n_whole == 0 || n_whole > WHOLE_DIGITS_MAX {
        return None;
    }
    match rest.get(n_whole..)? {
        [b'"', rest @ ..] => Some((whole * 1_000_000, rest)),
        [b'.', fraction @ ..] => {
            let (all, n_fraction) = digits(whole, fraction);
            let scale = *SCALES.get(n_fraction)?;
            let after = fraction.get(n_fraction..)?.strip_prefix(b"\"")?;
            (n_fraction > 0).then_some((all * scale, after))
        }
        _ => None,
    }
}

/// Appends the leading digits of `rest` to `value`, and returns it with their number. With too many digits the value
/// is wrong; the caller then ignores it.
#[inline]
fn digits(mut value: i64, rest: &[u8]) -> (i64, usize) {
    for (n, byte) in rest.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (value, n);
        }
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    (value, rest.len())
}

/// Returns the position of the closing quote; `None` if an escape or a control character comes first.
///
/// Ids and hashes are half of a short book, so this checks eight bytes at a time.
fn plain_length(rest: &[u8]) -> Option<usize> {
    let (words, _) = rest.as_chunks::<8>();
    let whole_words = words.iter().take_while(|word| is_plain(u64::from_le_bytes(**word))).count();
    let passed = whole_words * 8;
    let left = rest.get(passed..)?;
    let special = left.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\')?;
    (left.get(special) == Some(&b'"')).then_some(passed + special)
}

/// Returns whether none of the eight bytes is a quote, a backslash or a control character.
fn is_plain(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // A byte below `limit` borrows into its high bit, unless that bit was set. A byte above a borrowing one may borrow
    // wrongly; then the word is only checked byte by byte.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\')) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::polymarket::wire::decimal_text::plain_micros;

    proptest! {
        #[test]
        fn a_figure_is_parsed_as_the_general_reader_parses_it(text in "[0-9.\"]{0,16}") {
            let end = text.find('"');
            let careful = end.and_then(|end| Some((plain_micros(&text.as_bytes()[..end])?, &text.as_bytes()[end + 1..])));
            if let Some(quick) = figure(text.as_bytes()) {
                prop_assert_eq!(Some(quick), careful);
            }
        }

        #[test]
        fn a_plain_string_ends_at_its_quote(text in "[a-z\"\\\\\n\u{e9}]{0,24}") {
            let special = text.find(['"', '\\', '\n']);
            let expected = special.filter(|&at| text.as_bytes()[at] == b'"');
            prop_assert_eq!(plain_length(text.as_bytes()), expected);
        }
    }
}
