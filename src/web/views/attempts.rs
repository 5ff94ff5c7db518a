//! Copy attempts: the view behind the attempt list, its live rows and `/api/copy-attempts`.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json, Query};
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
use crate::web::shell::display_names::Names;
use crate::web::shell::pagination;
use crate::web::shell::pagination::{List, MarketSearch};

/// A row of `copy_attempt` under its column names, with the names a visitor knows it by.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptView {
    pub id: AttemptId,
    pub portfolio_scope: PortfolioScope,
    pub followed_user_id: FollowedUserId,
    pub group_id: GroupId,
    pub group_key: String,
    pub decision: DecisionKind,
    pub reason_codes: Vec<ReasonCode>,
    /// Reasons beside the first, which is the one a list has room for.
    pub more_reasons: usize,
    pub target_notional_micros: UsdcMicros,
    pub filled_notional_micros: UsdcMicros,
    pub filled_share_micros: ShareMicros,
    pub vwap_price_micros: Option<PriceMicros>,
    pub filled_ratio_bps: Bps,
    pub their_reference_price_micros: Option<PriceMicros>,
    pub mid_price_micros_at_decision: Option<PriceMicros>,
    pub config_version: String,
    pub created_at: Timestamp,
    pub followed_user_label: String,
    /// BUY, SELL, MERGE, SPLIT or CONVERSION.
    pub action: &'static str,
    pub market_id: MarketId,
    pub asset_id: Option<AssetId>,
    pub question: String,
    pub slug: String,
    pub outcome: Option<String>,
}

/// What the leader did that was or was not copied.
#[derive(Debug, Clone)]
struct DeadLetterAction {
    kind: GroupKind,
    side: Option<Side>,
    market: MarketId,
    asset: Option<AssetId>,
}

/// `?limit=50&cursor=…&user=7&market=0x…&scope=EXEC_GLOBAL&decision=SKIP&reason=SPREAD_TOO_WIDE&side=BUY&from=…&to=…`,
/// times of the decision.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttemptQuery {
    pub limit: Option<String>,
    pub cursor: Option<String>,
    pub user: Option<String>,
    /// A condition id, or what only one market has in its question or slug.
    pub market: Option<String>,
    pub scope: Option<String>,
    pub decision: Option<String>,
    pub reason: Option<String>,
    pub side: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl AttemptQuery {
    /// # Errors
    /// `WebError::Mistake` with the name of a word that cannot be read.
    pub fn filter(&self, market: Option<MarketId>) -> Result<AttemptFilter, WebError> {
        Ok(AttemptFilter {
            user: pagination::user(self.user.as_deref())?,
            market,
            scope: pagination::word("scope", self.scope.as_deref())?,
            decision: pagination::word("decision", self.decision.as_deref())?,
            reason: pagination::word("reason", self.reason.as_deref())?,
            side: pagination::word("side", self.side.as_deref())?,
            from: pagination::time("from", self.from.as_deref())?,
            to: pagination::time("to", self.to.as_deref())?,
        })
    }
}

impl DeadLetterAction {
    fn of_group(group: EventGroup) -> Self {
        let kind = group.action.kind();
        let (asset, side) = match group.action {
            GroupAction::Trade { asset, side } => (Some(asset), Some(side)),
            GroupAction::Merge | GroupAction::Split | GroupAction::Conversion => (None, None),
        };
        Self { kind, side, market: group.market, asset }
    }

    fn of_listed(listed: &ListedAttempt) -> Self {
        Self { kind: listed.kind, side: listed.side, market: listed.market.clone(), asset: listed.asset.clone() }
    }
}

impl AttemptView {
    fn new(attempt: &CopyAttempt, deed: DeadLetterAction, names: &Names) -> Self {
        let (question, slug) = names.market(&deed.market);
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
            action: deed.side.map_or(deed.kind.as_str(), Side::as_str),
            outcome: deed.asset.as_ref().and_then(|asset| names.outcome(&deed.market, asset)),
            market_id: deed.market,
            asset_id: deed.asset,
            question,
            slug,
        }
    }

    /// Views of attempts that have just been recorded, in their order. Their groups were stored before them.
    pub async fn of_recorded(db: &Db, attempts: &[&CopyAttempt]) -> Result<Vec<Self>, DbError> {
        let ids: Vec<GroupId> = attempts.iter().map(|attempt| attempt.group_id).collect();
        let groups = db.groups(&ids).await?;
        let deeds: BTreeMap<GroupId, DeadLetterAction> =
            groups.into_iter().map(|group| (group.id, DeadLetterAction::of_group(group))).collect();
        let names = Names::load(db, deeds.values().map(|deed| &deed.market)).await?;
        let known = attempts.iter().filter_map(|attempt| Some((attempt, deeds.get(&attempt.group_id)?.clone())));
        Ok(known.map(|(attempt, deed)| Self::new(attempt, deed, &names)).collect())
    }

    /// Views of rows of a list, in their order.
    pub async fn of_listed(db: &Db, rows: &[ListedAttempt]) -> Result<Vec<Self>, DbError> {
        let names = Names::load(db, rows.iter().map(|row| &row.market)).await?;
        Ok(rows.iter().map(|row| Self::new(&row.attempt, DeadLetterAction::of_listed(row), &names)).collect())
    }

    pub async fn of_one(db: &Db, row: &ListedAttempt) -> Result<Self, DbError> {
        let names = Names::load(db, [&row.market]).await?;
        Ok(Self::new(&row.attempt, DeadLetterAction::of_listed(row), &names))
    }

    /// The newest of what `query` asks for, before its cursor.
    pub async fn page(db: &Db, query: &AttemptQuery) -> Result<List<Self>, WebError> {
        let market = query.market.as_deref();
        let market = MarketSearch::read(db, market).await.map_err(WebError::ours)?.one(market)?;
        Self::listed(db, query, market).await
    }

    /// The same in a market that was found already.
    pub async fn listed(db: &Db, query: &AttemptQuery, market: Option<MarketId>) -> Result<List<Self>, WebError> {
        let cursor = pagination::cursor(query.cursor.as_deref())?;
        let (filter, limit) = (query.filter(market)?, pagination::limit(query.limit.as_deref())?);
        let page = db.attempts_page(&filter, cursor, limit).await.map_err(WebError::ours)?;
        let views = Self::of_listed(db, &page.rows).await.map_err(WebError::ours)?;
        Ok(List::new(views, &page))
    }
}

/// `GET /api/copy-attempts`.
pub async fn json(db: Data<Db>, query: Query<AttemptQuery>) -> Result<Json<List<AttemptView>>, WebError> {
    Ok(Json(AttemptView::page(&db, &query).await?))
}
