//! The book that each group was decided on, or why there was none. The first answer stands.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::market::book::{BookError, Level, OrderBook};
use crate::domain::money::ids::{AssetId, GroupId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::sql::connection::{Batch, Db, batches, on, statements};
use crate::sql::decode::{RowDecoder, json_text, optional, storable};
use crate::sql::error::DbError;

/// What asking for a group's book gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookOutcome {
    pub fetched_at: Timestamp,
    /// The book, or in words why there is none.
    pub book: Result<StoredBook, String>,
}

/// A book as it was fetched: levels in the order they came.
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
    NEWEST_OF_ASSET = "select group_id, asset_id, fetched_at, bids_json, asks_json, hash, tick_micros, min_share_micros,
            last_trade_price_micros, unavailable
        from book_snapshot where asset_id = $1 and unavailable is null order by fetched_at desc limit 1";
}

batches! {
    INSERT = "insert into book_snapshot (group_id, asset_id, fetched_at, bids_json, asks_json, hash, tick_micros,
        min_share_micros, last_trade_price_micros, unavailable) values ", 10,
        " on conflict do nothing returning group_id";
    BY_GROUP = "select group_id, asset_id, fetched_at, bids_json, asks_json, hash, tick_micros, min_share_micros,
        last_trade_price_micros, unavailable from book_snapshot where group_id in (", 1, ")";
}

/// A book as its row has it, still text: whoever wants it parses it, on a thread of their choice.
#[derive(Debug)]
pub struct BookText(Row);

#[derive(Debug, sqlx_macros::FromRow)]
struct Row {
    group_id: Uuid,
    asset_id: Option<String>,
    fetched_at: i64,
    bids_json: Option<String>,
    asks_json: Option<String>,
    hash: Option<String>,
    tick_micros: Option<i64>,
    min_share_micros: Option<i64>,
    last_trade_price_micros: Option<i64>,
    unavailable: Option<String>,
}

impl Db {
    /// Keeps what was fetched for a group and gives what stands: the first answer, if there was one before.
    pub async fn save_book(&self, group: GroupId, outcome: &BookOutcome) -> Result<BookOutcome, DbError> {
        let standing = self.save_books(&[(group, outcome.clone())]).await?.pop();
        standing.ok_or_else(|| DbError::impossible("book_snapshot", group, "group_id", "it was just written"))
    }

    /// The same for many groups in one transaction, in their order.
    pub async fn save_books(&self, books: &[(GroupId, BookOutcome)]) -> Result<Vec<BookOutcome>, DbError> {
        let mut tx = self.begin_lazily().await?;
        let mut new = Vec::with_capacity(books.len());
        for chunk in Batch::chunks(books) {
            let text = INSERT.text(tx.driver(), chunk.len());
            let ids: Vec<Uuid> = on!(tx &mut tx, c => {
                let mut query = sqlx::query_scalar(text);
                for (group, outcome) in chunk {
                    let book = outcome.book.as_ref().ok();
                    query = query
                        .bind(group.0)
                        .bind(book.map(|book| book.asset.as_str()))
                        .bind(outcome.fetched_at.millis())
                        .bind(book.map(|book| levels_json(&book.bids)))
                        .bind(book.map(|book| levels_json(&book.asks)))
                        .bind(book.and_then(|book| book.hash.as_deref()).map(storable))
                        .bind(book.and_then(|book| book.tick).map(PriceMicros::micros))
                        .bind(book.and_then(|book| book.min_shares).map(|shares| shares.0))
                        .bind(book.and_then(|book| book.last_trade).map(PriceMicros::micros))
                        .bind(outcome.book.as_ref().err().map(|reason| storable(reason)));
                }
                query.fetch_all(c).await
            })?;
            new.extend(ids);
        }
        tx.commit().await?;
        if new.len() == books.len() {
            return Ok(books.iter().map(|(_, outcome)| outcome.clone()).collect());
        }
        let ids: Vec<GroupId> = books.iter().map(|(group, _)| *group).collect();
        let standing: HashMap<GroupId, BookOutcome> = self.books(&ids).await?.into_iter().collect();
        let stands = |(group, outcome): &(GroupId, BookOutcome)| standing.get(group).unwrap_or(outcome).clone();
        Ok(books.iter().map(stands).collect())
    }

    pub async fn book(&self, group: GroupId) -> Result<Option<BookOutcome>, DbError> {
        Ok(self.books(&[group]).await?.pop().map(|(_, outcome)| outcome))
    }

    /// In no order; groups without a book, or a reason for none, are left out.
    pub async fn books(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, BookOutcome)>, DbError> {
        self.book_texts(groups).await?.into_iter().map(|(group, text)| Ok((group, text.read()?))).collect()
    }

    /// The same, not parsed yet.
    pub async fn book_texts(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, BookText)>, DbError> {
        let mut rows: Vec<Row> = Vec::with_capacity(groups.len());
        for chunk in Batch::chunks(groups) {
            let text = BY_GROUP.text(self.driver(), chunk.len());
            rows.extend(on!(db self, c => {
                let mut query = sqlx::query_as::<_, Row>(text);
                for group in chunk {
                    query = query.bind(group.0);
                }
                query.fetch_all(c).await
            })?);
        }
        Ok(rows.into_iter().map(|row| (GroupId(row.group_id), BookText(row))).collect())
    }

    /// The last book we saw of an asset.
    pub async fn newest_book(&self, asset: &AssetId) -> Result<Option<BookOutcome>, DbError> {
        let row: Option<Row> =
            on!(db self, c => sqlx::query_as(NEWEST_OF_ASSET).bind(asset.as_str()).fetch_optional(c).await)?;
        row.map(Row::into_outcome).transpose()
    }
}

impl BookText {
    /// # Errors
    /// `DbError::Impossible` when a stored value cannot be.
    pub fn read(self) -> Result<BookOutcome, DbError> {
        self.0.into_outcome()
    }
}

impl StoredBook {
    /// Both sides sorted and in range.
    ///
    /// # Errors
    /// `BookError`.
    pub fn ordered(&self) -> Result<OrderBook, BookError> {
        let side = |levels: &[Level]| levels.iter().map(|level| (level.price, level.shares)).collect::<Vec<_>>();
        OrderBook::from_levels(side(&self.bids), side(&self.asks))
    }
}

impl Row {
    fn into_outcome(self) -> Result<BookOutcome, DbError> {
        let reading = RowDecoder { table: "book_snapshot", id: self.group_id };
        let levels = |column, text: Option<String>| -> Result<Vec<Level>, DbError> {
            let pairs: Vec<(PriceMicros, ShareMicros)> = reading.json(column, text.as_deref().unwrap_or_default())?;
            Ok(pairs.into_iter().map(|(price, shares)| Level { price, shares }).collect())
        };
        let book = match self.unavailable {
            Some(reason) => Err(reason),
            None => Ok(StoredBook {
                asset: reading.asset("asset_id", self.asset_id.as_deref().unwrap_or_default())?,
                bids: levels("bids_json", self.bids_json)?,
                asks: levels("asks_json", self.asks_json)?,
                hash: self.hash,
                tick: optional(self.tick_micros, |micros| reading.price("tick_micros", micros))?,
                min_shares: self.min_share_micros.map(ShareMicros),
                last_trade: optional(self.last_trade_price_micros, |micros| {
                    reading.price("last_trade_price_micros", micros)
                })?,
            }),
        };
        Ok(BookOutcome { fetched_at: Timestamp::from_millis(self.fetched_at), book })
    }
}

/// `[[price_micros, share_micros], ..]` in the order they came.
fn levels_json(levels: &[Level]) -> String {
    json_text(&levels.iter().map(|level| (level.price, level.shares)).collect::<Vec<_>>())
}
