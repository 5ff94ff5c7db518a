//! Leaders' fills: the view behind the trade tail, its live rows and `/api/trades`.

use actix_web::web::{Data, Json, Query};
use serde::{Deserialize, Serialize};

use crate::db::{Db, DbError, TradeFilter};
use crate::domain::events::event::{Side, TradeEvent};
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::web::server::error::WebError;
use crate::web::shell::display_names::Names;
use crate::web::shell::pagination;
use crate::web::shell::pagination::{List, MarketSearch};

/// A row of `trade_event` under its column names, with the names a visitor knows it by.
#[derive(Debug, Clone, Serialize)]
pub struct TradeView {
    pub id: EventId,
    pub source_id: String,
    pub tx_hash: String,
    pub profile_wallet: Wallet,
    pub proxy_wallet: Option<Wallet>,
    pub followed_user_id: FollowedUserId,
    pub market_id: MarketId,
    pub asset_id: AssetId,
    pub side: Side,
    pub price_micros: PriceMicros,
    pub share_micros: ShareMicros,
    pub notional_micros: UsdcMicros,
    pub fee_micros: Option<UsdcMicros>,
    pub event_time: Timestamp,
    pub detect_time: Timestamp,
    /// From the block to our sight of the fill, whole seconds.
    pub detection_lag_seconds: i64,
    pub followed_user_label: String,
    pub question: String,
    pub slug: String,
    pub outcome: Option<String>,
}

/// `?limit=50&cursor=…&user=7&market=0x…&side=BUY&from=2026-01-15T00:00:00Z&to=…`, times of detection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TradeQuery {
    pub limit: Option<String>,
    pub cursor: Option<String>,
    pub user: Option<String>,
    /// A condition id, or what only one market has in its question or slug.
    pub market: Option<String>,
    pub side: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl TradeQuery {
    /// # Errors
    /// `WebError::Mistake` with the name of a word that cannot be read.
    pub fn filter(&self, market: Option<MarketId>) -> Result<TradeFilter, WebError> {
        Ok(TradeFilter {
            user: pagination::user(self.user.as_deref())?,
            market,
            side: pagination::word("side", self.side.as_deref())?,
            from: pagination::time("from", self.from.as_deref())?,
            to: pagination::time("to", self.to.as_deref())?,
        })
    }
}

impl TradeView {
    pub fn new(trade: &TradeEvent, names: &Names) -> Self {
        let (question, slug) = names.market(&trade.market);
        Self {
            id: trade.id,
            source_id: trade.source_id.clone(),
            tx_hash: trade.tx_hash.clone(),
            profile_wallet: trade.profile_wallet.clone(),
            proxy_wallet: trade.proxy_wallet.clone(),
            followed_user_id: trade.followed_user,
            market_id: trade.market.clone(),
            asset_id: trade.asset.clone(),
            side: trade.side,
            price_micros: trade.price,
            share_micros: trade.shares,
            notional_micros: trade.notional,
            fee_micros: trade.fee,
            event_time: trade.event_time,
            detect_time: trade.detect_time,
            detection_lag_seconds: trade.detect_time.seconds().saturating_sub(trade.event_time.seconds()).max(0),
            followed_user_label: names.label(trade.followed_user),
            question,
            slug,
            outcome: names.outcome(&trade.market, &trade.asset),
        }
    }

    /// Views of trades that have just been read, in their order.
    pub async fn of(db: &Db, trades: &[&TradeEvent]) -> Result<Vec<Self>, DbError> {
        let names = Names::load(db, trades.iter().map(|trade| &trade.market)).await?;
        Ok(trades.iter().map(|trade| Self::new(trade, &names)).collect())
    }

    /// The newest of what `query` asks for, before its cursor.
    pub async fn page(db: &Db, query: &TradeQuery) -> Result<List<Self>, WebError> {
        let market = query.market.as_deref();
        let market = MarketSearch::read(db, market).await?.one(market)?;
        Self::listed(db, query, market).await
    }

    /// The same in a market that was found already.
    pub async fn listed(db: &Db, query: &TradeQuery, market: Option<MarketId>) -> Result<List<Self>, WebError> {
        let cursor = pagination::cursor(query.cursor.as_deref())?;
        let (filter, limit) = (query.filter(market)?, pagination::limit(query.limit.as_deref())?);
        let page = db.trades_page(&filter, cursor, limit).await?;
        let trades: Vec<&TradeEvent> = page.rows.iter().map(|listed| &listed.trade).collect();
        let views = Self::of(db, &trades).await?;
        Ok(List::new(views, &page))
    }
}

/// `GET /api/trades`.
pub async fn json(db: Data<Db>, query: Query<TradeQuery>) -> Result<Json<List<TradeView>>, WebError> {
    Ok(Json(TradeView::page(&db, &query).await?))
}
