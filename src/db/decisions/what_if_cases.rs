//! Recorded decisions in short form, for a what-if run that compares other decisions with them.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::analysis::what_if::{DecisionSummary, RecordedDecision};
use crate::domain::money::ids::AttemptId;
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::sql::batch::{batches, fetch_batch};
use crate::sql::connection::Db;
use crate::sql::decode::RowDecoder;
use crate::sql::error::DbError;

batches! {
    GISTS = "select id, decision, reason_codes, filled_notional_micros, filled_share_micros, created_at
        from copy_attempt where id in (", 1, ")";
    DETECTED = "select a.id, g.detect_time from copy_attempt a join event_group g on g.id = a.group_id
        where a.id in (", 1, ")";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: Uuid,
    decision: String,
    reason_codes: String,
    filled_notional_micros: i64,
    filled_share_micros: i64,
    created_at: i64,
}

impl Db {
    /// Returns the decisions of these attempts; unknown ids are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn recorded(&self, attempts: &[AttemptId]) -> Result<HashMap<AttemptId, RecordedDecision>, DbError> {
        let rows: Vec<Row> = fetch_batch!(self, GISTS, attempts, |query, attempt| query.bind(attempt.0))?;
        rows.into_iter().map(|row| Ok((AttemptId(row.id), row.into_recorded()?))).collect()
    }

    /// Returns the detection times of these attempts' groups; unknown ids are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn detect_times(&self, attempts: &[AttemptId]) -> Result<HashMap<AttemptId, Timestamp>, DbError> {
        let rows: Vec<(Uuid, i64)> = fetch_batch!(self, DETECTED, attempts, |query, attempt| query.bind(attempt.0))?;
        Ok(rows.into_iter().map(|(id, millis)| (AttemptId(id), Timestamp::from_millis(millis))).collect())
    }
}

impl Row {
    fn into_recorded(self) -> Result<RecordedDecision, DbError> {
        let decoder = RowDecoder { table: "copy_attempt", id: self.id };
        let codes = self.reason_codes.split(',').filter(|code| !code.is_empty());
        Ok(RecordedDecision {
            decided_at: Timestamp::from_millis(self.created_at),
            summary: DecisionSummary {
                decision: decoder.text("decision", &self.decision)?,
                reasons: codes.map(|code| decoder.text("reason_codes", code)).collect::<Result<_, _>>()?,
                filled_notional: UsdcMicros(self.filled_notional_micros),
                filled_shares: ShareMicros(self.filled_share_micros),
            },
        })
    }
}
