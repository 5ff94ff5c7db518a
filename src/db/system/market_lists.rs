//! Markets listed for pages, and the events of one market.

use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::RowDecoder;
use crate::sql::error::DbError;

/// A market in which leaders traded within a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradedMarket {
    pub market: MarketId,
    /// Time of detection.
    pub last_trade: Timestamp,
}

/// The number of decisions on one market's groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MarketAttempts {
    pub attempts: i64,
    pub executed: i64,
}

/// A copy that was executed, with the price of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeCopy {
    pub at: Timestamp,
    pub scope: PortfolioScope,
    pub side: Side,
    pub shares: ShareMicros,
    pub notional: UsdcMicros,
    pub vwap: PriceMicros,
    pub theirs: PriceMicros,
}

statements! {
    /// Searches all markets, which are few. Open markets come first.
    SEARCH = "select id from market where lower(question) like lower($1) escape '\\' or lower(slug) like lower($1) escape '\\'
        order by resolved_at is not null, question, id limit $2";
    NAMED = "select id from market where lower(question) = lower($1) or lower(slug) = lower($1) order by id limit $2";
    BLACKLISTED = "select id from market where blacklisted order by question, id limit $1";
    /// Jumps from market to market in the index, because there are far fewer markets than trades.
    TRADED_SINCE = "with recursive traded (id) as (
            select min(market_id) from trade_event where is_canonical
            union all
            select (select min(t.market_id) from trade_event t where t.is_canonical and t.market_id > traded.id)
                from traded where traded.id is not null)
        select s.id, s.last_trade from (select traded.id as id, (select max(t.detect_time) from trade_event t
                where t.is_canonical and t.market_id = traded.id) as last_trade
            from traded where traded.id is not null) s where s.last_trade >= $1";
    COUNT_TRADES = "select count(*) from trade_event where is_canonical and market_id = $1 and detect_time >= $2";
    LAST_TRADE = "select detect_time from trade_event where is_canonical and market_id = $1
        order by detect_time desc, id desc limit 1";
    ATTEMPTS_SINCE = "select count(*), count(case when a.decision = 'EXECUTE' then 1 end) from event_group g
        cross join copy_attempt a where a.group_id = g.id and g.market_id = $1 and g.detect_time >= $2";
    LEADERS = "select distinct followed_user_id from event_group where market_id = $1";
    /// By detection of the group, which is the order of the index.
    COPIES = "select a.created_at, a.portfolio_scope, g.side, a.filled_share_micros, a.filled_notional_micros,
            a.vwap_price_micros, a.their_reference_price_micros
        from event_group g cross join copy_attempt a
        where a.group_id = g.id and g.market_id = $1 and g.detect_time >= $2 and g.side is not null
            and a.decision = 'EXECUTE' and a.vwap_price_micros is not null
            and a.their_reference_price_micros is not null
        order by g.detect_time desc limit $3";
}

type CopyColumns = (i64, String, String, i64, i64, i64, i64);

impl Db {
    /// Returns up to `limit` markets with `text` in question or slug, ignoring case.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn search_markets(&self, text: &str, limit: i64) -> Result<Vec<MarketId>, DbError> {
        let pattern = format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        ids(on!(db self, c => sqlx::query_scalar(SEARCH).bind(pattern).bind(limit).fetch_all(c).await)?)
    }

    /// Returns up to `limit` markets whose question or slug is `text`, ignoring case. Several markets may have one
    /// question.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn markets_named(&self, text: &str, limit: i64) -> Result<Vec<MarketId>, DbError> {
        ids(on!(db self, c => sqlx::query_scalar(NAMED).bind(text).bind(limit).fetch_all(c).await)?)
    }

    /// Returns up to `limit` blacklisted markets.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn blacklisted_markets(&self, limit: i64) -> Result<Vec<MarketId>, DbError> {
        ids(on!(db self, c => sqlx::query_scalar(BLACKLISTED).bind(limit).fetch_all(c).await)?)
    }

    /// Returns the markets with leaders' trades detected at or after `since`, in no order.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn traded_markets(&self, since: Timestamp) -> Result<Vec<TradedMarket>, DbError> {
        let rows: Vec<(String, i64)> =
            on!(db self, c => sqlx::query_as(TRADED_SINCE).bind(since.millis()).fetch_all(c).await)?;
        rows.into_iter()
            .map(|(id, last)| {
                let market = RowDecoder { table: "trade_event", id: &id }.market("market_id", &id)?;
                Ok(TradedMarket { market, last_trade: Timestamp::from_millis(last) })
            })
            .collect()
    }

    /// Counts the leaders' trades in a market, detected at or after `since`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn count_trades_in(&self, market: &MarketId, since: Timestamp) -> Result<i64, DbError> {
        Ok(on!(db self, c => {
            sqlx::query_scalar(COUNT_TRADES).bind(market.as_str()).bind(since.millis()).fetch_one(c).await
        })?)
    }

    /// Returns the detection time of the last leader's trade in a market.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn last_trade_in(&self, market: &MarketId) -> Result<Option<Timestamp>, DbError> {
        let at: Option<i64> =
            on!(db self, c => sqlx::query_scalar(LAST_TRADE).bind(market.as_str()).fetch_optional(c).await)?;
        Ok(at.map(Timestamp::from_millis))
    }

    /// Counts the decisions on a market's groups that were detected at or after `since`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn attempts_in(&self, market: &MarketId, since: Timestamp) -> Result<MarketAttempts, DbError> {
        let (attempts, executed): (i64, i64) = on!(db self, c => {
            sqlx::query_as(ATTEMPTS_SINCE).bind(market.as_str()).bind(since.millis()).fetch_one(c).await
        })?;
        Ok(MarketAttempts { attempts, executed })
    }

    /// Returns the leaders with groups in a market.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn leaders_in(&self, market: &MarketId) -> Result<Vec<FollowedUserId>, DbError> {
        let ids: Vec<i64> = on!(db self, c => sqlx::query_scalar(LEADERS).bind(market.as_str()).fetch_all(c).await)?;
        Ok(ids.into_iter().map(FollowedUserId).collect())
    }

    /// Returns the newest `limit` executed copies in a market whose groups were detected at or after `since`, oldest
    /// first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn copies_in(&self, market: &MarketId, since: Timestamp, limit: i64) -> Result<Vec<MadeCopy>, DbError> {
        let rows: Vec<CopyColumns> = on!(db self, c => {
            sqlx::query_as(COPIES).bind(market.as_str()).bind(since.millis()).bind(limit).fetch_all(c).await
        })?;
        let decoder = RowDecoder { table: "copy_attempt", id: market };
        let copy = |(at, scope, side, shares, notional, vwap, theirs): CopyColumns| {
            Ok(MadeCopy {
                at: Timestamp::from_millis(at),
                scope: decoder.text("portfolio_scope", &scope)?,
                side: decoder.text("side", &side)?,
                shares: ShareMicros(shares),
                notional: UsdcMicros(notional),
                vwap: decoder.price("vwap_price_micros", vwap)?,
                theirs: decoder.price("their_reference_price_micros", theirs)?,
            })
        };
        let mut copies = rows.into_iter().map(copy).collect::<Result<Vec<_>, DbError>>()?;
        copies.sort_by_key(|copy| copy.at);
        Ok(copies)
    }
}

fn ids(ids: Vec<String>) -> Result<Vec<MarketId>, DbError> {
    ids.iter().map(|id| RowDecoder { table: "market", id }.market("id", id)).collect()
}
