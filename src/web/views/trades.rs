//! Leaders' fills: the view behind the trade tail, its live rows and `/api/trades`.

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use crate::db::{Db, DbError, TradeFilter};
use crate::domain::events::event::{Side, TradeEvent};
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::display_names::Names;
use crate::web::shell::pagination;
use crate::web::shell::pagination::{List, MarketSearch};

/// A row of `trade_event` under its column names, with the label, question and outcome that a visitor knows.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct TradeView {
    /// Made from the source and its id.
    pub id: EventId,
    /// The id of the row at its source.
    pub source_id: String,
    /// The hash of the transaction on the chain.
    pub tx_hash: String,
    /// The wallet of the trader, as their profile shows it.
    pub profile_wallet: Wallet,
    /// The wallet in the row, when it differs from that of the profile.
    pub proxy_wallet: Option<Wallet>,
    /// The leader.
    pub followed_user_id: FollowedUserId,
    /// The market, by its condition id.
    pub market_id: MarketId,
    /// The outcome token.
    pub asset_id: AssetId,
    /// Whether the leader bought or sold.
    pub side: Side,
    /// The price of one share, in millionths of a USDC.
    pub price_micros: PriceMicros,
    /// The number of shares, in millionths of a share.
    pub share_micros: ShareMicros,
    /// Price times shares, in millionths of a USDC.
    pub notional_micros: UsdcMicros,
    /// The fee, in millionths of a USDC; null when unknown.
    pub fee_micros: Option<UsdcMicros>,
    /// When it happened.
    pub event_time: Timestamp,
    /// When we saw it first.
    pub detect_time: Timestamp,
    /// From the event time to the detect time of the fill, in whole seconds.
    pub detection_lag_seconds: i64,
    /// The name of the leader; hostile text.
    pub followed_user_label: String,
    /// The question of the market; hostile text, empty when unknown.
    pub question: String,
    /// The part of the market in the address of its page at Polymarket; hostile text.
    pub slug: String,
    /// The name of the outcome; hostile text.
    pub outcome: Option<String>,
    /// It happened before we began to follow: it is part of the opening, and neither booked nor copied.
    pub before_following: bool,
}

/// `?limit=50&cursor=…&user=7&market=0x…&side=BUY&from=2026-01-15T00:00:00Z&to=…`; the times are detect times.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TradeQuery {
    pub limit: Option<String>,
    pub cursor: Option<String>,
    pub user: Option<String>,
    /// A condition id, or a text that is in the question or slug of one market only.
    pub market: Option<String>,
    pub side: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl TradeQuery {
    /// Returns the filter of the list, in `market`.
    ///
    /// # Errors
    /// [`WebError::Mistake`] that names the invalid parameter.
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
            before_following: names.is_before_following(trade.followed_user, trade.event_time),
        }
    }

    /// Returns the views of `trades`, in their order.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn of(db: &Db, trades: &[&TradeEvent]) -> Result<Vec<Self>, DbError> {
        let names = Names::load(db, trades.iter().map(|trade| &trade.market)).await?;
        Ok(trades.iter().map(|trade| Self::new(trade, &names)).collect())
    }

    /// Returns the newest trades that match `query`, before its cursor.
    ///
    /// # Errors
    /// `WebError::Mistake` that names the invalid parameter.
    pub async fn page(db: &Db, query: &TradeQuery) -> Result<List<Self>, WebError> {
        let market = query.market.as_deref();
        let market = MarketSearch::read(db, market).await?.one(market)?;
        Self::listed(db, query, market).await
    }

    /// Does the same in a market that was found already; the `market` of `query` is ignored.
    ///
    /// # Errors
    /// `WebError::Mistake` that names the invalid parameter.
    pub async fn listed(db: &Db, query: &TradeQuery, market: Option<MarketId>) -> Result<List<Self>, WebError> {
        let cursor = pagination::cursor(query.cursor.as_deref())?;
        let (filter, limit) = (query.filter(market)?, pagination::limit(query.limit.as_deref())?);
        let page = db.trades_page(&filter, cursor, limit).await?;
        let trades: Vec<&TradeEvent> = page.rows.iter().map(|listed| &listed.trade).collect();
        let views = Self::of(db, &trades).await?;
        Ok(List::new(views, &page))
    }
}

/// Answers `GET /api/trades`.
///
/// # Errors
/// [`WebError::Mistake`] that names the invalid parameter.
pub async fn json(db: Data<Db>, query: Query<TradeQuery>) -> Result<Json<List<TradeView>>, WebError> {
    Ok(Json(TradeView::page(&db, &query).await?))
}
