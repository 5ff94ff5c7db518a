//! Copy attempts, listed and explained for pages, newest first.

use uuid::Uuid;

use super::attempt_rows::{FillRow, ListedAttempt, Row};
use super::books::BookOutcome;
use crate::db::events::trades::rows_asked;
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::Side;
use crate::domain::events::group::GroupKind;
use crate::domain::market::book_walk::LevelFill;
use crate::domain::money::ids::{AttemptId, FollowedUserId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;
use crate::sql::page::{Cursor, LOOKS, Page};

/// The attempts to list; `None` does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttemptFilter {
    pub user: Option<FollowedUserId>,
    pub market: Option<MarketId>,
    pub scope: Option<PortfolioScope>,
    pub decision: Option<DecisionKind>,
    /// Skipped for this reason, possibly among others.
    pub reason: Option<ReasonCode>,
    pub side: Option<Side>,
    /// Only groups of this kind; not together with a side, which only trades have.
    pub kind: Option<GroupKind>,
    /// Decided at or after.
    pub from: Option<Timestamp>,
    /// Decided at or before.
    pub to: Option<Timestamp>,
}

impl AttemptFilter {
    /// Returns the text that the groups' keys and rows have for the wanted side or kind.
    pub(in crate::db) fn side_or_kind(&self) -> Option<&'static str> {
        self.side.map(Side::as_str).or(self.kind.map(GroupKind::as_str))
    }

    /// Whether no index returns the matches in order, so that rows must be searched. Those of one market are few and
    /// are sorted instead.
    fn needs_search(&self) -> bool {
        let by_value = self.scope.is_some() || self.reason.is_some() || self.side_or_kind().is_some();
        self.market.is_none() && (by_value || (self.user.is_some() && self.decision.is_some()))
    }
}

/// An attempt with the data that it was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptDetail {
    pub listed: ListedAttempt,
    pub fills: Vec<LevelFill>,
    /// `None` when no book was fetched.
    pub book: Option<BookOutcome>,
}

/// The number of attempts by decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttemptCounts {
    pub executed: i64,
    pub skipped: i64,
}

macro_rules! columns {
    () => {
        "select a.id, a.portfolio_scope, a.followed_user_id, a.group_id, g.group_key, a.decision, a.reason_codes,
            a.target_notional_micros, a.filled_notional_micros, a.filled_share_micros, a.vwap_price_micros,
            a.filled_ratio_bps, a.their_reference_price_micros, a.mid_price_micros_at_decision, a.config_version,
            x.content as explanation, a.created_at, g.kind, g.market_id, g.asset_id, g.side, g.detect_time, g.event_time,
            u.label as user_label, m.question as question, o.outcome as outcome"
    };
}

macro_rules! names {
    () => {
        " left join attempt_explanation x on x.attempt_id = a.id join followed_user u on u.id = a.followed_user_id
            left join market m on m.id = g.market_id
            left join outcome_asset o on o.id = g.asset_id"
    };
}

/// `$1`, `$2` the cursor, `$3` the earliest time, `$4` scope, `$5` reason, `$6` side or kind, `$7` the limit. What is
/// searched is in the index, except for the side, which the group knows.
macro_rules! listed {
    ($filter:literal) => {
        concat!(
            columns!(),
            " from copy_attempt a join event_group g on g.id = a.group_id",
            names!(),
            " where (a.created_at, a.id) < ($1, $2) and a.created_at >= $3
                and (cast($4 as text) is null or a.portfolio_scope = $4)
                and (cast($5 as text) is null or ',' || a.reason_codes || ',' like '%,' || $5 || ',%')
                and (cast($6 as text) is null or g.side = $6 or g.kind = $6)",
            $filter,
            " order by a.created_at desc, a.id desc limit $7"
        )
    };
}

/// The tables of a list of one market's attempts: `$8` the market, `$9` user, `$10` decision, the others as in
/// `listed`.
///
/// It goes from the market's groups to their attempts by indexes alone, sorts, and only then reads the rows. By default
/// the planner of SQLite would read all attempts of the leader for each group, to get them in the order of time: the
/// cross join fixes the order of the tables, and the additions (`+ 0`) keep the planner off the indexes by time.
macro_rules! matches_of_market {
    () => {
        " from (select c.id as id from event_group w cross join copy_attempt c
            where w.market_id = $8 and c.group_id = w.id
                and (c.created_at + 0, c.id) < ($1, $2) and c.created_at + 0 >= $3
                and (cast($4 as text) is null or c.portfolio_scope = $4)
                and (cast($5 as text) is null or ',' || c.reason_codes || ',' like '%,' || $5 || ',%')
                and (cast($6 as text) is null or w.side = $6 or w.kind = $6)
                and (cast($9 as bigint) is null or c.followed_user_id = $9)
                and (cast($10 as text) is null or c.decision = $10)
            order by c.created_at desc, c.id desc limit $7) k
            cross join copy_attempt a join event_group g on g.id = a.group_id"
    };
}
pub(in crate::db) use matches_of_market;

statements! {
    LISTED = listed!("");
    LISTED_OF_USER = listed!(" and a.followed_user_id = $8");
    LISTED_OF_DECISION = listed!(" and a.decision = $8");
    /// For filters that no index serves in order: searched from the newest attempt back to `$3`.
    LISTED_BY_SEARCH = listed!(
        " and (cast($8 as bigint) is null or a.followed_user_id = $8) and (cast($9 as text) is null or a.decision = $9)"
    );
    FLOOR = "select created_at from copy_attempt where (created_at, id) < ($1, $2)
        order by created_at desc, id desc limit 1 offset $3";
    LISTED_OF_MARKET = concat!(
        columns!(),
        matches_of_market!(),
        names!(),
        " where a.id = k.id order by a.created_at desc, a.id desc"
    );
    ONE = concat!(columns!(), " from copy_attempt a join event_group g on g.id = a.group_id", names!(), " where a.id = $1");
    FILLS = "select filled_share_micros, fill_price_micros, fill_notional_micros from executable_fill
        where copy_attempt_id = $1 order by id";
    /// From the index alone, because `tail` polls it every second.
    PLACES = "select created_at, id from copy_attempt where created_at >= $1 order by created_at, id";
    NEWEST_PLACE = "select created_at, id from copy_attempt order by created_at desc, id desc limit 1";
    COUNTS_SINCE = "select (select count(*) from copy_attempt where decision = 'EXECUTE' and created_at >= $1),
        (select count(*) from copy_attempt where decision = 'SKIP' and created_at >= $1)";
}

impl Db {
    /// Returns up to `limit` attempts after `cursor`, the newest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn attempts_page(
        &self,
        filter: &AttemptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ListedAttempt>, DbError> {
        let start = cursor.unwrap_or_else(|| Cursor::start(filter.to));
        let place = |listed: &ListedAttempt| Cursor { at: listed.attempt.created_at, id: listed.attempt.id.0 };
        if !filter.needs_search() {
            return Ok(Page::cut(self.listed(filter, start, filter.from, limit).await?, limit, place));
        }
        let mut page = None;
        for look in LOOKS {
            let floor: Option<i64> = on!(db self, c => {
                sqlx::query_scalar(FLOOR).bind(start.at.millis()).bind(start.id).bind(look).fetch_optional(c).await
            })?;
            // No match can be earlier than the filter's earliest time, so the search need not go further.
            let floor = floor.map(Timestamp::from_millis).filter(|floor| filter.from.is_none_or(|from| from < *floor));
            let rows = self.listed(filter, start, floor.or(filter.from), limit).await?;
            let Some(floor) = floor else { return Ok(Page::cut(rows, limit, place)) };
            let found = Page::cut_at(rows, limit, place, floor);
            if found.looked_back_to.is_none() {
                return Ok(found);
            }
            page = Some(found);
        }
        Ok(page.unwrap_or_else(|| Page::cut(Vec::new(), limit, place)))
    }

    async fn listed(
        &self,
        filter: &AttemptFilter,
        start: Cursor,
        from: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<ListedAttempt>, DbError> {
        let user = filter.user.map(|user| user.0);
        let decision = filter.decision.map(DecisionKind::as_str);
        let market = filter.market.as_ref().map(MarketId::as_str);
        let by_search = filter.needs_search();
        let text = match (market, user, decision) {
            _ if by_search => LISTED_BY_SEARCH,
            (Some(_), _, _) => LISTED_OF_MARKET,
            (None, Some(_), _) => LISTED_OF_USER,
            (None, None, Some(_)) => LISTED_OF_DECISION,
            (None, None, None) => LISTED,
        };
        let rows: Vec<Row> = on!(db self, c => {
            let query = sqlx::query_as(text)
                .bind(start.at.millis())
                .bind(start.id)
                .bind(from.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.scope.map(PortfolioScope::as_str))
                .bind(filter.reason.map(ReasonCode::as_str))
                .bind(filter.side_or_kind())
                .bind(rows_asked(limit));
            match (market, user, decision) {
                _ if by_search => query.bind(user).bind(decision),
                (Some(market), _, _) => query.bind(market).bind(user).bind(decision),
                (None, Some(user), _) => query.bind(user),
                (None, None, Some(decision)) => query.bind(decision),
                (None, None, None) => query,
            }
            .fetch_all(c)
            .await
        })?;
        rows.into_iter().map(ListedAttempt::try_from).collect()
    }

    /// Returns the list positions of the attempts decided at or after `since`, oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn attempt_cursors(&self, since: Timestamp) -> Result<Vec<Cursor>, DbError> {
        let rows: Vec<(i64, Uuid)> = on!(db self, c => sqlx::query_as(PLACES).bind(since.millis()).fetch_all(c).await)?;
        Ok(rows.into_iter().map(Cursor::from).collect())
    }

    /// Returns the list position of the newest attempt.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn newest_attempt_cursor(&self) -> Result<Option<Cursor>, DbError> {
        let row: Option<(i64, Uuid)> = on!(db self, c => sqlx::query_as(NEWEST_PLACE).fetch_optional(c).await)?;
        Ok(row.map(Cursor::from))
    }

    /// Returns one attempt with its fills and its book.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn attempt(&self, id: AttemptId) -> Result<Option<AttemptDetail>, DbError> {
        let row: Option<Row> = on!(db self, c => sqlx::query_as(ONE).bind(id.0).fetch_optional(c).await)?;
        let Some(row) = row else { return Ok(None) };
        let mut listed = ListedAttempt::try_from(row)?;
        let fills = self.fills(id.0).await?;
        listed.attempt.fills = fills.clone();
        let book = self.book(listed.attempt.group_id).await?;
        Ok(Some(AttemptDetail { listed, fills, book }))
    }

    /// Counts the attempts decided at or after `since`, by decision.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn count_attempts_since(&self, since: Timestamp) -> Result<AttemptCounts, DbError> {
        let (executed, skipped): (i64, i64) =
            on!(db self, c => sqlx::query_as(COUNTS_SINCE).bind(since.millis()).fetch_one(c).await)?;
        Ok(AttemptCounts { executed, skipped })
    }

    async fn fills(&self, attempt: Uuid) -> Result<Vec<LevelFill>, DbError> {
        let rows: Vec<FillRow> = on!(db self, c => sqlx::query_as(FILLS).bind(attempt).fetch_all(c).await)?;
        rows.into_iter().map(|row| row.into_fill(attempt)).collect()
    }
}
