//! Leaders' activity other than trades, as pages list it: the rows, and the entries of each in the leader's shadow
//! ledger.

use uuid::Uuid;

use super::event_rows::ActivityRow;
use super::trades::rows_asked;
use crate::domain::accounting::ledger::{EntryType, PortfolioScope};
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::ActivityEvent;
use crate::domain::money::ids::{AssetId, AttemptId, EventId, FollowedUserId, MarketId};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::{RowDecoder, optional};
use crate::sql::error::DbError;
use crate::sql::page::{Cursor, LOOKS, Page};

/// The rows to list; `None` does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivityFilter {
    pub user: Option<FollowedUserId>,
    pub market: Option<MarketId>,
    /// In the API's spelling: MERGE, REWARD, ..
    pub kind: Option<String>,
    /// Detected at or after.
    pub from: Option<Timestamp>,
    /// Detected at or before.
    pub to: Option<Timestamp>,
}

/// One entry that an activity caused in its leader's shadow ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    pub kind: EntryType,
    pub market: Option<MarketId>,
    pub asset: Option<AssetId>,
    pub shares: ShareMicros,
    pub cash: UsdcMicros,
}

statements! {
    /// `$1`, `$2` the cursor, `$3` the earliest time, `$4` the kind, `$5` the market as the payload's JSON has it,
    /// `$6` the limit.
    LISTED = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json, event_time,
            detect_time
        from activity_event where (detect_time, id) < ($1, $2) and detect_time >= $3
            and (cast($4 as text) is null or type = $4) and (cast($5 as text) is null or payload_json like $5)
        order by detect_time desc, id desc limit $6";
    LISTED_OF_USER = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json,
            event_time, detect_time
        from activity_event where (detect_time, id) < ($1, $2) and detect_time >= $3
            and (cast($4 as text) is null or type = $4) and (cast($5 as text) is null or payload_json like $5)
            and followed_user_id = $7
        order by detect_time desc, id desc limit $6";
    FLOOR = "select detect_time from activity_event where (detect_time, id) < ($1, $2)
        order by detect_time desc, id desc limit 1 offset $3";
    MOVED = "select entry_type, market_id, asset_id, share_delta_micros, cash_delta_micros from ledger_entry
        where portfolio_scope = 'SHADOW_USER' and coalesce(followed_user_id, 0) = $1 and ref_id = $2";
    DECISIONS = "select a.id, a.portfolio_scope, a.decision from event_group_member m
        join event_group g on g.id = m.group_id
        join copy_attempt a on a.portfolio_scope in ('EXEC_USER', 'EXEC_GLOBAL')
            and a.followed_user_id = g.followed_user_id and a.group_id = g.id
        where m.activity_event_id = $1 order by a.portfolio_scope desc";
}

impl ActivityFilter {
    /// Whether no index returns the matches in order, so that rows must be searched.
    fn needs_search(&self) -> bool {
        self.kind.is_some() || self.market.is_some()
    }
}

/// Kind, market, asset, shares and cash.
type MovedRow = (String, Option<String>, Option<String>, i64, i64);

impl Db {
    /// Returns up to `limit` rows after `cursor`, the newest detection first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn activities_page(
        &self,
        filter: &ActivityFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ActivityEvent>, DbError> {
        let start = cursor.unwrap_or_else(|| Cursor::start(filter.to));
        let place = |row: &ActivityEvent| Cursor { at: row.detect_time, id: row.id.0 };
        // This search reads the rows themselves, so it covers fewer of them than a search of an index.
        let floor: Option<i64> = match filter.needs_search() {
            true => on!(db self, c => {
                let look = sqlx::query_scalar(FLOOR).bind(start.at.millis()).bind(start.id).bind(LOOKS[1] / 10);
                look.fetch_optional(c).await
            })?,
            false => None,
        };
        let floor = floor.map(Timestamp::from_millis).filter(|floor| filter.from.is_none_or(|from| from < *floor));
        let rows = self.listed_activities(filter, start, floor.or(filter.from), limit).await?;
        Ok(match floor {
            Some(floor) => Page::cut_at(rows, limit, place, floor),
            None => Page::cut(rows, limit, place),
        })
    }

    async fn listed_activities(
        &self,
        filter: &ActivityFilter,
        start: Cursor,
        from: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<ActivityEvent>, DbError> {
        // Our own serialiser wrote the payload, so the spelling is known.
        let market = filter.market.as_ref().map(|market| format!("%\"condition_id\":\"{market}\"%"));
        let rows: Vec<ActivityRow> = on!(db self, c => {
            let query = sqlx::query_as(if filter.user.is_some() { LISTED_OF_USER } else { LISTED })
                .bind(start.at.millis())
                .bind(start.id)
                .bind(from.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.kind.as_deref())
                .bind(market)
                .bind(rows_asked(limit));
            match filter.user {
                Some(user) => query.bind(user.0),
                None => query,
            }
            .fetch_all(c)
            .await
        })?;
        rows.into_iter().map(ActivityEvent::try_from).collect()
    }

    /// Returns the entries that an event caused in its leader's shadow ledger; empty when it caused none.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn movements(&self, event: EventId, leader: FollowedUserId) -> Result<Vec<Movement>, DbError> {
        let rows: Vec<MovedRow> = on!(db self, c => {
            sqlx::query_as(MOVED).bind(leader.0).bind(format!("event:{event}")).fetch_all(c).await
        })?;
        let decoder = RowDecoder { table: "ledger_entry", id: event };
        rows.into_iter()
            .map(|(kind, market, asset, shares, cash)| {
                Ok(Movement {
                    kind: decoder.text("entry_type", &kind)?,
                    market: optional(market, |market| decoder.market("market_id", &market))?,
                    asset: optional(asset, |asset| decoder.asset("asset_id", &asset))?,
                    shares: ShareMicros(shares),
                    cash: UsdcMicros(cash),
                })
            })
            .collect()
    }

    /// Returns the attempts on the group of an activity, the leader's own portfolio first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn decisions_on(
        &self,
        activity: EventId,
    ) -> Result<Vec<(AttemptId, PortfolioScope, DecisionKind)>, DbError> {
        let rows: Vec<(Uuid, String, String)> =
            on!(db self, c => sqlx::query_as(DECISIONS).bind(activity.0).fetch_all(c).await)?;
        rows.into_iter()
            .map(|(id, scope, decision)| {
                let decoder = RowDecoder { table: "copy_attempt", id };
                let decision = decoder.text("decision", &decision)?;
                Ok((AttemptId(id), decoder.text("portfolio_scope", &scope)?, decision))
            })
            .collect()
    }
}
