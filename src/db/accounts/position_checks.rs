//! Position checks, the positions that openings and adjustments were read from, and whether books are exact (spec 5).

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::db::system::checkpoints;
use crate::domain::accounting::exactness::{Adjustments, BooksRecord, CheckState, Drift, OpenDoubt, Suspicion};
use crate::domain::accounting::ledger::LedgerEntry;
use crate::domain::money::ids::{AssetId, FollowedUserId, PositionCheckId};
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::sql::batch::{batches, execute_batch, fetch_batch};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{RowDecoder, json_text};
use crate::sql::error::DbError;

use super::ledger::{EntryRow, PlacedEntry};

/// Checks read for the state of one leader's books. The oldest cause beyond them is shown as old as they are.
const CHECKS_MAX: i64 = 500;

/// One comparison of a leader's shadow with the venue's positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionCheck {
    pub id: PositionCheckId,
    pub user: FollowedUserId,
    pub checked_at: Timestamp,
    /// Assets that the venue lists or the shadow holds.
    pub n_assets: i64,
    pub state: CheckState,
    /// What drifts, or drifted until this check.
    pub drifts: Vec<Drift>,
    /// Why the positions could not be read.
    pub problem: Option<String>,
}

/// The position that an OPENING or ADJUSTMENT entry was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPosition {
    pub user: FollowedUserId,
    pub asset: AssetId,
    /// That of the entry.
    pub ref_id: String,
    /// Up to which event the position counts.
    pub as_of: Timestamp,
}

/// An OPENING or ADJUSTMENT entry, or a part that a late row took back from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    pub entry: LedgerEntry,
    /// `None` for a part that was taken back.
    pub as_of: Option<Timestamp>,
}

/// The JSON of `position_check.detail_json`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Detail {
    drifts: Vec<Drift>,
    #[serde(default)]
    problem: Option<String>,
}

/// The JSON of the checkpoint `positions:suspect:<user>`.
#[derive(serde::Serialize, serde::Deserialize)]
struct SuspectJson {
    /// The newest suspicion of any kind: a check is due.
    at: Timestamp,
    why: Suspicion,
    /// The doubt that makes the books not exact.
    doubt: Option<DoubtJson>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct DoubtJson {
    since: Timestamp,
    last: Timestamp,
    first: Suspicion,
}

statements! {
    INSERT_CHECK = "insert into position_check (id, followed_user_id, checked_at, n_assets, n_drifting,
            drift_value_micros, state, detail_json)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    NEWEST = "select id, followed_user_id, checked_at, n_assets, state, detail_json from position_check
        where followed_user_id = $1 order by checked_at desc limit $2";
    STATES = "select checked_at, state from position_check where followed_user_id = $1
        order by checked_at desc limit $2";
    COVERED = "select asset_id, max(as_of) from entry_position where followed_user_id = $1 and as_of >= $2
        group by asset_id";
    CORRECTIONS = "select e.id, e.portfolio_scope, e.followed_user_id, e.attributed_user_id, e.market_id, e.asset_id,
            e.entry_type, e.share_delta_micros, e.cash_delta_micros, e.price_micros, e.ref_id, e.created_at,
            p.as_of
        from ledger_entry e left join entry_position p on p.followed_user_id = e.followed_user_id
            and p.asset_id = e.asset_id and p.ref_id = e.ref_id
        where e.followed_user_id = $1 and e.asset_id = $2 and e.entry_type in ('OPENING', 'ADJUSTMENT')
            and e.portfolio_scope = 'SHADOW_USER'
        order by e.id";
    ADJUSTED = "select ref_id, asset_id, cash_delta_micros, created_at from ledger_entry
        where followed_user_id = $1 and entry_type in ('OPENING', 'ADJUSTMENT') and entry_type = 'ADJUSTMENT'
            and portfolio_scope = 'SHADOW_USER'";
    WAITING = "select min(created_at) from job
        where queue = 'q_portfolio_apply' and followed_user_id = $1 and key like 'redeem:%'";
    SET_OPENED = "update followed_user set opened_at = $2 where id = $1 and opened_at is null";
    OPENED = "select created_at, opened_at from followed_user where id = $1";
}

batches! {
    INSERT_POSITIONS = "insert into entry_position (followed_user_id, asset_id, ref_id, as_of) values ", 4, "";
    ENTRIES_OF_CAUSES = "select id, portfolio_scope, followed_user_id, attributed_user_id, market_id, asset_id,
            entry_type, share_delta_micros, cash_delta_micros, price_micros, ref_id, created_at
        from ledger_entry where portfolio_scope = 'SHADOW_USER' and (coalesce(followed_user_id, 0), ref_id) in (values ", 2,
        ")";
}

/// Returns the key of the checkpoint that makes a position check of `user` due.
pub fn suspect_key(user: FollowedUserId) -> String {
    format!("positions:suspect:{user}")
}

impl PositionCheck {
    /// Returns the sum of the absolute differences at their marks.
    pub fn drift_value(&self) -> UsdcMicros {
        UsdcMicros(self.drifts.iter().fold(0, |sum, drift| sum.saturating_add(drift.value_micros.0)))
    }
}

impl Db {
    /// Writes a check that changes no books.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn insert_position_check(&self, check: &PositionCheck) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        insert_check(&mut tx, check).await?;
        tx.commit().await
    }

    /// Returns the newest checks of a leader, the newest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn position_checks(&self, user: FollowedUserId, limit: i64) -> Result<Vec<PositionCheck>, DbError> {
        let rows: Vec<CheckRow> =
            on!(db self, c => sqlx::query_as(NEWEST).bind(user.0).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(PositionCheck::try_from).collect()
    }

    /// Returns the assets of a leader that an opening or adjustment counts up to `since` or later, with the latest such
    /// time of each: only rows of these can be late.
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
        let decoder = RowDecoder { table: "entry_position", id: user };
        rows.into_iter()
            .map(|(asset, as_of)| Ok((decoder.asset("asset_id", &asset)?, Timestamp::from_millis(as_of))))
            .collect()
    }

    /// Returns the openings and adjustments of one asset in a leader's shadow, and what was taken back from them, oldest
    /// first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn corrections(&self, user: FollowedUserId, asset: &AssetId) -> Result<Vec<Correction>, DbError> {
        let rows: Vec<CorrectionRow> =
            on!(db self, c => sqlx::query_as(CORRECTIONS).bind(user.0).bind(asset.as_str()).fetch_all(c).await)?;
        rows.into_iter()
            .map(|row| {
                let as_of = row.as_of.map(Timestamp::from_millis);
                Ok(Correction { entry: PlacedEntry::try_from(row.entry)?.entry, as_of })
            })
            .collect()
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

    /// Returns when a check of this leader became due for a suspicion; `None` while there was none.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn suspected_at(&self, user: FollowedUserId) -> Result<Option<Timestamp>, DbError> {
        Ok(self.suspect(user).await?.map(|suspect| suspect.at))
    }

    /// Returns the checkpoint, key and JSON, that records suspicions about a leader's books. `None` without one.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn suspicion_checkpoint(
        &self,
        user: FollowedUserId,
        suspicions: &[Suspicion],
        now: Timestamp,
    ) -> Result<Option<(String, String)>, DbError> {
        let Some(why) = suspicions.first().copied() else { return Ok(None) };
        let before = self.suspect(user).await?.and_then(|suspect| suspect.doubt);
        let doubt = match suspicions.iter().copied().find(|suspicion| suspicion.makes_inexact()) {
            None => before,
            Some(first) => {
                let open = match before {
                    Some(doubt) if !self.agreed_after(user, doubt.last).await? => Some(doubt),
                    _ => None,
                };
                Some(match open {
                    Some(doubt) => DoubtJson { last: now, ..doubt },
                    None => DoubtJson { since: now, last: now, first },
                })
            }
        };
        Ok(Some((suspect_key(user), json_text(&SuspectJson { at: now, why, doubt }))))
    }

    /// Returns the facts from which the exactness of a leader's books follows.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn books_record(&self, user: FollowedUserId) -> Result<BooksRecord, DbError> {
        let opened: Option<(i64, Option<i64>)> =
            on!(db self, c => sqlx::query_as(OPENED).bind(user.0).fetch_optional(c).await)?;
        let (created_at, opened_at) = opened.unwrap_or_default();
        let waiting: Option<Option<i64>> =
            on!(db self, c => sqlx::query_scalar(WAITING).bind(user.0).fetch_optional(c).await)?;
        let doubt = self.suspect(user).await?.and_then(|suspect| suspect.doubt);
        Ok(BooksRecord {
            created_at: Timestamp::from_millis(created_at),
            opened_at: opened_at.map(Timestamp::from_millis),
            checks: self.check_states(user).await?,
            doubt: doubt.map(|doubt| OpenDoubt { since: doubt.since, last: doubt.last, first: doubt.first }),
            waiting_since: waiting.flatten().map(Timestamp::from_millis),
            adjustments: self.adjustments(user).await?,
        })
    }

    async fn check_states(&self, user: FollowedUserId) -> Result<Vec<(Timestamp, CheckState)>, DbError> {
        let rows: Vec<(i64, String)> =
            on!(db self, c => sqlx::query_as(STATES).bind(user.0).bind(CHECKS_MAX).fetch_all(c).await)?;
        let decoder = RowDecoder { table: "position_check", id: user };
        rows.into_iter().map(|(at, state)| Ok((Timestamp::from_millis(at), decoder.text("state", &state)?))).collect()
    }

    async fn agreed_after(&self, user: FollowedUserId, last: Timestamp) -> Result<bool, DbError> {
        let agrees = |state| matches!(state, CheckState::Exact | CheckState::Adjusted);
        Ok(self.check_states(user).await?.into_iter().any(|(at, state)| agrees(state) && at > last))
    }

    /// A text that cannot be read counts as none: the next suspicion writes it anew.
    async fn suspect(&self, user: FollowedUserId) -> Result<Option<SuspectJson>, DbError> {
        let text = self.checkpoint(&suspect_key(user)).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Sums the adjustments by cause and asset, so that what a late row took back counts against its entry.
    async fn adjustments(&self, user: FollowedUserId) -> Result<Adjustments, DbError> {
        let rows: Vec<(String, Option<String>, i64, i64)> =
            on!(db self, c => sqlx::query_as(ADJUSTED).bind(user.0).fetch_all(c).await)?;
        let mut causes: BTreeMap<String, (BTreeMap<Option<String>, i64>, i64)> = BTreeMap::new();
        for (ref_id, asset, cash, created_at) in rows {
            let cause: Vec<&str> = ref_id.splitn(3, ':').take(2).collect();
            let (assets, at) = causes.entry(cause.join(":")).or_insert((BTreeMap::new(), created_at));
            let sum = assets.entry(asset).or_default();
            *sum = sum.saturating_add(cash);
            *at = (*at).min(created_at);
        }
        let moved = causes.values().flat_map(|(assets, _)| assets.values());
        Ok(Adjustments {
            n: i64::try_from(causes.len()).unwrap_or(i64::MAX),
            last: causes.values().map(|(_, at)| Timestamp::from_millis(*at)).max(),
            moved: UsdcMicros(moved.fold(0, |sum: i64, cash| sum.saturating_add(cash.saturating_abs()))),
        })
    }
}

/// Writes a check in the transaction of its entries.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn insert_check(tx: &mut Tx, check: &PositionCheck) -> Result<(), DbError> {
    let detail = json_text(&Detail { drifts: check.drifts.clone(), problem: check.problem.clone() });
    Ok(on!(tx tx, c => {
        sqlx::query(INSERT_CHECK)
            .bind(check.id.0)
            .bind(check.user.0)
            .bind(check.checked_at.millis())
            .bind(check.n_assets)
            .bind(i64::try_from(check.drifts.len()).unwrap_or(i64::MAX))
            .bind(check.drift_value().0)
            .bind(check.state.as_str())
            .bind(detail)
            .execute(c)
            .await
            .map(drop)
    })?)
}

/// Records that the opening of a leader is booked, and tells the actors that read leaders.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn set_opened(tx: &mut Tx, user: FollowedUserId, at: Timestamp) -> Result<(), DbError> {
    on!(tx &mut *tx, c => sqlx::query(SET_OPENED).bind(user.0).bind(at.millis()).execute(c).await.map(drop))?;
    checkpoints::bump_revision(tx, at).await
}

/// Writes the positions of entries, in the transaction of the entries.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn insert_positions(tx: &mut Tx, positions: &[EntryPosition]) -> Result<(), DbError> {
    execute_batch!(tx, INSERT_POSITIONS, positions, |query, position| query
        .bind(position.user.0)
        .bind(position.asset.as_str())
        .bind(&position.ref_id)
        .bind(position.as_of.millis()))?;
    Ok(())
}

#[derive(sqlx_macros::FromRow)]
struct CheckRow {
    id: Uuid,
    followed_user_id: i64,
    checked_at: i64,
    n_assets: i64,
    state: String,
    detail_json: String,
}

#[derive(sqlx_macros::FromRow)]
struct CorrectionRow {
    #[sqlx(flatten)]
    entry: EntryRow,
    as_of: Option<i64>,
}

impl TryFrom<CheckRow> for PositionCheck {
    type Error = DbError;

    fn try_from(row: CheckRow) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "position_check", id: row.id };
        let Detail { drifts, problem } = decoder.json("detail_json", &row.detail_json)?;
        Ok(Self {
            id: PositionCheckId(row.id),
            user: FollowedUserId(row.followed_user_id),
            checked_at: Timestamp::from_millis(row.checked_at),
            n_assets: row.n_assets,
            state: decoder.text("state", &row.state)?,
            drifts,
            problem,
        })
    }
}
