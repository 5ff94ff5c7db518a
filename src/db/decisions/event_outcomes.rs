//! The outcomes of a leader's events: the attempts on them in the leader's own portfolio.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::db::events::event_rows::ActivityRow;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::ActivityEvent;
use crate::domain::money::ids::{AttemptId, EventId, FollowedUserId};
use crate::domain::money::units::{Bps, ShareMicros};
use crate::sql::batch::{Batch, batches, fetch_batch};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::RowDecoder;
use crate::sql::error::DbError;

/// The attempt on an event's group in EXEC_USER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventOutcome {
    pub attempt: AttemptId,
    pub decision: DecisionKind,
    pub reasons: Vec<ReasonCode>,
    pub filled_ratio: Bps,
    pub filled_shares: ShareMicros,
}

statements! {
    /// Rows that change positions; rewards, for example, change none.
    ACTIVITIES = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json, event_time,
            detect_time
        from activity_event where followed_user_id = $1
            and type in ('MERGE', 'SPLIT', 'REDEEM', 'CONVERSION', 'MIGRATION')
        order by detect_time desc, id desc limit $2";
}

batches! {
    /// From the events to their groups to the attempts, by unique keys. SQLite keeps the order of a cross join; with a
    /// plain join it would start with all attempts.
    OF_TRADES = "select m.trade_event_id, a.id, a.decision, a.reason_codes, a.filled_ratio_bps, a.filled_share_micros
        from event_group_member m cross join event_group g cross join copy_attempt a
        where g.id = m.group_id and a.portfolio_scope = 'EXEC_USER' and a.followed_user_id = g.followed_user_id
            and a.group_id = g.id and m.trade_event_id in (", 1, ")";
    OF_ACTIVITIES = "select m.activity_event_id, a.id, a.decision, a.reason_codes, a.filled_ratio_bps,
            a.filled_share_micros
        from event_group_member m cross join event_group g cross join copy_attempt a
        where g.id = m.group_id and a.portfolio_scope = 'EXEC_USER' and a.followed_user_id = g.followed_user_id
            and a.group_id = g.id and m.activity_event_id in (", 1, ")";
}

/// Event, attempt, decision, reasons, filled ratio, filled shares.
type Row = (Uuid, Uuid, String, String, i64, i64);

impl Db {
    /// Returns a user's newest activities that change positions, the newest first. Trades are not included.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn newest_activities(&self, user: FollowedUserId, limit: i64) -> Result<Vec<ActivityEvent>, DbError> {
        let rows: Vec<ActivityRow> =
            on!(db self, c => sqlx::query_as(ACTIVITIES).bind(user.0).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(ActivityEvent::try_from).collect()
    }

    /// Returns the outcomes of these trades; undecided ones are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn outcomes_of_trades(&self, trades: &[EventId]) -> Result<BTreeMap<EventId, EventOutcome>, DbError> {
        self.outcomes(&OF_TRADES, trades).await
    }

    /// Returns the outcomes of these activities; undecided ones are left out, and an activity without a group is never
    /// decided.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
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
        let rows: Vec<Row> = fetch_batch!(self, batch, events, |query, id| query.bind(id.0))?;
        rows.into_iter().map(read).collect()
    }
}

fn read(
    (event, attempt, decision, reasons, filled_ratio, filled_shares): Row,
) -> Result<(EventId, EventOutcome), DbError> {
    let decoder = RowDecoder { table: "copy_attempt", id: attempt };
    let codes = reasons.split(',').filter(|code| !code.is_empty());
    let outcome = EventOutcome {
        attempt: AttemptId(attempt),
        decision: decoder.text("decision", &decision)?,
        reasons: codes.map(|code| decoder.text("reason_codes", code)).collect::<Result<_, _>>()?,
        filled_ratio: Bps(filled_ratio),
        filled_shares: ShareMicros(filled_shares),
    };
    Ok((EventId(event), outcome))
}
