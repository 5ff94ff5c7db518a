//! Position checks, and the facts that the exactness of a leader's books follows from (spec 5).

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::db::system::checkpoints;
use crate::domain::accounting::ledger::EntryType;
use crate::domain::accounting::shadow::exactness::{BooksRecord, CheckOutcome, ExactnessFact, InexactCause};
use crate::domain::accounting::shadow::reading::Drift;
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, PositionCheckId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{RowDecoder, json_text, optional};
use crate::sql::error::DbError;

/// Checks read for the state of one leader's books: a cause that is older is shown as old as the oldest of them.
const CHECKS_MAX: i64 = 500;

/// One comparison of a leader's shadow with the venue's positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionCheck {
    pub id: PositionCheckId,
    pub user: FollowedUserId,
    pub checked_at: Timestamp,
    /// Assets that the venue lists or the shadow holds.
    pub n_assets: i64,
    pub outcome: CheckOutcome,
    /// What drifts, or drifted until this check, each with its absolute value at the mark.
    pub drifts: Vec<(Drift, UsdcMicros)>,
    /// Why the positions could not be read.
    pub problem: Option<String>,
}

/// The JSON of `position_check.detail_json`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Detail {
    drifts: Vec<DriftJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adjusted_micros: Option<UsdcMicros>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct DriftJson {
    asset_id: AssetId,
    market_id: Option<MarketId>,
    leader_share_micros: ShareMicros,
    shadow_share_micros: ShareMicros,
    share_micros: ShareMicros,
    counted_to: Timestamp,
    price_micros: Option<i64>,
    value_micros: UsdcMicros,
}

/// The JSON of the checkpoint `positions:harm:<user>`: per cause the first and the last time since a check agreed.
type HarmJson = BTreeMap<InexactCause, (Timestamp, Timestamp)>;

statements! {
    INSERT_CHECK = "insert into position_check (id, followed_user_id, checked_at, n_assets, n_drifting,
            drift_value_micros, state, detail_json)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    NEWEST = "select id, followed_user_id, checked_at, n_assets, state, detail_json from position_check
        where followed_user_id = $1 order by checked_at desc limit $2";
    STATES = "select checked_at, state, detail_json from position_check where followed_user_id = $1
        order by checked_at desc limit $2";
    ADJUSTED = "select checked_at, state, detail_json from position_check
        where followed_user_id = $1
            and (state = 'ADJUSTED' or (state = 'DRIFTING' and detail_json like '%\"adjusted_micros\"%'))";
    OPENED_FOR = "select cast(coalesce(sum(abs(booked_cash_micros)), 0) as bigint) from position_correction
        where followed_user_id = $1 and entry_type = 'ADJUSTMENT' and (ref_id = $2 or ref_id = $2 || ':mark')";
    WAITING = "select payload, created_at from job
        where queue = 'q_portfolio_apply' and followed_user_id = $1 and key like 'redeem:%'";
    OPENED = "select created_at, opening_entry, opened_at from followed_user where id = $1";
    SET_OPENED = "update followed_user set opened_at = $2 where id = $1 and opened_at is null";
}

/// Returns the key of the checkpoint that makes a position check of `user` due.
pub fn suspect_key(user: FollowedUserId) -> String {
    format!("positions:suspect:{user}")
}

fn harm_key(user: FollowedUserId) -> String {
    format!("positions:harm:{user}")
}

fn agrees(outcome: CheckOutcome) -> bool {
    matches!(outcome, CheckOutcome::Exact | CheckOutcome::Adjusted { .. })
}

impl PositionCheck {
    /// Returns the sum of the absolute differences at their marks.
    pub fn drift_value(&self) -> UsdcMicros {
        UsdcMicros(self.drifts.iter().fold(0, |sum, (_, value)| sum.saturating_add(value.0)))
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

    /// Returns whether the opening of a leader is booked.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn is_opened(&self, user: FollowedUserId) -> Result<bool, DbError> {
        let row: Option<(i64, String, Option<i64>)> =
            on!(db self, c => sqlx::query_as(OPENED).bind(user.0).fetch_optional(c).await)?;
        Ok(row.is_some_and(|(.., opened_at)| opened_at.is_some()))
    }

    /// Returns when a check of this leader was last asked for by a suspicion; `None` while it never was.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn suspected_at(&self, user: FollowedUserId) -> Result<Option<Timestamp>, DbError> {
        #[derive(serde::Deserialize)]
        struct Suspect {
            at: Timestamp,
        }
        let text = self.checkpoint(&suspect_key(user)).await?;
        Ok(text.and_then(|text| serde_json::from_str::<Suspect>(&text).ok()).map(|suspect| suspect.at))
    }

    /// Returns the checkpoints, key and JSON, that make a check of this leader due, and with a cause the books not exact
    /// until one agrees.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn suspicion(
        &self,
        user: FollowedUserId,
        why: &str,
        harm: Option<InexactCause>,
        now: Timestamp,
    ) -> Result<Vec<(String, String)>, DbError> {
        let mut checkpoints = vec![(suspect_key(user), json_text(&serde_json::json!({"at": now, "why": why})))];
        if let Some(cause) = harm {
            let agreed = self.check_outcomes(user).await?.into_iter().find(|(_, outcome)| agrees(*outcome));
            let mut harms = self.harms(user).await?;
            harms.retain(|_, (_, last)| agreed.is_none_or(|(at, _)| *last > at));
            let (_, last) = harms.entry(cause).or_insert((now, now));
            *last = now;
            checkpoints.push((harm_key(user), json_text(&harms)));
        }
        Ok(checkpoints)
    }

    /// Returns the facts from which the exactness of a leader's books follows, folded.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn books_record(&self, user: FollowedUserId) -> Result<BooksRecord, DbError> {
        self.books_record_at(user, Timestamp::from_millis(i64::MAX)).await
    }

    /// Returns the record as it was at `time`, without the facts after it. A cause that has ended since then may be missing:
    /// rows that waited and no longer do, and causes that a check ended and that came again later.
    ///
    /// # Errors
    /// As [`Db::books_record`].
    pub async fn books_record_at(&self, user: FollowedUserId, time: Timestamp) -> Result<BooksRecord, DbError> {
        let mut facts = Vec::new();
        let row: Option<(i64, String, Option<i64>)> =
            on!(db self, c => sqlx::query_as(OPENED).bind(user.0).fetch_optional(c).await)?;
        if let Some((created_at, kind, opened_at)) = row {
            let at = Timestamp::from_millis(created_at);
            facts.push((at, ExactnessFact::Followed { at }));
            if let Some(at) = opened_at.map(Timestamp::from_millis) {
                let adjusted = match kind == EntryType::Adjustment.as_str() {
                    true => Some((at, self.opened_for(user).await?)),
                    false => None,
                };
                facts.push((at, ExactnessFact::Opened { adjusted }));
            }
        }
        for (cause, (first, last)) in self.harms(user).await? {
            for at in [first, last] {
                facts.push((at, ExactnessFact::Harmed { at, cause }));
            }
        }
        let waiting: Vec<(String, i64)> = on!(db self, c => sqlx::query_as(WAITING).bind(user.0).fetch_all(c).await)?;
        for (payload, created_at) in waiting {
            let at = Timestamp::from_millis(created_at);
            let id = payload.rsplit(':').next().and_then(|id| id.parse().ok());
            facts.extend(id.map(|id| (at, ExactnessFact::RowWaits { event: EventId(id), at })));
        }
        let checked = self.check_outcomes(user).await?;
        facts.extend(checked.into_iter().map(|(at, outcome)| (at, ExactnessFact::Checked { at, outcome })));
        facts.retain(|(at, _)| *at <= time);
        facts.sort_by_key(|(at, _)| *at);
        Ok(BooksRecord::of(facts.iter().map(|(_, fact)| fact)))
    }

    /// Returns the value of the entries that opened the books of a leader who was followed before openings were booked.
    async fn opened_for(&self, user: FollowedUserId) -> Result<UsdcMicros, DbError> {
        let ref_id = format!("open:{user}");
        let sum: i64 = on!(db self, c => sqlx::query_scalar(OPENED_FOR).bind(user.0).bind(&ref_id).fetch_one(c).await)?;
        Ok(UsdcMicros(sum))
    }

    /// Returns the outcomes of the newest checks, and of all that adjusted, the newest first.
    async fn check_outcomes(&self, user: FollowedUserId) -> Result<Vec<(Timestamp, CheckOutcome)>, DbError> {
        type Row = (i64, String, String);
        let newest: Vec<Row> =
            on!(db self, c => sqlx::query_as(STATES).bind(user.0).bind(CHECKS_MAX).fetch_all(c).await)?;
        let adjusted: Vec<Row> = on!(db self, c => sqlx::query_as(ADJUSTED).bind(user.0).fetch_all(c).await)?;
        let mut outcomes = BTreeMap::new();
        for (at, state, detail) in newest.into_iter().chain(adjusted) {
            let decoder = RowDecoder { table: "position_check", id: user };
            let detail: Detail = decoder.json("detail_json", &detail)?;
            outcomes.insert(Timestamp::from_millis(at), outcome_of(&decoder, &state, &detail)?);
        }
        Ok(outcomes.into_iter().rev().collect())
    }

    /// A text that cannot be read counts as none: the next cause writes it anew.
    async fn harms(&self, user: FollowedUserId) -> Result<HarmJson, DbError> {
        let text = self.checkpoint(&harm_key(user)).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }
}

fn outcome_of<I: std::fmt::Display>(
    decoder: &RowDecoder<I>,
    state: &str,
    detail: &Detail,
) -> Result<CheckOutcome, DbError> {
    match state {
        "EXACT" => Ok(CheckOutcome::Exact),
        "DRIFTING" => Ok(match detail.adjusted_micros {
            Some(value) => CheckOutcome::PartlyAdjusted { value },
            None => CheckOutcome::Drifting,
        }),
        "ADJUSTED" => Ok(CheckOutcome::Adjusted { value: detail.adjusted_micros.unwrap_or_default() }),
        "UNREADABLE" => Ok(CheckOutcome::Unreadable),
        other => Err(decoder.impossible("state", format!("`{other}` is not the state of a check"))),
    }
}

/// Writes a check in the transaction of its entries.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn insert_check(tx: &mut Tx, check: &PositionCheck) -> Result<(), DbError> {
    let adjusted_micros = check.outcome.adjusted();
    let drifts = check.drifts.iter().map(DriftJson::of).collect();
    let detail = json_text(&Detail { drifts, adjusted_micros, problem: check.problem.clone() });
    Ok(on!(tx tx, c => {
        sqlx::query(INSERT_CHECK)
            .bind(check.id.0)
            .bind(check.user.0)
            .bind(check.checked_at.millis())
            .bind(check.n_assets)
            .bind(i64::try_from(check.drifts.len()).unwrap_or(i64::MAX))
            .bind(check.drift_value().0)
            .bind(check.outcome.as_str())
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

impl DriftJson {
    fn of((drift, value): &(Drift, UsdcMicros)) -> Self {
        Self {
            asset_id: drift.asset.clone(),
            market_id: drift.market.clone(),
            leader_share_micros: drift.leader_holds,
            shadow_share_micros: drift.shadow_holds,
            share_micros: drift.shares,
            counted_to: drift.counted_to,
            price_micros: drift.price.map(PriceMicros::micros),
            value_micros: *value,
        }
    }

    fn read(self, decoder: &RowDecoder<Uuid>) -> Result<(Drift, UsdcMicros), DbError> {
        let price = optional(self.price_micros, |micros| decoder.price("detail_json", micros))?;
        let drift = Drift {
            asset: self.asset_id,
            market: self.market_id,
            leader_holds: self.leader_share_micros,
            shadow_holds: self.shadow_share_micros,
            shares: self.share_micros,
            counted_to: self.counted_to,
            price,
        };
        Ok((drift, self.value_micros))
    }
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

impl TryFrom<CheckRow> for PositionCheck {
    type Error = DbError;

    fn try_from(row: CheckRow) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "position_check", id: row.id };
        let detail: Detail = decoder.json("detail_json", &row.detail_json)?;
        let outcome = outcome_of(&decoder, &row.state, &detail)?;
        let drifts = detail.drifts.into_iter().map(|drift| drift.read(&decoder)).collect::<Result<_, _>>()?;
        Ok(Self {
            id: PositionCheckId(row.id),
            user: FollowedUserId(row.followed_user_id),
            checked_at: Timestamp::from_millis(row.checked_at),
            n_assets: row.n_assets,
            outcome,
            drifts,
            problem: detail.problem,
        })
    }
}
