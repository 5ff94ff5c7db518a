//! The decision: would a small copy of this group have been possible and prudent (spec section 7).
//!
//! In    a closed group, its market, one portfolio, the effective configuration, the book, and `now`.
//! Out   `Decision`: an approved copy, or the reasons against it; either way every check with its value and limit.
//! Fails `UnitError` when a sum does not fit; nothing is decided then.
//!
//! The same function serves live copying, the what-if test and the unit tests. It reads no clock and draws no lots.

use super::breaker::breakers;
use super::guardrail::{self, book_prices, quote, risk_caps, risk_code, time_to_close};
use super::sizing::{sets_to_copy, shares_to_sell, target_size};
use crate::domain::accounting::view::PortfolioView;
use crate::domain::config::effective::EffectiveConfig;
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::Market;
use crate::domain::market::fee::taker_fee;
use crate::domain::market::fill::{depth_within, walk_buy, walk_sell};
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UnitError, UsdcMicros};

use super::check::Checks;
pub use super::check::{Check, CheckName, CheckUnit, ReasonCode, SkipReasons, Verdict};
pub use super::outcome::{ApprovedCopy, Decision, DecisionKind, Explanation, SkippedCopy};
use super::outcome::{CopiedAction, Ending, Findings};

/// Everything a decision depends on, but the book.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub group: &'a EventGroup,
    pub market: &'a Market,
    pub portfolio: &'a PortfolioView,
    pub config: &'a EffectiveConfig,
    pub user_enabled: bool,
    pub now: Timestamp,
}

/// The decision that needs no look at a book: a switch is off (step 1), or the group is no trade.
/// `None` for a trade that passes the switches: fetch the book, then `decide`.
///
/// # Errors
/// `UnitError` when a sum does not fit.
pub fn precheck(situation: &Situation) -> Result<Option<Decision>, UnitError> {
    let mut findings = Findings::new(situation);
    Ok(match begin(situation, &mut findings)? {
        Beginning::Ended(ending) => Some(findings.concluded(ending)),
        Beginning::Trade(_) => None,
    })
}

/// Decides on a group. `book` is `None` when no book could be had.
///
/// # Errors
/// `UnitError` when a sum does not fit, and for a trade without a reference price, which has no shares.
pub fn decide(situation: &Situation, book: Option<&OrderBook>) -> Result<Decision, UnitError> {
    let mut findings = Findings::new(situation);
    let ending = match begin(situation, &mut findings)? {
        Beginning::Ended(ending) => ending,
        Beginning::Trade(side) => decide_trade(situation, side, book, &mut findings)?,
    };
    Ok(findings.concluded(ending))
}

enum Beginning {
    Ended(Ending),
    Trade(Side),
}

/// Step 1, and the groups that need no book.
fn begin(situation: &Situation, findings: &mut Findings) -> Result<Beginning, UnitError> {
    // What moved in a CONVERSION is not in its row, so no switch could make it copyable: one code says it all.
    if situation.group.action == GroupAction::Conversion {
        findings.applied_sets(ShareMicros::ZERO, Bps::default());
        return Ok(Beginning::Ended(Ending::Skip(ReasonCode::MergeSplitNotApplicable)));
    }
    switches(situation, &mut findings.checks);
    if findings.checks.any_failed() {
        // The failed switches are the reasons; the code here only stands for them.
        return Ok(Beginning::Ended(Ending::Skip(ReasonCode::EnginePaused)));
    }
    Ok(match situation.group.action {
        GroupAction::Trade { side, .. } => Beginning::Trade(side),
        GroupAction::Split => Beginning::Ended(decide_split(situation, findings)?),
        GroupAction::Merge | GroupAction::Conversion => Beginning::Ended(decide_merge(situation, findings)?),
    })
}

/// Step 1. Any failure here ends the decision: no book is fetched, no other check listed.
fn switches(situation: &Situation, checks: &mut Checks) {
    let Situation { group, market, config, .. } = situation;
    checks.add(Check::flag(CheckName::EngineEnabled, config.system.copy_engine_enabled, ReasonCode::EnginePaused));
    checks.add(Check::flag(CheckName::UserEnabled, situation.user_enabled, ReasonCode::UserDisabled));
    if opens(&group.action) {
        checks.add(Check::flag(CheckName::MarketAllowed, !market.blacklisted, ReasonCode::MarketBlacklisted));
        checks.add(guardrail::signal_age(group, &config.guardrails));
    }
}

/// Whether a copy would add risk. Everything else reduces it: a late exit is still an exit.
fn opens(action: &GroupAction) -> bool {
    matches!(action, GroupAction::Trade { side: Side::Buy, .. } | GroupAction::Split)
}

/// Steps 2 to 8 for a BUY or SELL.
fn decide_trade(
    situation: &Situation,
    side: Side,
    book: Option<&OrderBook>,
    findings: &mut Findings,
) -> Result<Ending, UnitError> {
    let Situation { group, market, portfolio, config, .. } = *situation;
    let guardrails = &config.guardrails;
    let reference = group.reference_price.ok_or(UnitError::NoShares)?;

    // 2. Target.
    let size = target_size(group.notional, portfolio.equity, &config.sizing)?;
    let shares = shares_to_sell(size.target, portfolio.held, reference);
    findings.sized(size);
    match side {
        Side::Buy => findings.checks.add(Check::at_least(
            CheckName::TargetAboveMinimum,
            size.cap.0,
            config.sizing.min_trade_notional.0,
            risk_code(portfolio.id.scope()),
        )),
        Side::Sell => {
            findings.target_shares = Some(shares);
            let code = ReasonCode::NotEnoughPositionToSell;
            findings.checks.add(Check::at_least(CheckName::PositionHeld, portfolio.held.0, 1, code));
        }
    }

    // 3. Opens only: time and losses.
    if side == Side::Buy {
        may_open(situation, &mut findings.checks)?;
    }

    // 4. Book. A missing one ends the decision.
    findings.checks.add(Check::flag(CheckName::BookAvailable, book.is_some(), ReasonCode::BookUnavailable));
    let Some(book) = book else { return Ok(Ending::Skip(ReasonCode::BookUnavailable)) };
    let quote = quote(book, side, reference, guardrails);
    findings.quote = Some(quote);
    book_prices(book, side, &quote, guardrails, &mut findings.checks);

    // 5. and 6. Depth and walk, unless there is nothing to sell.
    if side == Side::Sell && portfolio.held <= ShareMicros::ZERO {
        return Ok(Ending::Skip(ReasonCode::NotEnoughPositionToSell));
    }
    let wanted = match side {
        Side::Buy => size.target,
        Side::Sell => reference.cost_of(shares)?,
    };
    findings.checks.add(guardrail::depth(depth_within(book, side, quote.limit)?, wanted, guardrails)?);
    let walk = match side {
        Side::Buy => walk_buy(book, size.target, quote.limit)?,
        Side::Sell => walk_sell(book, shares, quote.limit)?,
    };
    let code = ReasonCode::NoLiquidityWithinBounds;
    findings.checks.add(Check::at_least(CheckName::Liquidity, walk.shares.0, 1, code));
    findings.ratio = match side {
        Side::Buy => walk.spent_of(size.target)?,
        Side::Sell => walk.sold_of(shares)?,
    };

    // 8. Fee, before 7 because it counts as cost in the caps.
    findings.vwap = walk.vwap()?;
    findings.fee = match findings.vwap {
        Some(vwap) if config.sizing.apply_taker_fees => taker_fee(walk.shares, vwap, market.fee)?,
        _ => UsdcMicros::ZERO,
    };

    // 7. Opens only: risk caps and cash.
    if side == Side::Buy {
        let cost = walk.notional.plus(findings.fee)?;
        risk_caps(portfolio, cost, guardrails, &mut findings.checks)?;
    }
    Ok(Ending::Copy(CopiedAction::Trade(walk)))
}

/// Step 3.
fn may_open(situation: &Situation, checks: &mut Checks) -> Result<(), UnitError> {
    let guardrails = &situation.config.guardrails;
    time_to_close(situation.market, guardrails, situation.now, checks);
    breakers(situation.portfolio, guardrails, checks)
}

/// A SPLIT passes the opens' checks like a BUY of as many USDC as sets.
fn decide_split(situation: &Situation, findings: &mut Findings) -> Result<Ending, UnitError> {
    let Situation { group, market, portfolio, config, .. } = *situation;
    let sets = sets_to_copy(group.shares, &config.sizing)?;
    findings.targeted_sets(sets);
    may_open(situation, &mut findings.checks)?;
    risk_caps(portfolio, UsdcMicros(sets.0), &config.guardrails, &mut findings.checks)?;
    let outcomes: Vec<_> = market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect();
    let applicable = if outcomes.is_empty() { ShareMicros::ZERO } else { sets };
    findings.applied_sets(applicable, Bps::of(applicable.0, sets.0)?);
    Ok(Ending::Copy(CopiedAction::Split { sets, outcomes }))
}

/// A MERGE takes as many complete sets as every outcome's lot has.
fn decide_merge(situation: &Situation, findings: &mut Findings) -> Result<Ending, UnitError> {
    let Situation { group, market, portfolio, config, .. } = *situation;
    let wanted = sets_to_copy(group.shares, &config.sizing)?;
    findings.targeted_sets(wanted);
    let outcomes: Vec<_> = market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect();
    let held = |asset| portfolio.held_sets.iter().find(|(other, _)| other == asset).map(|(_, shares)| *shares);
    let smallest = outcomes.iter().map(|asset| held(asset).unwrap_or_default()).min().unwrap_or_default();
    let sets = wanted.min(smallest).max(ShareMicros::ZERO);
    findings.applied_sets(sets, Bps::of(sets.0, wanted.0)?);
    Ok(Ending::Copy(CopiedAction::Merge { sets, outcomes }))
}
