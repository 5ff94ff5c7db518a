//! Leaders' activity beside trading: the view behind the activity list and `/api/activities`. Each row shows what it moved
//! in the leader's shadow portfolio, or that it moves nothing there.

use std::collections::BTreeMap;

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::db::{ActivityFilter, Db, DbError, Movement};
use crate::domain::accounting::ledger::{EntryType, PortfolioScope};
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::{ActivityEvent, ActivityKind, PositionEffect};
use crate::domain::money::ids::{AssetId, AttemptId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::display_names::Names;
use crate::web::shell::pagination;
use crate::web::shell::pagination::{List, MarketSearch};

/// A row that has moved nothing after this long will not move anything.
const WAITS_MS: i64 = 60_000;
/// Audit rows that are searched for the problem of a row. Rows that could not be applied are rare.
const PROBLEMS_MOST: i64 = 1_000;

/// A row of `activity_event` with its effect on the shadow and on our copies.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ActivityView {
    /// Made from the source and its id.
    pub id: EventId,
    /// The id of the row at its source.
    pub source_id: String,
    /// The hash of the transaction on the chain.
    pub tx_hash: String,
    /// The kind of activity, for example `MERGE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The wallet of the trader, as their profile shows it.
    pub profile_wallet: Wallet,
    /// The wallet in the row, when it differs from that of the profile.
    pub proxy_wallet: Option<Wallet>,
    /// The leader.
    pub followed_user_id: FollowedUserId,
    /// The market, by its condition id.
    pub market_id: Option<MarketId>,
    /// The outcome token.
    pub asset_id: Option<AssetId>,
    /// The number of shares in the row; for MERGE and SPLIT it counts complete sets.
    pub share_micros: ShareMicros,
    /// The cash that the row states, in millionths of a USDC; never negative.
    pub cash_micros: UsdcMicros,
    /// When it happened.
    pub event_time: Timestamp,
    /// When we saw it first.
    pub detect_time: Timestamp,
    /// The time from the event to its detection, in whole seconds.
    pub detection_lag_seconds: i64,
    /// The effect on the leader's shadow.
    pub outcome_of_it: Effect,
    /// The reason why the row could not be applied.
    pub problem: Option<String>,
    /// The ledger entries that the row made in the leader's shadow.
    pub moved: Vec<MovementView>,
    /// Our decisions on copying the row.
    pub attempts: Vec<DecisionView>,
    /// The name of the leader; hostile text.
    pub followed_user_label: String,
    /// The question of the market; hostile text, empty when unknown.
    pub question: String,
    /// The part of the market in the address of its page at Polymarket; hostile text.
    pub slug: String,
    /// The name of the outcome; hostile text.
    pub outcome: Option<String>,
}

/// The effect of a row on the leader's shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Effect {
    /// It moved the leader's shadow.
    Applied,
    /// It is not applied yet.
    Waiting,
    /// The shadow held nothing that it could move.
    Nothing,
    /// The row has too little information to be applied.
    NotApplicable,
    /// Rows of its kind move no position.
    NotCopied,
    /// It happened before we began to follow, and is part of the opening.
    BeforeFollowing,
}

/// One ledger entry of the shadow.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct MovementView {
    /// The kind of ledger entry.
    pub entry_type: EntryType,
    /// The market, by its condition id.
    pub market_id: Option<MarketId>,
    /// The outcome token.
    pub asset_id: Option<AssetId>,
    /// The question of the market; hostile text, empty when unknown.
    pub question: String,
    /// The name of the outcome; hostile text.
    pub outcome: Option<String>,
    /// The change of the shares, in millionths of a share.
    pub share_delta_micros: ShareMicros,
    /// The change of the cash, in millionths of a USDC.
    pub cash_delta_micros: UsdcMicros,
}

/// Our decision on a row in one portfolio.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct DecisionView {
    /// The attempt.
    pub id: AttemptId,
    /// The kind of portfolio.
    pub portfolio_scope: PortfolioScope,
    /// Whether we copied.
    pub decision: DecisionKind,
}

/// `?limit=50&cursor=…&user=7&market=0x…&type=MERGE&from=…&to=…`; the times are detect times.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActivityQuery {
    pub limit: Option<String>,
    pub cursor: Option<String>,
    pub user: Option<String>,
    pub market: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl ActivityQuery {
    fn filter(&self, market: Option<MarketId>) -> Result<ActivityFilter, WebError> {
        Ok(ActivityFilter {
            user: pagination::user(self.user.as_deref())?,
            market,
            kind: pagination::given(self.kind.as_deref()).map(str::to_owned),
            from: pagination::time("from", self.from.as_deref())?,
            to: pagination::time("to", self.to.as_deref())?,
        })
    }
}

impl ActivityView {
    /// Returns the newest rows that match `query` and `market`, before its cursor.
    ///
    /// # Errors
    /// [`WebError::Mistake`] that names the invalid parameter.
    pub async fn listed(
        db: &Db,
        query: &ActivityQuery,
        market: Option<MarketId>,
        now: Timestamp,
    ) -> Result<List<Self>, WebError> {
        let cursor = pagination::cursor(query.cursor.as_deref())?;
        let (filter, limit) = (query.filter(market)?, pagination::limit(query.limit.as_deref())?);
        let page = db.activities_page(&filter, cursor, limit).await?;
        let views = Self::of(db, &page.rows, now).await?;
        Ok(List::new(views, &page))
    }

    async fn of(db: &Db, rows: &[ActivityEvent], now: Timestamp) -> Result<Vec<Self>, DbError> {
        let mut moved = BTreeMap::new();
        for row in rows.iter().filter(|row| moves_positions(&row.kind)) {
            moved.insert(row.id, db.movements(row.id, row.followed_user).await?);
        }
        // A conversion moves outcomes of other markets too.
        let markets = rows.iter().filter_map(|row| row.payload.condition_id.as_ref());
        let markets = markets.chain(moved.values().flatten().filter_map(|movement| movement.market.as_ref()));
        let names = Names::load(db, markets).await?;
        let mut problems = None;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let moves = moves_positions(&row.kind);
            let moved = moved.remove(&row.id).unwrap_or_default();
            let attempts = if row.kind.group_kind().is_some() { db.decisions_on(row.id).await? } else { Vec::new() };
            let mut view = Self::new(row, moved, &names);
            view.attempts = attempts
                .into_iter()
                .map(|(id, portfolio_scope, decision)| DecisionView { id, portfolio_scope, decision })
                .collect();
            if names.is_before_following(row.followed_user, row.event_time) {
                view.outcome_of_it = Effect::BeforeFollowing;
            } else if moves && view.moved.is_empty() {
                if problems.is_none() {
                    problems = Some(why_not_applicable(db).await?);
                }
                view.problem = problems.as_ref().and_then(|known| known.get(&row.id.to_string()).cloned());
                view.outcome_of_it = match &view.problem {
                    Some(_) => Effect::NotApplicable,
                    None if now.millis_since(row.detect_time) < WAITS_MS => Effect::Waiting,
                    None => Effect::Nothing,
                };
            }
            views.push(view);
        }
        Ok(views)
    }

    fn new(row: &ActivityEvent, moved: Vec<Movement>, names: &Names) -> Self {
        let market = row.payload.condition_id.clone();
        let (question, slug) = market.as_ref().map(|market| names.market(market)).unwrap_or_default();
        let outcome_of = |asset: &AssetId| market.as_ref().and_then(|market| names.outcome(market, asset));
        let movement = |movement: Movement| MovementView {
            entry_type: movement.kind,
            question: movement.market.as_ref().map(|market| names.market(market).0).unwrap_or_default(),
            outcome: movement
                .market
                .as_ref()
                .zip(movement.asset.as_ref())
                .and_then(|(market, asset)| names.outcome(market, asset)),
            market_id: movement.market,
            asset_id: movement.asset,
            share_delta_micros: movement.shares,
            cash_delta_micros: movement.cash,
        };
        Self {
            id: row.id,
            source_id: row.source_id.clone(),
            tx_hash: row.payload.tx_hash.clone(),
            kind: row.kind.as_str().to_owned(),
            profile_wallet: row.profile_wallet.clone(),
            proxy_wallet: row.proxy_wallet.clone(),
            followed_user_id: row.followed_user,
            asset_id: row.payload.token_id.clone(),
            share_micros: row.payload.share_micros,
            cash_micros: row.payload.cash_micros,
            event_time: row.event_time,
            detect_time: row.detect_time,
            detection_lag_seconds: row.detect_time.seconds().saturating_sub(row.event_time.seconds()).max(0),
            outcome_of_it: if moves_positions(&row.kind) { Effect::Applied } else { Effect::NotCopied },
            problem: None,
            attempts: Vec::new(),
            followed_user_label: names.label(row.followed_user),
            outcome: row.payload.token_id.as_ref().and_then(outcome_of),
            moved: moved.into_iter().map(movement).collect(),
            market_id: market,
            question,
            slug,
        }
    }
}

fn moves_positions(kind: &ActivityKind) -> bool {
    kind.position_effect() == PositionEffect::Moves
}

/// Returns the problems of rows by event id, from the audit rows of the ingestor.
async fn why_not_applicable(db: &Db) -> Result<BTreeMap<String, String>, DbError> {
    let audits = db.audits(Some("MERGE_SPLIT_NOT_APPLICABLE"), None, PROBLEMS_MOST).await?;
    let reason = |text: &str| -> Option<String> {
        let about: serde_json::Value = serde_json::from_str(text).ok()?;
        Some(about.get("reason")?.as_str()?.to_owned())
    };
    let problem = |row: crate::db::AuditRow| {
        let event = row.audit.subject.strip_prefix("event:")?.to_owned();
        Some((event, row.audit.after_json.as_deref().and_then(reason).unwrap_or_default()))
    };
    Ok(audits.into_iter().filter_map(problem).collect())
}

/// Answers `GET /api/activities`.
///
/// # Errors
/// [`WebError::Mistake`] that names the invalid parameter.
pub async fn json(
    db: Data<Db>,
    clock: Data<Clock>,
    query: Query<ActivityQuery>,
) -> Result<Json<List<ActivityView>>, WebError> {
    let market = query.market.as_deref();
    let market = MarketSearch::read(&db, market).await?.one(market)?;
    Ok(Json(ActivityView::listed(&db, &query, market, clock.now()).await?))
}
