//! Books of some groups fetched again a little later (spec 14). They decide nothing; they tell what a slower copy would
//! have met.

use std::collections::HashSet;

use uuid::Uuid;

use super::book_sides;
use crate::domain::market::book::Level;
use crate::domain::money::ids::{AssetId, GroupId};
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::{RowDecoder, storable};
use crate::sql::error::DbError;

/// A group's book some seconds after the one that it was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookSample {
    pub group: GroupId,
    /// Seconds after the book of the decision, as planned.
    pub delay_s: i64,
    pub fetched_at: Timestamp,
    /// Bids and asks in the order of the answer, or the reason why there was no book.
    pub sides: Result<(Vec<Level>, Vec<Level>), String>,
}

/// A group whose decision had a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedBook {
    pub group: GroupId,
    pub asset: AssetId,
    pub fetched_at: Timestamp,
    /// The delays that are sampled already, in seconds.
    pub sampled: HashSet<i64>,
}

statements! {
    DECIDED = "select g.id, b.asset_id, b.fetched_at from event_group g join book_snapshot b on b.group_id = g.id
        where g.detect_time >= $1 and b.unavailable is null and b.asset_id is not null order by b.fetched_at";
    SAMPLED = "select s.group_id, s.delay_s from event_group g join book_sample s on s.group_id = g.id
        where g.detect_time >= $1";
    INSERT = "insert into book_sample (group_id, delay_s, fetched_at, sides, unavailable) values ($1, $2, $3, $4, $5)
        on conflict do nothing";
    OF_GROUP = "select delay_s, fetched_at, sides, unavailable from book_sample where group_id = $1 order by delay_s";
}

/// Delay, time, sides, reason.
type Row = (i64, i64, Option<Vec<u8>>, Option<String>);

impl Db {
    /// Returns the groups detected at or after `since` whose decision had a book.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn decided_books(&self, since: Timestamp) -> Result<Vec<DecidedBook>, DbError> {
        let rows: Vec<(Uuid, String, i64)> =
            on!(db self, c => sqlx::query_as(DECIDED).bind(since.millis()).fetch_all(c).await)?;
        let sampled: Vec<(Uuid, i64)> =
            on!(db self, c => sqlx::query_as(SAMPLED).bind(since.millis()).fetch_all(c).await)?;
        let decided = |(group, asset, fetched_at): (Uuid, String, i64)| {
            Ok(DecidedBook {
                group: GroupId(group),
                asset: RowDecoder { table: "book_snapshot", id: group }.asset("asset_id", &asset)?,
                fetched_at: Timestamp::from_millis(fetched_at),
                sampled: sampled.iter().filter(|(of, _)| *of == group).map(|(_, delay)| *delay).collect(),
            })
        };
        rows.into_iter().map(decided).collect()
    }

    /// Stores a sample unless the group has one of this delay.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn save_book_sample(&self, sample: &BookSample) -> Result<(), DbError> {
        let sides = sample.sides.as_ref().ok().map(|(bids, asks)| book_sides::pack(bids, asks));
        let mut tx = self.begin_lazily().await?;
        on!(tx &mut tx, c => {
            sqlx::query(INSERT)
                .bind(sample.group.0)
                .bind(sample.delay_s)
                .bind(sample.fetched_at.millis())
                .bind(sides)
                .bind(sample.sides.as_ref().err().map(|reason| storable(reason)))
                .execute(c)
                .await
                .map(drop)
        })?;
        tx.commit().await
    }

    /// Returns the samples of a group, the soonest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn book_samples(&self, group: GroupId) -> Result<Vec<BookSample>, DbError> {
        let rows: Vec<Row> = on!(db self, c => sqlx::query_as(OF_GROUP).bind(group.0).fetch_all(c).await)?;
        let decoder = RowDecoder { table: "book_sample", id: group };
        rows.into_iter()
            .map(|(delay_s, fetched_at, sides, unavailable)| {
                let sides = match unavailable {
                    Some(reason) => Err(reason),
                    None => Ok(book_sides::unpack(sides.as_deref().unwrap_or_default())
                        .map_err(|problem| decoder.impossible("sides", problem))?),
                };
                Ok(BookSample { group, delay_s, fetched_at: Timestamp::from_millis(fetched_at), sides })
            })
            .collect()
    }
}
