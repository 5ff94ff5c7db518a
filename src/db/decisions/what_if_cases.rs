//! The gist of decisions that were made, for a what-if that sets others beside them.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::analysis::what_if::{DecisionSummary, RecordedDecision};
use crate::domain::money::ids::AttemptId;
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::sql::connection::{Batch, Db, batches, on};
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
    /// What was decided in these attempts; unknown ids are left out.
    pub async fn recorded(&self, attempts: &[AttemptId]) -> Result<HashMap<AttemptId, RecordedDecision>, DbError> {
        let mut rows: Vec<Row> = Vec::with_capacity(attempts.len());
        for chunk in Batch::chunks(attempts) {
            let text = GISTS.text(self.driver(), chunk.len());
            rows.extend(on!(db self, c => {
                let mut query = sqlx::query_as::<_, Row>(text);
                for attempt in chunk {
                    query = query.bind(attempt.0);
                }
                query.fetch_all(c).await
            })?);
        }
        rows.into_iter().map(|row| Ok((AttemptId(row.id), row.into_recorded()?))).collect()
    }

    /// When the groups of these attempts were detected; unknown ids are left out.
    pub async fn detect_times(&self, attempts: &[AttemptId]) -> Result<HashMap<AttemptId, Timestamp>, DbError> {
        let mut times = HashMap::with_capacity(attempts.len());
        for chunk in Batch::chunks(attempts) {
            let text = DETECTED.text(self.driver(), chunk.len());
            let rows: Vec<(Uuid, i64)> = on!(db self, c => {
                let mut query = sqlx::query_as(text);
                for attempt in chunk {
                    query = query.bind(attempt.0);
                }
                query.fetch_all(c).await
            })?;
            times.extend(rows.into_iter().map(|(id, millis)| (AttemptId(id), Timestamp::from_millis(millis))));
        }
        Ok(times)
    }
}

impl Row {
    fn into_recorded(self) -> Result<RecordedDecision, DbError> {
        let reading = RowDecoder { table: "copy_attempt", id: self.id };
        let codes = self.reason_codes.split(',').filter(|code| !code.is_empty());
        Ok(RecordedDecision {
            decided_at: Timestamp::from_millis(self.created_at),
            summary: DecisionSummary {
                decision: reading.text("decision", &self.decision)?,
                reasons: codes.map(|code| reading.text("reason_codes", code)).collect::<Result<_, _>>()?,
                filled_notional: UsdcMicros(self.filled_notional_micros),
                filled_shares: ShareMicros(self.filled_share_micros),
            },
        })
    }
}
