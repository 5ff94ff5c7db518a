//! Figures of the status page: latencies of detection and decision, the newest fills, row counts and lease holders.

use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;

/// The times of a fill: when it happened and when we detected it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct SeenFill {
    pub event_time: Timestamp,
    pub detect_time: Timestamp,
}

/// The highest row id of each table, which equals the count where rows are never deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct RowNumbers {
    pub ledger_entry: i64,
    pub executable_fill: i64,
    pub audit_log: i64,
    pub dead_letter: i64,
}

statements! {
    NEWEST = "select event_time, detect_time from trade_event where is_canonical
        order by detect_time desc, id desc limit 1";
    NEWEST_OF_USER = "select event_time, detect_time from trade_event where is_canonical and followed_user_id = $1
        order by detect_time desc, id desc limit 1";
    DETECTION_LAGS = "select detect_time - event_time from trade_event where is_canonical and detect_time >= $1
        order by detect_time desc, id desc limit $2";
    ATTEMPT_DELAYS = "select a.created_at - g.detect_time from copy_attempt a join event_group g on g.id = a.group_id
        where a.created_at >= $1 order by a.created_at desc, a.id desc limit $2";
    NUMBERS = "select (select coalesce(max(id), 0) from ledger_entry), (select coalesce(max(id), 0) from executable_fill),
        (select coalesce(max(id), 0) from audit_log), (select coalesce(max(id), 0) from dead_letter)";
    LEASES = "select name, holder from lease order by name";
}

impl Db {
    /// Returns the times of the fill that was detected last.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn newest_fill_seen(&self) -> Result<Option<SeenFill>, DbError> {
        let row: Option<(i64, i64)> = on!(db self, c => sqlx::query_as(NEWEST).fetch_optional(c).await)?;
        Ok(row.map(SeenFill::from))
    }

    /// Returns the times of the fill of one user that was detected last.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn newest_fill_seen_of(&self, user: FollowedUserId) -> Result<Option<SeenFill>, DbError> {
        let row: Option<(i64, i64)> =
            on!(db self, c => sqlx::query_as(NEWEST_OF_USER).bind(user.0).fetch_optional(c).await)?;
        Ok(row.map(SeenFill::from))
    }

    /// Returns the milliseconds from a fill to its detection, for the newest `limit` fills detected since `since`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn detection_lags(&self, since: Timestamp, limit: i64) -> Result<Vec<i64>, DbError> {
        Ok(on!(db self, c => {
            sqlx::query_scalar(DETECTION_LAGS).bind(since.millis()).bind(limit).fetch_all(c).await
        })?)
    }

    /// Returns the milliseconds from the detection of a group's first fill to the attempt, for the newest `limit`
    /// attempts since `since`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn attempt_delays(&self, since: Timestamp, limit: i64) -> Result<Vec<i64>, DbError> {
        Ok(on!(db self, c => {
            sqlx::query_scalar(ATTEMPT_DELAYS).bind(since.millis()).bind(limit).fetch_all(c).await
        })?)
    }

    /// Returns the highest row ids.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn row_numbers(&self) -> Result<RowNumbers, DbError> {
        let (ledger_entry, executable_fill, audit_log, dead_letter): (i64, i64, i64, i64) =
            on!(db self, c => sqlx::query_as(NUMBERS).fetch_one(c).await)?;
        Ok(RowNumbers { ledger_entry, executable_fill, audit_log, dead_letter })
    }

    /// Returns each lease with the worker that holds it. Empty for a database of a single bot.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn lease_holders(&self) -> Result<Vec<(String, Option<String>)>, DbError> {
        Ok(on!(db self, c => sqlx::query_as(LEASES).fetch_all(c).await)?)
    }
}

impl From<(i64, i64)> for SeenFill {
    fn from((event_time, detect_time): (i64, i64)) -> Self {
        Self { event_time: Timestamp::from_millis(event_time), detect_time: Timestamp::from_millis(detect_time) }
    }
}
