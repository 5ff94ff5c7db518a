//! What failed for good: jobs that can be sent round again, and rows that nobody could read.

use super::DbError;
use super::audit::{self, Audit};
use super::connection::{Db, on, statements};
use crate::domain::ids::FollowedUserId;
use crate::domain::units::Timestamp;
use crate::queue::{self, NewJob, Queue};

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
    /// It is no job, was replayed before, or there is no such letter.
    NotReplayable,
}

statements! {
    OPEN = "select id, queue, key, followed_user_id, payload, error, created_at from dead_letter
        where replayed_at is null and id < $1 order by id desc limit $2";
    FIND = "select id, queue, key, followed_user_id, payload, error, created_at from dead_letter
        where replayed_at is null and id = $1";
    COUNT_OPEN = "select count(*) from dead_letter where replayed_at is null";
    MARK_REPLAYED = "update dead_letter set replayed_at = $2 where id = $1 and replayed_at is null";
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
        let before = before.unwrap_or(i64::MAX);
        let rows: Vec<Row> = on!(db self, c => sqlx::query_as(OPEN).bind(before).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(DeadLetter::try_from).collect()
    }

    pub async fn count_dead_letters(&self) -> Result<i64, DbError> {
        Ok(on!(db self, c => sqlx::query_scalar(COUNT_OPEN).fetch_one(c).await)?)
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
