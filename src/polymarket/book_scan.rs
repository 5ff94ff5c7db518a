//! The quick reader of a book's text: one pass over its bytes, no tree, no decimal type.
//!
//! It knows the shape the CLOB sends: an object of plain strings, numbers and words, with `bids` and `asks` as arrays
//! of `{"price":"0.46","size":"171"}`. At anything else it gives up, and the general reader decides.

use std::borrow::Cow;

use super::book_text::{BookParts, WireLevels};
use crate::domain::units::{PriceMicros, ShareMicros};

/// Levels of a usual side, so that a book is read with one allocation a side.
const LEVELS_USUAL: usize = 64;

/// The parts of a book in its usual shape; `None` for every other text, broken ones included.
pub(super) fn quick(text: &str) -> Option<BookParts<'_>> {
    let mut scan = Scan { text, bytes: text.as_bytes(), at: 0 };
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
    (scan.at == scan.bytes.len() && seen.bids && seen.asks).then_some(parts)
}

#[derive(Default)]
struct Seen {
    bids: bool,
    asks: bool,
}

/// A key that comes twice is for the general reader to refuse.
fn once<'a>(place: &mut Cow<'a, str>, text: &'a str) -> Option<()> {
    if !place.is_empty() || text.is_empty() {
        return None;
    }
    *place = Cow::Borrowed(text);
    Some(())
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn spaces(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        self.spaces();
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn token(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    /// A string without escapes and control characters.
    fn string(&mut self) -> Option<&'a str> {
        self.token(b'"')?;
        let start = self.at;
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' | 0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
        let string = self.text.get(start..self.at)?;
        self.at += 1;
        Some(string)
    }

    /// A string or one of the three words; numbers have too many wrong spellings to judge here.
    fn skip_plain_value(&mut self) -> Option<()> {
        self.spaces();
        if self.bytes.get(self.at) == Some(&b'"') {
            return self.string().map(|_| ());
        }
        let rest = self.bytes.get(self.at..)?;
        let word = [b"true".as_slice(), b"false", b"null"].into_iter().find(|word| rest.starts_with(word))?;
        self.at += word.len();
        Some(())
    }

    fn levels(&mut self) -> Option<WireLevels> {
        self.token(b'[')?;
        self.spaces();
        let mut levels = WireLevels::new();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Some(levels);
        }
        levels.reserve(LEVELS_USUAL);
        loop {
            levels.push(self.level()?);
            match self.next()? {
                b',' => {}
                b']' => return Some(levels),
                _ => return None,
            }
        }
    }

    fn level(&mut self) -> Option<(PriceMicros, ShareMicros)> {
        self.word(br#"{"price":""#, b"{", b"price")?;
        let price = PriceMicros::new(self.micros()?).ok()?;
        self.word(br#","size":""#, b",", b"size")?;
        let shares = ShareMicros(self.micros()?);
        self.token(b'}')?;
        Some((price, shares))
    }

    /// Passes over `before`, the key and the opening quote of its value: in one comparison when written without
    /// spaces, as the CLOB does, else token by token.
    fn word(&mut self, compact: &[u8], before: &[u8; 1], key: &[u8]) -> Option<()> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(compact)) {
            self.at += compact.len();
            return Some(());
        }
        self.token(before[0])?;
        if self.string()?.as_bytes() != key {
            return None;
        }
        self.token(b':')?;
        self.token(b'"')
    }

    /// Digits up to the closing quote, with at most six decimals, as millionths.
    fn micros(&mut self) -> Option<i64> {
        const WHOLE_DIGITS_MAX: usize = 12;
        const SCALES: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
        let start = self.at;
        let whole = self.digits();
        let n_whole = self.at - start;
        if n_whole == 0 || n_whole > WHOLE_DIGITS_MAX {
            return None;
        }
        let micros = match *self.bytes.get(self.at)? {
            b'"' => whole * 1_000_000,
            b'.' => {
                self.at += 1;
                let point = self.at;
                let fraction = self.digits();
                let n_fraction = self.at - point;
                if n_fraction == 0 || self.bytes.get(self.at) != Some(&b'"') {
                    return None;
                }
                whole * 1_000_000 + fraction * SCALES.get(n_fraction)?
            }
            _ => return None,
        };
        self.at += 1;
        Some(micros)
    }

    /// The number that the digits from here on make; wrong, but harmless, where there are more than eighteen.
    fn digits(&mut self) -> i64 {
        let mut value: i64 = 0;
        while let Some(byte) = self.bytes.get(self.at) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            self.at += 1;
        }
        value
    }
}
