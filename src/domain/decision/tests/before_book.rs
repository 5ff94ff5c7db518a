//! Steps 1 to 3: switches, target, time and losses. One row per boundary and its neighbours.

use super::scenario::{MINUTE, Row, Scenario, USDC, check, close_in, equity, global_buy, global_sell};
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::check::ReasonCode::*;
use crate::domain::money::units::{ShareMicros, UsdcMicros};

pub const STEP_1_SWITCHES: &[Row] = &[
    ("all checks pass", Scenario::buy, |_| {}, &[]),
    ("all checks pass for a sell", Scenario::sell, |_| {}, &[]),
    ("paused", Scenario::buy, |s| s.config.system.copy_engine_enabled = false, &[EnginePaused]),
    ("paused for a sell too", Scenario::sell, |s| s.config.system.copy_engine_enabled = false, &[EnginePaused]),
    ("paused for a merge too", Scenario::merge, |s| s.config.system.copy_engine_enabled = false, &[EnginePaused]),
    ("disabled", Scenario::buy, |s| s.leader = FollowState::Stopped, &[UserDisabled]),
    ("disabled for a sell too", global_sell, |s| s.leader = FollowState::Stopped, &[UserDisabled]),
    ("blacklisted", Scenario::buy, |s| s.market.blacklisted = true, &[MarketBlacklisted]),
    ("blacklisted for a split", Scenario::split, |s| s.market.blacklisted = true, &[MarketBlacklisted]),
    ("blacklisted, a sell goes on", Scenario::sell, |s| s.market.blacklisted = true, &[]),
    ("blacklisted, a merge goes on", Scenario::merge, |s| s.market.blacklisted = true, &[]),
    ("just young enough", Scenario::buy, |s| s.group.event_time = s.now.plus_millis(-900_000), &[]),
    ("a millisecond too old", Scenario::buy, |s| s.group.event_time = s.now.plus_millis(-900_001), &[SignalTooOld]),
    ("old split", Scenario::split, |s| s.group.event_time = s.now.plus_millis(-900_001), &[SignalTooOld]),
    ("a late exit is an exit", Scenario::sell, |s| s.group.event_time = s.now.plus_millis(-900_001), &[]),
    (
        "seen before it happened, by clock skew",
        Scenario::buy,
        |s| s.group.event_time = s.group.detect_time.plus_millis(5_000),
        &[],
    ),
];

pub const STEP_2_TARGET: &[Row] = &[
    // 5 USDC is 0.75 % of 666.666667: from there on the cap, rounded down, reaches the minimum.
    ("cap at the minimum", Scenario::buy, |s| equity(s, 666_666_667), &[]),
    ("cap below the minimum", Scenario::buy, |s| equity(s, 666_666_666), &[RiskCapUser]),
    ("cap below the minimum, globally", global_buy, |s| equity(s, 666_666_666), &[RiskCapGlobal]),
    ("a sell has no such rule", Scenario::sell, |s| equity(s, 666_666_666), &[]),
    ("one micro-share held", Scenario::sell, |s| s.portfolio.held = ShareMicros(1), &[]),
    ("nothing held", Scenario::sell, |s| s.portfolio.held = ShareMicros(0), &[NotEnoughPositionToSell]),
    ("nothing held, globally", global_sell, |s| s.portfolio.held = ShareMicros(0), &[NotEnoughPositionToSell]),
];

pub const STEP_3_TIME: &[Row] = &[
    ("exactly 30 minutes left", Scenario::buy, |s| close_in(s, 30 * MINUTE), &[]),
    ("a millisecond less", Scenario::buy, |s| close_in(s, 30 * MINUTE - 1), &[MarketTooCloseToClose]),
    ("past its end date, and open", Scenario::buy, |s| close_in(s, -1), &[]),
    ("unknown close passes", Scenario::buy, |s| s.market.close_time = None, &[]),
    ("closed", Scenario::buy, |s| s.market.active = false, &[MarketTooCloseToClose]),
    ("resolved", Scenario::buy, |s| s.market.resolved_at = Some(s.now), &[MarketTooCloseToClose]),
    (
        "closed and past: one code",
        Scenario::buy,
        |s| (s.market.active, s.market.close_time) = (false, Some(s.now)),
        &[MarketTooCloseToClose],
    ),
    ("a split opens too", Scenario::split, |s| close_in(s, 30 * MINUTE - 1), &[MarketTooCloseToClose]),
    ("a sell may be late", Scenario::sell, |s| close_in(s, 1), &[]),
    ("a merge may be late", Scenario::merge, |s| s.market.active = false, &[]),
];

pub const STEP_3_BREAKERS: &[Row] = &[
    // 3 % of 10,000 is 300.
    ("day: a micro within", Scenario::buy, |s| baselines(s, 10_000 * USDC, 0, 0, 9_700 * USDC + 1), &[]),
    ("day: equal trips", Scenario::buy, |s| baselines(s, 10_000 * USDC, 0, 0, 9_700 * USDC), &[CircuitBreakerTripped]),
    (
        "day: a micro beyond",
        Scenario::buy,
        |s| baselines(s, 10_000 * USDC, 0, 0, 9_700 * USDC - 1),
        &[CircuitBreakerTripped],
    ),
    // 8 % of 10,000 is 800.
    ("week: a micro within", Scenario::buy, |s| baselines(s, 0, 10_000 * USDC, 0, 9_200 * USDC + 1), &[]),
    ("week: equal trips", Scenario::buy, |s| baselines(s, 0, 10_000 * USDC, 0, 9_200 * USDC), &[CircuitBreakerTripped]),
    // 12 % of 10,000 is 1,200.
    ("peak: a micro within", Scenario::buy, |s| baselines(s, 0, 0, 10_000 * USDC, 8_800 * USDC + 1), &[]),
    ("peak: equal trips", Scenario::buy, |s| baselines(s, 0, 0, 10_000 * USDC, 8_800 * USDC), &[CircuitBreakerTripped]),
    ("all three: one code", global_buy, |s| equity(s, 8_000 * USDC), &[CircuitBreakerTripped]),
    // 3 % of 10,000.000001 is 300.00000003: 300.000000 is less.
    ("a loss below a fraction", Scenario::buy, |s| baselines(s, 10_000 * USDC + 1, 0, 0, 9_700 * USDC + 1), &[]),
    (
        "a loss above a fraction",
        Scenario::buy,
        |s| baselines(s, 10_000 * USDC + 1, 0, 0, 9_700 * USDC),
        &[CircuitBreakerTripped],
    ),
    ("a split opens too", Scenario::split, |s| equity(s, 8_000 * USDC), &[CircuitBreakerTripped]),
    ("a sell reduces", Scenario::sell, |s| equity(s, 8_000 * USDC), &[]),
    ("a day without a baseline", Scenario::buy, |s| without_baselines(s, 5_000 * USDC), &[]),
    ("a gain never trips", Scenario::buy, |s| equity(s, 20_000 * USDC), &[]),
];

/// A baseline of zero means the equity of now, so that each breaker is tested alone.
fn baselines(scenario: &mut Scenario, day: i64, week: i64, peak: i64, now: i64) {
    let or_now = |micros| UsdcMicros(if micros == 0 { now } else { micros });
    scenario.portfolio.equity = UsdcMicros(now);
    scenario.portfolio.baselines.day_start = Some(or_now(day));
    scenario.portfolio.baselines.week_start = Some(or_now(week));
    scenario.portfolio.baselines.peak = or_now(peak);
}

/// The losses of day and week are not known, and the peak is the equity of now.
fn without_baselines(scenario: &mut Scenario, now: i64) {
    scenario.portfolio.equity = UsdcMicros(now);
    (scenario.portfolio.baselines.day_start, scenario.portfolio.baselines.week_start) = (None, None);
    scenario.portfolio.baselines.peak = UsdcMicros(now);
}

#[test]
fn a_switch_ends_the_decision() {
    check(STEP_1_SWITCHES);
}

#[test]
fn a_target_needs_a_cap_above_the_minimum_or_something_to_sell() {
    check(STEP_2_TARGET);
}

#[test]
fn a_market_near_its_close_is_not_opened() {
    check(STEP_3_TIME);
}

#[test]
fn a_loss_that_reaches_its_limit_trips_the_breaker() {
    check(STEP_3_BREAKERS);
}
