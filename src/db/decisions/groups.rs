//! Closed groups with their members, and the copy jobs that they make necessary (spec 6).

use std::collections::HashSet;

use uuid::Uuid;

use crate::domain::events::group::{EventGroup, GroupAction, GroupKind, Member};
use crate::domain::money::ids::{EventId, FollowedUserId, GroupId, GroupKey};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::queue::{self, JobFence, NewJob, Queue};
use crate::sql::batch::{batches, execute_batch, fetch_batch, fetch_batch_values};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{RowDecoder, optional};
use crate::sql::error::DbError;

/// A group to close, the jobs of its members, and the time at which its copies are due.
#[derive(Debug, Clone)]
pub struct ClosedGroupWrite {
    pub group: EventGroup,
    pub members: Vec<Member>,
    pub finishes: Vec<JobFence>,
    pub copy_due: Timestamp,
}

/// The outcome of closing a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupClosing {
    New(GroupId),
    /// An earlier group has this key, and these members are not in that group. Nothing was written.
    KeyTaken,
    /// Another worker holds one of its jobs, or has finished it. Nothing was written.
    JobLost,
}

statements! {
    MEMBERS = "select trade_event_id, activity_event_id from event_group_member where group_id = $1";
    DETECTED_WITHIN = "select id, group_key, followed_user_id, kind, market_id, asset_id, side, notional_micros,
            share_micros, reference_price_micros, window_start, detect_time, event_time
        from event_group where detect_time >= $1 and detect_time < $2
            and (cast($3 as bigint) is null or followed_user_id = $3)
        order by detect_time, id limit $4";
    COUNT_DETECTED_WITHIN = "select count(*) from event_group where detect_time >= $1 and detect_time < $2
        and (cast($3 as bigint) is null or followed_user_id = $3)";
}

batches! {
    INSERT_GROUPS = "insert into event_group (id, group_key, followed_user_id, kind, market_id, asset_id, condition_id,
        side, notional_micros, share_micros, reference_price_micros, window_start, detect_time, event_time)
        values ", 14, " on conflict do nothing returning id";
    INSERT_MEMBERS = "insert into event_group_member (group_id, trade_event_id, activity_event_id) values ", 3, "";
    GROUPS = "select id, group_key, followed_user_id, kind, market_id, asset_id, side, notional_micros, share_micros,
        reference_price_micros, window_start, detect_time, event_time from event_group where id in (", 1, ")";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: Uuid,
    group_key: String,
    followed_user_id: i64,
    kind: String,
    market_id: String,
    asset_id: Option<String>,
    side: Option<String>,
    notional_micros: i64,
    share_micros: i64,
    reference_price_micros: Option<i64>,
    window_start: i64,
    detect_time: i64,
    event_time: i64,
}

impl Db {
    /// Writes closed groups with their members and both copy jobs, and finishes the members' group jobs, in one
    /// transaction; each group whole or not at all. Returns the outcomes in the order of `groups`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn close_groups(
        &self,
        groups: &[ClosedGroupWrite],
        now: Timestamp,
    ) -> Result<Vec<GroupClosing>, DbError> {
        let mut keys = HashSet::new();
        let mut outcomes: Vec<GroupClosing> = groups
            .iter()
            .map(|write| match keys.insert(write.group.id) {
                true => GroupClosing::New(write.group.id),
                false => GroupClosing::KeyTaken,
            })
            .collect();
        loop {
            let ours: Vec<usize> = (0..groups.len()).filter(|n| matches!(outcomes[*n], GroupClosing::New(_))).collect();
            let writes: Vec<&ClosedGroupWrite> = ours.iter().map(|n| &groups[*n]).collect();
            let mut tx = self.begin_lazily().await?;
            let fences: Vec<JobFence> = writes.iter().flat_map(|write| write.finishes.iter().copied()).collect();
            let finished: HashSet<i64> = queue::finish_in(&mut tx, &fences).await?.into_iter().collect();
            let holds = |write: &ClosedGroupWrite| write.finishes.iter().all(|fence| finished.contains(&fence.id));
            let refused: Vec<(usize, GroupClosing)> = if finished.len() < fences.len() {
                let lost = ours.iter().zip(&writes).filter(|(_, write)| !holds(write));
                lost.map(|(n, _)| (*n, GroupClosing::JobLost)).collect()
            } else {
                // An open job of a member means that the member has no group yet, so a group with this key is another
                // one.
                let new = write_groups(&mut tx, &writes, now).await?;
                let taken = ours.iter().zip(&writes).filter(|(_, write)| !new.contains(&write.group.id.0));
                taken.map(|(n, _)| (*n, GroupClosing::KeyTaken)).collect()
            };
            if refused.is_empty() {
                tx.commit().await?;
                return Ok(outcomes);
            }
            // Try again without the refused groups, so that the jobs they still hold stay open.
            drop(tx);
            for (n, outcome) in refused {
                outcomes[n] = outcome;
            }
        }
    }

    /// Returns one group.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn group(&self, id: GroupId) -> Result<Option<EventGroup>, DbError> {
        Ok(self.groups(&[id]).await?.pop())
    }

    /// Returns up to `limit` groups of one leader, or of all, whose first fill was detected within [`from`, `to`), in
    /// the order of detection. The order within one millisecond has no meaning.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn groups_detected(
        &self,
        user: Option<FollowedUserId>,
        from: Timestamp,
        to: Timestamp,
        limit: i64,
    ) -> Result<Vec<EventGroup>, DbError> {
        let rows: Vec<Row> = on!(db self, c => {
            sqlx::query_as(DETECTED_WITHIN)
                .bind(from.millis())
                .bind(to.millis())
                .bind(user.map(|user| user.0))
                .bind(limit)
                .fetch_all(c)
                .await
        })?;
        rows.into_iter().map(EventGroup::try_from).collect()
    }

    /// Counts the groups of one leader, or of all, whose first fill was detected within [`from`, `to`).
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn count_groups_detected(
        &self,
        user: Option<FollowedUserId>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<i64, DbError> {
        Ok(on!(db self, c => {
            sqlx::query_scalar(COUNT_DETECTED_WITHIN)
                .bind(from.millis())
                .bind(to.millis())
                .bind(user.map(|user| user.0))
                .fetch_one(c)
                .await
        })?)
    }

    /// Returns these groups in no order; unknown ids are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn groups(&self, ids: &[GroupId]) -> Result<Vec<EventGroup>, DbError> {
        let rows: Vec<Row> = fetch_batch!(self, GROUPS, ids, |query, id| query.bind(id.0))?;
        rows.into_iter().map(EventGroup::try_from).collect()
    }

    /// Returns the members of a group.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn members(&self, group: GroupId) -> Result<Vec<Member>, DbError> {
        let rows: Vec<(Option<Uuid>, Option<Uuid>)> =
            on!(db self, c => sqlx::query_as(MEMBERS).bind(group.0).fetch_all(c).await)?;
        let member = |(trade, activity): (Option<Uuid>, Option<Uuid>)| {
            let trade = trade.map(|id| Member::Trade(EventId(id)));
            trade.or(activity.map(|id| Member::Activity(EventId(id))))
        };
        Ok(rows.into_iter().filter_map(member).collect())
    }
}

/// Writes groups with their members and copy jobs; returns the ids of those that are new.
async fn write_groups(tx: &mut Tx, groups: &[&ClosedGroupWrite], now: Timestamp) -> Result<HashSet<Uuid>, DbError> {
    let new: HashSet<Uuid> = insert_groups(tx, groups).await?.into_iter().collect();
    let mut members = Vec::new();
    let mut jobs = Vec::with_capacity(2 * new.len());
    for write in groups.iter().filter(|write| new.contains(&write.group.id.0)) {
        let group = &write.group;
        members.extend(write.members.iter().map(|member| (group.id, *member)));
        jobs.extend(
            [Queue::CopyAttemptUser, Queue::CopyAttemptGlobal]
                .map(|queue| NewJob::for_group(queue, group.id, group.followed_user, write.copy_due)),
        );
    }
    insert_members(tx, &members).await?;
    queue::insert_in(tx, &jobs, now).await?;
    Ok(new)
}

/// Writes groups; returns the ids of those that are new.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(super) async fn insert_groups(tx: &mut Tx, groups: &[&ClosedGroupWrite]) -> Result<Vec<Uuid>, DbError> {
    fetch_batch_values!(tx, INSERT_GROUPS, groups, |query, write| {
        let group = &write.group;
        let (asset, condition, side) = match &group.action {
            GroupAction::Trade { asset, side } => (Some(asset.as_str()), None, Some(side.as_str())),
            GroupAction::Close { asset } => (Some(asset.as_str()), None, None),
            GroupAction::Merge | GroupAction::Split | GroupAction::Conversion => {
                (None, Some(group.market.as_str()), None)
            }
        };
        query
            .bind(group.id.0)
            .bind(group.key.as_str())
            .bind(group.followed_user.0)
            .bind(group.action.kind().as_str())
            .bind(group.market.as_str())
            .bind(asset)
            .bind(condition)
            .bind(side)
            .bind(group.notional.0)
            .bind(group.shares.0)
            .bind(group.reference_price.map(|price| price.micros()))
            .bind(group.window_start.millis())
            .bind(group.detect_time.millis())
            .bind(group.event_time.millis())
    })
}

/// Writes members without `on conflict`: a member that has a group already must cause an error, or the new group's copy
/// would silently be decided without it.
async fn insert_members(tx: &mut Tx, members: &[(GroupId, Member)]) -> Result<(), DbError> {
    execute_batch!(tx, INSERT_MEMBERS, members, |query, (group, member)| {
        let (trade, activity) = match member {
            Member::Trade(id) => (Some(id.0), None),
            Member::Activity(id) => (None, Some(id.0)),
        };
        query.bind(group.0).bind(trade).bind(activity)
    })?;
    Ok(())
}

impl TryFrom<Row> for EventGroup {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "event_group", id: row.id };
        let action = match decoder.text("kind", &row.kind)? {
            GroupKind::Trade => GroupAction::Trade {
                asset: decoder.asset("asset_id", row.asset_id.as_deref().unwrap_or_default())?,
                side: decoder.text("side", row.side.as_deref().unwrap_or_default())?,
            },
            GroupKind::Merge => GroupAction::Merge,
            GroupKind::Split => GroupAction::Split,
            GroupKind::Conversion => GroupAction::Conversion,
            GroupKind::Close => {
                GroupAction::Close { asset: decoder.asset("asset_id", row.asset_id.as_deref().unwrap_or_default())? }
            }
        };
        Ok(Self {
            id: GroupId(row.id),
            key: GroupKey::from_text(&row.group_key),
            followed_user: FollowedUserId(row.followed_user_id),
            market: decoder.market("market_id", &row.market_id)?,
            action,
            notional: UsdcMicros(row.notional_micros),
            shares: ShareMicros(row.share_micros),
            reference_price: optional(row.reference_price_micros, |micros| {
                decoder.price("reference_price_micros", micros)
            })?,
            window_start: Timestamp::from_millis(row.window_start),
            detect_time: Timestamp::from_millis(row.detect_time),
            event_time: Timestamp::from_millis(row.event_time),
        })
    }
}
