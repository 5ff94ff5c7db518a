//! Dead letters: failed jobs that can be requeued, and rows that could not be parsed.

use std::str::FromStr;

use crate::db::system::audit::{self, Audit};
use crate::db::system::checkpoints;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::text_enum::UnknownText;
use crate::domain::money::units::Timestamp;
use crate::queue::{self, Job, NewJob, Queue};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::json_text;
use crate::sql::error::DbError;

/// One open row of `dead_letter`: neither requeued nor dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub id: i64,
    /// `None` for a row of an API answer that could not be parsed; such a letter cannot be requeued.
    pub queue: Option<Queue>,
    pub key: String,
    pub followed_user: Option<FollowedUserId>,
    /// For a row that could not be parsed, the beginning of the row's text: hostile.
    pub payload: String,
    /// The length of the whole payload.
    pub payload_bytes: i64,
    /// The SHA-256 of the whole text of a row that could not be parsed.
    pub sha256: Option<String>,
    pub error: String,
    pub created_at: Timestamp,
}

/// The outcome of a request to requeue a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    Queued(Queue),
    /// The letter is not a job, was requeued or dropped before, or does not exist.
    NotReplayable,
}

/// The origin of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Queue(Queue),
    /// A row of an API answer that could not be parsed.
    Row,
}

statements! {
    OPEN = "select id, queue, key, followed_user_id, substr(payload, 1, 4096) as payload, error, fingerprint,
        created_at, coalesce(payload_bytes, octet_length(payload)) as payload_bytes from dead_letter
        where replayed_at is null and dropped_at is null and id < $1 order by id desc limit $2";
    OPEN_OF_QUEUE = "select id, queue, key, followed_user_id, substr(payload, 1, 4096) as payload, error, fingerprint,
        created_at, coalesce(payload_bytes, octet_length(payload)) as payload_bytes from dead_letter
        where replayed_at is null and dropped_at is null and id < $1 and queue = $3 order by id desc limit $2";
    FIND = "select id, queue, key, followed_user_id, payload, error, fingerprint, created_at,
        coalesce(payload_bytes, octet_length(payload)) as payload_bytes from dead_letter
        where replayed_at is null and dropped_at is null and id = $1";
    COUNT_OPEN = "select count(*) from dead_letter where replayed_at is null and dropped_at is null";
    COUNT_BY_QUEUE = "select queue, count(*) from dead_letter where replayed_at is null and dropped_at is null
        group by queue order by queue";
    MARK_REPLAYED = "update dead_letter set replayed_at = $2
        where id = $1 and replayed_at is null and dropped_at is null";
    MARK_DROPPED = "update dead_letter set dropped_at = $2
        where id = $1 and replayed_at is null and dropped_at is null";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: i64,
    queue: String,
    key: String,
    followed_user_id: Option<i64>,
    payload: String,
    error: String,
    fingerprint: Option<String>,
    created_at: i64,
    payload_bytes: i64,
}

impl Db {
    /// Returns up to `limit` open dead letters, newest first, with an id below `before` if given.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn dead_letters(&self, before: Option<i64>, limit: i64) -> Result<Vec<DeadLetter>, DbError> {
        self.dead_letters_of(None, before, limit).await
    }

    /// Returns up to `limit` open dead letters of one origin or of all, newest first, with an id below `before` if
    /// given. Of a long payload only the beginning is read.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn dead_letters_of(
        &self,
        origin: Option<Origin>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<DeadLetter>, DbError> {
        let before = before.unwrap_or(i64::MAX);
        let rows: Vec<Row> = match origin.map(Origin::as_str) {
            None => on!(db self, c => sqlx::query_as(OPEN).bind(before).bind(limit).fetch_all(c).await)?,
            Some(queue) => on!(db self, c => {
                sqlx::query_as(OPEN_OF_QUEUE).bind(before).bind(limit).bind(queue).fetch_all(c).await
            })?,
        };
        rows.into_iter().map(DeadLetter::try_from).collect()
    }

    /// Returns one open dead letter.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, DbError> {
        let row: Option<Row> = on!(db self, c => sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
        row.map(DeadLetter::try_from).transpose()
    }

    /// Counts the open dead letters.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn count_dead_letters(&self) -> Result<i64, DbError> {
        Ok(on!(db self, c => sqlx::query_scalar(COUNT_OPEN).fetch_one(c).await)?)
    }

    /// Counts the open dead letters of each origin that has any.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn dead_letter_counts(&self) -> Result<Vec<(Origin, i64)>, DbError> {
        let rows: Vec<(String, i64)> = on!(db self, c => sqlx::query_as(COUNT_BY_QUEUE).fetch_all(c).await)?;
        let read = |(queue, n): (String, i64)| {
            let origin = queue.parse();
            Ok((origin.map_err(|problem| DbError::impossible("dead_letter", &queue, "queue", problem))?, n))
        };
        rows.into_iter().map(read).collect()
    }

    /// Requeues a dead letter as a new job with all its retries; audited.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn replay_dead_letter(&self, id: i64, who: &str, now: Timestamp) -> Result<Replay, DbError> {
        let mut tx = self.begin().await?;
        let row: Option<Row> = on!(tx &mut tx, c => sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
        let Some(letter) = row.map(DeadLetter::try_from).transpose()? else { return Ok(Replay::NotReplayable) };
        let Some(queue) = letter.queue else { return Ok(Replay::NotReplayable) };
        let marked = on!(tx &mut tx, c => {
            sqlx::query(MARK_REPLAYED).bind(id).bind(now.millis()).execute(c).await.map(|done| done.rows_affected())
        })?;
        if marked == 0 {
            return Ok(Replay::NotReplayable);
        }
        let job =
            NewJob { queue, key: letter.key, followed_user: letter.followed_user, payload: letter.payload, due: now };
        queue::insert_in(&mut tx, &[job], now).await?;
        // A running bot reads the revision each second, and looks at its queues when it has changed.
        checkpoints::bump_revision(&mut tx, now).await?;
        let audit = Audit {
            who: who.to_owned(),
            action: "replay_dead_letter".to_owned(),
            subject: format!("dead_letter:{id}"),
            before_json: None,
            after_json: None,
        };
        audit::insert(&mut tx, &[audit], now).await?;
        tx.commit().await?;
        Ok(Replay::Queued(queue))
    }

    /// Drops a dead letter. Its row stays, and the audit repeats its content. Returns false when it is not open.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn drop_dead_letter(&self, id: i64, who: &str, now: Timestamp) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let row: Option<Row> = on!(tx &mut tx, c => sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
        let Some(row) = row else { return Ok(false) };
        let marked = on!(tx &mut tx, c => {
            sqlx::query(MARK_DROPPED).bind(id).bind(now.millis()).execute(c).await.map(|done| done.rows_affected())
        })?;
        if marked == 0 {
            return Ok(false);
        }
        let content = serde_json::json!({
            "queue": row.queue, "key": row.key, "followed_user_id": row.followed_user_id,
            "payload": row.payload, "payload_bytes": row.payload_bytes, "sha256": row.fingerprint, "error": row.error,
        });
        let audit = dropped("drop_dead_letter", format!("dead_letter:{id}"), &content, who);
        audit::insert(&mut tx, &[audit], now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Drops an open job without its effect. It becomes a dropped dead letter, and the audit repeats its content.
    /// Returns false when a worker claimed or finished the job after `job` was read.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn drop_job(&self, job: &Job, who: &str, now: Timestamp) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let error = job.last_error.as_deref().unwrap_or("dropped before it was done");
        if !queue::operator::drop_in(&mut tx, job.fence(), error, now).await? {
            return Ok(false);
        }
        let content = serde_json::json!({
            "queue": job.queue, "key": job.key, "followed_user_id": job.followed_user,
            "payload": job.payload, "error": job.last_error,
        });
        let audit = dropped("drop_job", format!("job:{}", job.id), &content, who);
        audit::insert(&mut tx, &[audit], now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Returns the audit of a drop, with the dropped content.
fn dropped(action: &str, subject: String, content: &serde_json::Value, who: &str) -> Audit {
    let before_json = Some(json_text(content));
    Audit { who: who.to_owned(), action: action.to_owned(), subject, before_json, after_json: None }
}

impl Origin {
    /// Returns the text of the column `queue`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue(queue) => queue.as_str(),
            Self::Row => "row",
        }
    }
}

impl FromStr for Origin {
    type Err = UnknownText;

    fn from_str(text: &str) -> Result<Self, UnknownText> {
        match text {
            "row" => Ok(Self::Row),
            queue => queue.parse().map(Self::Queue),
        }
    }
}

impl TryFrom<Row> for DeadLetter {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let queue = match row.queue.as_str() {
            "row" => None,
            queue => {
                Some(queue.parse().map_err(|problem| DbError::impossible("dead_letter", row.id, "queue", problem))?)
            }
        };
        Ok(Self {
            id: row.id,
            queue,
            key: row.key,
            followed_user: row.followed_user_id.map(FollowedUserId),
            payload: row.payload,
            payload_bytes: row.payload_bytes,
            sha256: row.fingerprint,
            error: row.error,
            created_at: Timestamp::from_millis(row.created_at),
        })
    }
}
