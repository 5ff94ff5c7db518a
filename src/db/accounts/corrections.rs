//! Openings and adjustments as late rows need them: the position that each was read from, and the shares that it accounts
//! for now (spec 5).

use std::collections::BTreeMap;

use super::ledger::{EntryRow, PlacedEntry};
use crate::domain::accounting::ledger::LedgerEntry;
use crate::domain::accounting::shadow::correction::Correction;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::sql::batch::{batches, execute_batch, fetch_batch};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{RowDecoder, optional};
use crate::sql::error::DbError;

statements! {
    COVERED = "select asset_id, max(counted_to) from position_correction
        where followed_user_id = $1 and counted_to >= $2 group by asset_id";
    CORRECTIONS = "select followed_user_id, asset_id, ref_id, entry_type, market_id, takes, counted_to, price_micros,
            booked_share_micros, booked_cash_micros, share_micros
        from position_correction where followed_user_id = $1 and asset_id = $2 order by counted_to, ref_id";
}

batches! {
    PUT_CORRECTIONS = "insert into position_correction (followed_user_id, asset_id, ref_id, entry_type, market_id,
            takes, counted_to, price_micros, booked_share_micros, booked_cash_micros, share_micros) values ", 11,
        " on conflict (followed_user_id, asset_id, ref_id, entry_type)
            do update set share_micros = excluded.share_micros";
    ENTRIES_OF_CAUSES = "with cause (owner, ref_id) as (values ", 2, ")
        select e.id, e.portfolio_scope, e.followed_user_id, e.attributed_user_id, e.market_id, e.asset_id,
            e.entry_type, e.share_delta_micros, e.cash_delta_micros, e.price_micros, e.ref_id, e.created_at
        from cause join ledger_entry e on e.portfolio_scope = 'SHADOW_USER'
            and coalesce(e.followed_user_id, 0) = cast(cause.owner as bigint)
            and e.ref_id = cast(cause.ref_id as text)";
}

impl Db {
    /// Returns the assets of a leader for which a position counts rows of `since` or later, with the latest such time of
    /// each: only rows of these can be late.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn covered_assets(
        &self,
        user: FollowedUserId,
        since: Timestamp,
    ) -> Result<BTreeMap<AssetId, Timestamp>, DbError> {
        let rows: Vec<(String, i64)> =
            on!(db self, c => sqlx::query_as(COVERED).bind(user.0).bind(since.millis()).fetch_all(c).await)?;
        let decoder = RowDecoder { table: "position_correction", id: user };
        rows.into_iter()
            .map(|(asset, to)| Ok((decoder.asset("asset_id", &asset)?, Timestamp::from_millis(to))))
            .collect()
    }

    /// Returns the openings and adjustments of one asset of a leader, as late rows have left them.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn corrections(&self, user: FollowedUserId, asset: &AssetId) -> Result<Vec<Correction>, DbError> {
        let rows: Vec<CorrectionRow> =
            on!(db self, c => sqlx::query_as(CORRECTIONS).bind(user.0).bind(asset.as_str()).fetch_all(c).await)?;
        rows.into_iter().map(Correction::try_from).collect()
    }

    /// Returns the shadow entries of these causes, in no order.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn shadow_entries_of(
        &self,
        user: FollowedUserId,
        ref_ids: &[String],
    ) -> Result<Vec<LedgerEntry>, DbError> {
        let rows: Vec<EntryRow> =
            fetch_batch!(self, ENTRIES_OF_CAUSES, ref_ids, |query, ref_id| query.bind(user.0).bind(ref_id))?;
        rows.into_iter().map(|row| PlacedEntry::try_from(row).map(|placed| placed.entry)).collect()
    }
}

/// Writes corrections, new or changed, in the transaction of their entries. Of several of one key the last one counts.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn put_corrections(tx: &mut Tx, corrections: &[&Correction]) -> Result<(), DbError> {
    let by_key: BTreeMap<_, _> = corrections
        .iter()
        .map(|known| ((known.leader, &known.asset, &known.ref_id, known.kind.as_str()), *known))
        .collect();
    let last: Vec<&Correction> = by_key.into_values().collect();
    execute_batch!(tx, PUT_CORRECTIONS, &last, |query, known| query
        .bind(known.leader.0)
        .bind(known.asset.as_str())
        .bind(&known.ref_id)
        .bind(known.kind.as_str())
        .bind(known.market.as_ref().map(MarketId::as_str))
        .bind(known.takes.as_str())
        .bind(known.counted_to.millis())
        .bind(known.price.map(PriceMicros::micros))
        .bind(known.booked_shares.0)
        .bind(known.booked_cash.0)
        .bind(known.shares.0))?;
    Ok(())
}

#[derive(sqlx_macros::FromRow)]
struct CorrectionRow {
    followed_user_id: i64,
    asset_id: String,
    ref_id: String,
    entry_type: String,
    market_id: Option<String>,
    takes: String,
    counted_to: i64,
    price_micros: Option<i64>,
    booked_share_micros: i64,
    booked_cash_micros: i64,
    share_micros: i64,
}

impl TryFrom<CorrectionRow> for Correction {
    type Error = DbError;

    fn try_from(row: CorrectionRow) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "position_correction", id: &row.ref_id };
        Ok(Self {
            leader: FollowedUserId(row.followed_user_id),
            kind: decoder.text("entry_type", &row.entry_type)?,
            asset: decoder.asset("asset_id", &row.asset_id)?,
            market: optional(row.market_id.as_deref(), |id| decoder.market("market_id", id))?,
            takes: decoder.text("takes", &row.takes)?,
            counted_to: Timestamp::from_millis(row.counted_to),
            price: optional(row.price_micros, |micros| decoder.price("price_micros", micros))?,
            booked_shares: ShareMicros(row.booked_share_micros),
            booked_cash: UsdcMicros(row.booked_cash_micros),
            shares: ShareMicros(row.share_micros),
            ref_id: row.ref_id,
        })
    }
}
