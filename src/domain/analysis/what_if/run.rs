//! One configuration and the portfolio it makes.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use super::{Case, Happening, KeptBook, Policy, Tally, Verdict};
use crate::domain::accounting::ledger::LedgerEntry;
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::portfolio::{Portfolio, PortfolioError, ViewQuery};
use crate::domain::accounting::settlement::{SettlementError, settle};
use crate::domain::accounting::totals::Figures;
use crate::domain::config::effective::{EffectiveConfig, effective};
use crate::domain::decision::decide::{Situation, decide, precheck};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::domain::money::units::{Bps, Timestamp, UnitError, UsdcMicros};

const MINUTE_MS: i64 = 60_000;

/// What a configuration made of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFigures {
    pub tally: Tally,
    /// Equity at the end less equity at the beginning, without deposits.
    pub pnl: UsdcMicros,
    /// The deepest fall from the highest equity of the window, looked at every minute and after every copy.
    pub worst_drawdown: UsdcMicros,
    /// The same as a part of that highest equity, rounded down.
    pub worst_drawdown_bps: Bps,
    /// How the portfolio stands in the end.
    pub end: Figures,
}

#[derive(Debug, Clone)]
pub(super) struct Run {
    policy: Policy,
    configs: BTreeMap<FollowedUserId, EffectiveConfig>,
    portfolio: Portfolio,
    reached: Timestamp,
    begin: Figures,
    peak: UsdcMicros,
    worst_drawdown: UsdcMicros,
    worst_drawdown_bps: Bps,
    tally: Tally,
}

/// What a decision came to. No verdict when sums did not fit.
pub(super) struct Decided {
    pub verdict: Option<Verdict>,
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
            tally: Tally::default(),
        }
    }

    pub(super) const fn reached(&self) -> Timestamp {
        self.reached
    }

    pub(super) fn held_assets(&self) -> impl Iterator<Item = &AssetId> {
        self.portfolio.held_assets()
    }

    /// When the group was decided; had nobody decided it, its window and the latency after its first fill.
    pub(super) fn decides_at(&mut self, case: &Case) -> Timestamp {
        case.recorded.map(|recorded| recorded.decided_at).unwrap_or_else(|| {
            let config = self.config(case.group.followed_user);
            let detected = case.group.detect_time.plus_millis(config.system.aggregation_window_ms);
            detected.plus_millis(config.guardrails.decision_latency_ms)
        })
    }

    /// Lives through what is known up to `to`, minute by minute as the snapshotter does.
    pub(super) fn advance(
        &mut self,
        ahead: &BTreeMap<Timestamp, Vec<Happening>>,
        to: Timestamp,
    ) -> Result<(), PortfolioError> {
        if to <= self.reached {
            return Ok(());
        }
        for (at, happenings) in ahead.range((Excluded(self.reached), Included(to))) {
            self.pass(*at)?;
            for happening in happenings {
                self.take(*at, happening)?;
            }
        }
        Ok(self.pass(to)?)
    }

    pub(super) fn take(&mut self, at: Timestamp, happening: &Happening) -> Result<(), PortfolioError> {
        match happening {
            Happening::Entry(entry) => self.apply(entry),
            Happening::Midpoint(asset, price) => self.portfolio.set_mark(asset, Mark::Midpoint(*price)).map(drop),
            Happening::Resolved(market) => self.settle(market, at),
        }
    }

    /// Decides as live: on the portfolio at marks, with the leader's own configuration.
    pub(super) fn decide(
        &mut self,
        case: &Case,
        user_enabled: bool,
        now: Timestamp,
    ) -> Result<Decided, PortfolioError> {
        let group = case.group;
        let (asset, outcomes) = case.assets();
        if let (Some(asset), Some(price)) = (asset, group.reference_price) {
            // The leader's fill is the last trade seen for our copies too.
            self.portfolio.set_mark(asset, Mark::LastTrade(price))?;
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
        let situation = Situation { group, market: &market, portfolio: &view, config: &config, user_enabled, now };
        let book = match case.book {
            KeptBook::Known(book) => Some(book),
            KeptBook::Unavailable | KeptBook::NotKept => None,
        };
        let lacks_book = matches!(case.book, KeptBook::NotKept) && matches!(precheck(&situation), Ok(None));
        let record =
            decide(&situation, book).and_then(|decision| decision.into_record(self.portfolio.id(), group, now));
        let Ok((attempt, entries)) = record else { return Ok(Decided { verdict: None, lacks_book }) };
        for entry in &entries {
            self.apply(entry)?;
        }
        if case.market.resolved_at.is_some_and(|at| at <= now) {
            // Bought before we heard of it.
            self.settle(case.market, now)?;
        }
        self.tally.count(&attempt)?;
        let verdict = Verdict {
            decision: attempt.decision,
            reasons: attempt.reasons,
            filled_notional: attempt.filled_notional,
            filled_shares: attempt.filled_shares,
        };
        Ok(Decided { verdict: Some(verdict), lacks_book })
    }

    pub(super) fn figures(self) -> Result<RunFigures, UnitError> {
        let end = self.portfolio.figures();
        Ok(RunFigures {
            tally: self.tally,
            pnl: own(&end)?.minus(own(&self.begin)?)?,
            worst_drawdown: self.worst_drawdown,
            worst_drawdown_bps: self.worst_drawdown_bps,
            end,
        })
    }

    fn config(&mut self, leader: FollowedUserId) -> EffectiveConfig {
        let (policy, scope) = (&self.policy, self.portfolio.id().scope());
        let work_out = || effective(&policy.global, policy.overrides.get(&leader), scope);
        *self.configs.entry(leader).or_insert_with(work_out)
    }

    /// Time goes by: each minute is a snapshot, from which the breakers measure.
    fn pass(&mut self, to: Timestamp) -> Result<(), UnitError> {
        let is_open = self.portfolio.history().opening_micros.is_some();
        let mut minute = self.reached.bucket(MINUTE_MS).plus_millis(MINUTE_MS);
        while is_open && minute <= to {
            self.portfolio.note_snapshot(minute, self.portfolio.figures().equity);
            minute = minute.plus_millis(MINUTE_MS);
        }
        self.reached = self.reached.max(to);
        self.look()
    }

    fn apply(&mut self, entry: &LedgerEntry) -> Result<(), PortfolioError> {
        let deposits = self.portfolio.figures().deposits;
        self.portfolio.apply(entry)?;
        // What is paid in is no gain, and its absence before was no fall.
        self.peak = self.peak.plus(self.portfolio.figures().deposits.minus(deposits)?)?;
        Ok(self.look()?)
    }

    /// Closes what is held in a resolved market. Without known payouts nothing is settled in life either.
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

    fn look(&mut self) -> Result<(), UnitError> {
        let equity = self.portfolio.figures().equity;
        self.peak = self.peak.max(equity);
        let fall = self.peak.minus(equity)?;
        self.worst_drawdown = self.worst_drawdown.max(fall);
        self.worst_drawdown_bps = self.worst_drawdown_bps.max(Bps::of(fall.0, self.peak.0)?);
        Ok(())
    }
}

/// Equity without what was paid in.
fn own(figures: &Figures) -> Result<UsdcMicros, UnitError> {
    figures.equity.minus(figures.deposits)
}
