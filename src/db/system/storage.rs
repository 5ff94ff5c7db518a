//! The size of the database over time, and how long its disk lasts.

use super::checkpoints;
use crate::domain::analysis::disk_forecast::{SizePoint, days_left, growth_per_day};
use crate::domain::money::units::Timestamp;
use crate::sql::connection::Db;
use crate::sql::decode::json_text;
use crate::sql::error::DbError;

/// The database's size and the forecast of its disk. What is not known is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageState {
    pub size_bytes: i64,
    /// What can be written before the disk is full; `None` for the disk of a PostgreSQL server.
    pub free_bytes: Option<i64>,
    /// Over the last seven days; `None` until six hours were watched.
    pub growth_bytes_per_day: Option<i64>,
    /// `None` when one of the two is not known, or the database does not grow.
    pub days_left: Option<i64>,
}

impl StorageState {
    /// Returns whether the disk is known to last less than two weeks.
    pub fn is_short(&self) -> bool {
        self.days_left.is_some_and(|days| days < SHORT_DAYS)
    }
}

/// Below this a person should act: two weeks leave time for a larger disk. Also in docker/alerts.yml.
const SHORT_DAYS: i64 = 14;
/// Points are written once an hour and kept this long: a day more than the forecast looks back.
const KEPT_MS: i64 = 8 * 24 * 3_600_000;
const BETWEEN_MS: i64 = 3_600_000;
const KEY: &str = "storage:sizes";

impl Db {
    /// Returns the size of the database and the forecast of its disk.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn storage_state(&self) -> Result<StorageState, DbError> {
        let room = self.room().await?;
        let growth = growth_per_day(&self.size_points().await?);
        Ok(StorageState {
            size_bytes: room.size,
            free_bytes: room.free,
            growth_bytes_per_day: growth,
            days_left: days_left(room.free, growth),
        })
    }

    /// Writes down how large the database is, at most once an hour.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn note_size(&self, now: Timestamp) -> Result<(), DbError> {
        let mut points = self.size_points().await?;
        // A point of the future is from before the clock was set back; the forecast needs the order of time.
        points.retain(|point| (0..=KEPT_MS).contains(&now.millis_since(point.at)));
        if points.last().is_some_and(|last| now.millis_since(last.at) < BETWEEN_MS) {
            return Ok(());
        }
        points.push(SizePoint { at: now, bytes: self.room().await?.used });
        let mut tx = self.begin_lazily().await?;
        checkpoints::put(&mut tx, &[(KEY, json_text(&points).as_str())], now).await?;
        tx.commit().await
    }

    /// A text that cannot be read counts as none: the points are watched anew.
    async fn size_points(&self) -> Result<Vec<SizePoint>, DbError> {
        let text = self.checkpoint(KEY).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }
}
