//! SPLIT, MERGE and CONVERSION groups, the order of the reason codes, and that every code is reached.

use std::collections::BTreeSet;

use super::before_book::{STEP_1_SWITCHES, STEP_2_TARGET, STEP_3_BREAKERS, STEP_3_TIME};
use super::scenario::{Row, SHARE, Scenario, USDC, asset, check, close_in, global_buy};
use super::venue::{FILTERS, MINIMUM, STEP_1};
use super::with_book::{STEP_4_BOOK, STEP_5_DEPTH, STEP_6_WALK, STEP_7_CAPS};
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::check::ReasonCode::*;
use crate::domain::decision::check::{CheckName, ReasonCode};
use crate::domain::decision::decide::precheck;
use crate::domain::events::group::GroupAction;
use crate::domain::money::units::{ShareMicros, UsdcMicros};

const SETS: &[Row] = &[
    ("a split", Scenario::split, |_| {}, &[]),
    ("a split needs no book", Scenario::split, |s| s.book_is_there = false, &[]),
    ("a merge", Scenario::merge, |_| {}, &[]),
    ("a merge needs no book", Scenario::merge, |s| s.book_is_there = false, &[]),
    // 1 % of 100 micro-sets is one.
    ("a split of one micro-set", Scenario::split, |s| s.group.shares = ShareMicros(100), &[]),
    ("a split of none", Scenario::split, |s| s.group.shares = ShareMicros(99), &[MergeSplitNotApplicable]),
    ("a merge of none", Scenario::merge, |s| s.group.shares = ShareMicros(99), &[MergeSplitNotApplicable]),
    (
        "a merge with one outcome missing",
        Scenario::merge,
        |s| s.portfolio.held_sets[1].1 = ShareMicros(0),
        &[MergeSplitNotApplicable],
    ),
    (
        "a merge with one outcome unseen",
        Scenario::merge,
        |s| s.portfolio.held_sets = vec![(asset(1), ShareMicros(SHARE))],
        &[MergeSplitNotApplicable],
    ),
    ("a merge with a micro-share of one", Scenario::merge, |s| s.portfolio.held_sets[0].1 = ShareMicros(1), &[]),
    ("outcomes unknown", Scenario::split, |s| s.market.outcomes = vec![], &[MarketUnknown]),
    ("outcomes unknown for a merge", Scenario::merge, |s| s.market.outcomes = vec![], &[MarketUnknown]),
    ("a split at the market's cap", Scenario::split, |s| s.portfolio.exposure_market = UsdcMicros(490 * USDC), &[]),
    (
        "a split a micro over it",
        Scenario::split,
        |s| s.portfolio.exposure_market = UsdcMicros(490 * USDC + 1),
        &[RiskCapUser],
    ),
    (
        "a split without the cash",
        || Scenario::split().in_global_portfolio(),
        |s| s.portfolio.cash = UsdcMicros(10 * USDC - 1),
        &[RiskCapGlobal],
    ),
    ("a conversion", Scenario::split, |s| s.group.action = GroupAction::Conversion, &[MergeSplitNotApplicable]),
    ("a conversion, globally", global_buy, |s| s.group.action = GroupAction::Conversion, &[MergeSplitNotApplicable]),
    (
        "a conversion whatever the switches",
        Scenario::split,
        |s| (s.group.action, s.leader) = (GroupAction::Conversion, FollowState::Stopped),
        &[MergeSplitNotApplicable],
    ),
];

/// Codes are in the order of the spec, each once, whichever checks fail together.
const ORDER: &[Row] = &[
    (
        "all switches at once, and nothing after them",
        Scenario::buy,
        |s| {
            everything_wrong(s);
            s.config.system.copy_engine_enabled = false;
            s.leader = FollowState::Stopped;
            s.market.blacklisted = true;
            s.group.event_time = s.now.plus_millis(-900_001);
        },
        &[EnginePaused, UserDisabled, MarketBlacklisted, SignalTooOld],
    ),
    (
        "every later step of a buy",
        Scenario::buy,
        everything_wrong,
        &[
            RiskCapUser,
            MarketTooCloseToClose,
            CircuitBreakerTripped,
            SpreadTooWide,
            PriceWorseThanTheirFill,
            PriceTooFarOverMid,
            InsufficientDepth,
            NoLiquidityWithinBounds,
        ],
    ),
    (
        "a cap that only fails after the walk comes last",
        global_buy,
        |s| {
            s.portfolio.cash = UsdcMicros(0);
            close_in(s, 1);
            s.asks = vec![(500_000, SHARE)];
        },
        &[MarketTooCloseToClose, InsufficientDepth, RiskCapGlobal],
    ),
    (
        "a missing book ends a buy after steps 2 and 3",
        Scenario::buy,
        |s| {
            everything_wrong(s);
            s.book_is_there = false;
        },
        &[RiskCapUser, MarketTooCloseToClose, CircuitBreakerTripped, BookUnavailable],
    ),
    (
        "a missing book ends a sell after step 2",
        Scenario::sell,
        |s| (s.portfolio.held, s.book_is_there) = (ShareMicros(0), false),
        &[NotEnoughPositionToSell, BookUnavailable],
    ),
    (
        "nothing held lists the prices, but neither depth nor liquidity",
        Scenario::sell,
        |s| (s.portfolio.held, s.bids) = (ShareMicros(0), vec![]),
        &[NotEnoughPositionToSell, SpreadTooWide, PriceWorseThanTheirFill, PriceTooFarOverMid],
    ),
    (
        "every later step of a split",
        Scenario::split,
        |s| {
            everything_wrong(s);
            s.portfolio.cash = UsdcMicros(-1);
            s.group.shares = ShareMicros(99);
        },
        &[MarketTooCloseToClose, CircuitBreakerTripped, RiskCapUser, MergeSplitNotApplicable],
    ),
];

fn everything_wrong(scenario: &mut Scenario) {
    scenario.portfolio.equity = UsdcMicros(100 * USDC);
    close_in(scenario, 1);
    (scenario.bids, scenario.asks) = (vec![(100_000, SHARE)], vec![(900_000, SHARE)]);
}

fn all_rows() -> impl Iterator<Item = &'static Row> {
    [
        STEP_1_SWITCHES,
        STEP_2_TARGET,
        STEP_3_TIME,
        STEP_3_BREAKERS,
        STEP_4_BOOK,
        STEP_5_DEPTH,
        STEP_6_WALK,
        STEP_7_CAPS,
        SETS,
        ORDER,
        STEP_1,
        FILTERS,
        MINIMUM,
    ]
    .into_iter()
    .flatten()
}

#[test]
fn sets_are_split_like_a_buy_and_merged_from_what_is_held() {
    check(SETS);
}

#[test]
fn reasons_are_in_the_order_of_the_spec() {
    check(ORDER);
}

#[test]
fn every_reason_code_is_reached() {
    let reached: BTreeSet<_> = all_rows().flat_map(|row| row.3).collect();
    assert_eq!(reached, ReasonCode::ALL.iter().collect());
}

#[test]
fn a_precheck_decides_exactly_what_needs_no_book() {
    for (name, scenario, change, _) in all_rows() {
        let mut scenario = scenario();
        change(&mut scenario);
        let early = scenario.with_situation(precheck).unwrap();
        match early {
            Some(decision) => assert_eq!(decision, scenario.decide(), "{name}"),
            None => {
                assert!(scenario.decide().checks().iter().any(|check| check.name == CheckName::BookAvailable), "{name}")
            }
        }
    }
}
