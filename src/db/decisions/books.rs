//! The order book that each group was decided on, or the reason why there was none. The first write wins.

use std::collections::HashMap;

use uuid::Uuid;

use super::book_sides;
use crate::domain::market::book::{BookError, Level, OrderBook};
use crate::domain::money::ids::{AssetId, GroupId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::sql::batch::{batches, fetch_batch, fetch_batch_values};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::{RowDecoder, optional, storable};
use crate::sql::error::DbError;

/// The outcome of fetching a group's book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookOutcome {
    pub fetched_at: Timestamp,
    /// The book, or the reason why there is none, in words.
    pub book: Result<StoredBook, String>,
}

/// A book as fetched, with its levels in the order of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBook {
    pub asset: AssetId,
    pub bids: Vec<Level>,
    pub asks: Vec<Level>,
    pub hash: Option<String>,
    pub tick: Option<PriceMicros>,
    pub min_shares: Option<ShareMicros>,
    pub last_trade: Option<PriceMicros>,
}

statements! {
    NEWEST_OF_ASSET = "select group_id, asset_id, fetched_at, sides, hash, tick_micros, min_share_micros,
            last_trade_price_micros, unavailable
        from book_snapshot where asset_id = $1 and unavailable is null order by fetched_at desc limit 1";
}

batches! {
    INSERT = "insert into book_snapshot (group_id, asset_id, fetched_at, sides, hash, tick_micros,
        min_share_micros, last_trade_price_micros, unavailable) values ", 9,
        " on conflict do nothing returning group_id";
    BY_GROUP = "select group_id, asset_id, fetched_at, sides, hash, tick_micros, min_share_micros,
        last_trade_price_micros, unavailable from book_snapshot where group_id in (", 1, ")";
}

/// A stored book that is not unpacked yet, so that the caller can do it on another thread.
#[derive(Debug)]
pub struct BookText(Row);

#[derive(Debug, sqlx_macros::FromRow)]
struct Row {
    group_id: Uuid,
    asset_id: Option<String>,
    fetched_at: i64,
    sides: Option<Vec<u8>>,
    hash: Option<String>,
    tick_micros: Option<i64>,
    min_share_micros: Option<i64>,
    last_trade_price_micros: Option<i64>,
    unavailable: Option<String>,
}

impl Db {
    /// Stores the book for `group` unless one is stored already; returns the stored one (first write wins).
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn save_book(&self, group: GroupId, outcome: &BookOutcome) -> Result<BookOutcome, DbError> {
        let stored = self.save_books(&[(group, outcome.clone())]).await?.pop();
        stored.ok_or_else(|| DbError::impossible("book_snapshot", group, "group_id", "the row just written is missing"))
    }

    /// Stores the books of many groups, as [`Db::save_book`], in one transaction; returns the stored ones in the same
    /// order.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn save_books(&self, books: &[(GroupId, BookOutcome)]) -> Result<Vec<BookOutcome>, DbError> {
        let mut tx = self.begin_lazily().await?;
        let new: Vec<Uuid> = fetch_batch_values!(&mut tx, INSERT, books, |query, (group, outcome)| {
            let book = outcome.book.as_ref().ok();
            query
                .bind(group.0)
                .bind(book.map(|book| book.asset.as_str()))
                .bind(outcome.fetched_at.millis())
                .bind(book.map(|book| book_sides::pack(&book.bids, &book.asks)))
                .bind(book.and_then(|book| book.hash.as_deref()).map(storable))
                .bind(book.and_then(|book| book.tick).map(PriceMicros::micros))
                .bind(book.and_then(|book| book.min_shares).map(|shares| shares.0))
                .bind(book.and_then(|book| book.last_trade).map(PriceMicros::micros))
                .bind(outcome.book.as_ref().err().map(|reason| storable(reason)))
        })?;
        tx.commit().await?;
        if new.len() == books.len() {
            return Ok(books.iter().map(|(_, outcome)| outcome.clone()).collect());
        }
        let ids: Vec<GroupId> = books.iter().map(|(group, _)| *group).collect();
        let stored: HashMap<GroupId, BookOutcome> = self.books(&ids).await?.into_iter().collect();
        let stored_or_ours = |(group, outcome): &(GroupId, BookOutcome)| stored.get(group).unwrap_or(outcome).clone();
        Ok(books.iter().map(stored_or_ours).collect())
    }

    /// Returns the book of one group, or the reason for none; `None` if neither is stored.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn book(&self, group: GroupId) -> Result<Option<BookOutcome>, DbError> {
        Ok(self.books(&[group]).await?.pop().map(|(_, outcome)| outcome))
    }

    /// Returns the books of these groups, or the reasons for none, in no order; groups without either are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn books(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, BookOutcome)>, DbError> {
        self.book_texts(groups).await?.into_iter().map(|(group, text)| Ok((group, text.read()?))).collect()
    }

    /// Returns the books as [`Db::books`], not parsed yet.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn book_texts(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, BookText)>, DbError> {
        let rows: Vec<Row> = fetch_batch!(self, BY_GROUP, groups, |query, group| query.bind(group.0))?;
        Ok(rows.into_iter().map(|row| (GroupId(row.group_id), BookText(row))).collect())
    }

    /// Returns the newest stored book of an asset.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn newest_book(&self, asset: &AssetId) -> Result<Option<BookOutcome>, DbError> {
        let row: Option<Row> =
            on!(db self, c => sqlx::query_as(NEWEST_OF_ASSET).bind(asset.as_str()).fetch_optional(c).await)?;
        row.map(Row::into_outcome).transpose()
    }
}

impl BookText {
    /// Parses the book.
    ///
    /// # Errors
    /// `DbError::Impossible` when a stored value is invalid.
    pub fn read(self) -> Result<BookOutcome, DbError> {
        self.0.into_outcome()
    }
}

impl StoredBook {
    /// Returns the order book, with both sides sorted and in range.
    ///
    /// # Errors
    /// [`BookError`] when a level is invalid.
    pub fn ordered(&self) -> Result<OrderBook, BookError> {
        let side = |levels: &[Level]| levels.iter().map(|level| (level.price, level.shares)).collect::<Vec<_>>();
        OrderBook::from_levels(side(&self.bids), side(&self.asks))
    }
}

impl Row {
    fn into_outcome(self) -> Result<BookOutcome, DbError> {
        let decoder = RowDecoder { table: "book_snapshot", id: self.group_id };
        let book = match self.unavailable {
            Some(reason) => Err(reason),
            None => {
                let (bids, asks) = book_sides::unpack(self.sides.as_deref().unwrap_or_default())
                    .map_err(|problem| decoder.impossible("sides", problem))?;
                Ok(StoredBook {
                    asset: decoder.asset("asset_id", self.asset_id.as_deref().unwrap_or_default())?,
                    bids,
                    asks,
                    hash: self.hash,
                    tick: optional(self.tick_micros, |micros| decoder.price("tick_micros", micros))?,
                    min_shares: self.min_share_micros.map(ShareMicros),
                    last_trade: optional(self.last_trade_price_micros, |micros| {
                        decoder.price("last_trade_price_micros", micros)
                    })?,
                })
            }
        };
        Ok(BookOutcome { fetched_at: Timestamp::from_millis(self.fetched_at), book })
    }
}
