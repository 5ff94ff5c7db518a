//! A close by hand sells the whole lot into the book, whatever the switches and guardrails are.

use super::scenario::{SHARE, Scenario, USDC, asset, price};
use crate::domain::accounting::ledger::{EntryType, PortfolioId};
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::check::{CheckName, ReasonCode};
use crate::domain::decision::decide::precheck;
use crate::domain::events::group::EventGroup;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{Bps, ShareMicros, UsdcMicros};

/// We hold 100 shares of the leader's asset; the book is 0.50 to 0.51.
fn close() -> Scenario {
    let mut scenario = Scenario::sell();
    let market = scenario.market.id.clone();
    scenario.group = EventGroup::close_by_hand(FollowedUserId(7), market, asset(1), scenario.now);
    scenario
}

#[test]
fn the_whole_lot_is_sold_into_the_book_with_its_fee() {
    let scenario = close();
    let (attempt, entries) =
        scenario.decide().into_record(scenario.portfolio.id, &scenario.group, scenario.now).unwrap();
    assert_eq!((attempt.reasons.as_slice(), attempt.filled_shares), ([].as_slice(), ShareMicros(100 * SHARE)));
    assert_eq!((attempt.target_notional, attempt.filled_notional), (UsdcMicros(50 * USDC), UsdcMicros(50 * USDC)));
    assert_eq!((attempt.their_reference_price, attempt.filled_ratio), (None, Bps(10_000)));
    assert_eq!(attempt.explanation.limit_price_micros, Some(price(490_000)));
    let moved: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.shares.0, entry.cash.0)).collect();
    // 100 shares * 0.04 * 0.5 * 0.5 = 1 USDC.
    assert_eq!(moved, [(EntryType::TradeFill, -100 * SHARE, 50 * USDC), (EntryType::Fee, 0, -USDC)]);
    assert!(
        entries.iter().all(|entry| entry.attributed_user == Some(FollowedUserId(7)) && entry.asset == Some(asset(1)))
    );
    assert_eq!(entries[0].ref_id, format!("copy:{}", attempt.id));
}

#[test]
fn no_switch_and_no_guardrail_but_the_limit_price_stops_a_close() {
    let mut scenario = close().in_global_portfolio();
    scenario.leader = FollowState::Stopped;
    scenario.config.system.copy_engine_enabled = false;
    scenario.market.blacklisted = true;
    scenario.market.active = false;
    scenario.config.guardrails.max_spread = price(1);
    scenario.config.guardrails.min_depth_multiplier = Bps(1_000_000);
    scenario.portfolio.baselines.peak = UsdcMicros(1_000_000 * USDC);
    assert_eq!(scenario.reasons(), []);
    assert_eq!(scenario.with_situation(precheck), Ok(None), "a book is fetched for it");
}

#[test]
fn what_the_book_does_not_take_above_the_limit_price_stays() {
    let mut scenario = close();
    scenario.bids = vec![(500_000, 30 * SHARE), (490_000, 20 * SHARE), (489_999, 500 * SHARE)];
    let attempt = scenario.decide().into_attempt(scenario.portfolio.id, &scenario.group, scenario.now);
    assert_eq!((attempt.filled_shares, attempt.filled_ratio), (ShareMicros(50 * SHARE), Bps(5_000)));
    assert_eq!(attempt.explanation.target_share_micros, Some(ShareMicros(100 * SHARE)));
}

#[test]
fn a_close_without_shares_book_or_bids_is_a_skip_that_says_so() {
    let mut nothing_held = close();
    nothing_held.portfolio.held = ShareMicros(0);
    assert_eq!(nothing_held.reasons(), [ReasonCode::NotEnoughPositionToSell]);
    let mut no_book = close();
    no_book.book_is_there = false;
    assert_eq!(no_book.reasons(), [ReasonCode::BookUnavailable]);
    let mut no_bids = close();
    no_bids.bids = Vec::new();
    assert_eq!(no_bids.reasons(), [ReasonCode::NoLiquidityWithinBounds]);
    let names: Vec<_> = no_bids.decide().checks().iter().map(|check| check.name).collect();
    assert_eq!(names, [CheckName::PositionHeld, CheckName::BookAvailable, CheckName::Liquidity]);
}

#[test]
fn only_the_lot_of_this_leader_is_sold() {
    let scenario = close().in_global_portfolio();
    let (_, entries) = scenario.decide().into_record(PortfolioId::ExecGlobal, &scenario.group, scenario.now).unwrap();
    assert_eq!(entries[0].leader(), Some(FollowedUserId(7)));
}
