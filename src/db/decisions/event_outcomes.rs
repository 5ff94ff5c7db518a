//! What became of what a leader did: their rows beside the attempts of their own portfolio.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::db::events::event_rows::ActivityRow;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::ActivityEvent;
use crate::domain::money::ids::{AttemptId, EventId, FollowedUserId};
use crate::domain::money::units::{Bps, ShareMicros};
use crate::sql::connection::{Batch, Db, batches, on, statements};
use crate::sql::decode::RowDecoder;
use crate::sql::error::DbError;

/// How the group of an event came out in EXEC_USER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventOutcome {
    pub attempt: AttemptId,
    pub decision: DecisionKind,
    pub reasons: Vec<ReasonCode>,
    pub filled_ratio: Bps,
    pub filled_shares: ShareMicros,
}

statements! {
    /// Rows that move positions; rewards and the like move none.
    ACTIVITIES = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json, event_time,
            detect_time
        from activity_event where followed_user_id = $1
            and type in ('MERGE', 'SPLIT', 'REDEEM', 'CONVERSION', 'MIGRATION')
        order by detect_time desc, id desc limit $2";
}

batches! {
    /// From the events to their groups to the attempts, by the key that each is unique by. A cross join is a join whose
    /// order SQLite keeps: it would begin with every attempt there is.
    OF_TRADES = "select m.trade_event_id, a.id, a.decision, a.reason_codes, a.filled_ratio_bps, a.filled_share_micros
        from event_group_member m cross join event_group g cross join copy_attempt a
        where g.id = m.group_id and a.portfolio_scope = 'EXEC_USER' and a.followed_user_id = g.followed_user_id
            and a.group_key = g.group_key and m.trade_event_id in (", 1, ")";
    OF_ACTIVITIES = "select m.activity_event_id, a.id, a.decision, a.reason_codes, a.filled_ratio_bps,
            a.filled_share_micros
        from event_group_member m cross join event_group g cross join copy_attempt a
        where g.id = m.group_id and a.portfolio_scope = 'EXEC_USER' and a.followed_user_id = g.followed_user_id
            and a.group_key = g.group_key and m.activity_event_id in (", 1, ")";
}

type Row = (Uuid, Uuid, String, String, i64, i64);

impl Db {
    /// A user's newest rows that are no trades and move positions, the newest first.
    pub async fn newest_activities(&self, user: FollowedUserId, limit: i64) -> Result<Vec<ActivityEvent>, DbError> {
        let rows: Vec<ActivityRow> =
            on!(db self, c => sqlx::query_as(ACTIVITIES).bind(user.0).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(ActivityEvent::try_from).collect()
    }

    /// What became of these trades; those that are not decided yet are left out.
    pub async fn outcomes_of_trades(&self, trades: &[EventId]) -> Result<BTreeMap<EventId, EventOutcome>, DbError> {
        self.outcomes(&OF_TRADES, trades).await
    }

    /// The same of other rows; what joins no group is never decided.
    pub async fn outcomes_of_activities(
        &self,
        activities: &[EventId],
    ) -> Result<BTreeMap<EventId, EventOutcome>, DbError> {
        self.outcomes(&OF_ACTIVITIES, activities).await
    }

    async fn outcomes(
        &self,
        batch: &'static Batch,
        events: &[EventId],
    ) -> Result<BTreeMap<EventId, EventOutcome>, DbError> {
        let mut rows: Vec<Row> = Vec::with_capacity(events.len());
        for chunk in Batch::chunks(events) {
            let text = batch.text(self.driver(), chunk.len());
            rows.extend(on!(db self, c => {
                let mut query = sqlx::query_as::<_, Row>(text);
                for id in chunk {
                    query = query.bind(id.0);
                }
                query.fetch_all(c).await
            })?);
        }
        rows.into_iter().map(read).collect()
    }
}

fn read(
    (event, attempt, decision, reasons, filled_ratio, filled_shares): Row,
) -> Result<(EventId, EventOutcome), DbError> {
    let reading = RowDecoder { table: "copy_attempt", id: attempt };
    let codes = reasons.split(',').filter(|code| !code.is_empty());
    let outcome = EventOutcome {
        attempt: AttemptId(attempt),
        decision: reading.text("decision", &decision)?,
        reasons: codes.map(|code| reading.text("reason_codes", code)).collect::<Result<_, _>>()?,
        filled_ratio: Bps(filled_ratio),
        filled_shares: ShareMicros(filled_shares),
    };
    Ok((EventId(event), outcome))
}
