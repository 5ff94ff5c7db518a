//! Copy attempts: the view behind the attempt list, its live rows and `/api/copy-attempts`.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    error::WebError,
    list::{self, List},
    names::Names,
};
use crate::{
    db::{AttemptFilter, Db, DbError, ListedAttempt},
    domain::{
        attempt::CopyAttempt,
        decision::{DecisionKind, Explanation, ReasonCode},
        event::Side,
        group::{EventGroup, GroupAction, GroupKind},
        ids::{AssetId, AttemptId, FollowedUserId, GroupId, MarketId},
        ledger::PortfolioScope,
        units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros},
    },
};

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

/// One attempt with everything that explains it.
#[derive(Debug, Serialize)]
pub struct AttemptDetail {
    #[serde(flatten)]
    pub attempt: AttemptView,
    pub explain_json: Explanation,
    pub executable_fills: Vec<FillView>,
}

/// A row of `executable_fill`.
#[derive(Debug, Serialize)]
pub struct FillView {
    pub filled_share_micros: ShareMicros,
    pub fill_price_micros: PriceMicros,
    pub fill_notional_micros: UsdcMicros,
}

/// What the leader did that was or was not copied.
#[derive(Debug, Clone)]
struct Deed {
    kind: GroupKind,
    side: Option<Side>,
    market: MarketId,
    asset: Option<AssetId>,
}

/// `?limit=50&cursor=…&user=7&market=0x…&scope=EXEC_GLOBAL&decision=SKIP&reason=SPREAD_TOO_WIDE&side=BUY&from=…&to=…`,
/// times of the decision.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    user: Option<FollowedUserId>,
    market: Option<String>,
    scope: Option<PortfolioScope>,
    decision: Option<DecisionKind>,
    reason: Option<ReasonCode>,
    side: Option<Side>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl AttemptQuery {
    /// What it asks for, page by page or in a download.
    ///
    /// # Errors
    /// `WebError::Mistake` for text that is no condition id.
    pub fn filter(&self) -> Result<AttemptFilter, WebError> {
        Ok(AttemptFilter {
            user: self.user,
            market: list::market(self.market.as_deref())?,
            scope: self.scope,
            decision: self.decision,
            reason: self.reason,
            side: self.side,
            from: self.from,
            to: self.to,
        })
    }
}

impl Deed {
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
    fn new(attempt: &CopyAttempt, deed: Deed, names: &Names) -> Self {
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
        let deeds: BTreeMap<GroupId, Deed> =
            groups.into_iter().map(|group| (group.id, Deed::of_group(group))).collect();
        let names = Names::load(db, deeds.values().map(|deed| &deed.market)).await?;
        let known = attempts.iter().filter_map(|attempt| Some((attempt, deeds.get(&attempt.group_id)?.clone())));
        Ok(known.map(|(attempt, deed)| Self::new(attempt, deed, &names)).collect())
    }

    /// Views of rows of a list, in their order.
    pub async fn of_listed(db: &Db, rows: &[ListedAttempt]) -> Result<Vec<Self>, DbError> {
        let names = Names::load(db, rows.iter().map(|row| &row.market)).await?;
        Ok(rows.iter().map(|row| Self::new(&row.attempt, Deed::of_listed(row), &names)).collect())
    }

    /// The newest of what `query` asks for, before its cursor.
    pub async fn page(db: &Db, query: &AttemptQuery) -> Result<List<Self>, WebError> {
        let filter = query.filter()?;
        let cursor = list::cursor(query.cursor.as_deref())?;
        let page = db.attempts_page(&filter, cursor, list::limit(query.limit)).await.map_err(WebError::ours)?;
        let views = Self::of_listed(db, &page.rows).await.map_err(WebError::ours)?;
        Ok(List::new(views, page.next))
    }
}

/// `GET /api/copy-attempts`.
pub async fn json(db: Data<Db>, query: Query<AttemptQuery>) -> Result<Json<List<AttemptView>>, WebError> {
    Ok(Json(AttemptView::page(&db, &query).await?))
}

/// `GET /api/copy-attempts/{id}`.
pub async fn detail(db: Data<Db>, id: Path<Uuid>) -> Result<Json<AttemptDetail>, WebError> {
    let found = db.attempt(AttemptId(*id)).await.map_err(WebError::ours)?.ok_or(WebError::NotFound)?;
    let names = Names::load(&db, [&found.listed.market]).await.map_err(WebError::ours)?;
    let view = AttemptView::new(&found.listed.attempt, Deed::of_listed(&found.listed), &names);
    let fills = found.fills.iter().map(|fill| FillView {
        filled_share_micros: fill.shares,
        fill_price_micros: fill.price,
        fill_notional_micros: fill.notional,
    });
    let executable_fills = fills.collect();
    Ok(Json(AttemptDetail { attempt: view, executable_fills, explain_json: found.listed.attempt.explanation }))
}
