//! Detected trades, listed for pages, newest first.

use uuid::Uuid;

use super::event_rows::TradeRow;
use crate::domain::events::event::{Side, TradeEvent};
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;
use crate::sql::page::{Cursor, LOOKS, Page};

/// The trades to list; `None` does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TradeFilter {
    pub user: Option<FollowedUserId>,
    pub market: Option<MarketId>,
    pub side: Option<Side>,
    /// Detected at or after.
    pub from: Option<Timestamp>,
    /// Detected at or before.
    pub to: Option<Timestamp>,
}

/// A trade with the names for a page. All three are hostile text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTrade {
    pub trade: TradeEvent,
    pub user_label: String,
    /// `None` until the market's facts are fetched.
    pub question: Option<String>,
    pub outcome: Option<String>,
}

/// The columns and joins of a listed trade; `$1`, `$2` the cursor, `$3` the earliest time, `$4` the side, `$5` the
/// limit.
macro_rules! listed {
    ($filter:literal) => {
        concat!(
            "select t.id, t.source_id, t.tx_hash, t.profile_wallet, t.proxy_wallet, t.followed_user_id, t.market_id,
                t.asset_id, t.side, t.price_micros, t.share_micros, t.notional_micros, t.fee_micros, t.event_time,
                t.detect_time, u.label as user_label, m.question as question, o.outcome as outcome
            from trade_event t join followed_user u on u.id = t.followed_user_id
                left join market m on m.id = t.market_id left join outcome_asset o on o.id = t.asset_id
            where t.is_canonical and (t.detect_time, t.id) < ($1, $2) and t.detect_time >= $3
                and (cast($4 as text) is null or t.side = $4)",
            $filter,
            " order by t.detect_time desc, t.id desc limit $5"
        )
    };
}

statements! {
    LISTED = listed!("");
    LISTED_OF_USER = listed!(" and t.followed_user_id = $6");
    /// With a user as well; the market is usually the narrower filter.
    LISTED_OF_MARKET = listed!(" and t.market_id = $6 and (cast($7 as bigint) is null or t.followed_user_id = $7)");
    FLOOR = "select detect_time from trade_event where is_canonical and (detect_time, id) < ($1, $2)
        order by detect_time desc, id desc limit 1 offset $3";
    FLOOR_OF_USER = "select detect_time from trade_event where is_canonical and (detect_time, id) < ($1, $2)
        and followed_user_id = $4 order by detect_time desc, id desc limit 1 offset $3";
    FLOOR_OF_MARKET = "select detect_time from trade_event where is_canonical and (detect_time, id) < ($1, $2)
        and market_id = $4 order by detect_time desc, id desc limit 1 offset $3";
    COUNT_SINCE = "select count(*) from trade_event where is_canonical and detect_time >= $1";
    /// From the index alone, because `tail` polls it every second.
    PLACES = "select detect_time, id from trade_event where is_canonical and detect_time >= $1 order by detect_time, id";
    NEWEST_PLACE = "select detect_time, id from trade_event where is_canonical order by detect_time desc, id desc limit 1";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    #[sqlx(flatten)]
    trade: TradeRow,
    user_label: String,
    question: Option<String>,
    outcome: Option<String>,
}

impl Db {
    /// Returns up to `limit` trades after `cursor`, the newest detection first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn trades_page(
        &self,
        filter: &TradeFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ListedTrade>, DbError> {
        let start = cursor.unwrap_or_else(|| Cursor::start(filter.to));
        let place = |listed: &ListedTrade| Cursor { at: listed.trade.detect_time, id: listed.trade.id.0 };
        // For a user or a market alone, or for neither, an index returns the matches in order.
        if filter.side.is_none() && (filter.market.is_none() || filter.user.is_none()) {
            return Ok(Page::cut(self.listed_trades(filter, start, filter.from, limit).await?, limit, place));
        }
        let mut page = None;
        for look in LOOKS {
            let floor = self.trade_floor(filter, start, look).await?;
            // No match can be earlier than the filter's earliest time, so the search need not go further.
            let floor = floor.filter(|floor| filter.from.is_none_or(|from| from < *floor));
            let rows = self.listed_trades(filter, start, floor.or(filter.from), limit).await?;
            let Some(floor) = floor else { return Ok(Page::cut(rows, limit, place)) };
            let found = Page::cut_at(rows, limit, place, floor);
            if found.looked_back_to.is_none() {
                return Ok(found);
            }
            page = Some(found);
        }
        Ok(page.unwrap_or_else(|| Page::cut(Vec::new(), limit, place)))
    }

    /// Returns the detection time of the trade that is `look` trades after `start`; `None` when there are fewer.
    async fn trade_floor(&self, filter: &TradeFilter, start: Cursor, look: i64) -> Result<Option<Timestamp>, DbError> {
        let text = match (&filter.market, filter.user) {
            (Some(_), _) => FLOOR_OF_MARKET,
            (None, Some(_)) => FLOOR_OF_USER,
            (None, None) => FLOOR,
        };
        let floor: Option<i64> = on!(db self, c => {
            let query = sqlx::query_scalar(text).bind(start.at.millis()).bind(start.id).bind(look);
            match (&filter.market, filter.user) {
                (Some(market), _) => query.bind(market.as_str()),
                (None, Some(user)) => query.bind(user.0),
                (None, None) => query,
            }
            .fetch_optional(c)
            .await
        })?;
        Ok(floor.map(Timestamp::from_millis))
    }

    async fn listed_trades(
        &self,
        filter: &TradeFilter,
        start: Cursor,
        from: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<ListedTrade>, DbError> {
        let text = match (&filter.market, filter.user) {
            (Some(_), _) => LISTED_OF_MARKET,
            (None, Some(_)) => LISTED_OF_USER,
            (None, None) => LISTED,
        };
        let rows: Vec<Row> = on!(db self, c => {
            let query = sqlx::query_as(text)
                .bind(start.at.millis())
                .bind(start.id)
                .bind(from.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.side.map(Side::as_str))
                .bind(rows_asked(limit));
            let user = filter.user.map(|user| user.0);
            match (&filter.market, user) {
                (Some(market), _) => query.bind(market.as_str()).bind(user),
                (None, Some(user)) => query.bind(user),
                (None, None) => query,
            }
            .fetch_all(c)
            .await
        })?;
        rows.into_iter().map(ListedTrade::try_from).collect()
    }

    /// Returns the list positions of the trades detected at or after `since`, oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn trade_cursors(&self, since: Timestamp) -> Result<Vec<Cursor>, DbError> {
        let rows: Vec<(i64, Uuid)> = on!(db self, c => sqlx::query_as(PLACES).bind(since.millis()).fetch_all(c).await)?;
        Ok(rows.into_iter().map(Cursor::from).collect())
    }

    /// Returns the list position of the newest trade.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn newest_trade_cursor(&self) -> Result<Option<Cursor>, DbError> {
        let row: Option<(i64, Uuid)> = on!(db self, c => sqlx::query_as(NEWEST_PLACE).fetch_optional(c).await)?;
        Ok(row.map(Cursor::from))
    }

    /// Counts the trades detected at or after `since`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn count_trades_since(&self, since: Timestamp) -> Result<i64, DbError> {
        Ok(on!(db self, c => sqlx::query_scalar(COUNT_SINCE).bind(since.millis()).fetch_one(c).await)?)
    }

    /// Returns the event time of the trade that was detected last.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn newest_trade_time(&self) -> Result<Option<Timestamp>, DbError> {
        Ok(self.newest_fill_seen().await?.map(|seen| seen.event_time))
    }
}

/// Returns one more than `limit`, so that the caller knows whether there is a next page.
pub(crate) fn rows_asked(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1
}

impl TryFrom<Row> for ListedTrade {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            trade: row.trade.try_into()?,
            user_label: row.user_label,
            question: row.question,
            outcome: row.outcome,
        })
    }
}
