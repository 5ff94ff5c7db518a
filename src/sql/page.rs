//! Lists, newest first, paged by a key and not by an offset: a page stays the same while new rows arrive.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::domain::money::text_enum::UnknownText;
use crate::domain::money::units::Timestamp;

/// A page of a list, and the cursor of the next page; `None` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub next: Option<Cursor>,
    /// Set when matches were so rare that the search stopped at this time, with fewer rows than the limit. The page of
    /// `next` continues the search.
    pub looked_back_to: Option<Timestamp>,
}

/// How many rows a list with rare matches searches: few at first, which is enough for most filters, then as many as an
/// index returns well within a tenth of a second.
pub(crate) const LOOKS: [i64; 2] = [2_000, 30_000];

/// The position of a page's last row; the next page starts right after it. Its text is opaque to visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub at: Timestamp,
    pub id: Uuid,
}

impl Cursor {
    /// Returns the cursor of a list's first page: the newest row at or before `at`, or the newest of all for `None`.
    pub(crate) fn start(at: Option<Timestamp>) -> Self {
        Self { at: at.unwrap_or(Timestamp::from_millis(i64::MAX)), id: Uuid::max() }
    }
}

impl From<(i64, Uuid)> for Cursor {
    fn from((at, id): (i64, Uuid)) -> Self {
        Self { at: Timestamp::from_millis(at), id }
    }
}

impl<T> Page<T> {
    /// Makes a page of at most `limit` rows. The caller fetched one row more, so that we know whether there is a next
    /// page.
    pub(crate) fn cut(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> Cursor) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(cursor);
        Self { rows, next, looked_back_to: None }
    }

    /// Makes a page like [`Page::cut`], of rows that were searched back to `floor` only.
    pub(crate) fn cut_at(rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> Cursor, floor: Timestamp) -> Self {
        let page = Self::cut(rows, limit, cursor);
        if page.next.is_some() {
            return page;
        }
        // The search covered the whole millisecond of the floor.
        let next = Some(Cursor { at: floor, id: Uuid::nil() });
        Self { next, looked_back_to: Some(floor), ..page }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.millis(), self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = UnknownText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownText { kind: "Cursor", text: text.chars().take(80).collect() };
        let (at, id) = text.rsplit_once('-').ok_or_else(unknown)?;
        let at = Timestamp::from_millis(at.parse().map_err(|_| unknown())?);
        Ok(Self { at, id: id.parse().map_err(|_| unknown())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_address_bar() {
        for at in [-5, 0, 1_768_478_400_123] {
            let cursor = Cursor { at: Timestamp::from_millis(at), id: Uuid::from_u128(7) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert!("".parse::<Cursor>().is_err());
        assert!("12-".parse::<Cursor>().is_err());
        assert!("nonsense".parse::<Cursor>().is_err());
    }

    #[test]
    fn the_last_page_has_no_next() {
        let cursor = |n: &u32| Cursor { at: Timestamp::from_millis(i64::from(*n)), id: Uuid::nil() };
        let page = Page::cut(vec![5, 4, 3], 2, cursor);
        assert_eq!((page.rows, page.next.map(|next| next.at.millis())), (vec![5, 4], Some(4)));
        assert_eq!(Page::cut(vec![5, 4], 2, cursor).next, None);
    }

    #[test]
    fn a_search_that_stopped_early_continues_after_the_rows_it_covered() {
        let cursor = |n: &u32| Cursor { at: Timestamp::from_millis(i64::from(*n)), id: Uuid::max() };
        let floor = Timestamp::from_millis(3);
        let full = Page::cut_at(vec![6, 5, 4], 2, cursor, floor);
        assert_eq!((full.next.map(|next| next.at.millis()), full.looked_back_to), (Some(5), None));
        let short = Page::cut_at(vec![5, 4], 2, cursor, floor);
        assert_eq!((short.next, short.looked_back_to), (Some(Cursor { at: floor, id: Uuid::nil() }), Some(floor)));
    }
}
