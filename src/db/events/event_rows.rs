//! Rows of the two event tables, decoded to domain types.

use uuid::Uuid;

use crate::domain::events::event::{ActivityEvent, ActivityKind, TradeEvent};
use crate::domain::money::ids::{EventId, FollowedUserId};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::sql::decode::{RowDecoder, optional};
use crate::sql::error::DbError;

/// A canonical row of `trade_event`; the table's checks guarantee its market and asset.
#[derive(sqlx_macros::FromRow)]
pub(crate) struct TradeRow {
    id: Uuid,
    source_id: String,
    tx_hash: Option<String>,
    profile_wallet: String,
    proxy_wallet: Option<String>,
    followed_user_id: i64,
    market_id: String,
    asset_id: String,
    side: String,
    price_micros: i64,
    share_micros: i64,
    notional_micros: i64,
    fee_micros: Option<i64>,
    event_time: i64,
    detect_time: i64,
}

/// A row of `activity_event`.
#[derive(sqlx_macros::FromRow)]
pub(crate) struct ActivityRow {
    id: Uuid,
    source_id: String,
    profile_wallet: String,
    proxy_wallet: Option<String>,
    followed_user_id: i64,
    #[sqlx(rename = "type")]
    kind: String,
    payload_json: String,
    event_time: i64,
    detect_time: i64,
}

impl TryFrom<TradeRow> for TradeEvent {
    type Error = DbError;

    fn try_from(row: TradeRow) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "trade_event", id: row.id };
        Ok(Self {
            id: EventId(row.id),
            source_id: row.source_id,
            tx_hash: row.tx_hash.unwrap_or_default(),
            profile_wallet: decoder.wallet("profile_wallet", &row.profile_wallet)?,
            proxy_wallet: optional(row.proxy_wallet, |wallet| decoder.wallet("proxy_wallet", &wallet))?,
            followed_user: FollowedUserId(row.followed_user_id),
            market: decoder.market("market_id", &row.market_id)?,
            asset: decoder.asset("asset_id", &row.asset_id)?,
            side: decoder.text("side", &row.side)?,
            price: decoder.price("price_micros", row.price_micros)?,
            shares: ShareMicros(row.share_micros),
            notional: UsdcMicros(row.notional_micros),
            fee: row.fee_micros.map(UsdcMicros),
            event_time: Timestamp::from_millis(row.event_time),
            detect_time: Timestamp::from_millis(row.detect_time),
        })
    }
}

impl TryFrom<ActivityRow> for ActivityEvent {
    type Error = DbError;

    fn try_from(row: ActivityRow) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "activity_event", id: row.id };
        Ok(Self {
            id: EventId(row.id),
            source_id: row.source_id,
            profile_wallet: decoder.wallet("profile_wallet", &row.profile_wallet)?,
            proxy_wallet: optional(row.proxy_wallet, |wallet| decoder.wallet("proxy_wallet", &wallet))?,
            followed_user: FollowedUserId(row.followed_user_id),
            kind: ActivityKind::from_text(&row.kind),
            payload: decoder.json("payload_json", &row.payload_json)?,
            event_time: Timestamp::from_millis(row.event_time),
            detect_time: Timestamp::from_millis(row.detect_time),
        })
    }
}
