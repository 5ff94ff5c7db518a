//! The decision: whether a small copy of this group would have been possible and prudent (spec 7).
//!
//! In    a closed group, its market, one portfolio, the effective configuration, the book, and `now`.
//! Out   [`Decision`]: an approved copy, or the reasons against it; in both cases every check with its value and limit.
//! Fails [`UnitError`] when a sum does not fit; nothing is decided then.
//!
//! Live copying, the what-if test and the unit tests all call the same function. It reads no clock and no random
//! numbers.

use super::breaker::breakers;
use super::check::{Check, CheckName, Checks, ReasonCode};
use super::close_by_hand::decide_close;
use super::exit::{ExitBasis, TheirHolding, share_of};
use super::filters::filters;
use super::guardrail::{self, book_prices, quote, risk_caps, risk_code, time_to_close};
use super::outcome::{CopiedAction, Decision, Ending, Findings};
use super::sizing::{sets_to_copy, shares_to_sell, target_size};
use super::venue_order::{buy_order, sell_order};
use crate::domain::accounting::view::PortfolioView;
use crate::domain::config::effective::EffectiveConfig;
use crate::domain::config::follow_state::FollowState;
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction, GroupKind};
use crate::domain::market::book::OrderBook;
use crate::domain::market::book_walk::{depth_within, walk_buy, walk_sell};
use crate::domain::market::facts::Market;
use crate::domain::market::fee::taker_fee;
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

/// Everything that a decision depends on, except the book.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub group: &'a EventGroup,
    pub market: &'a Market,
    pub portfolio: &'a PortfolioView,
    pub config: &'a EffectiveConfig,
    pub leader: FollowState,
    /// Looked up only where exits are sized by it.
    pub their_holding: TheirHolding,
    pub now: Timestamp,
}

/// Returns the decision if it does not depend on the book: a switch is off (step 1), or the group is not a trade.
///
/// `None` for a trade that passes the switches, and for a close by hand: fetch the book, then call [`decide`].
///
/// # Errors
/// [`UnitError`] when a sum does not fit.
pub fn precheck(situation: &Situation) -> Result<Option<Decision>, UnitError> {
    let mut findings = new_findings(situation);
    Ok(match begin(situation, &mut findings)? {
        Beginning::Ended(ending) => Some(findings.concluded(ending)),
        Beginning::Trade(_) | Beginning::Close => None,
    })
}

/// Decides on a group. `book` is `None` when the book could not be fetched.
///
/// # Errors
/// [`UnitError`] when a sum does not fit, and for a trade without a reference price, which has no shares.
pub fn decide(situation: &Situation, book: Option<&OrderBook>) -> Result<Decision, UnitError> {
    let mut findings = new_findings(situation);
    let ending = match begin(situation, &mut findings)? {
        Beginning::Ended(ending) => ending,
        Beginning::Trade(side) => decide_trade(situation, side, book, &mut findings)?,
        Beginning::Close => decide_close(situation, book, &mut findings)?,
    };
    Ok(findings.concluded(ending))
}

fn new_findings(situation: &Situation) -> Findings {
    Findings::new(situation.portfolio.id, situation.group.id, situation.now, situation.config.version)
}

/// How far step 1 and the kind of the group decide.
enum Beginning {
    Ended(Ending),
    Trade(Side),
    Close,
}

/// Step 1, and the groups that are decided without a book.
fn begin(situation: &Situation, findings: &mut Findings) -> Result<Beginning, UnitError> {
    // The row of a CONVERSION does not say which shares moved, so it cannot be copied whatever the switches are: this
    // code is the only reason.
    if situation.group.action == GroupAction::Conversion {
        findings.applied_sets(ShareMicros::ZERO, Bps::default());
        return Ok(Beginning::Ended(Ending::Skip(ReasonCode::MergeSplitNotApplicable)));
    }
    // A close by hand skips step 1: it must work while copying is paused and after the leader was stopped.
    if situation.group.action.kind() == GroupKind::Close {
        return Ok(Beginning::Close);
    }
    switches(situation, &mut findings.checks)?;
    if findings.checks.any_failed() {
        // The reasons are those of the failed switches. This code is only a placeholder and is never used.
        return Ok(Beginning::Ended(Ending::Skip(ReasonCode::EnginePaused)));
    }
    Ok(match situation.group.action {
        GroupAction::Trade { side, .. } => Beginning::Trade(side),
        GroupAction::Split => Beginning::Ended(decide_split(situation, findings)?),
        GroupAction::Merge | GroupAction::Conversion | GroupAction::Close { .. } => {
            Beginning::Ended(decide_merge(situation, findings)?)
        }
    })
}

/// Step 1. A failure here ends the decision: no book is fetched and no other check is made. What the market is counts
/// only when no switch failed, and its filters only when it is known.
fn switches(situation: &Situation, checks: &mut Checks) -> Result<(), UnitError> {
    let Situation { group, market, config, .. } = situation;
    let opening = opens(&group.action);
    checks.add(Check::flag(CheckName::EngineEnabled, config.system.copy_engine_enabled, ReasonCode::EnginePaused));
    checks.add(Check::flag(CheckName::UserEnabled, situation.leader.is_enabled(), ReasonCode::UserDisabled));
    if opening {
        let (enabled, code) = (config.system.opens_enabled, ReasonCode::OpensPaused);
        checks.add(Check::flag(CheckName::OpensEnabled, enabled, code));
        checks.add(Check::flag(CheckName::LeaderOpens, situation.leader != FollowState::WindingDown, code));
        checks.add(Check::flag(CheckName::MarketAllowed, !market.blacklisted, ReasonCode::MarketBlacklisted));
        checks.add(guardrail::signal_age(group, &config.guardrails, situation.now));
    }
    if checks.any_failed() {
        return Ok(());
    }
    checks.add(Check::flag(CheckName::MarketKnown, market.is_known(), ReasonCode::MarketUnknown));
    if opening && market.is_known() {
        filters(situation, checks)?;
    }
    Ok(())
}

/// Returns whether a copy would add risk. All other actions reduce it: a late exit is still an exit.
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
    findings.taker_delay_ms = market.taker_delay_ms;
    let order = match side {
        Side::Buy => Order::Buy(target_of_buy(situation, findings)?),
        Side::Sell => Order::Sell(target_of_sell(situation, reference, book, findings)?),
    };

    // 3. Opens only: time and losses.
    if side == Side::Buy {
        may_open(situation, &mut findings.checks)?;
    }

    // 4. Book. Without one the decision ends here.
    findings.checks.add(Check::flag(CheckName::BookAvailable, book.is_some(), ReasonCode::BookUnavailable));
    let Some(book) = book else { return Ok(Ending::Skip(ReasonCode::BookUnavailable)) };
    let quote = quote(book, side, reference, guardrails);
    findings.quote = Some(quote);
    book_prices(book, side, &quote, guardrails, &mut findings.checks);

    // 5. and 6. Depth and walk, unless there is nothing to sell.
    if side == Side::Sell && portfolio.held <= ShareMicros::ZERO {
        return Ok(Ending::Skip(ReasonCode::NotEnoughPositionToSell));
    }
    // A lot under a hundredth of a share makes no order.
    if findings.order_shares == Some(ShareMicros::ZERO) {
        return Ok(Ending::Skip(ReasonCode::BelowVenueMinimum));
    }
    let wanted = match order {
        Order::Buy(cash) => cash,
        Order::Sell(shares) => reference.cost_of(shares)?,
    };
    findings.checks.add(guardrail::depth(depth_within(book, side, quote.limit)?, wanted, guardrails)?);
    let walk = match order {
        Order::Buy(cash) => walk_buy(book, cash, quote.limit)?,
        Order::Sell(shares) => walk_sell(book, shares, quote.limit)?,
    };
    let code = ReasonCode::NoLiquidityWithinBounds;
    findings.checks.add(Check::at_least(CheckName::Liquidity, walk.shares.0, 1, code));
    findings.ratio = match order {
        Order::Buy(cash) => walk.spent_of(cash)?,
        Order::Sell(shares) => walk.sold_of(shares)?,
    };

    // 8. Fee, before step 7 because the caps count it as cost.
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

/// What the copy asks of the book.
#[derive(Debug, Clone, Copy)]
enum Order {
    Buy(UsdcMicros),
    Sell(ShareMicros),
}

/// Step 2 of a BUY. Returns the cash of the order.
fn target_of_buy(situation: &Situation, findings: &mut Findings) -> Result<UsdcMicros, UnitError> {
    let Situation { group, portfolio, config, .. } = *situation;
    let size = target_size(group.notional, portfolio.equity, &config.sizing)?;
    findings.sized(size);
    findings.checks.add(Check::at_least(
        CheckName::TargetAboveMinimum,
        size.cap.0,
        config.sizing.min_trade_notional.0,
        risk_code(portfolio.id.scope()),
    ));
    let cash = buy_order(size.target, &config.sizing, &mut findings.checks);
    findings.order_notional = config.sizing.venue_order_rules.then_some(cash);
    Ok(cash)
}

/// Step 2 of a SELL. Returns the shares of the order.
fn target_of_sell(
    situation: &Situation,
    reference: PriceMicros,
    book: Option<&OrderBook>,
    findings: &mut Findings,
) -> Result<ShareMicros, UnitError> {
    let Situation { group, portfolio, config, .. } = *situation;
    findings.exit = ExitBasis::of(config.sizing.exit_sizing, situation.their_holding);
    let shares = match findings.exit.and_then(ExitBasis::before) {
        Some(before) => {
            let shares = share_of(portfolio.held, group.shares, before)?;
            findings.targeted_lot(shares, reference.proceeds_of(shares)?);
            shares
        }
        None => {
            let size = target_size(group.notional, portfolio.equity, &config.sizing)?;
            let shares = shares_to_sell(size.target, portfolio.held, reference);
            findings.sized(size);
            findings.target_shares = Some(shares);
            shares
        }
    };
    let code = ReasonCode::NotEnoughPositionToSell;
    findings.checks.add(Check::at_least(CheckName::PositionHeld, portfolio.held.0, 1, code));
    if portfolio.held <= ShareMicros::ZERO {
        return Ok(shares);
    }
    let order = sell_order(shares, book, &config.sizing, &mut findings.checks)?;
    findings.order_shares = config.sizing.venue_order_rules.then_some(order);
    Ok(order)
}

/// Step 3.
fn may_open(situation: &Situation, checks: &mut Checks) -> Result<(), UnitError> {
    let guardrails = &situation.config.guardrails;
    time_to_close(situation.market, guardrails, situation.now, checks);
    breakers(situation.portfolio, guardrails, checks)
}

/// A SPLIT of n sets must pass the same opening checks as a BUY for n USDC.
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

/// A MERGE takes at most as many complete sets as the smallest lot of an outcome has shares.
fn decide_merge(situation: &Situation, findings: &mut Findings) -> Result<Ending, UnitError> {
    let Situation { group, market, portfolio, config, .. } = *situation;
    let outcomes: Vec<_> = market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect();
    let held = |asset| portfolio.held_sets.iter().find(|(other, _)| other == asset).map(|(_, shares)| *shares);
    let smallest = outcomes.iter().map(|asset| held(asset).unwrap_or_default()).min().unwrap_or_default();
    findings.exit = ExitBasis::of(config.sizing.exit_sizing, situation.their_holding);
    let wanted = match findings.exit.and_then(ExitBasis::before) {
        Some(before) => share_of(smallest, group.shares, before)?,
        None => sets_to_copy(group.shares, &config.sizing)?,
    };
    findings.targeted_sets(wanted);
    let sets = wanted.min(smallest).max(ShareMicros::ZERO);
    findings.applied_sets(sets, Bps::of(sets.0, wanted.0)?);
    Ok(Ending::Copy(CopiedAction::Merge { sets, outcomes }))
}
