//! Copy attempts: the view behind the attempt list, its live rows and `/api/copy-attempts`.

use std::collections::BTreeMap;

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use crate::db::{AttemptFilter, Db, DbError, ListedAttempt};
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction, GroupKind};
use crate::domain::money::ids::{AssetId, AttemptId, FollowedUserId, GroupId, MarketId};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::display_names::Names;
use crate::web::shell::pagination;
use crate::web::shell::pagination::{List, MarketSearch};

/// A row of `copy_attempt` under its column names, with the label, question and outcome that a visitor knows.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AttemptView {
    /// The attempt.
    pub id: AttemptId,
    /// The kind of portfolio.
    pub portfolio_scope: PortfolioScope,
    /// The leader.
    pub followed_user_id: FollowedUserId,
    /// The group of fills that was decided.
    pub group_id: GroupId,
    /// The text from which the id of the group is made.
    pub group_key: String,
    /// Whether we copied.
    pub decision: DecisionKind,
    /// The reasons for a skip, the first one first; empty for a copy.
    pub reason_codes: Vec<ReasonCode>,
    /// Number of reasons after the first. A list has room for the first only.
    pub more_reasons: usize,
    /// The size that the copy aimed for, in millionths of a USDC.
    pub target_notional_micros: UsdcMicros,
    /// The filled size, in millionths of a USDC.
    pub filled_notional_micros: UsdcMicros,
    /// The filled shares, in millionths of a share.
    pub filled_share_micros: ShareMicros,
    /// Our average price of one share, in millionths of a USDC; null when nothing was filled.
    pub vwap_price_micros: Option<PriceMicros>,
    /// The filled part of the target, in hundredths of a percent.
    pub filled_ratio_bps: Bps,
    /// The leader's average price of one share, in millionths of a USDC.
    pub their_reference_price_micros: Option<PriceMicros>,
    /// The midpoint of the book that decided, in millionths of a USDC.
    pub mid_price_micros_at_decision: Option<PriceMicros>,
    /// The version of the settings that decided, as 16 hex digits.
    pub config_version: String,
    /// When we decided.
    pub created_at: Timestamp,
    /// The name of the leader; hostile text.
    pub followed_user_label: String,
    /// BUY, SELL, MERGE, SPLIT or CONVERSION of the leader; CLOSE for a sale by hand.
    pub action: &'static str,
    /// The market, by its condition id.
    pub market_id: MarketId,
    /// The outcome token.
    pub asset_id: Option<AssetId>,
    /// The question of the market; hostile text, empty when unknown.
    pub question: String,
    /// The part of the market in the address of its page at Polymarket; hostile text.
    pub slug: String,
    /// The name of the outcome; hostile text.
    pub outcome: Option<String>,
}

/// The leader's action that was copied or skipped.
#[derive(Debug, Clone)]
struct LeaderAction {
    kind: GroupKind,
    side: Option<Side>,
    market: MarketId,
    asset: Option<AssetId>,
}

/// `?limit=50&cursor=…&user=7&market=0x…&scope=EXEC_GLOBAL&decision=SKIP&reason=SPREAD_TOO_WIDE&side=BUY&from=…&to=…`;
/// the times are those of the decision.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttemptQuery {
    pub limit: Option<String>,
    pub cursor: Option<String>,
    pub user: Option<String>,
    /// A condition id, or a text that is in the question or slug of one market only.
    pub market: Option<String>,
    pub scope: Option<String>,
    pub decision: Option<String>,
    pub reason: Option<String>,
    pub side: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl AttemptQuery {
    /// Returns the filter of the list, in `market`.
    ///
    /// # Errors
    /// [`WebError::Mistake`] that names the invalid parameter.
    pub fn filter(&self, market: Option<MarketId>) -> Result<AttemptFilter, WebError> {
        // On a page a close by hand stands where a trade has its side.
        let is_close = self.side.as_deref() == Some(GroupKind::Close.as_str());
        Ok(AttemptFilter {
            user: pagination::user(self.user.as_deref())?,
            market,
            scope: pagination::word("scope", self.scope.as_deref())?,
            decision: pagination::word("decision", self.decision.as_deref())?,
            reason: pagination::word("reason", self.reason.as_deref())?,
            side: pagination::word("side", self.side.as_deref().filter(|_| !is_close))?,
            kind: is_close.then_some(GroupKind::Close),
            from: pagination::time("from", self.from.as_deref())?,
            to: pagination::time("to", self.to.as_deref())?,
        })
    }
}

impl LeaderAction {
    fn of_group(group: EventGroup) -> Self {
        let kind = group.action.kind();
        let (asset, side) = match group.action {
            GroupAction::Trade { asset, side } => (Some(asset), Some(side)),
            GroupAction::Close { asset } => (Some(asset), None),
            GroupAction::Merge | GroupAction::Split | GroupAction::Conversion => (None, None),
        };
        Self { kind, side, market: group.market, asset }
    }

    fn of_listed(listed: &ListedAttempt) -> Self {
        Self { kind: listed.kind, side: listed.side, market: listed.market.clone(), asset: listed.asset.clone() }
    }
}

impl AttemptView {
    fn new(attempt: &CopyAttempt, action: LeaderAction, names: &Names) -> Self {
        let (question, slug) = names.market(&action.market);
        Self {
            id: attempt.id,
            portfolio_scope: attempt.portfolio.scope(),
            followed_user_id: attempt.followed_user,
            group_id: attempt.group_id,
            group_key: attempt.group_key.to_string(),
            decision: attempt.decision,
            reason_codes: attempt.reasons.clone(),
            more_reasons: attempt.reasons.len().saturating_sub(1),
            target_notional_micros: attempt.target_notional,
            filled_notional_micros: attempt.filled_notional,
            filled_share_micros: attempt.filled_shares,
            vwap_price_micros: attempt.vwap,
            filled_ratio_bps: attempt.filled_ratio,
            their_reference_price_micros: attempt.their_reference_price,
            mid_price_micros_at_decision: attempt.mid_at_decision,
            config_version: attempt.config_version.clone(),
            created_at: attempt.created_at,
            followed_user_label: names.label(attempt.followed_user),
            action: action.side.map_or(action.kind.as_str(), Side::as_str),
            outcome: action.asset.as_ref().and_then(|asset| names.outcome(&action.market, asset)),
            market_id: action.market,
            asset_id: action.asset,
            question,
            slug,
        }
    }

    /// Returns the views of attempts that were just recorded, in their order. Their groups were stored before them.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn of_recorded(db: &Db, attempts: &[&CopyAttempt]) -> Result<Vec<Self>, DbError> {
        let ids: Vec<GroupId> = attempts.iter().map(|attempt| attempt.group_id).collect();
        let groups = db.groups(&ids).await?;
        let actions: BTreeMap<GroupId, LeaderAction> =
            groups.into_iter().map(|group| (group.id, LeaderAction::of_group(group))).collect();
        let names = Names::load(db, actions.values().map(|action| &action.market)).await?;
        let known = attempts.iter().filter_map(|attempt| Some((attempt, actions.get(&attempt.group_id)?.clone())));
        Ok(known.map(|(attempt, action)| Self::new(attempt, action, &names)).collect())
    }

    /// Returns the views of the rows of a list, in their order.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn of_listed(db: &Db, rows: &[ListedAttempt]) -> Result<Vec<Self>, DbError> {
        let names = Names::load(db, rows.iter().map(|row| &row.market)).await?;
        Ok(rows.iter().map(|row| Self::new(&row.attempt, LeaderAction::of_listed(row), &names)).collect())
    }

    /// Returns the view of one row.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn of_one(db: &Db, row: &ListedAttempt) -> Result<Self, DbError> {
        let names = Names::load(db, [&row.market]).await?;
        Ok(Self::new(&row.attempt, LeaderAction::of_listed(row), &names))
    }

    /// Returns the newest attempts that match `query`, before its cursor.
    ///
    /// # Errors
    /// `WebError::Mistake` that names the invalid parameter.
    pub async fn page(db: &Db, query: &AttemptQuery) -> Result<List<Self>, WebError> {
        let market = query.market.as_deref();
        let market = MarketSearch::read(db, market).await?.one(market)?;
        Self::listed(db, query, market).await
    }

    /// Does the same in a market that was found already; the `market` of `query` is ignored.
    ///
    /// # Errors
    /// `WebError::Mistake` that names the invalid parameter.
    pub async fn listed(db: &Db, query: &AttemptQuery, market: Option<MarketId>) -> Result<List<Self>, WebError> {
        let cursor = pagination::cursor(query.cursor.as_deref())?;
        let (filter, limit) = (query.filter(market)?, pagination::limit(query.limit.as_deref())?);
        let page = db.attempts_page(&filter, cursor, limit).await?;
        let views = Self::of_listed(db, &page.rows).await?;
        Ok(List::new(views, &page))
    }
}

/// Answers `GET /api/copy-attempts`.
///
/// # Errors
/// [`WebError::Mistake`] that names the invalid parameter.
pub async fn json(db: Data<Db>, query: Query<AttemptQuery>) -> Result<Json<List<AttemptView>>, WebError> {
    Ok(Json(AttemptView::page(&db, &query).await?))
}
