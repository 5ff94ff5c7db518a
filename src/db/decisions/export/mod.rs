//! Rows for downloads: every column, read in parts by a key, so that no download is ever in memory as a whole.
//!
//! Columns are read by the tables in [`columns`] and passed on as they are stored: a download contains a value even if
//! a page would reject it.

mod columns;
pub(in crate::db) mod positions;

use sqlx::{ColumnIndex, Decode, Row, Type};
use uuid::Uuid;

use super::attempts::AttemptFilter;
use super::attempts::matches_of_market;
use super::explanation_text;
use crate::db::events::trades::TradeFilter;
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::Side;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::{owner_key, portfolio_key};
use crate::sql::error::DbError;
use crate::sql::page::Cursor;

pub use columns::{
    ATTEMPT_COLUMNS, CHECK_COLUMNS, CORRECTION_COLUMNS, Column, Kind, LEDGER_COLUMNS, SNAPSHOT_COLUMNS, TRADE_COLUMNS,
};
pub use positions::{CorrectionKey, PositionFilter};

/// One stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Integer(i64),
    Flag(bool),
    Uuid(Uuid),
    Time(Timestamp),
    /// Hostile if it comes from outside.
    Text(String),
    Json(String),
    Words(String),
}

/// Some rows of a download, and the key of the next part; `None` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<K> {
    pub rows: Vec<Vec<Cell>>,
    pub next: Option<K>,
}

/// The ledger entries to export; `None` does not filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerFilter {
    pub scope: Option<PortfolioScope>,
    /// The owner of the portfolio; in the global portfolio, the leader who caused the entry.
    pub user: Option<FollowedUserId>,
    /// Written at or after.
    pub from: Option<Timestamp>,
    /// Written at or before.
    pub to: Option<Timestamp>,
}

/// `$1`, `$2` the cursor, `$3` the earliest time, `$4` side, `$5` the limit: the trades that `trades` lists, with
/// every column.
macro_rules! trades {
    ($filter:literal) => {
        concat!(
            "select t.id, t.source, t.source_id, t.tx_hash, t.log_index, t.block_hash, t.removed, t.is_canonical,
                t.profile_wallet, t.proxy_wallet, t.followed_user_id, t.market_id, t.asset_id, t.side, t.price_micros,
                t.share_micros, t.notional_micros, t.fee_micros, t.event_time, t.detect_time, t.created_at,
                u.label as followed_user_label, m.question as question, o.outcome as outcome,
                m.event_id, m.event_slug, m.event_title
            from trade_event t join followed_user u on u.id = t.followed_user_id
                left join market m on m.id = t.market_id left join outcome_asset o on o.id = t.asset_id
            where t.is_canonical and (t.detect_time, t.id) < ($1, $2) and t.detect_time >= $3
                and (cast($4 as text) is null or t.side = $4)",
            $filter,
            " order by t.detect_time desc, t.id desc limit $5"
        )
    };
}

macro_rules! attempt_columns {
    () => {
        "select a.id, a.portfolio_scope, a.followed_user_id, a.group_id, g.group_key, a.decision, a.reason_codes,
            a.target_notional_micros, a.filled_notional_micros, a.filled_share_micros, a.vwap_price_micros,
            a.filled_ratio_bps, a.their_reference_price_micros, a.mid_price_micros_at_decision, a.config_version,
            x.content as explain_json, a.created_at, g.kind, g.market_id, g.asset_id, g.side,
            u.label as followed_user_label, m.question as question, o.outcome as outcome,
                m.event_id, m.event_slug, m.event_title"
    };
}

macro_rules! attempt_names {
    () => {
        " left join attempt_explanation x on x.attempt_id = a.id join followed_user u on u.id = a.followed_user_id
            left join market m on m.id = g.market_id
            left join outcome_asset o on o.id = g.asset_id"
    };
}

/// `$1`, `$2` the cursor, `$3` the earliest time, `$4` scope, `$5` reason, `$6` side, `$7` the limit.
macro_rules! attempts {
    ($filter:literal) => {
        concat!(
            attempt_columns!(),
            " from copy_attempt a join event_group g on g.id = a.group_id",
            attempt_names!(),
            " where (a.created_at, a.id) < ($1, $2) and a.created_at >= $3
                and (cast($4 as text) is null or a.portfolio_scope = $4)
                and (cast($5 as text) is null or ',' || a.reason_codes || ',' like '%,' || $5 || ',%')
                and (cast($6 as text) is null or g.side = $6 or g.kind = $6)",
            $filter,
            " order by a.created_at desc, a.id desc limit $7"
        )
    };
}

/// `$1` the last id, `$2` scope, `$3` owner, `$4`, `$5` the times, `$6` the limit.
macro_rules! ledger {
    ($filter:literal) => {
        concat!(
            "select e.id, e.portfolio_scope, e.followed_user_id, e.attributed_user_id, e.market_id, e.asset_id,
                e.entry_type, e.share_delta_micros, e.cash_delta_micros, e.price_micros, e.ref_id, e.created_at,
                u.label as followed_user_label, m.question as question, o.outcome as outcome,
                m.event_id, m.event_slug, m.event_title
            from ledger_entry e left join followed_user u on u.id = coalesce(e.followed_user_id, e.attributed_user_id)
                left join market m on m.id = e.market_id left join outcome_asset o on o.id = e.asset_id
            where e.id > $1 and e.created_at >= $4 and e.created_at <= $5",
            $filter,
            " order by e.id limit $6"
        )
    };
}

statements! {
    TRADES = trades!("");
    TRADES_OF_USER = trades!(" and t.followed_user_id = $6");
    TRADES_OF_MARKET = trades!(" and t.market_id = $6 and (cast($7 as bigint) is null or t.followed_user_id = $7)");
    ATTEMPTS = attempts!("");
    ATTEMPTS_OF_USER =
        attempts!(" and a.followed_user_id = $8 and (cast($9 as text) is null or a.decision = $9)");
    ATTEMPTS_OF_DECISION = attempts!(" and a.decision = $8");
    ATTEMPTS_OF_MARKET = concat!(
        attempt_columns!(),
        matches_of_market!(),
        attempt_names!(),
        " where a.id = k.id order by a.created_at desc, a.id desc"
    );
    LEDGER = ledger!(" and (cast($2 as text) is null or e.portfolio_scope = $2)
        and (cast($3 as bigint) is null or coalesce(e.followed_user_id, e.attributed_user_id) = $3)");
    LEDGER_OF_PORTFOLIO = ledger!(" and e.portfolio_scope = $2 and coalesce(e.followed_user_id, 0) = $3");
    SNAPSHOTS = "select cast($1 as text) as portfolio_scope, cast($2 as bigint) as followed_user_id, bucket_time,
            equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros,
            if_sold_now_micros, stale_assets
        from portfolio_point where portfolio = $3 and bucket_time > $4 and bucket_time <= $5
        order by bucket_time limit $6";
}

impl Db {
    /// Returns the trades of [`Db::trades_page`] with [`TRADE_COLUMNS`], newest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn export_trades(
        &self,
        filter: &TradeFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Part<Cursor>, DbError> {
        let start = after.unwrap_or_else(|| Cursor::start(filter.to));
        let user = filter.user.map(|user| user.0);
        let text = match (&filter.market, user) {
            (Some(_), _) => TRADES_OF_MARKET,
            (None, Some(_)) => TRADES_OF_USER,
            (None, None) => TRADES,
        };
        on!(db self, c => {
            let query = sqlx::query(text)
                .bind(start.at.millis())
                .bind(start.id)
                .bind(filter.from.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.side.map(Side::as_str))
                .bind(rows_asked(limit));
            let rows = match (&filter.market, user) {
                (Some(market), user) => query.bind(market.as_str()).bind(user),
                (None, Some(user)) => query.bind(user),
                (None, None) => query,
            }
            .fetch_all(c)
            .await?;
            part(&rows, &TRADE_COLUMNS, limit, |row| cursor(row, "detect_time"))
        })
    }

    /// Returns the attempts of [`Db::attempts_page`] with [`ATTEMPT_COLUMNS`], newest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn export_attempts(
        &self,
        filter: &AttemptFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Part<Cursor>, DbError> {
        let start = after.unwrap_or_else(|| Cursor::start(filter.to));
        let user = filter.user.map(|user| user.0);
        let decision = filter.decision.map(DecisionKind::as_str);
        let text = match (&filter.market, user, decision) {
            (Some(_), _, _) => ATTEMPTS_OF_MARKET,
            (None, Some(_), _) => ATTEMPTS_OF_USER,
            (None, None, Some(_)) => ATTEMPTS_OF_DECISION,
            (None, None, None) => ATTEMPTS,
        };
        on!(db self, c => {
            let query = sqlx::query(text)
                .bind(start.at.millis())
                .bind(start.id)
                .bind(filter.from.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.scope.map(PortfolioScope::as_str))
                .bind(filter.reason.map(ReasonCode::as_str))
                .bind(filter.side_or_kind())
                .bind(rows_asked(limit));
            let rows = match (&filter.market, user, decision) {
                (Some(market), user, decision) => query.bind(market.as_str()).bind(user).bind(decision),
                (None, Some(user), decision) => query.bind(user).bind(decision),
                (None, None, Some(decision)) => query.bind(decision),
                (None, None, None) => query,
            }
            .fetch_all(c)
            .await?;
            part(&rows, &ATTEMPT_COLUMNS, limit, |row| cursor(row, "created_at"))
        })
    }

    /// Returns ledger entries after the position `after` with [`LEDGER_COLUMNS`], oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn export_ledger(&self, filter: &LedgerFilter, after: i64, limit: usize) -> Result<Part<i64>, DbError> {
        // A whole portfolio has an index; any other filter reads the ledger once from end to end.
        let portfolio = filter.scope.and_then(|scope| PortfolioId::new(scope, filter.user));
        let (text, owner) = match portfolio {
            Some(portfolio) => (LEDGER_OF_PORTFOLIO, Some(owner_key(portfolio))),
            None => (LEDGER, filter.user.map(|user| user.0)),
        };
        on!(db self, c => {
            let rows = sqlx::query(text)
                .bind(after)
                .bind(filter.scope.map(PortfolioScope::as_str))
                .bind(owner)
                .bind(filter.from.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.to.map_or(i64::MAX, Timestamp::millis))
                .bind(rows_asked(limit))
                .fetch_all(c)
                .await?;
            part(&rows, &LEDGER_COLUMNS, limit, |row| row.try_get("id"))
        })
    }

    /// Returns one portfolio's points within (`after`, `to`] with [`SNAPSHOT_COLUMNS`], oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn export_snapshots(
        &self,
        portfolio: PortfolioId,
        (after, to): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Part<Timestamp>, DbError> {
        on!(db self, c => {
            let rows = sqlx::query(SNAPSHOTS)
                .bind(portfolio.scope().as_str())
                .bind(portfolio.owner().map(|user| user.0))
                .bind(portfolio_key(portfolio))
                .bind(after.millis())
                .bind(to.millis())
                .bind(rows_asked(limit))
                .fetch_all(c)
                .await?;
            part(&rows, &SNAPSHOT_COLUMNS, limit, |row| row.try_get("bucket_time").map(Timestamp::from_millis))
        })
    }
}

/// Returns the limit as SQL takes it: a part that is not full is the last one.
fn rows_asked(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn part<'r, R, K>(
    rows: &'r [R],
    columns: &[Column],
    limit: usize,
    key: impl Fn(&'r R) -> Result<K, sqlx::Error>,
) -> Result<Part<K>, DbError>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    Option<bool>: Decode<'r, R::Database> + Type<R::Database>,
    Option<Uuid>: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    Option<Vec<u8>>: Decode<'r, R::Database> + Type<R::Database>,
{
    let next = rows.last().filter(|_| rows.len() == limit).map(key).transpose()?;
    let rows = rows.iter().map(|row| columns.iter().map(|(name, kind)| cell(row, name, *kind)).collect());
    Ok(Part { rows: rows.collect::<Result<_, _>>()?, next })
}

fn cell<'r, R>(row: &'r R, name: &'static str, kind: Kind) -> Result<Cell, sqlx::Error>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    Option<bool>: Decode<'r, R::Database> + Type<R::Database>,
    Option<Uuid>: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    Option<Vec<u8>>: Decode<'r, R::Database> + Type<R::Database>,
{
    let cell = match kind {
        Kind::Integer => row.try_get::<Option<i64>, _>(name)?.map(Cell::Integer),
        Kind::Time => row.try_get::<Option<i64>, _>(name)?.map(|millis| Cell::Time(Timestamp::from_millis(millis))),
        Kind::Flag => row.try_get::<Option<bool>, _>(name)?.map(Cell::Flag),
        Kind::Uuid => row.try_get::<Option<Uuid>, _>(name)?.map(Cell::Uuid),
        Kind::Text => row.try_get::<Option<String>, _>(name)?.map(Cell::Text),
        Kind::Json => row.try_get::<Option<String>, _>(name)?.map(Cell::Json),
        Kind::Explanation => match row.try_get::<Option<Vec<u8>>, _>(name)? {
            Some(content) => Some(Cell::Json(
                explanation_text::unpack(&content)
                    .map_err(|problem| sqlx::Error::ColumnDecode { index: name.to_owned(), source: problem.into() })?,
            )),
            None => None,
        },
        Kind::Words => row.try_get::<Option<String>, _>(name)?.map(Cell::Words),
    };
    Ok(cell.unwrap_or(Cell::Null))
}

fn cursor<'r, R>(row: &'r R, time: &'static str) -> Result<Cursor, sqlx::Error>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Uuid: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(Cursor { at: Timestamp::from_millis(row.try_get(time)?), id: row.try_get("id")? })
}
