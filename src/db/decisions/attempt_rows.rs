//! Rows of attempts and fills, decoded to domain types.

use uuid::Uuid;

use super::explanation_text;
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::explanation::Explanation;
use crate::domain::events::event::Side;
use crate::domain::events::group::GroupKind;
use crate::domain::market::book_walk::LevelFill;
use crate::domain::money::ids::{AssetId, AttemptId, FollowedUserId, GroupId, GroupKey, MarketId};
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UsdcMicros};
use crate::sql::decode::{RowDecoder, optional};
use crate::sql::error::DbError;

/// An attempt with the facts of its group and the names for a page. Label, question and outcome are hostile text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedAttempt {
    /// Its fills are empty here; [`Db::attempt`](crate::db::Db::attempt) returns them.
    pub attempt: CopyAttempt,
    pub kind: GroupKind,
    pub market: MarketId,
    pub asset: Option<AssetId>,
    pub side: Option<Side>,
    /// The time at which the group's first fill was detected.
    pub detect_time: Timestamp,
    /// The time at which the group's first fill happened.
    pub event_time: Timestamp,
    pub user_label: String,
    pub question: Option<String>,
    pub outcome: Option<String>,
}

/// A row of `copy_attempt`, joined with its group and the names.
#[derive(sqlx_macros::FromRow)]
pub(crate) struct Row {
    id: Uuid,
    portfolio_scope: String,
    followed_user_id: i64,
    group_id: Uuid,
    group_key: String,
    decision: String,
    reason_codes: String,
    target_notional_micros: i64,
    filled_notional_micros: i64,
    filled_share_micros: i64,
    vwap_price_micros: Option<i64>,
    filled_ratio_bps: i64,
    their_reference_price_micros: Option<i64>,
    mid_price_micros_at_decision: Option<i64>,
    config_version: String,
    explanation: Vec<u8>,
    created_at: i64,
    kind: String,
    market_id: String,
    asset_id: Option<String>,
    side: Option<String>,
    detect_time: i64,
    event_time: i64,
    user_label: String,
    question: Option<String>,
    outcome: Option<String>,
}

/// A row of `executable_fill`.
#[derive(sqlx_macros::FromRow)]
pub(crate) struct FillRow {
    filled_share_micros: i64,
    fill_price_micros: i64,
    fill_notional_micros: i64,
}

impl TryFrom<Row> for ListedAttempt {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "copy_attempt", id: row.id };
        let user = FollowedUserId(row.followed_user_id);
        // The column holds the leader in both scopes; the global portfolio has no owner.
        let portfolio = match decoder.text("portfolio_scope", &row.portfolio_scope)? {
            PortfolioScope::ExecUser => PortfolioId::ExecUser(user),
            PortfolioScope::ExecGlobal => PortfolioId::ExecGlobal,
            PortfolioScope::ShadowUser => {
                return Err(decoder.impossible("portfolio_scope", "a shadow portfolio has no attempts"));
            }
        };
        let codes = row.reason_codes.split(',').filter(|code| !code.is_empty());
        let price = |column, micros| optional(micros, |micros| decoder.price(column, micros));
        let attempt = CopyAttempt {
            id: AttemptId(row.id),
            portfolio,
            followed_user: user,
            group_id: GroupId(row.group_id),
            group_key: GroupKey::from_text(&row.group_key),
            decision: decoder.text("decision", &row.decision)?,
            reasons: codes.map(|code| decoder.text("reason_codes", code)).collect::<Result<_, _>>()?,
            target_notional: UsdcMicros(row.target_notional_micros),
            filled_notional: UsdcMicros(row.filled_notional_micros),
            filled_shares: ShareMicros(row.filled_share_micros),
            vwap: price("vwap_price_micros", row.vwap_price_micros)?,
            filled_ratio: Bps(row.filled_ratio_bps),
            their_reference_price: price("their_reference_price_micros", row.their_reference_price_micros)?,
            mid_at_decision: price("mid_price_micros_at_decision", row.mid_price_micros_at_decision)?,
            config_version: row.config_version,
            explanation: explanation(&decoder, &row.explanation)?,
            fills: Vec::new(),
            created_at: Timestamp::from_millis(row.created_at),
        };
        Ok(Self {
            attempt,
            kind: decoder.text("kind", &row.kind)?,
            market: decoder.market("market_id", &row.market_id)?,
            asset: optional(row.asset_id, |id| decoder.asset("asset_id", &id))?,
            side: optional(row.side, |side| decoder.text("side", &side))?,
            detect_time: Timestamp::from_millis(row.detect_time),
            event_time: Timestamp::from_millis(row.event_time),
            user_label: row.user_label,
            question: row.question,
            outcome: row.outcome,
        })
    }
}

fn explanation(decoder: &RowDecoder<Uuid>, content: &[u8]) -> Result<Explanation, DbError> {
    let text = explanation_text::unpack(content).map_err(|problem| decoder.impossible("explanation", problem))?;
    decoder.json("explanation", &text)
}

impl FillRow {
    /// Decodes the row.
    ///
    /// # Errors
    /// `DbError::Impossible` when the price is invalid.
    pub(crate) fn into_fill(self, attempt: Uuid) -> Result<LevelFill, DbError> {
        let decoder = RowDecoder { table: "executable_fill", id: attempt };
        Ok(LevelFill {
            price: decoder.price("fill_price_micros", self.fill_price_micros)?,
            shares: ShareMicros(self.filled_share_micros),
            notional: UsdcMicros(self.fill_notional_micros),
        })
    }
}
