//! What a leader held just before a group, folded from their shadow's ledger (spec 7.2c).

use std::collections::HashSet;

use uuid::Uuid;

use crate::domain::accounting::shadow::exactness::ExactnessState;
use crate::domain::decision::exit::TheirHolding;
use crate::domain::events::group::{EventGroup, Member};
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{ShareMicros, Timestamp, UnitError};
use crate::sql::batch::{batches, fetch_batch};
use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;

statements! {
    OF_ASSET = "select ref_id, share_delta_micros from ledger_entry
        where portfolio_scope = 'SHADOW_USER' and coalesce(followed_user_id, 0) = $1 and asset_id = $2";
}

batches! {
    TRADE_TIMES = "select id, event_time from trade_event where id in (", 1, ")";
    ACTIVITY_TIMES = "select id, event_time from activity_event where id in (", 1, ")";
}

impl Db {
    /// Returns what the leader held of these assets just before the earliest row of the group, the smallest of the
    /// holdings, and whether their books were exact at `now` (spec 7.2c). `None` while the shadow does not have all rows of
    /// the group.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when the sum does not fit, or a
    /// stored check cannot be decoded.
    pub async fn their_holding_before(
        &self,
        group: &EventGroup,
        assets: &[AssetId],
        now: Timestamp,
    ) -> Result<Option<TheirHolding>, DbError> {
        let Some(held) = self.holding_before(group, assets).await? else { return Ok(None) };
        let books = self.books_record_at(group.followed_user, now).await?.exactness().state();
        Ok(Some(match books {
            ExactnessState::NotExact => TheirHolding::Inexact(held),
            ExactnessState::Exact | ExactnessState::Adjusted => TheirHolding::Known(held),
        }))
    }

    /// Returns the leader's smallest holding of these assets just before the earliest row of the group; `None` while the
    /// shadow does not have all rows of the group.
    ///
    /// Rows later than the group's earliest are left out, and so are the group's own. Openings and adjustments count, at
    /// whatever time they were booked. Other rows of the same second count as earlier, because the venue's times are
    /// whole seconds: a leader who sold had bought before.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when the sum does not fit.
    async fn holding_before(&self, group: &EventGroup, assets: &[AssetId]) -> Result<Option<ShareMicros>, DbError> {
        let own: HashSet<Uuid> = self.members(group.id).await?.into_iter().map(id_of).collect();
        let mut smallest = None;
        for asset in assets {
            let entries: Vec<(String, i64)> = on!(db self, c => {
                sqlx::query_as(OF_ASSET).bind(group.followed_user.0).bind(asset.as_str()).fetch_all(c).await
            })?;
            let booked: HashSet<Uuid> = entries.iter().filter_map(|(ref_id, _)| event_of(ref_id)).collect();
            if !own.is_subset(&booked) {
                return Ok(None);
            }
            let left_out = self.rows_from(group, &own, &booked).await?;
            let counts = |ref_id: &str| event_of(ref_id).is_none_or(|event| !left_out.contains(&event));
            let before = entries.iter().filter(|(ref_id, _)| counts(ref_id)).map(|(_, shares)| ShareMicros(*shares));
            let before = before.into_iter().try_fold(ShareMicros::ZERO, ShareMicros::plus);
            let before = before
                .map_err(|error: UnitError| DbError::impossible("ledger_entry", asset, "share_delta_micros", error))?;
            smallest = Some(smallest.map_or(before, |smallest: ShareMicros| smallest.min(before)));
        }
        Ok(smallest)
    }

    /// Returns those of the events that are later than the group's earliest row, and the group's own.
    async fn rows_from(
        &self,
        group: &EventGroup,
        own: &HashSet<Uuid>,
        booked: &HashSet<Uuid>,
    ) -> Result<HashSet<Uuid>, DbError> {
        let others: Vec<Uuid> = booked.difference(own).copied().collect();
        let mut times: Vec<(Uuid, i64)> = fetch_batch!(self, TRADE_TIMES, &others, |query, id| query.bind(*id))?;
        let activities: Vec<(Uuid, i64)> = fetch_batch!(self, ACTIVITY_TIMES, &others, |query, id| query.bind(*id))?;
        times.extend(activities);
        let later = times.into_iter().filter(|(_, time)| *time > group.event_time.millis()).map(|(id, _)| id);
        Ok(later.chain(own.iter().copied()).collect())
    }
}

fn id_of(member: Member) -> Uuid {
    match member {
        Member::Trade(id) | Member::Activity(id) => id.0,
    }
}

/// Returns the event of an entry that one row caused: `event:<id>`.
fn event_of(ref_id: &str) -> Option<Uuid> {
    ref_id.strip_prefix("event:").and_then(|id| id.parse().ok())
}
