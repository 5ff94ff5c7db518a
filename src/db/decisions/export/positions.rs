//! Downloads about the leaders' positions: the checks, and the openings and adjustments that they led to (spec 5).

use sqlx::Row;
use uuid::Uuid;

use super::columns::{CHECK_COLUMNS, CORRECTION_COLUMNS};
use super::{Part, cursor, part, rows_asked};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;
use crate::sql::page::Cursor;

/// The rows of leaders' positions to export; `None` does not filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PositionFilter {
    pub user: Option<FollowedUserId>,
    /// Read from the venue at or after.
    pub from: Option<Timestamp>,
    /// Read from the venue at or before.
    pub to: Option<Timestamp>,
}

/// The key of an opening or adjustment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorrectionKey {
    user: i64,
    asset: String,
    ref_id: String,
    kind: String,
}

statements! {
    /// `$1`, `$2` the cursor, `$3` leader, `$4`, `$5` the times, `$6` the limit.
    CHECKS = "select c.id, c.followed_user_id, c.checked_at, c.n_assets, c.n_drifting, c.drift_value_micros, c.state,
            c.detail_json, u.label as followed_user_label
        from position_check c join followed_user u on u.id = c.followed_user_id
        where (c.checked_at, c.id) > ($1, $2) and (cast($3 as bigint) is null or c.followed_user_id = $3)
            and c.checked_at >= $4 and c.checked_at <= $5
        order by c.checked_at, c.id limit $6";
    /// `$1` to `$4` the last key, `$5` leader, `$6`, `$7` the times, `$8` the limit.
    CORRECTIONS = "select c.followed_user_id, c.asset_id, c.ref_id, c.entry_type, c.market_id, c.takes, c.counted_to,
            c.price_micros, c.booked_share_micros, c.booked_cash_micros, c.share_micros,
            u.label as followed_user_label, m.question as question, o.outcome as outcome,
            m.event_id, m.event_slug, m.event_title
        from position_correction c join followed_user u on u.id = c.followed_user_id
            left join market m on m.id = c.market_id left join outcome_asset o on o.id = c.asset_id
        where (c.followed_user_id, c.asset_id, c.ref_id, c.entry_type) > ($1, $2, $3, $4)
            and (cast($5 as bigint) is null or c.followed_user_id = $5)
            and c.counted_to >= $6 and c.counted_to <= $7
        order by c.followed_user_id, c.asset_id, c.ref_id, c.entry_type limit $8";
}

impl Db {
    /// Returns the position checks after the key `after` with [`CHECK_COLUMNS`], oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn export_checks(
        &self,
        filter: &PositionFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Part<Cursor>, DbError> {
        let after = after.unwrap_or(Cursor { at: Timestamp::from_millis(i64::MIN), id: Uuid::nil() });
        on!(db self, c => {
            let rows = sqlx::query(CHECKS)
                .bind(after.at.millis())
                .bind(after.id)
                .bind(filter.user.map(|user| user.0))
                .bind(filter.from.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.to.map_or(i64::MAX, Timestamp::millis))
                .bind(rows_asked(limit))
                .fetch_all(c)
                .await?;
            part(&rows, &CHECK_COLUMNS, limit, |row| cursor(row, "checked_at"))
        })
    }

    /// Returns the openings and adjustments after the key `after` with [`CORRECTION_COLUMNS`], by leader and asset.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn export_corrections(
        &self,
        filter: &PositionFilter,
        after: CorrectionKey,
        limit: usize,
    ) -> Result<Part<CorrectionKey>, DbError> {
        on!(db self, c => {
            let rows = sqlx::query(CORRECTIONS)
                .bind(after.user)
                .bind(&after.asset)
                .bind(&after.ref_id)
                .bind(&after.kind)
                .bind(filter.user.map(|user| user.0))
                .bind(filter.from.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.to.map_or(i64::MAX, Timestamp::millis))
                .bind(rows_asked(limit))
                .fetch_all(c)
                .await?;
            part(&rows, &CORRECTION_COLUMNS, limit, |row| {
                Ok(CorrectionKey {
                    user: row.try_get("followed_user_id")?,
                    asset: row.try_get("asset_id")?,
                    ref_id: row.try_get("ref_id")?,
                    kind: row.try_get("entry_type")?,
                })
            })
        })
    }
}
