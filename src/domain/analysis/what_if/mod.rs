//! The what-if test: the same groups, books and prices are replayed under two configurations side by side, each with
//! its own portfolio (spec 7 and 11).
//!
//! In    the portfolio at the start, external events since then in order of time, groups in the global order.
//! Out   [`Findings`]: the decisions and the portfolio of each configuration, and the groups on which the two disagree.
//! Fails [`PortfolioError`] when a sum does not fit; a group that cannot be decided is counted and skipped.
//!
//! Groups are decided by the same `decide` as live copies, at the time of the recorded decision. Assumes that our
//! copies move neither the market nor the leaders, that the markets blacklisted now were so all along, and that windows
//! were cut as the groups are stored. A leader is active, winding down or stopped as at that time. The books are those that were fetched, so a change of
//! latency has no effect on them.

mod decision_counts;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::accounting::ledger::LedgerEntry;
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::portfolio::{Portfolio, PortfolioError};
use crate::domain::config::effective::{StoredConfig, UserOverrides};
use crate::domain::config::follow_state::{FollowHistory, FollowState};
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::exit::TheirHolding;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::group::EventGroup;
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

pub use decision_counts::DecisionCounts;
use one_side::Run;
pub use one_side::RunFigures;

/// The number of disagreements that are kept in full; the others are only counted.
pub const CHANGES_KEPT: usize = 200;

/// A configuration with the overrides of all leaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub global: StoredConfig,
    pub overrides: BTreeMap<FollowedUserId, UserOverrides>,
}

/// The state from which both configurations start.
#[derive(Debug, Clone)]
pub struct Start {
    pub time: Timestamp,
    /// The portfolio with its lots, marks and baselines of that time.
    pub portfolio: Portfolio,
    /// How each leader was followed; groups of other leaders are skipped.
    pub leaders: BTreeMap<FollowedUserId, FollowHistory>,
}

/// An event that affects both portfolios and does not come from a decision of the window.
#[derive(Debug, Clone)]
pub enum ExternalEvent {
    /// A ledger entry: the opening deposit, or a copy of an earlier group.
    Entry(LedgerEntry),
    /// A price of an asset.
    Price(AssetId, Mark),
    /// The payout of the market is known.
    Resolved(Arc<Market>),
}

/// One group to decide on.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub group: &'a EventGroup,
    /// The facts of the market as known today.
    pub market: &'a Market,
    pub book: StoredBook<'a>,
    /// The decision of the running bot, if there is one.
    pub recorded: Option<&'a RecordedDecision>,
    /// What the leader held before the group, where one of the configurations sizes exits by it.
    pub their_holding: TheirHolding,
}

/// The stored book of a group.
#[derive(Debug, Clone, Copy)]
pub enum StoredBook<'a> {
    Known(&'a OrderBook),
    /// It was requested, and there was none.
    Unavailable,
    /// It was not requested, because the group was skipped before that step.
    NotStored,
}

/// The decision stored in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedDecision {
    pub decided_at: Timestamp,
    pub summary: DecisionSummary,
}

/// The main fields of a decision. Two decisions are the same when their summaries are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionSummary {
    pub decision: DecisionKind,
    pub reasons: Vec<ReasonCode>,
    pub filled_notional: UsdcMicros,
    pub filled_shares: ShareMicros,
}

/// A group on which the two configurations disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub group: EventGroup,
    pub current: DecisionSummary,
    pub candidate: DecisionSummary,
}

/// The number of groups, in total and by kind of result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub groups: u64,
    /// One of the configurations needed a book that is not stored; it decided `BOOK_UNAVAILABLE`.
    pub without_book: u64,
    /// A sum did not fit; the running bot makes a dead letter of such a group.
    pub undecidable: u64,
    /// Groups with a decision in the database.
    pub recorded: u64,
    /// Those of them that the current configuration decides in the same way again.
    pub as_recorded: u64,
    /// EXECUTE became SKIP, or SKIP became EXECUTE.
    pub flipped: u64,
    /// The same decision with other reasons.
    pub other_reasons: u64,
    /// The same decision with another fill.
    pub other_fill: u64,
}

/// The result of a what-if test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    pub from: Timestamp,
    pub to: Timestamp,
    pub counts: Counts,
    pub current: RunFigures,
    pub candidate: RunFigures,
    /// Other decisions and reasons first, then other fills, each in the order of the groups; at most [`CHANGES_KEPT`].
    pub changes: Vec<Change>,
}

/// Two configurations that decide the same groups.
#[derive(Debug, Clone)]
pub struct Comparison {
    from: Timestamp,
    leaders: BTreeMap<FollowedUserId, FollowHistory>,
    current: Run,
    candidate: Run,
    /// Events at times that the slower of the two has not reached yet.
    scheduled: BTreeMap<Timestamp, Vec<ExternalEvent>>,
    counts: Counts,
    decision_changes: Vec<Change>,
    fill_changes: Vec<Change>,
}

impl Comparison {
    /// Starts both configurations from the same state.
    pub fn new(start: Start, current: Policy, candidate: Policy) -> Self {
        Self {
            from: start.time,
            leaders: start.leaders,
            current: Run::new(current, start.portfolio.clone(), start.time),
            candidate: Run::new(candidate, start.portfolio, start.time),
            scheduled: BTreeMap::new(),
            counts: Counts::default(),
            decision_changes: Vec::new(),
            fill_changes: Vec::new(),
        }
    }

    /// Adds an external event. A past event takes effect at once; a future one when each configuration
    /// reaches its time.
    ///
    /// # Errors
    /// [`PortfolioError`] when a sum does not fit.
    pub fn schedule(&mut self, at: Timestamp, event: ExternalEvent) -> Result<(), PortfolioError> {
        for run in [&mut self.current, &mut self.candidate] {
            if at <= run.reached() {
                run.apply_event(at, &event)?;
            }
        }
        if at > self.current.reached().min(self.candidate.reached()) {
            self.scheduled.entry(at).or_default().push(event);
        }
        Ok(())
    }

    /// Decides the next group under both configurations and applies each decision to its own portfolio.
    ///
    /// # Errors
    /// [`PortfolioError`] when a sum does not fit.
    pub fn decide(&mut self, case: &Case) -> Result<(), PortfolioError> {
        let leader = self.leaders.get(&case.group.followed_user).cloned();
        let leader = leader.unwrap_or(FollowHistory::always(FollowState::Stopped));
        let mut summaries = Vec::with_capacity(2);
        let mut lacks_book = false;
        for run in [&mut self.current, &mut self.candidate] {
            let now = run.decides_at(case);
            run.advance(&self.scheduled, now)?;
            let decided = run.decide(case, leader.at(now), now)?;
            lacks_book |= decided.lacks_book;
            summaries.extend(decided.summary);
        }
        self.drop_past_events();
        grow(&mut self.counts.groups, true);
        grow(&mut self.counts.without_book, lacks_book);
        let Ok([current, candidate]) = <[DecisionSummary; 2]>::try_from(summaries) else {
            grow(&mut self.counts.undecidable, true);
            return Ok(());
        };
        if let Some(recorded) = case.recorded {
            grow(&mut self.counts.recorded, true);
            grow(&mut self.counts.as_recorded, recorded.summary == current);
        }
        self.compare(case.group, current, candidate);
        Ok(())
    }

    /// Advances both to the time `to`.
    ///
    /// # Errors
    /// [`PortfolioError`] when a sum does not fit.
    pub fn advance(&mut self, to: Timestamp) -> Result<(), PortfolioError> {
        self.current.advance(&self.scheduled, to)?;
        self.candidate.advance(&self.scheduled, to)?;
        self.drop_past_events();
        Ok(())
    }

    /// Returns the assets that either of the two holds, which need a price.
    pub fn held_assets(&self) -> BTreeSet<AssetId> {
        self.current.held_assets().chain(self.candidate.held_assets()).cloned().collect()
    }

    /// Returns the time that both have reached.
    pub fn reached(&self) -> Timestamp {
        self.current.reached().min(self.candidate.reached())
    }

    /// Advances both to the end of the window and returns the findings.
    ///
    /// # Errors
    /// [`PortfolioError`] when a sum does not fit.
    pub fn finish(mut self, to: Timestamp) -> Result<Findings, PortfolioError> {
        self.advance(to)?;
        let mut changes = self.decision_changes;
        let room = CHANGES_KEPT.saturating_sub(changes.len());
        changes.extend(self.fill_changes.into_iter().take(room));
        Ok(Findings {
            from: self.from,
            to,
            counts: self.counts,
            current: self.current.figures()?,
            candidate: self.candidate.figures()?,
            changes,
        })
    }

    fn compare(&mut self, group: &EventGroup, current: DecisionSummary, candidate: DecisionSummary) {
        if current == candidate {
            return;
        }
        let flipped = current.decision != candidate.decision;
        let other_reasons = !flipped && current.reasons != candidate.reasons;
        let other_fill = !flipped && !other_reasons;
        grow(&mut self.counts.flipped, flipped);
        grow(&mut self.counts.other_reasons, other_reasons);
        grow(&mut self.counts.other_fill, other_fill);
        let kept = if other_fill { &mut self.fill_changes } else { &mut self.decision_changes };
        if kept.len() < CHANGES_KEPT {
            kept.push(Change { group: group.clone(), current, candidate });
        }
    }

    fn drop_past_events(&mut self) {
        let reached = self.reached();
        while let Some(first) = self.scheduled.first_entry()
            && *first.key() <= reached
        {
            first.remove();
        }
    }
}

impl Counts {
    /// Returns the number of groups on which the two disagree.
    pub const fn changes(&self) -> u64 {
        self.flipped.saturating_add(self.other_reasons).saturating_add(self.other_fill)
    }
}

impl DecisionSummary {
    /// Returns whether the decision passed the switches and found the market open.
    fn found_open(&self) -> bool {
        use ReasonCode::*;
        let ended_before = [
            EnginePaused,
            UserDisabled,
            OpensPaused,
            MarketBlacklisted,
            SignalTooOld,
            MarketUnknown,
            MarketFiltered,
            MarketTooCloseToClose,
        ];
        !self.reasons.iter().any(|reason| ended_before.contains(reason))
    }
}

impl<'a> Case<'a> {
    /// Returns the asset of a trade, or for sets the outcomes that they consist of.
    fn assets(&self) -> (Option<&'a AssetId>, Vec<AssetId>) {
        match self.group.action.asset() {
            Some(asset) => (Some(asset), Vec::new()),
            None => (None, self.market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect()),
        }
    }

    /// Returns the market as it was known at `now`: a market that is over today may have been open then.
    ///
    /// The close time is the one of today, and a market that was closed early and has not resolved counts as open until
    /// that time. We learn of a resolution late. So a recorded decision that did not refuse because of the market's
    /// state shows that the market was still open for us, and that a close time before `now` was set later.
    fn market_at(&self, now: Timestamp) -> Cow<'a, Market> {
        let market = self.market;
        // The facts of today were not there then: the decision had to be made without them.
        let was_unknown = |recorded: &RecordedDecision| recorded.summary.reasons.contains(&ReasonCode::MarketUnknown);
        if self.recorded.is_some_and(was_unknown) {
            return Cow::Owned(Market::unknown(market.id.clone()));
        }
        let is_over = !market.is_open();
        let ended = market.resolved_at.or(market.close_time);
        let seen_open = self.recorded.is_some_and(|recorded| recorded.summary.found_open());
        if is_over && (seen_open || ended.is_some_and(|ended| now < ended)) {
            let close_time = market.close_time.filter(|close| !seen_open || *close > now);
            return Cow::Owned(Market {
                active: true,
                accepts_orders: true,
                resolved_at: None,
                close_time,
                ..market.clone()
            });
        }
        Cow::Borrowed(market)
    }
}

fn grow(count: &mut u64, yes: bool) {
    *count = count.saturating_add(u64::from(yes));
}

mod one_side;
#[cfg(test)]
mod tests;
