//! The result of a decision, and the only way from it to ledger entries (spec 7 and 8).

use super::attempt::CopyAttempt;
use super::check::{Check, CheckName, Checks, ReasonCode, SkipReasons};
use super::exit::ExitBasis;
use super::explanation::{DecisionKind, Explanation};
use super::guardrail::Quote;
use super::sizing::TargetSize;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::config::effective::ConfigVersion;
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::market::book_walk::Walk;
use crate::domain::money::ids::{AssetId, AttemptId, GroupId};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

/// Whether to copy, in both cases with every check that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Execute(ApprovedCopy),
    Skip(SkippedCopy),
}

/// A copy that passed every check. Only [`decide`](super::decide::decide) makes one, and only an approved copy becomes
/// ledger entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedCopy {
    findings: Findings,
    action: CopiedAction,
}

/// A group that is not copied, and the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedCopy {
    findings: Findings,
    reasons: SkipReasons,
}

/// The action of an approved copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CopiedAction {
    Trade(Walk),
    Split { sets: ShareMicros, outcomes: Vec<AssetId> },
    Merge { sets: ShareMicros, outcomes: Vec<AssetId> },
}

/// How the steps ended. If a check failed, the decision is a skip in both cases.
pub(super) enum Ending {
    Copy(CopiedAction),
    /// There is nothing to copy. The code is the reason if no check failed.
    Skip(ReasonCode),
}

/// The results of the steps made so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Findings {
    portfolio: PortfolioId,
    group: GroupId,
    decided_at: Timestamp,
    config_version: ConfigVersion,
    pub(super) checks: Checks,
    size: Option<TargetSize>,
    target_notional: UsdcMicros,
    pub(super) target_shares: Option<ShareMicros>,
    pub(super) quote: Option<Quote>,
    pub(super) ratio: Bps,
    pub(super) vwap: Option<PriceMicros>,
    pub(super) fee: UsdcMicros,
    pub(super) taker_delay_ms: Option<i64>,
    pub(super) order_notional: Option<UsdcMicros>,
    pub(super) order_shares: Option<ShareMicros>,
    pub(super) exit: Option<ExitBasis>,
}

impl Findings {
    pub(super) fn new(
        portfolio: PortfolioId,
        group: GroupId,
        decided_at: Timestamp,
        config_version: ConfigVersion,
    ) -> Self {
        Self {
            portfolio,
            group,
            decided_at,
            config_version,
            checks: Checks::new(),
            size: None,
            target_notional: UsdcMicros::ZERO,
            target_shares: None,
            quote: None,
            ratio: Bps::default(),
            vwap: None,
            fee: UsdcMicros::ZERO,
            taker_delay_ms: None,
            order_notional: None,
            order_shares: None,
            exit: None,
        }
    }

    /// Sets the target of a trade.
    pub(super) fn sized(&mut self, size: TargetSize) {
        self.size = Some(size);
        self.target_notional = size.target;
    }

    /// Sets the target in complete sets; a set is worth one USDC.
    pub(super) fn targeted_sets(&mut self, sets: ShareMicros) {
        self.target_notional = UsdcMicros(sets.0);
        self.target_shares = Some(sets);
    }

    /// Sets the target of an exit that no part of the equity limits: its shares, and what they bring.
    pub(super) fn targeted_lot(&mut self, shares: ShareMicros, notional: UsdcMicros) {
        self.target_notional = notional;
        self.target_shares = Some(shares);
    }

    /// Checks that at least one micro-set can be applied, and stores the filled part of the target.
    pub(super) fn applied_sets(&mut self, sets: ShareMicros, ratio: Bps) {
        self.ratio = ratio;
        self.checks.add(Check::at_least(CheckName::SetsApplicable, sets.0, 1, ReasonCode::MergeSplitNotApplicable));
    }

    /// Returns the copy when every check passed, otherwise a skip.
    #[inline]
    pub(super) fn concluded(mut self, ending: Ending) -> Decision {
        match (self.checks.take_failed(), ending) {
            (None, Ending::Copy(action)) => Decision::Execute(ApprovedCopy { findings: self, action }),
            (None, Ending::Skip(code)) => {
                Decision::Skip(SkippedCopy { findings: self, reasons: SkipReasons::only(code) })
            }
            (Some(reasons), _) => Decision::Skip(SkippedCopy { findings: self, reasons }),
        }
    }

    /// Asserts that a decision is recorded for the portfolio and the group that it was made for.
    fn belong_to(&self, portfolio: PortfolioId, group: &EventGroup) {
        assert_eq!(
            (self.portfolio, self.group),
            (portfolio, group.id),
            "a decision belongs to its portfolio and group"
        );
    }

    fn into_explanation(self) -> Explanation {
        Explanation {
            decided_at: self.decided_at,
            checks: self.checks.into_list(),
            raw_notional_micros: self.size.map(|size| size.raw),
            cap_notional_micros: self.size.map(|size| size.cap),
            best_bid_micros: self.quote.map(|quote| quote.best_bid),
            best_ask_micros: self.quote.map(|quote| quote.best_ask),
            mid_micros: self.quote.map(|quote| quote.mid),
            limit_price_micros: self.quote.map(|quote| quote.limit),
            target_share_micros: self.target_shares,
            taker_delay_ms: self.taker_delay_ms,
            order_notional_micros: self.order_notional,
            order_share_micros: self.order_shares,
            exit: self.exit,
            fee_micros: self.fee.0,
        }
    }
}

impl Decision {
    /// Returns EXECUTE or SKIP.
    pub fn kind(&self) -> DecisionKind {
        match self {
            Self::Execute(_) => DecisionKind::Execute,
            Self::Skip(_) => DecisionKind::Skip,
        }
    }

    /// Returns every check that was made, in the order of the spec.
    pub fn checks(&self) -> &[Check] {
        self.findings().checks.list()
    }

    /// Returns the reason codes in the order of the spec. Empty only for EXECUTE.
    pub fn reasons(&self) -> Vec<ReasonCode> {
        match self {
            Self::Execute(_) => Vec::new(),
            Self::Skip(skipped) => skipped.reasons.iter().collect(),
        }
    }

    /// Returns the attempt as it is stored. `portfolio` and `group` must be those of the situation that was decided on.
    pub fn into_attempt(self, portfolio: PortfolioId, group: &EventGroup, now: Timestamp) -> CopyAttempt {
        self.findings().belong_to(portfolio, group);
        let reasons = self.reasons();
        let decision = self.kind();
        let (findings, action) = match self {
            Self::Execute(copy) => (copy.findings, Some(copy.action)),
            Self::Skip(skipped) => (skipped.findings, None),
        };
        let filled = action.map(CopiedAction::into_filled).unwrap_or_default();
        let executed = decision == DecisionKind::Execute;
        CopyAttempt {
            id: AttemptId::of(&portfolio.to_string(), &group.key),
            portfolio,
            followed_user: group.followed_user,
            group_id: group.id,
            group_key: group.key.clone(),
            decision,
            reasons,
            target_notional: findings.target_notional,
            filled_notional: filled.notional,
            filled_shares: filled.shares,
            vwap: if executed { findings.vwap } else { None },
            filled_ratio: if executed { findings.ratio } else { Bps::default() },
            their_reference_price: group.reference_price,
            mid_at_decision: findings.quote.map(|quote| quote.mid),
            config_version: findings.config_version.to_string(),
            explanation: findings.into_explanation(),
            fills: filled.fills,
            created_at: now,
        }
    }

    /// Returns the attempt and its ledger entries; a skip has no entries.
    ///
    /// # Errors
    /// [`UnitError`] when an amount does not fit.
    pub fn into_record(
        self,
        portfolio: PortfolioId,
        group: &EventGroup,
        now: Timestamp,
    ) -> Result<(CopyAttempt, Vec<LedgerEntry>), UnitError> {
        let entries = match &self {
            Self::Execute(copy) => copy.entries(portfolio, group, now)?,
            Self::Skip(_) => Vec::new(),
        };
        Ok((self.into_attempt(portfolio, group, now), entries))
    }

    fn findings(&self) -> &Findings {
        match self {
            Self::Execute(copy) => &copy.findings,
            Self::Skip(skipped) => &skipped.findings,
        }
    }
}

impl SkippedCopy {
    /// Returns the reasons, at least one.
    pub fn reasons(&self) -> &SkipReasons {
        &self.reasons
    }
}

impl ApprovedCopy {
    /// Returns the ledger entries of the copy: a TRADE_FILL and its FEE, or one MERGE or SPLIT entry per outcome.
    ///
    /// # Errors
    /// [`UnitError`] when an amount does not fit.
    ///
    /// Spec 8, and 5 for the sets.
    pub fn entries(
        &self,
        portfolio: PortfolioId,
        group: &EventGroup,
        now: Timestamp,
    ) -> Result<Vec<LedgerEntry>, UnitError> {
        self.findings.belong_to(portfolio, group);
        let blank = LedgerEntry {
            portfolio,
            attributed_user: Some(group.followed_user),
            market: Some(group.market.clone()),
            asset: None,
            kind: EntryType::TradeFill,
            shares: ShareMicros::ZERO,
            cash: UsdcMicros::ZERO,
            price: None,
            ref_id: format!("copy:{}", AttemptId::of(&portfolio.to_string(), &group.key)),
            created_at: now,
        };
        match (&self.action, &group.action) {
            (CopiedAction::Trade(walk), GroupAction::Trade { asset, side }) => {
                let blank = LedgerEntry { asset: Some(asset.clone()), ..blank };
                self.trade_entries(walk, *side, blank)
            }
            (CopiedAction::Trade(walk), GroupAction::Close { asset }) => {
                self.trade_entries(walk, Side::Sell, LedgerEntry { asset: Some(asset.clone()), ..blank })
            }
            (CopiedAction::Split { sets, outcomes }, _) => {
                set_entries(outcomes, *sets, UsdcMicros(sets.0).negated()?, EntryType::Split, &blank)
            }
            (CopiedAction::Merge { sets, outcomes }, _) => {
                set_entries(outcomes, sets.negated()?, UsdcMicros(sets.0), EntryType::Merge, &blank)
            }
            (CopiedAction::Trade(_), _) => Ok(Vec::new()),
        }
    }

    fn trade_entries(&self, walk: &Walk, side: Side, blank: LedgerEntry) -> Result<Vec<LedgerEntry>, UnitError> {
        let (shares, cash) = match side {
            Side::Buy => (walk.shares, walk.notional.negated()?),
            Side::Sell => (walk.shares.negated()?, walk.notional),
        };
        let fill = LedgerEntry { shares, cash, price: self.findings.vwap, ..blank.clone() };
        let fee = self.findings.fee;
        if fee == UsdcMicros::ZERO {
            return Ok(vec![fill]);
        }
        Ok(vec![fill, LedgerEntry { kind: EntryType::Fee, cash: fee.negated()?, ..blank }])
    }
}

/// Returns one entry per outcome. Each gets an equal part of the cash, rounded down; the last one gets the remainder
/// too.
fn set_entries(
    outcomes: &[AssetId],
    shares: ShareMicros,
    cash: UsdcMicros,
    kind: EntryType,
    blank: &LedgerEntry,
) -> Result<Vec<LedgerEntry>, UnitError> {
    let n_outcomes = i64::try_from(outcomes.len()).unwrap_or(i64::MAX);
    let price = PriceMicros::average(UsdcMicros(1), ShareMicros(n_outcomes))?;
    let (part, mut left) = (UsdcMicros(cash.0.checked_div(n_outcomes).unwrap_or_default()), cash);
    let mut entries = Vec::with_capacity(outcomes.len());
    for (place, asset) in outcomes.iter().enumerate() {
        let is_last = place.saturating_add(1) == outcomes.len();
        let cash = if is_last { left } else { part };
        left = left.minus(part)?;
        let price = Some(price);
        entries.push(LedgerEntry { asset: Some(asset.clone()), kind, shares, cash, price, ..blank.clone() });
    }
    Ok(entries)
}

impl CopiedAction {
    /// Returns what was filled. A complete set counts as one share and one USDC, and has no level.
    fn into_filled(self) -> Walk {
        match self {
            Self::Trade(walk) => walk,
            Self::Split { sets, .. } | Self::Merge { sets, .. } => {
                Walk { fills: Vec::new(), shares: sets, notional: UsdcMicros(sets.0) }
            }
        }
    }
}
