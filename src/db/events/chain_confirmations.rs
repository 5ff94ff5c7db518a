//! Fills seen on chain, matched with the API's rows: the lag of the API, and the fills that the API never confirmed.
//!
//! A fill of the chain and one of the API are the same when transaction, wallet, token, side and shares are equal;
//! equal fills of one transaction are matched in order. A removed log is not counted. A log seen in two blocks, because
//! we missed its removal, counts as one fill, seen at the first time.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::RowDecoder;
use crate::sql::error::DbError;

/// The API usually shows a fill within seconds of its log; a fill missing for longer than this needs attention.
pub const CONFIRMED_WITHIN_MS: i64 = 300_000;

/// How long after the log the API showed the same fill. Negative when the API was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ChainLag {
    /// Fills seen on both.
    pub n_fills: i64,
    pub p50_ms: i64,
    pub p90_ms: i64,
    pub n_api_first: i64,
}

/// The lag over a period.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainLags {
    /// `None` while no fill was seen on both.
    pub all: Option<ChainLag>,
    pub by_user: BTreeMap<FollowedUserId, ChainLag>,
}

/// A fill seen on chain and missing from the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnconfirmedFill {
    pub id: EventId,
    pub followed_user: FollowedUserId,
    /// Hostile text.
    pub user_label: String,
    pub tx_hash: String,
    pub wallet: Wallet,
    pub asset: AssetId,
    pub side: Side,
    pub price: PriceMicros,
    pub shares: ShareMicros,
    pub notional: UsdcMicros,
    pub event_time: Timestamp,
    pub detect_time: Timestamp,
}

/// `seen`: the fills of the chain that pass `$filter`, each with its number among equal fills (`twin`);
/// `first`: each of them once, at its first sight; `shown`: the API's rows of the same transactions, numbered the same
/// way.
macro_rules! matched {
    ($filter:literal, $rest:literal) => {
        concat!(
            "with seen as (
                select c.id, c.followed_user_id, c.tx_hash, coalesce(c.proxy_wallet, c.profile_wallet) as wallet,
                    c.asset_id, c.side, c.price_micros, c.share_micros, c.notional_micros, c.event_time, c.detect_time,
                    row_number() over (partition by c.tx_hash, coalesce(c.proxy_wallet, c.profile_wallet), c.asset_id,
                        c.side, c.share_micros, coalesce(c.block_hash, '') order by c.log_index) as twin
                from trade_event c where not c.is_canonical and ",
            $filter,
            "), first as (
                select seen.*, row_number() over (partition by tx_hash, wallet, asset_id, side, share_micros, twin
                    order by detect_time, id) as sight from seen
            ), shown as (
                select a.tx_hash, coalesce(a.proxy_wallet, a.profile_wallet) as wallet, a.asset_id, a.side,
                    a.share_micros, a.detect_time, row_number() over (partition by a.tx_hash,
                        coalesce(a.proxy_wallet, a.profile_wallet), a.asset_id, a.side, a.share_micros
                        order by a.detect_time, a.id) as twin
                from trade_event a where a.is_canonical and a.tx_hash in (select tx_hash from seen)
            ) ",
            $rest
        )
    };
}

statements! {
    /// Percentiles by nearest rank: the smallest lag that half, or nine tenths, of the fills do not exceed. Once per
    /// user and once for all. The two sides are matched by a `group by`: with a join SQLite would compare every fill
    /// with every row.
    LEADS = matched!("not c.removed and c.detect_time >= $1 and c.detect_time < $2",
        ", ahead as (
            select max(followed_user_id) as followed_user_id, min(shown_at) - min(seen_at) as lead_ms from (
                select followed_user_id, tx_hash, wallet, asset_id, side, share_micros, twin, detect_time as seen_at,
                    cast(null as bigint) as shown_at from first where sight = 1
                union all select cast(null as bigint), tx_hash, wallet, asset_id, side, share_micros, twin,
                    cast(null as bigint), detect_time from shown) sides
            group by tx_hash, wallet, asset_id, side, share_micros, twin
            having min(seen_at) is not null and min(shown_at) is not null
        ), sorted as (
            select followed_user_id, lead_ms, row_number() over (partition by followed_user_id order by lead_ms) as place,
                count(*) over (partition by followed_user_id) as n
            from (select followed_user_id, lead_ms from ahead
                union all select cast(null as bigint), lead_ms from ahead) both_ways
        ) select followed_user_id, n, max(case when place = (n * 50 + 99) / 100 then lead_ms end),
            max(case when place = (n * 90 + 99) / 100 then lead_ms end), count(case when lead_ms < 0 then 1 end)
        from sorted group by followed_user_id, n");
    /// Of users who are still followed: we do not poll the fills of others.
    UNCONFIRMED = matched!("not c.removed and c.detect_time >= $1 and c.detect_time < $2",
        "select f.id, f.followed_user_id, u.label, f.tx_hash, f.wallet, f.asset_id, f.side, f.price_micros,
            f.share_micros, f.notional_micros, f.event_time, f.detect_time
        from first f join followed_user u on u.id = f.followed_user_id
        where f.sight = 1 and u.state <> 'STOPPED' and not exists (select 1 from shown s where s.tx_hash = f.tx_hash
            and s.wallet = f.wallet and s.asset_id = f.asset_id and s.side = f.side
            and s.share_micros = f.share_micros and s.twin = f.twin)
        order by f.detect_time desc, f.id limit $3");
    /// Removed logs too: their transaction is usually mined again in another block.
    UNCONFIRMED_OF_USER = matched!("c.followed_user_id = $1 and c.detect_time >= $2",
        "select distinct f.tx_hash from first f
        where not exists (select 1 from shown s where s.tx_hash = f.tx_hash
            and s.wallet = f.wallet and s.asset_id = f.asset_id and s.side = f.side
            and s.share_micros = f.share_micros and s.twin = f.twin)");
}

#[derive(sqlx_macros::FromRow)]
struct UnconfirmedRow {
    id: Uuid,
    followed_user_id: i64,
    label: String,
    tx_hash: String,
    wallet: String,
    asset_id: String,
    side: String,
    price_micros: i64,
    share_micros: i64,
    notional_micros: i64,
    event_time: i64,
    detect_time: i64,
}

impl Db {
    /// Returns how long after the chain the API showed fills that were seen on chain within [`from`, `until`).
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn chain_lags(&self, from: Timestamp, until: Timestamp) -> Result<ChainLags, DbError> {
        let rows: Vec<(Option<i64>, i64, i64, i64, i64)> = on!(db self, c => {
            sqlx::query_as(LEADS).bind(from.millis()).bind(until.millis()).fetch_all(c).await
        })?;
        let mut lags = ChainLags::default();
        for (user, n_fills, p50_ms, p90_ms, n_api_first) in rows {
            let lag = ChainLag { n_fills, p50_ms, p90_ms, n_api_first };
            match user {
                Some(user) => drop(lags.by_user.insert(FollowedUserId(user), lag)),
                None => lags.all = Some(lag),
            }
        }
        Ok(lags)
    }

    /// Returns up to `limit` fills seen on chain since `from` that the API does not show [`CONFIRMED_WITHIN_MS`] later,
    /// the newest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn unconfirmed_fills(
        &self,
        from: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<UnconfirmedFill>, DbError> {
        let until = now.plus_millis(-CONFIRMED_WITHIN_MS);
        let rows: Vec<UnconfirmedRow> = on!(db self, c => {
            sqlx::query_as(UNCONFIRMED).bind(from.millis()).bind(until.millis()).bind(limit).fetch_all(c).await
        })?;
        rows.into_iter().map(UnconfirmedFill::try_from).collect()
    }

    /// Returns the transactions of a user, seen on chain at or after `since`, of which the API does not show every fill
    /// yet.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn unconfirmed_transactions(
        &self,
        user: FollowedUserId,
        since: Timestamp,
    ) -> Result<HashSet<String>, DbError> {
        let rows: Vec<String> = on!(db self, c => {
            sqlx::query_scalar(UNCONFIRMED_OF_USER).bind(user.0).bind(since.millis()).fetch_all(c).await
        })?;
        Ok(rows.into_iter().collect())
    }
}

impl TryFrom<UnconfirmedRow> for UnconfirmedFill {
    type Error = DbError;

    fn try_from(row: UnconfirmedRow) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "trade_event", id: row.id };
        Ok(Self {
            id: EventId(row.id),
            followed_user: FollowedUserId(row.followed_user_id),
            user_label: row.label,
            tx_hash: row.tx_hash,
            wallet: decoder.wallet("proxy_wallet", &row.wallet)?,
            asset: decoder.asset("asset_id", &row.asset_id)?,
            side: decoder.text("side", &row.side)?,
            price: decoder.price("price_micros", row.price_micros)?,
            shares: ShareMicros(row.share_micros),
            notional: UsdcMicros(row.notional_micros),
            event_time: Timestamp::from_millis(row.event_time),
            detect_time: Timestamp::from_millis(row.detect_time),
        })
    }
}
