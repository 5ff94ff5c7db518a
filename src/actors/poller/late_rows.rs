//! Late rows of a leader: counted, logged, and kept for the pages (spec 3.1).

use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::window::SeenSpan;
use super::{PollerDeps, Report};
use crate::db::{Db, DbError};
use crate::domain::events::reading::Reader;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::health::actor_state::LATE_ROWS;

/// The late rows of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Late {
    n: u64,
    oldest: Timestamp,
    at: Timestamp,
}

/// The JSON of the checkpoint.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// Number of late rows since the leader is followed.
    n: u64,
    /// When the last of them was found.
    last: Timestamp,
    /// How old the oldest row of the last read that found some was, in seconds.
    age_s: i64,
}

/// Returns the new rows of a read that were not there when their time was read before; `None` without one.
pub(super) fn of(report: &Report, seen: SeenSpan) -> Option<Late> {
    let late = report.new_times.iter().copied().filter(|time| seen.is_late(*time));
    late.fold(None, |sum: Option<Late>, time| {
        let (n, oldest) = sum.map_or((0, time), |sum| (sum.n, sum.oldest));
        Some(Late { n: n.saturating_add(1), oldest: oldest.min(time), at: report.asked_at })
    })
}

/// Counts late rows.
pub(super) fn count(deps: &PollerDeps, user: FollowedUserId, by: Reader, late: Option<Late>) {
    let Some(late) = late else { return };
    let age_s = late.at.millis_since(late.oldest) / 1_000;
    deps.metrics.late_rows.count(by, late.n);
    tracing::warn!(user_id = %user, reader = by.as_str(), n = late.n, oldest_age_s = age_s, "rows appeared late: their time had been read before");
    let (db, now) = (deps.db.clone(), deps.clock.now());
    let store = async move {
        if let Err(error) = store(&db, user, late.n, age_s, now).await {
            tracing::debug!(%error, "the number of late rows could not be stored");
        }
    };
    actix::spawn(store.in_current_span());
}

/// Adds to the number of a leader's late rows.
///
/// # Errors
/// When the database fails.
async fn store(db: &Db, user: FollowedUserId, n: u64, age_s: i64, now: Timestamp) -> Result<(), DbError> {
    let key = format!("{LATE_ROWS}{user}");
    let before = db.checkpoint(&key).await?.and_then(|text| serde_json::from_str::<Stored>(&text).ok());
    let n = before.map_or(0, |before| before.n).saturating_add(n);
    db.put_checkpoint(&key, &serde_json::json!(Stored { n, last: now, age_s }).to_string(), now).await
}
