//! The result of a configuration test, as its page and its JSON show it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::db::{Db, DbError};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::analysis::what_if;
use crate::domain::analysis::what_if::{Change, Counts, DecisionSummary, RunFigures};
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::Side;
use crate::domain::events::group::GroupAction;
use crate::domain::money::ids::{AssetId, AttemptId, FollowedUserId, GroupId, MarketId};
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UnitError, UsdcMicros};
use crate::web::shell::display_names::Names;

/// Both configurations side by side. `difference` is the candidate less the current one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WhatIfResult {
    /// Number of groups in the window.
    pub n_groups: u64,
    /// Number of groups without a stored book.
    pub n_without_book: u64,
    /// Number of groups that cannot be decided again.
    pub n_undecidable: u64,
    /// Groups that the bot decided when they happened.
    pub n_recorded: u64,
    /// Groups of `n_recorded` for which the current configuration repeats the recorded decision.
    pub n_as_recorded: u64,
    /// With the current configuration.
    pub current: ConfigResult,
    /// With the candidate configuration.
    pub candidate: ConfigResult,
    /// The candidate less the current one.
    pub difference: Difference,
    /// Reason codes that either side had, in the order of the spec.
    pub by_reason: Vec<ReasonRow>,
    /// Number of groups that the two configurations decide differently.
    pub n_changes: u64,
    /// Number of changes from a copy to a skip, or back.
    pub n_flipped: u64,
    /// Number of changes with other reasons for the skip.
    pub n_other_reasons: u64,
    /// Number of changes with another fill.
    pub n_other_fill: u64,
    /// The first changes: other decisions and reasons come before other fills.
    pub changes: Vec<ChangeView>,
}

/// The result of one configuration over the window.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ConfigResult {
    /// Number of copied groups.
    pub executed: u64,
    /// Number of skipped groups.
    pub skipped: u64,
    /// The filled size, in millionths of a USDC.
    pub filled_notional_micros: UsdcMicros,
    /// The fees, in millionths of a USDC.
    pub fee_micros: UsdcMicros,
    /// The PnL, in millionths of a USDC.
    pub pnl_micros: UsdcMicros,
    /// The largest fall from a peak, in millionths of a USDC.
    pub worst_drawdown_micros: UsdcMicros,
    /// The largest fall from a peak as a part of the peak, in hundredths of a percent.
    pub worst_drawdown_bps: Bps,
    /// Cash and the value of the positions, in millionths of a USDC.
    pub equity_micros: UsdcMicros,
    /// Cash, in millionths of a USDC.
    pub cash_micros: UsdcMicros,
    /// The value of the open positions, in millionths of a USDC.
    pub exposure_micros: UsdcMicros,
}

/// The result of the candidate less that of the current configuration.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Difference {
    /// Number of copied groups.
    pub executed: i64,
    /// Number of skipped groups.
    pub skipped: i64,
    /// The filled size, in millionths of a USDC.
    pub filled_notional_micros: UsdcMicros,
    /// The fees, in millionths of a USDC.
    pub fee_micros: UsdcMicros,
    /// The PnL, in millionths of a USDC.
    pub pnl_micros: UsdcMicros,
    /// The largest fall from a peak, in millionths of a USDC.
    pub worst_drawdown_micros: UsdcMicros,
    /// Cash and the value of the positions, in millionths of a USDC.
    pub equity_micros: UsdcMicros,
    /// The value of the open positions, in millionths of a USDC.
    pub exposure_micros: UsdcMicros,
}

/// The skips for one reason.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReasonRow {
    /// The reason.
    pub reason_code: ReasonCode,
    /// Number of skips for it with the current configuration.
    pub current: u64,
    /// Number of skips for it with the candidate.
    pub candidate: u64,
    /// The candidate less the current one.
    pub difference: i64,
}

/// A group that the two configurations decide differently.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ChangeView {
    /// The recorded attempt of this portfolio on the group; its page explains every check.
    pub attempt_id: AttemptId,
    /// The group of fills that was decided.
    pub group_id: GroupId,
    /// The text from which the id of the group is made.
    pub group_key: String,
    /// When we saw it first.
    pub detect_time: Timestamp,
    /// The leader.
    pub followed_user_id: FollowedUserId,
    /// Hostile text, as question and outcome.
    pub followed_user_label: String,
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
    /// `BUY`, `SELL`, `SPLIT`, `MERGE` or `CONVERSION`.
    pub action: &'static str,
    /// With the current configuration.
    pub current: VerdictView,
    /// With the candidate configuration.
    pub candidate: VerdictView,
}

/// A decision of one configuration.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VerdictView {
    /// Whether we copied.
    pub decision: DecisionKind,
    /// The reasons for a skip, the first one first; empty for a copy.
    pub reason_codes: Vec<ReasonCode>,
    /// The filled size, in millionths of a USDC.
    pub filled_notional_micros: UsdcMicros,
    /// The filled shares, in millionths of a share.
    pub filled_share_micros: ShareMicros,
}

impl WhatIfResult {
    /// Builds the view of `found` and reads the names of its leaders and markets.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn load(db: &Db, portfolio: PortfolioId, found: what_if::Findings) -> Result<Self, DbError> {
        let names = Names::load(db, found.changes.iter().map(|change| &change.group.market)).await?;
        let Counts { groups, without_book, undecidable, recorded, as_recorded, .. } = found.counts;
        let scope = portfolio.to_string();
        Ok(Self {
            n_groups: groups,
            n_without_book: without_book,
            n_undecidable: undecidable,
            n_recorded: recorded,
            n_as_recorded: as_recorded,
            difference: Difference::between(&found.current, &found.candidate),
            by_reason: by_reason(&found.current, &found.candidate),
            current: ConfigResult::from(&found.current),
            candidate: ConfigResult::from(&found.candidate),
            n_changes: found.counts.changes(),
            n_flipped: found.counts.flipped,
            n_other_reasons: found.counts.other_reasons,
            n_other_fill: found.counts.other_fill,
            changes: found.changes.into_iter().map(|change| ChangeView::new(&scope, change, &names)).collect(),
        })
    }
}

impl From<&RunFigures> for ConfigResult {
    fn from(run: &RunFigures) -> Self {
        Self {
            executed: run.decisions.executed,
            skipped: run.decisions.skipped,
            filled_notional_micros: run.decisions.filled_notional,
            fee_micros: run.decisions.fees,
            pnl_micros: run.pnl,
            worst_drawdown_micros: run.worst_drawdown,
            worst_drawdown_bps: run.worst_drawdown_bps,
            equity_micros: run.end.equity,
            cash_micros: run.end.cash,
            exposure_micros: run.end.exposure,
        }
    }
}

impl Difference {
    fn between(current: &RunFigures, candidate: &RunFigures) -> Self {
        let usdc = |of: fn(&RunFigures) -> UsdcMicros| less(of(candidate).minus(of(current)));
        Self {
            executed: difference(current.decisions.executed, candidate.decisions.executed),
            skipped: difference(current.decisions.skipped, candidate.decisions.skipped),
            filled_notional_micros: usdc(|run| run.decisions.filled_notional),
            fee_micros: usdc(|run| run.decisions.fees),
            pnl_micros: usdc(|run| run.pnl),
            worst_drawdown_micros: usdc(|run| run.worst_drawdown),
            equity_micros: usdc(|run| run.end.equity),
            exposure_micros: usdc(|run| run.end.exposure),
        }
    }
}

impl ChangeView {
    fn new(portfolio: &str, change: Change, names: &Names) -> Self {
        let Change { group, current, candidate } = change;
        let (asset_id, side) = match &group.action {
            GroupAction::Trade { asset, side } => (Some(asset.clone()), Some(*side)),
            GroupAction::Close { asset } => (Some(asset.clone()), None),
            GroupAction::Merge | GroupAction::Split | GroupAction::Conversion => (None, None),
        };
        let (question, slug) = names.market(&group.market);
        Self {
            attempt_id: AttemptId::of(portfolio, &group.key),
            group_id: group.id,
            group_key: group.key.to_string(),
            detect_time: group.detect_time,
            followed_user_id: group.followed_user,
            followed_user_label: names.label(group.followed_user),
            outcome: asset_id.as_ref().and_then(|asset| names.outcome(&group.market, asset)),
            action: side.map_or(group.action.kind().as_str(), Side::as_str),
            asset_id,
            question,
            slug,
            market_id: group.market,
            current: current.into(),
            candidate: candidate.into(),
        }
    }
}

impl From<DecisionSummary> for VerdictView {
    fn from(verdict: DecisionSummary) -> Self {
        Self {
            decision: verdict.decision,
            reason_codes: verdict.reasons,
            filled_notional_micros: verdict.filled_notional,
            filled_share_micros: verdict.filled_shares,
        }
    }
}

fn by_reason(current: &RunFigures, candidate: &RunFigures) -> Vec<ReasonRow> {
    let (current, candidate) = (&current.decisions.by_reason, &candidate.decisions.by_reason);
    let codes: BTreeSet<&ReasonCode> = current.keys().chain(candidate.keys()).collect();
    let count = |of: &std::collections::BTreeMap<ReasonCode, u64>, code| of.get(code).copied().unwrap_or_default();
    codes
        .into_iter()
        .map(|code| {
            let (current, candidate) = (count(current, code), count(candidate, code));
            ReasonRow { reason_code: *code, current, candidate, difference: difference(current, candidate) }
        })
        .collect()
}

fn difference(current: u64, candidate: u64) -> i64 {
    i64::try_from(i128::from(candidate) - i128::from(current)).unwrap_or(i64::MAX)
}

/// Returns the difference, or zero when it does not fit, which two sums of the size of one portfolio cannot reach.
fn less(difference: Result<UsdcMicros, UnitError>) -> UsdcMicros {
    difference.unwrap_or_default()
}
