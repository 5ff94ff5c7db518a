//! What failed for good: jobs that can be sent round again, and rows that nobody could read.

use std::str::FromStr;

use crate::db::people::audit;
use crate::db::people::audit::Audit;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::text_enum::UnknownText;
use crate::domain::money::units::Timestamp;
use crate::queue::{self, Job, NewJob, Queue};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::json_text;
use crate::sql::error::DbError;

/// One row of `dead_letter` that nobody has dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub id: i64,
    /// `None` for an answer's row that could not be read; such a one cannot be replayed.
    pub queue: Option<Queue>,
    pub key: String,
    pub followed_user: Option<FollowedUserId>,
    /// Of a row, its own text: hostile.
    pub payload: String,
    pub error: String,
    pub created_at: Timestamp,
}

/// What became of a wish to try a dead letter again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    Queued(Queue),
    /// It is no job, was replayed or dropped before, or there is no such letter.
    NotReplayable,
}

/// Where dead letters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Queue(Queue),
    /// A row of an answer that nobody could read.
    Row,
}

statements! {
    OPEN = "select id, queue, key, followed_user_id, payload, error, created_at from dead_letter
        where replayed_at is null and dropped_at is null and id < $1
            and (cast($3 as text) is null or queue = $3) order by id desc limit $2";
    FIND = "select id, queue, key, followed_user_id, payload, error, created_at from dead_letter
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
    created_at: i64,
}

impl Db {
    /// Newest first, those with an id below `before` (all when `None`).
    pub async fn dead_letters(&self, before: Option<i64>, limit: i64) -> Result<Vec<DeadLetter>, DbError> {
        self.dead_letters_of(None, before, limit).await
    }

    /// The same of one origin, or of any.
    pub async fn dead_letters_of(
        &self,
        origin: Option<Origin>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<DeadLetter>, DbError> {
        let before = before.unwrap_or(i64::MAX);
        let queue = origin.map(Origin::as_str);
        let rows: Vec<Row> =
            on!(db self, c => sqlx::query_as(OPEN).bind(before).bind(limit).bind(queue).fetch_all(c).await)?;
        rows.into_iter().map(DeadLetter::try_from).collect()
    }

    /// One that nobody has dealt with.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, DbError> {
        let row: Option<Row> = on!(db self, c => sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
        row.map(DeadLetter::try_from).transpose()
    }

    pub async fn count_dead_letters(&self) -> Result<i64, DbError> {
        Ok(on!(db self, c => sqlx::query_scalar(COUNT_OPEN).fetch_one(c).await)?)
    }

    /// How many there are of each origin that has any.
    pub async fn dead_letter_counts(&self) -> Result<Vec<(Origin, i64)>, DbError> {
        let rows: Vec<(String, i64)> = on!(db self, c => sqlx::query_as(COUNT_BY_QUEUE).fetch_all(c).await)?;
        let read = |(queue, n): (String, i64)| {
            let origin = queue.parse();
            Ok((origin.map_err(|problem| DbError::impossible("dead_letter", &queue, "queue", problem))?, n))
        };
        rows.into_iter().map(read).collect()
    }

    /// Makes a job of a dead letter again, with all its tries before it.
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

    /// Puts a dead letter away for good. Its row stays, and the audit repeats its content. False when it is not open.
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
            "payload": row.payload, "error": row.error,
        });
        let audit = dropped("drop_dead_letter", format!("dead_letter:{id}"), &content, who);
        audit::insert(&mut tx, &[audit], now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Puts an open job away without its effect, as it was seen. It becomes a dead letter that is dealt with, and the
    /// audit repeats its content. False when somebody took or finished it since.
    pub async fn drop_job(&self, job: &Job, who: &str, now: Timestamp) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let error = job.last_error.as_deref().unwrap_or("dropped before it was done");
        if !queue::operator::put_away_in(&mut tx, job.fence(), error, now).await? {
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

fn dropped(action: &str, subject: String, content: &serde_json::Value, who: &str) -> Audit {
    let before_json = Some(json_text(content));
    Audit { who: who.to_owned(), action: action.to_owned(), subject, before_json, after_json: None }
}

impl Origin {
    /// As the column `queue` has it.
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
            error: row.error,
            created_at: Timestamp::from_millis(row.created_at),
        })
    }
}
