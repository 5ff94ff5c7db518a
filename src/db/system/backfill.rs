//! Backfills: the jobs that poll a past span again on request, and the count of its rows (spec 3.1).

use crate::db::system::audit::{self, Audit};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue::{self, NewJob};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::json_text;
use crate::sql::error::DbError;

statements! {
    /// Also by time of detection, which has an index; a block's time may be a little ahead of our clock.
    COUNT_ROWS = "select (select count(*) from trade_event where is_canonical and followed_user_id = $1
            and detect_time >= $2 - 60000 and event_time >= $2 and event_time <= $3)
        + (select count(*) from activity_event where followed_user_id = $1
            and detect_time >= $2 - 60000 and event_time >= $2 and event_time <= $3)";
}

impl Db {
    /// Writes the jobs that poll a span again, with an audit of the request. A job that is open already serves for
    /// both.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn ask_backfill(
        &self,
        jobs: &[NewJob],
        span: (Timestamp, Timestamp),
        who: &str,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let mut users: Vec<FollowedUserId> = jobs.iter().filter_map(|job| job.followed_user).collect();
        users.sort_unstable();
        users.dedup();
        let asked = serde_json::json!({ "start": span.0, "end": span.1, "users": users, "windows": jobs.len() });
        let audit = Audit {
            who: who.to_owned(),
            action: "backfill".to_owned(),
            subject: "events".to_owned(),
            before_json: None,
            after_json: Some(json_text(&asked)),
        };
        let mut tx = self.begin().await?;
        queue::insert_in(&mut tx, jobs, now).await?;
        audit::insert(&mut tx, &[audit], now).await?;
        tx.commit().await
    }

    /// Counts the stored rows of a user within a span, trades and other activity.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn count_rows_within(
        &self,
        user: FollowedUserId,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<i64, DbError> {
        Ok(on!(db self, c => {
            sqlx::query_scalar(COUNT_ROWS)
                .bind(user.0)
                .bind(start.millis())
                .bind(end.millis())
                .fetch_one(c)
                .await
        })?)
    }
}
