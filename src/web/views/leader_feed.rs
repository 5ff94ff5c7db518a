//! The activity of one leader, newest first. Each row shows its copy status in the portfolio of that leader's copies.

use std::collections::BTreeMap;

use serde::Serialize;

use super::trades::TradeView;
use crate::db::{Db, DbError, EventOutcome, TradeFilter};
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::ActivityEvent;
use crate::domain::money::ids::{AttemptId, EventId, FollowedUserId, MarketId};
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UsdcMicros};
use crate::web::server::error::WebError;
use crate::web::shell::display_names::Names;

/// A trade, or another row of activity.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum FeedRow {
    Trade {
        #[serde(flatten)]
        trade: Box<TradeView>,
        fate: CopyStatus,
    },
    Other {
        #[serde(flatten)]
        activity: Box<FeedActivity>,
        fate: CopyStatus,
    },
}

/// A row of `activity_event` with the question and slug of its market, which are hostile text.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct FeedActivity {
    /// The row.
    pub id: EventId,
    /// The kind of activity, for example `MERGE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The leader.
    pub followed_user_id: FollowedUserId,
    /// The market, by its condition id.
    pub market_id: Option<MarketId>,
    /// The hash of the transaction on the chain.
    pub tx_hash: String,
    /// The number of shares, in millionths of a share.
    pub share_micros: ShareMicros,
    /// Cash, in millionths of a USDC.
    pub cash_micros: UsdcMicros,
    /// When it happened.
    pub event_time: Timestamp,
    /// When we saw it first.
    pub detect_time: Timestamp,
    /// The time from the event to its detection, in whole seconds.
    pub detection_lag_seconds: i64,
    /// The question of the market; hostile text, empty when unknown.
    pub question: String,
    /// The part of the market in the address of its page at Polymarket; hostile text.
    pub slug: String,
}

/// The result of copying a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CopyStatus {
    /// `copied`, `partly`, `skipped`; `open` while it is not decided, `none` for rows of a kind that is never copied,
    /// `before` for rows from before we began to follow.
    pub state: &'static str,
    /// The attempt; null while there is none.
    pub attempt_id: Option<AttemptId>,
    /// The reasons for a skip, the first one first; empty for a copy.
    pub reason_codes: Vec<ReasonCode>,
    /// The filled part of the target, in hundredths of a percent.
    pub filled_ratio_bps: Option<Bps>,
    /// The filled shares, in millionths of a share.
    pub filled_share_micros: Option<ShareMicros>,
}

/// Returns the newest rows of both kinds, `limit` in all.
///
/// # Errors
/// [`WebError::Ours`] when the database fails.
pub async fn feed(db: &Db, user: FollowedUserId, limit: usize) -> Result<Vec<FeedRow>, WebError> {
    Ok(read(db, user, limit).await?)
}

async fn read(db: &Db, user: FollowedUserId, limit: usize) -> Result<Vec<FeedRow>, DbError> {
    let filter = TradeFilter { user: Some(user), ..TradeFilter::default() };
    let trades = db.trades_page(&filter, None, limit).await?.rows;
    let trades: Vec<_> = trades.iter().map(|listed| &listed.trade).collect();
    let activities = db.newest_activities(user, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    let trade_ids: Vec<EventId> = trades.iter().map(|trade| trade.id).collect();
    let activity_ids: Vec<EventId> = activities.iter().map(|activity| activity.id).collect();
    let mut outcomes = db.outcomes_of_trades(&trade_ids).await?;
    outcomes.extend(db.outcomes_of_activities(&activity_ids).await?);
    let names =
        Names::load(db, activities.iter().filter_map(|activity| activity.payload.condition_id.as_ref())).await?;

    let mut rows: Vec<(Timestamp, FeedRow)> = Vec::with_capacity(trades.len() + activities.len());
    for trade in TradeView::of(db, &trades).await? {
        let before = trade.before_following.then(CopyStatus::before);
        let fate = before.unwrap_or_else(|| CopyStatus::of(outcomes.get(&trade.id), true));
        rows.push((trade.detect_time, FeedRow::Trade { trade: Box::new(trade), fate }));
    }
    rows.extend(activities.iter().map(|activity| (activity.detect_time, other(activity, &outcomes, &names))));
    rows.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    rows.truncate(limit);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn other(activity: &ActivityEvent, outcomes: &BTreeMap<EventId, EventOutcome>, names: &Names) -> FeedRow {
    let market = activity.payload.condition_id.clone();
    let (question, slug) = market.as_ref().map(|market| names.market(market)).unwrap_or_default();
    let before = names.is_before_following(activity.followed_user, activity.event_time).then(CopyStatus::before);
    let is_decided = activity.kind.group_kind().is_some();
    let fate = before.unwrap_or_else(|| CopyStatus::of(outcomes.get(&activity.id), is_decided));
    let lag = activity.detect_time.seconds().saturating_sub(activity.event_time.seconds()).max(0);
    let activity = FeedActivity {
        id: activity.id,
        kind: activity.kind.as_str().to_owned(),
        followed_user_id: activity.followed_user,
        market_id: market,
        tx_hash: activity.payload.tx_hash.clone(),
        share_micros: activity.payload.share_micros,
        cash_micros: activity.payload.cash_micros,
        event_time: activity.event_time,
        detect_time: activity.detect_time,
        detection_lag_seconds: lag,
        question,
        slug,
    };
    FeedRow::Other { activity: Box::new(activity), fate }
}

impl CopyStatus {
    /// Returns the status of a row that is part of the opening.
    fn before() -> Self {
        Self { state: "before", ..Self::of(None, false) }
    }

    fn of(outcome: Option<&EventOutcome>, is_decided: bool) -> Self {
        let Some(outcome) = outcome else {
            return Self {
                state: if is_decided { "open" } else { "none" },
                attempt_id: None,
                reason_codes: Vec::new(),
                filled_ratio_bps: None,
                filled_share_micros: None,
            };
        };
        let state = match outcome.decision {
            DecisionKind::Skip => "skipped",
            DecisionKind::Execute if outcome.filled_ratio < Bps::WHOLE => "partly",
            DecisionKind::Execute => "copied",
        };
        Self {
            state,
            attempt_id: Some(outcome.attempt),
            reason_codes: outcome.reasons.clone(),
            filled_ratio_bps: Some(outcome.filled_ratio),
            filled_share_micros: Some(outcome.filled_shares),
        }
    }
}
