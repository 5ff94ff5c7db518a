//! Checkpoints: named values that record how far a process has come. Values are JSON text.

use crate::domain::money::units::Timestamp;
use crate::sql::batch::{batches, execute_batch};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::error::DbError;

statements! {
    FIND = "select value_json from system_checkpoint where key = $1";
    LIST = "select key, value_json, updated_at from system_checkpoint where key >= $1 and key < $2 order by key";
    /// The statement itself adds one, so that two writers at the same time add two.
    /// The text before the number, `{\"revision\":`, has twelve characters.
    BUMP_REVISION = "insert into system_checkpoint (key, value_json, updated_at)
        values ('config:revision', '{\"revision\":1}', $1)
        on conflict (key) do update set updated_at = excluded.updated_at, value_json = '{\"revision\":' || cast(1 + cast(
            substr(system_checkpoint.value_json, 13, length(system_checkpoint.value_json) - 13) as bigint) as text) || '}'";
}

batches! {
    PUT = "insert into system_checkpoint (key, value_json, updated_at) values ", 3,
        " on conflict (key) do update set value_json = excluded.value_json, updated_at = excluded.updated_at";
}

impl Db {
    /// Returns the JSON of one checkpoint.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn checkpoint(&self, key: &str) -> Result<Option<String>, DbError> {
        Ok(on!(db self, c => sqlx::query_scalar(FIND).bind(key).fetch_optional(c).await)?)
    }

    /// Returns every checkpoint whose key starts with `prefix`: key, JSON, time of the last write.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn checkpoints_with_prefix(&self, prefix: &str) -> Result<Vec<(String, String, Timestamp)>, DbError> {
        let end = format!("{prefix}\u{7f}");
        let rows: Vec<(String, String, i64)> =
            on!(db self, c => sqlx::query_as(LIST).bind(prefix).bind(&end).fetch_all(c).await)?;
        Ok(rows.into_iter().map(|(key, value, at)| (key, value, Timestamp::from_millis(at))).collect())
    }

    /// Writes one checkpoint, in a transaction that writes nothing else.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn put_checkpoint(&self, key: &str, value_json: &str, now: Timestamp) -> Result<(), DbError> {
        let mut tx = self.begin_lazily().await?;
        put(&mut tx, &[(key, value_json)], now).await?;
        tx.commit().await
    }
}

/// Writes checkpoints in the transaction of the rows that they describe. Keys must differ.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn put<T: AsRef<str>>(tx: &mut Tx, checkpoints: &[(T, T)], now: Timestamp) -> Result<(), DbError> {
    execute_batch!(tx, PUT, checkpoints, |query, (key, value)| query
        .bind(key.as_ref())
        .bind(value.as_ref())
        .bind(now.millis()))?;
    Ok(())
}

/// Raises the revision, because users or configuration changed; the root actor polls this number every second.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn bump_revision(tx: &mut Tx, now: Timestamp) -> Result<(), DbError> {
    Ok(on!(tx tx, c => sqlx::query(BUMP_REVISION).bind(now.millis()).execute(c).await.map(drop))?)
}
