//! A close by hand: sells the whole lot into the book, whatever the switches and guardrails are (spec 7, CLOSE groups).
//!
//! Of the steps only these count: the lot held, the book, what it takes down to the limit price, and the fee. The limit
//! price is the best bid less maxWorseningVsTheirFillMicros. Shares that the book does not take stay.

use super::check::{Check, CheckName, ReasonCode};
use super::decide::Situation;
use super::guardrail::Quote;
use super::outcome::{CopiedAction, Ending, Findings};
use super::venue_order::sell_order;
use crate::domain::config::effective::Guardrails;
use crate::domain::market::book::OrderBook;
use crate::domain::market::book_walk::walk_sell;
use crate::domain::market::fee::taker_fee;
use crate::domain::money::units::{ShareMicros, UnitError, UsdcMicros};

/// Decides on a CLOSE group. `book` is `None` when the book could not be fetched.
///
/// # Errors
/// [`UnitError`] when a sum does not fit.
pub(super) fn decide_close(
    situation: &Situation,
    book: Option<&OrderBook>,
    findings: &mut Findings,
) -> Result<Ending, UnitError> {
    let Situation { market, portfolio, config, .. } = *situation;
    let shares = portfolio.held.max(ShareMicros::ZERO);
    findings.targeted_lot(shares, UsdcMicros::ZERO);
    let nothing_held = ReasonCode::NotEnoughPositionToSell;
    findings.checks.add(Check::at_least(CheckName::PositionHeld, portfolio.held.0, 1, nothing_held));
    findings.checks.add(Check::flag(CheckName::BookAvailable, book.is_some(), ReasonCode::BookUnavailable));
    let Some(book) = book else { return Ok(Ending::Skip(ReasonCode::BookUnavailable)) };
    let quote = closing_quote(book, &config.guardrails);
    findings.quote = Some(quote);
    if shares == ShareMicros::ZERO {
        return Ok(Ending::Skip(nothing_held));
    }
    findings.targeted_lot(shares, quote.best_bid.proceeds_of(shares)?);
    findings.taker_delay_ms = market.taker_delay_ms;
    let order = sell_order(shares, Some(book), &config.sizing, &mut findings.checks)?;
    findings.order_shares = config.sizing.venue_order_rules.then_some(order);
    let walk = walk_sell(book, order, quote.limit)?;
    let code = ReasonCode::NoLiquidityWithinBounds;
    findings.checks.add(Check::at_least(CheckName::Liquidity, walk.shares.0, 1, code));
    findings.ratio = walk.sold_of(order)?;
    findings.vwap = walk.vwap()?;
    findings.fee = match findings.vwap {
        Some(vwap) if config.sizing.apply_taker_fees => taker_fee(walk.shares, vwap, market.fee)?,
        _ => UsdcMicros::ZERO,
    };
    Ok(Ending::Copy(CopiedAction::Trade(walk)))
}

/// Returns the prices of the book, and the worst price that a close accepts.
fn closing_quote(book: &OrderBook, guardrails: &Guardrails) -> Quote {
    let limit = book.best_bid().minus(guardrails.max_worsening_vs_their_fill);
    Quote {
        best_bid: book.best_bid(),
        best_ask: book.best_ask(),
        mid: book.mid(),
        limit_by_reference: limit,
        limit_by_mid: limit,
        limit,
    }
}
