//! What another configuration would have decided: the same groups, books and prices, lived through under two
//! configurations side by side, each with a portfolio of its own (spec sections 7 and 11).
//!
//! In    a portfolio as it stood, what the world did since in order of time, groups in the global order.
//! Out   `Findings`: what each configuration decided and made of its portfolio, and where the two disagree.
//! Fails `PortfolioError` when a sum does not fit; a group that cannot be decided is counted and passed over.
//!
//! Decided by the same `decide` as live copies, at the time of the recorded decision. Assumes that nothing we do moves
//! the market or the leaders, that whoever is enabled and whatever is blacklisted now was so all along, and that a group
//! was cut as it is stored. Books are those that were fetched, so a change of latency is not seen in them.

mod run;
mod tally;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::accounting::ledger::LedgerEntry;
use crate::domain::accounting::portfolio::{Portfolio, PortfolioError};
use crate::domain::config::effective::{StoredConfig, UserOverrides};
use crate::domain::decision::decide::{DecisionKind, ReasonCode};
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

use run::Run;
pub use run::RunFigures;
pub use tally::Tally;

/// Disagreements that are kept in full; the others are counted.
pub const CHANGES_KEPT: usize = 200;

/// A configuration with everybody's overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub global: StoredConfig,
    pub overrides: BTreeMap<FollowedUserId, UserOverrides>,
}

/// Where both configurations begin.
#[derive(Debug, Clone)]
pub struct Start {
    pub time: Timestamp,
    /// With its lots, marks and baselines of that time.
    pub portfolio: Portfolio,
    /// Leaders who are copied; decisions on others are skipped.
    pub enabled: BTreeSet<FollowedUserId>,
}

/// What the world did to both portfolios.
#[derive(Debug, Clone)]
pub enum Happening {
    /// An entry that no decision of the window made: the opening deposit, a copy of an earlier group.
    Entry(LedgerEntry),
    Midpoint(AssetId, PriceMicros),
    /// What it pays is known.
    Resolved(Arc<Market>),
}

/// One group to decide on.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub group: &'a EventGroup,
    /// Its facts as known today.
    pub market: &'a Market,
    pub book: KeptBook<'a>,
    /// What was decided in life, if anything was.
    pub recorded: Option<&'a Recorded>,
}

/// The book of a group as it was kept.
#[derive(Debug, Clone, Copy)]
pub enum KeptBook<'a> {
    Known(&'a OrderBook),
    /// It was asked for, and there was none.
    Unavailable,
    /// Nobody asked for it, because the group was skipped before looking.
    NotKept,
}

/// The decision that stands in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub decided_at: Timestamp,
    pub verdict: Verdict,
}

/// The gist of a decision: two are the same when this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub decision: DecisionKind,
    pub reasons: Vec<ReasonCode>,
    pub filled_notional: UsdcMicros,
    pub filled_shares: ShareMicros,
}

/// A group on which the two configurations disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub group: EventGroup,
    pub current: Verdict,
    pub candidate: Verdict,
}

/// How many groups, and what is to be known of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub groups: u64,
    /// One of the configurations would have needed a book that nobody kept: decided as `BOOK_UNAVAILABLE`.
    pub without_book: u64,
    /// Sums that do not fit; in life such a group ends as a dead letter.
    pub undecidable: u64,
    /// Groups with a decision in the database, and those of them that the current configuration decides just so again.
    pub recorded: u64,
    pub as_recorded: u64,
    /// EXECUTE became SKIP or the other way.
    pub flipped: u64,
    /// The same decision for other reasons.
    pub other_reasons: u64,
    /// The same decision with another fill.
    pub other_fill: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    pub from: Timestamp,
    pub to: Timestamp,
    pub counts: Counts,
    pub current: RunFigures,
    pub candidate: RunFigures,
    /// Other decisions and reasons first, then other fills, each in the order they came; at most `CHANGES_KEPT`.
    pub changes: Vec<Change>,
}

/// Two configurations on the same ground.
#[derive(Debug, Clone)]
pub struct Comparison {
    from: Timestamp,
    enabled: BTreeSet<FollowedUserId>,
    current: Run,
    candidate: Run,
    /// What is known of the time that the slower of the two has not lived through yet.
    ahead: BTreeMap<Timestamp, Vec<Happening>>,
    counts: Counts,
    decided_otherwise: Vec<Change>,
    filled_otherwise: Vec<Change>,
}

impl Comparison {
    pub fn new(start: Start, current: Policy, candidate: Policy) -> Self {
        Self {
            from: start.time,
            enabled: start.enabled,
            current: Run::new(current, start.portfolio.clone(), start.time),
            candidate: Run::new(candidate, start.portfolio, start.time),
            ahead: BTreeMap::new(),
            counts: Counts::default(),
            decided_otherwise: Vec::new(),
            filled_otherwise: Vec::new(),
        }
    }

    /// Tells what happened. Of the past it takes effect at once, of the future when its time comes.
    ///
    /// # Errors
    /// `PortfolioError`.
    pub fn expect(&mut self, at: Timestamp, happening: Happening) -> Result<(), PortfolioError> {
        for run in [&mut self.current, &mut self.candidate] {
            if at <= run.reached() {
                run.take(at, &happening)?;
            }
        }
        if at > self.current.reached().min(self.candidate.reached()) {
            self.ahead.entry(at).or_default().push(happening);
        }
        Ok(())
    }

    /// Decides the next group under both configurations and moves each portfolio by its own decision.
    ///
    /// # Errors
    /// `PortfolioError`.
    pub fn decide(&mut self, case: &Case) -> Result<(), PortfolioError> {
        let enabled = self.enabled.contains(&case.group.followed_user);
        let mut verdicts = Vec::with_capacity(2);
        let mut lacks_book = false;
        for run in [&mut self.current, &mut self.candidate] {
            let now = run.decides_at(case);
            run.advance(&self.ahead, now)?;
            let decided = run.decide(case, enabled, now)?;
            lacks_book |= decided.lacks_book;
            verdicts.extend(decided.verdict);
        }
        self.forget_past();
        grow(&mut self.counts.groups, true);
        grow(&mut self.counts.without_book, lacks_book);
        let Ok([current, candidate]) = <[Verdict; 2]>::try_from(verdicts) else {
            grow(&mut self.counts.undecidable, true);
            return Ok(());
        };
        if let Some(recorded) = case.recorded {
            grow(&mut self.counts.recorded, true);
            grow(&mut self.counts.as_recorded, recorded.verdict == current);
        }
        self.compare(case.group, current, candidate);
        Ok(())
    }

    /// Lets time pass for both.
    ///
    /// # Errors
    /// `PortfolioError`.
    pub fn advance(&mut self, to: Timestamp) -> Result<(), PortfolioError> {
        self.current.advance(&self.ahead, to)?;
        self.candidate.advance(&self.ahead, to)?;
        self.forget_past();
        Ok(())
    }

    /// What either of the two holds: what wants a price.
    pub fn held_assets(&self) -> BTreeSet<AssetId> {
        self.current.held_assets().chain(self.candidate.held_assets()).cloned().collect()
    }

    /// Up to when both have lived.
    pub fn reached(&self) -> Timestamp {
        self.current.reached().min(self.candidate.reached())
    }

    /// The end of the window; both have lived up to it.
    ///
    /// # Errors
    /// `PortfolioError`.
    pub fn finish(mut self, to: Timestamp) -> Result<Findings, PortfolioError> {
        self.advance(to)?;
        let mut changes = self.decided_otherwise;
        let room = CHANGES_KEPT.saturating_sub(changes.len());
        changes.extend(self.filled_otherwise.into_iter().take(room));
        Ok(Findings {
            from: self.from,
            to,
            counts: self.counts,
            current: self.current.figures()?,
            candidate: self.candidate.figures()?,
            changes,
        })
    }

    fn compare(&mut self, group: &EventGroup, current: Verdict, candidate: Verdict) {
        if current == candidate {
            return;
        }
        let flipped = current.decision != candidate.decision;
        let other_reasons = !flipped && current.reasons != candidate.reasons;
        let other_fill = !flipped && !other_reasons;
        grow(&mut self.counts.flipped, flipped);
        grow(&mut self.counts.other_reasons, other_reasons);
        grow(&mut self.counts.other_fill, other_fill);
        let kept = if other_fill { &mut self.filled_otherwise } else { &mut self.decided_otherwise };
        if kept.len() < CHANGES_KEPT {
            kept.push(Change { group: group.clone(), current, candidate });
        }
    }

    fn forget_past(&mut self) {
        let reached = self.reached();
        while let Some(first) = self.ahead.first_entry()
            && *first.key() <= reached
        {
            first.remove();
        }
    }
}

impl Counts {
    pub const fn changes(&self) -> u64 {
        self.flipped.saturating_add(self.other_reasons).saturating_add(self.other_fill)
    }
}

impl Verdict {
    /// Whether the decision came past the switches and found the market open.
    fn found_open(&self) -> bool {
        use ReasonCode::*;
        let ended_before = [EnginePaused, UserDisabled, MarketBlacklisted, SignalTooOld, MarketTooCloseToClose];
        !self.reasons.iter().any(|reason| ended_before.contains(reason))
    }
}

impl<'a> Case<'a> {
    /// The asset of a trade, and otherwise the outcomes that sets are made of.
    fn assets(&self) -> (Option<&'a AssetId>, Vec<AssetId>) {
        match &self.group.action {
            GroupAction::Trade { asset, .. } => (Some(asset), Vec::new()),
            _ => (None, self.market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect()),
        }
    }

    /// The market as it was known at `now`: one that is over today may have been open then.
    ///
    /// Its close time is today's, and a market that was closed early and has not resolved counts as open until then. We
    /// hear of a resolution late: a decision that did not mind the market's state shows that it was still open for us, and
    /// that a close time which lay behind us then has been moved there since.
    fn market_at(&self, now: Timestamp) -> Cow<'a, Market> {
        let market = self.market;
        let is_over = !market.active || market.resolved_at.is_some();
        let ended = market.resolved_at.or(market.close_time);
        let seen_open = self.recorded.is_some_and(|recorded| recorded.verdict.found_open());
        if is_over && (seen_open || ended.is_some_and(|ended| now < ended)) {
            let close_time = market.close_time.filter(|close| !seen_open || *close > now);
            return Cow::Owned(Market { active: true, resolved_at: None, close_time, ..market.clone() });
        }
        Cow::Borrowed(market)
    }
}

fn grow(count: &mut u64, yes: bool) {
    *count = count.saturating_add(u64::from(yes));
}

#[cfg(test)]
mod tests;
