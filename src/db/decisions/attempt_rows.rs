//! Rows of attempts and fills, back to what the domain knows.

use uuid::Uuid;

use super::attempts::ListedAttempt;
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::market::fill::LevelFill;
use crate::domain::money::ids::{AttemptId, FollowedUserId, GroupId, GroupKey};
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UsdcMicros};
use crate::sql::decode::{RowDecoder, optional};
use crate::sql::error::DbError;

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
    explain_json: String,
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

#[derive(sqlx_macros::FromRow)]
pub(crate) struct FillRow {
    filled_share_micros: i64,
    fill_price_micros: i64,
    fill_notional_micros: i64,
}

impl TryFrom<Row> for ListedAttempt {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let reading = RowDecoder { table: "copy_attempt", id: row.id };
        let user = FollowedUserId(row.followed_user_id);
        // The column holds the leader in both scopes; the global portfolio has no owner.
        let portfolio = match reading.text("portfolio_scope", &row.portfolio_scope)? {
            PortfolioScope::ExecUser => PortfolioId::ExecUser(user),
            PortfolioScope::ExecGlobal => PortfolioId::ExecGlobal,
            PortfolioScope::ShadowUser => {
                return Err(reading.impossible("portfolio_scope", "a shadow attempts nothing"));
            }
        };
        let codes = row.reason_codes.split(',').filter(|code| !code.is_empty());
        let price = |column, micros| optional(micros, |micros| reading.price(column, micros));
        let attempt = CopyAttempt {
            id: AttemptId(row.id),
            portfolio,
            followed_user: user,
            group_id: GroupId(row.group_id),
            group_key: GroupKey::from_text(&row.group_key),
            decision: reading.text("decision", &row.decision)?,
            reasons: codes.map(|code| reading.text("reason_codes", code)).collect::<Result<_, _>>()?,
            target_notional: UsdcMicros(row.target_notional_micros),
            filled_notional: UsdcMicros(row.filled_notional_micros),
            filled_shares: ShareMicros(row.filled_share_micros),
            vwap: price("vwap_price_micros", row.vwap_price_micros)?,
            filled_ratio: Bps(row.filled_ratio_bps),
            their_reference_price: price("their_reference_price_micros", row.their_reference_price_micros)?,
            mid_at_decision: price("mid_price_micros_at_decision", row.mid_price_micros_at_decision)?,
            config_version: row.config_version,
            explanation: reading.json("explain_json", &row.explain_json)?,
            fills: Vec::new(),
            created_at: Timestamp::from_millis(row.created_at),
        };
        Ok(Self {
            attempt,
            kind: reading.text("kind", &row.kind)?,
            market: reading.market("market_id", &row.market_id)?,
            asset: optional(row.asset_id, |id| reading.asset("asset_id", &id))?,
            side: optional(row.side, |side| reading.text("side", &side))?,
            detect_time: Timestamp::from_millis(row.detect_time),
            event_time: Timestamp::from_millis(row.event_time),
            user_label: row.user_label,
            question: row.question,
            outcome: row.outcome,
        })
    }
}

impl FillRow {
    pub(crate) fn into_fill(self, attempt: Uuid) -> Result<LevelFill, DbError> {
        let reading = RowDecoder { table: "executable_fill", id: attempt };
        Ok(LevelFill {
            price: reading.price("fill_price_micros", self.fill_price_micros)?,
            shares: ShareMicros(self.filled_share_micros),
            notional: UsdcMicros(self.fill_notional_micros),
        })
    }
}
