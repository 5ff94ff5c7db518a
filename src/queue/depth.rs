//! How many jobs are open in each queue, and for how long.

use super::job::Queue;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;

/// The open jobs of one queue, counted, and their earliest times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    pub queue: Queue,
    pub open: i64,
    pub leased: i64,
    pub oldest_due: Option<Timestamp>,
    /// The earliest time at which a job is due and no worker has leased it. In the future if no job is claimable yet.
    pub untaken_since: Option<Timestamp>,
}

/// A due job left unclaimed this long means no worker is consuming the queue.
const STUCK_MS: i64 = 60_000;

impl Depth {
    /// Returns how long a claimable job has been waiting, if that is too long. A leased job does not count, however
    /// long its work takes.
    pub fn stuck_for_ms(&self, now: Timestamp) -> Option<i64> {
        self.untaken_since.map(|since| now.millis_since(since)).filter(|waits| *waits > STUCK_MS)
    }
}

statements! {
    /// Failed jobs are left out: they wait for their next try, so their age says nothing about the queue.
    OLDEST = "select min(created_at) from job where queue = $1 and failures = 0";
    DEPTHS = "select queue, count(*), cast(coalesce(sum(case when leased_until is null then 0 else 1 end), 0) as bigint),
        min(due), min(coalesce(leased_until, due)) from job group by queue";
}

/// Queue, open, leased, oldest due, untaken since.
type DepthRow = (String, i64, i64, Option<i64>, Option<i64>);

/// Returns when the oldest job of a queue was opened; jobs that have failed are left out.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn oldest(db: &Db, queue: Queue) -> Result<Option<Timestamp>, DbError> {
    let oldest: Option<i64> = on!(db db, c => sqlx::query_scalar(OLDEST).bind(queue.as_str()).fetch_one(c).await)?;
    Ok(oldest.map(Timestamp::from_millis))
}

/// Returns the depth of every queue, also of the empty ones.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub async fn depths(db: &Db) -> Result<Vec<Depth>, DbError> {
    let rows: Vec<DepthRow> = on!(db db, c => sqlx::query_as(DEPTHS).fetch_all(c).await)?;
    let depth = |queue: &Queue| match rows.iter().find(|row| row.0 == queue.as_str()) {
        Some(&(_, open, leased, due, untaken)) => Depth {
            queue: *queue,
            open,
            leased,
            oldest_due: due.map(Timestamp::from_millis),
            untaken_since: untaken.map(Timestamp::from_millis),
        },
        None => Depth { queue: *queue, open: 0, leased: 0, oldest_due: None, untaken_since: None },
    };
    Ok(Queue::ALL.iter().map(depth).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_stuck_when_a_job_waits_unleased_for_over_a_minute() {
        let check = |untaken_since: Option<i64>, expected: Option<i64>| {
            let untaken_since = untaken_since.map(Timestamp::from_millis);
            let oldest_due = Some(Timestamp::EPOCH);
            let depth = Depth { queue: Queue::Reconcile, open: 1, leased: 0, oldest_due, untaken_since };
            assert_eq!(depth.stuck_for_ms(Timestamp::from_millis(100_000)), expected);
        };
        check(None, None);
        check(Some(40_000), None);
        check(Some(39_999), Some(60_001));
        // Claimed long ago, and its lease has not ended yet.
        check(Some(130_000), None);
    }
}
