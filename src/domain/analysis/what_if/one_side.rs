//! One configuration of a what-if test, and its portfolio.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use super::{Case, DecisionCounts, DecisionSummary, ExternalEvent, Policy, StoredBook};
use crate::domain::accounting::ledger::LedgerEntry;
use crate::domain::accounting::mark::{Mark, Quote};
use crate::domain::accounting::portfolio::{Portfolio, PortfolioError, ViewQuery};
use crate::domain::accounting::settlement::{SettlementError, settle};
use crate::domain::accounting::totals::Figures;
use crate::domain::config::effective::{EffectiveConfig, effective};
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::decide::{Situation, decide, precheck};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::domain::money::units::{Bps, Timestamp, UnitError, UsdcMicros};

const MINUTE_MS: i64 = 60_000;

/// The results of one configuration over the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFigures {
    pub decisions: DecisionCounts,
    /// Equity at the end minus equity at the start, without deposits.
    pub pnl: UsdcMicros,
    /// The deepest fall from the highest equity of the window, measured every minute and after every copy.
    pub worst_drawdown: UsdcMicros,
    /// The same as a part of that highest equity, rounded down.
    pub worst_drawdown_bps: Bps,
    /// The portfolio at the end.
    pub end: Figures,
}

/// One configuration, its portfolio, and how far it has come.
#[derive(Debug, Clone)]
pub(super) struct Run {
    policy: Policy,
    configs: BTreeMap<FollowedUserId, Arc<EffectiveConfig>>,
    portfolio: Portfolio,
    reached: Timestamp,
    begin: Figures,
    peak: UsdcMicros,
    worst_drawdown: UsdcMicros,
    worst_drawdown_bps: Bps,
    decisions: DecisionCounts,
}

/// The result of one decision. `summary` is `None` when a sum did not fit.
pub(super) struct Decided {
    pub summary: Option<DecisionSummary>,
    pub lacks_book: bool,
}

impl Run {
    pub(super) fn new(policy: Policy, portfolio: Portfolio, start: Timestamp) -> Self {
        let begin = portfolio.figures();
        Self {
            policy,
            configs: BTreeMap::new(),
            portfolio,
            reached: start,
            begin,
            peak: begin.equity,
            worst_drawdown: UsdcMicros::ZERO,
            worst_drawdown_bps: Bps::default(),
            decisions: DecisionCounts::default(),
        }
    }

    pub(super) const fn reached(&self) -> Timestamp {
        self.reached
    }

    pub(super) fn held_assets(&self) -> impl Iterator<Item = &AssetId> {
        self.portfolio.held_assets()
    }

    /// Returns when the group was decided. Without a recorded decision this is the first detection plus the window length
    /// and the latency.
    pub(super) fn decides_at(&mut self, case: &Case) -> Timestamp {
        case.recorded.map(|recorded| recorded.decided_at).unwrap_or_else(|| {
            let config = self.config(case.group.followed_user);
            let detected = case.group.detect_time.plus_millis(config.system.aggregation_window_ms);
            detected.plus_millis(config.guardrails.decision_latency_ms)
        })
    }

    /// Applies the events up to `to`, and takes a snapshot every minute as the snapshotter does.
    ///
    /// # Errors
    /// [`PortfolioError`] when a sum does not fit.
    pub(super) fn advance(
        &mut self,
        scheduled: &BTreeMap<Timestamp, Vec<ExternalEvent>>,
        to: Timestamp,
    ) -> Result<(), PortfolioError> {
        if to <= self.reached {
            return Ok(());
        }
        for (at, events) in scheduled.range((Excluded(self.reached), Included(to))) {
            self.take_snapshots_until(*at)?;
            for event in events {
                self.apply_event(*at, event)?;
            }
        }
        self.take_snapshots_until(to)
    }

    /// Applies one external event.
    ///
    /// # Errors
    /// [`PortfolioError`] when a sum does not fit.
    pub(super) fn apply_event(&mut self, at: Timestamp, event: &ExternalEvent) -> Result<(), PortfolioError> {
        match event {
            ExternalEvent::Entry(entry) => self.apply(entry),
            ExternalEvent::Price(asset, mark) => self.portfolio.set_mark(asset, *mark).map(drop),
            ExternalEvent::Resolved(market) => self.settle(market, at),
        }
    }

    /// Decides as the running bot does: on the portfolio at marks, with the configuration for the leader.
    ///
    /// # Errors
    /// [`PortfolioError`] when a sum of the portfolio does not fit.
    pub(super) fn decide(
        &mut self,
        case: &Case,
        leader: FollowState,
        now: Timestamp,
    ) -> Result<Decided, PortfolioError> {
        let group = case.group;
        let (asset, outcomes) = case.assets();
        if let (Some(asset), Some(price)) = (asset, group.reference_price) {
            // The leader's fill also is the last known trade for our copies.
            self.portfolio.set_mark(asset, Mark::LastTrade(price, group.detect_time))?;
        }
        let config = self.config(group.followed_user);
        let market = case.market_at(now);
        let view = self.portfolio.view(&ViewQuery {
            leader: group.followed_user,
            market: &group.market,
            asset,
            outcomes: &outcomes,
            now,
        });
        let their_holding = case.their_holding;
        let situation =
            Situation { group, market: &market, portfolio: &view, config: &config, leader, their_holding, now };
        let book = match case.book {
            StoredBook::Known(book) => Some(book),
            StoredBook::Unavailable | StoredBook::NotStored => None,
        };
        let lacks_book = matches!(case.book, StoredBook::NotStored) && matches!(precheck(&situation), Ok(None));
        let record =
            decide(&situation, book).and_then(|decision| decision.into_record(self.portfolio.id(), group, now));
        let Ok((attempt, entries)) = record else { return Ok(Decided { summary: None, lacks_book }) };
        for entry in &entries {
            self.apply(entry)?;
        }
        if let Some((asset, book)) = asset.zip(book) {
            let quote = Quote::new(Some(book.best_bid()), Some(book.best_ask()), now);
            self.portfolio.set_mark(asset, Mark::Quote(quote))?;
        }
        if case.market.resolved_at.is_some_and(|at| at <= now) {
            // Bought after the resolution, before we learned of it.
            self.settle(case.market, now)?;
        }
        self.decisions.count(&attempt)?;
        let summary = DecisionSummary {
            decision: attempt.decision,
            reasons: attempt.reasons,
            filled_notional: attempt.filled_notional,
            filled_shares: attempt.filled_shares,
        };
        Ok(Decided { summary: Some(summary), lacks_book })
    }

    /// Returns the results.
    ///
    /// # Errors
    /// [`UnitError::Overflow`].
    pub(super) fn figures(self) -> Result<RunFigures, UnitError> {
        let end = self.portfolio.figures();
        Ok(RunFigures {
            decisions: self.decisions,
            pnl: equity_without_deposits(&end)?.minus(equity_without_deposits(&self.begin)?)?,
            worst_drawdown: self.worst_drawdown,
            worst_drawdown_bps: self.worst_drawdown_bps,
            end,
        })
    }

    fn config(&mut self, leader: FollowedUserId) -> Arc<EffectiveConfig> {
        let (policy, scope) = (&self.policy, self.portfolio.id().scope());
        let compute = || Arc::new(effective(&policy.global, policy.overrides.get(&leader), scope));
        self.configs.entry(leader).or_insert_with(compute).clone()
    }

    /// Advances the time to `to` and takes a snapshot every minute, because the breakers measure from snapshots.
    fn take_snapshots_until(&mut self, to: Timestamp) -> Result<(), PortfolioError> {
        let is_open = self.portfolio.history().opening_micros.is_some();
        let mut minute = self.reached.bucket(MINUTE_MS).plus_millis(MINUTE_MS);
        while is_open && minute <= to {
            self.portfolio.age(minute)?;
            let is_fresh = self.portfolio.stale_assets() == 0;
            self.portfolio.note_snapshot(minute, self.portfolio.figures().equity, is_fresh);
            minute = minute.plus_millis(MINUTE_MS);
        }
        self.reached = self.reached.max(to);
        Ok(self.update_drawdown()?)
    }

    fn apply(&mut self, entry: &LedgerEntry) -> Result<(), PortfolioError> {
        let deposits = self.portfolio.figures().deposits;
        self.portfolio.apply(entry)?;
        // A deposit is not profit: raise the peak by it, so it neither hides nor creates a drawdown.
        self.peak = self.peak.plus(self.portfolio.figures().deposits.minus(deposits)?)?;
        Ok(self.update_drawdown()?)
    }

    /// Closes the lots in a resolved market. Without known payouts nothing is settled, as in the running bot.
    fn settle(&mut self, market: &Market, at: Timestamp) -> Result<(), PortfolioError> {
        for outcome in &market.outcomes {
            if let Some(payout) = outcome.payout {
                self.portfolio.set_mark(&outcome.asset, Mark::Payout(payout))?;
            }
        }
        match settle(self.portfolio.id(), market, &self.portfolio.lots_in(&market.id), at) {
            Ok(entries) => entries.iter().try_for_each(|entry| self.apply(entry)),
            Err(SettlementError::UnknownPayout(_)) => Ok(()),
            Err(SettlementError::Unit(error)) => Err(error.into()),
        }
    }

    fn update_drawdown(&mut self) -> Result<(), UnitError> {
        let equity = self.portfolio.figures().equity;
        self.peak = self.peak.max(equity);
        let fall = self.peak.minus(equity)?;
        self.worst_drawdown = self.worst_drawdown.max(fall);
        self.worst_drawdown_bps = self.worst_drawdown_bps.max(Bps::of(fall.0, self.peak.0)?);
        Ok(())
    }
}

/// Returns the equity without deposits.
fn equity_without_deposits(figures: &Figures) -> Result<UsdcMicros, UnitError> {
    figures.equity.minus(figures.deposits)
}
