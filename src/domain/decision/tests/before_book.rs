//! Steps 1 to 3: switches, target, time and losses. One row per boundary and its neighbours.

use super::world::{MINUTE, Row, USDC, World, check, close_in, equity, global_buy, global_sell};
use crate::domain::decision::decide::ReasonCode::*;
use crate::domain::money::units::{ShareMicros, UsdcMicros};

pub const STEP_1_SWITCHES: &[Row] = &[
    ("all is well", World::buy, |_| {}, &[]),
    ("all is well for a sell", World::sell, |_| {}, &[]),
    ("paused", World::buy, |w| w.config.system.copy_engine_enabled = false, &[EnginePaused]),
    ("paused for a sell too", World::sell, |w| w.config.system.copy_engine_enabled = false, &[EnginePaused]),
    ("paused for a merge too", World::merge, |w| w.config.system.copy_engine_enabled = false, &[EnginePaused]),
    ("disabled", World::buy, |w| w.user_enabled = false, &[UserDisabled]),
    ("disabled for a sell too", global_sell, |w| w.user_enabled = false, &[UserDisabled]),
    ("blacklisted", World::buy, |w| w.market.blacklisted = true, &[MarketBlacklisted]),
    ("blacklisted for a split", World::split, |w| w.market.blacklisted = true, &[MarketBlacklisted]),
    ("blacklisted, a sell goes on", World::sell, |w| w.market.blacklisted = true, &[]),
    ("blacklisted, a merge goes on", World::merge, |w| w.market.blacklisted = true, &[]),
    ("just young enough", World::buy, |w| w.group.event_time = w.group.detect_time.plus_millis(-900_000), &[]),
    (
        "a millisecond old",
        World::buy,
        |w| w.group.event_time = w.group.detect_time.plus_millis(-900_001),
        &[SignalTooOld],
    ),
    ("old split", World::split, |w| w.group.event_time = w.group.detect_time.plus_millis(-900_001), &[SignalTooOld]),
    ("a late exit is an exit", World::sell, |w| w.group.event_time = w.group.detect_time.plus_millis(-900_001), &[]),
    (
        "seen before it happened, by clock skew",
        World::buy,
        |w| w.group.event_time = w.group.detect_time.plus_millis(5_000),
        &[],
    ),
];

pub const STEP_2_TARGET: &[Row] = &[
    // 5 USDC is 0.75 % of 666.666667: the cap's floor reaches the minimum there.
    ("cap at the minimum", World::buy, |w| equity(w, 666_666_667), &[]),
    ("cap below the minimum", World::buy, |w| equity(w, 666_666_666), &[RiskCapUser]),
    ("cap below the minimum, globally", global_buy, |w| equity(w, 666_666_666), &[RiskCapGlobal]),
    ("a sell has no such rule", World::sell, |w| equity(w, 666_666_666), &[]),
    ("one micro-share held", World::sell, |w| w.portfolio.held = ShareMicros(1), &[]),
    ("nothing held", World::sell, |w| w.portfolio.held = ShareMicros(0), &[NotEnoughPositionToSell]),
    ("nothing held, globally", global_sell, |w| w.portfolio.held = ShareMicros(0), &[NotEnoughPositionToSell]),
];

pub const STEP_3_TIME: &[Row] = &[
    ("exactly 30 minutes left", World::buy, |w| close_in(w, 30 * MINUTE), &[]),
    ("a millisecond less", World::buy, |w| close_in(w, 30 * MINUTE - 1), &[MarketTooCloseToClose]),
    ("past its close", World::buy, |w| close_in(w, -1), &[MarketTooCloseToClose]),
    ("unknown close passes", World::buy, |w| w.market.close_time = None, &[]),
    ("closed", World::buy, |w| w.market.active = false, &[MarketTooCloseToClose]),
    ("resolved", World::buy, |w| w.market.resolved_at = Some(w.now), &[MarketTooCloseToClose]),
    (
        "closed and past: one code",
        World::buy,
        |w| (w.market.active, w.market.close_time) = (false, Some(w.now)),
        &[MarketTooCloseToClose],
    ),
    ("a split opens too", World::split, |w| close_in(w, 30 * MINUTE - 1), &[MarketTooCloseToClose]),
    ("a sell may be late", World::sell, |w| close_in(w, 1), &[]),
    ("a merge may be late", World::merge, |w| w.market.active = false, &[]),
];

pub const STEP_3_BREAKERS: &[Row] = &[
    // 3 % of 10,000 is 300.
    ("day: a micro within", World::buy, |w| baselines(w, 10_000 * USDC, 0, 0, 9_700 * USDC + 1), &[]),
    ("day: equal trips", World::buy, |w| baselines(w, 10_000 * USDC, 0, 0, 9_700 * USDC), &[CircuitBreakerTripped]),
    (
        "day: a micro beyond",
        World::buy,
        |w| baselines(w, 10_000 * USDC, 0, 0, 9_700 * USDC - 1),
        &[CircuitBreakerTripped],
    ),
    // 8 % of 10,000 is 800.
    ("week: a micro within", World::buy, |w| baselines(w, 0, 10_000 * USDC, 0, 9_200 * USDC + 1), &[]),
    ("week: equal trips", World::buy, |w| baselines(w, 0, 10_000 * USDC, 0, 9_200 * USDC), &[CircuitBreakerTripped]),
    // 12 % of 10,000 is 1,200.
    ("peak: a micro within", World::buy, |w| baselines(w, 0, 0, 10_000 * USDC, 8_800 * USDC + 1), &[]),
    ("peak: equal trips", World::buy, |w| baselines(w, 0, 0, 10_000 * USDC, 8_800 * USDC), &[CircuitBreakerTripped]),
    ("all three: one code", global_buy, |w| equity(w, 8_000 * USDC), &[CircuitBreakerTripped]),
    // 3 % of 10,000.000001 is 300.00000003: 300.000000 is less.
    ("a loss below a fraction", World::buy, |w| baselines(w, 10_000 * USDC + 1, 0, 0, 9_700 * USDC + 1), &[]),
    (
        "a loss above a fraction",
        World::buy,
        |w| baselines(w, 10_000 * USDC + 1, 0, 0, 9_700 * USDC),
        &[CircuitBreakerTripped],
    ),
    ("a split opens too", World::split, |w| equity(w, 8_000 * USDC), &[CircuitBreakerTripped]),
    ("a sell reduces", World::sell, |w| equity(w, 8_000 * USDC), &[]),
    ("a gain never trips", World::buy, |w| equity(w, 20_000 * USDC), &[]),
];

/// Baselines of zero stand for 'as now', so that each breaker is seen alone.
fn baselines(world: &mut World, day: i64, week: i64, peak: i64, now: i64) {
    let or_now = |micros| UsdcMicros(if micros == 0 { now } else { micros });
    world.portfolio.equity = UsdcMicros(now);
    world.portfolio.baselines.day_start = or_now(day);
    world.portfolio.baselines.week_start = or_now(week);
    world.portfolio.baselines.peak = or_now(peak);
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
