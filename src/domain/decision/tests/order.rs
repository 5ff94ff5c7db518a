//! Groups of sets, the order of the codes, and that every code is reached.

use std::collections::BTreeSet;

use super::before_book::{STEP_1_SWITCHES, STEP_2_TARGET, STEP_3_BREAKERS, STEP_3_TIME};
use super::with_book::{STEP_4_BOOK, STEP_5_DEPTH, STEP_6_WALK, STEP_7_CAPS};
use super::world::{Row, SHARE, USDC, World, asset, check, close_in, global_buy};
use crate::domain::decision::decide::ReasonCode;
use crate::domain::decision::decide::ReasonCode::*;
use crate::domain::decision::decide::{CheckName, precheck};
use crate::domain::events::group::GroupAction;
use crate::domain::money::units::{ShareMicros, UsdcMicros};

const SETS: &[Row] = &[
    ("a split", World::split, |_| {}, &[]),
    ("a split needs no book", World::split, |w| w.book_is_there = false, &[]),
    ("a merge", World::merge, |_| {}, &[]),
    ("a merge needs no book", World::merge, |w| w.book_is_there = false, &[]),
    // 1 % of 100 micro-sets is one.
    ("a split of one micro-set", World::split, |w| w.group.shares = ShareMicros(100), &[]),
    ("a split of none", World::split, |w| w.group.shares = ShareMicros(99), &[MergeSplitNotApplicable]),
    ("a merge of none", World::merge, |w| w.group.shares = ShareMicros(99), &[MergeSplitNotApplicable]),
    (
        "a merge with one outcome missing",
        World::merge,
        |w| w.portfolio.held_sets[1].1 = ShareMicros(0),
        &[MergeSplitNotApplicable],
    ),
    (
        "a merge with one outcome unseen",
        World::merge,
        |w| w.portfolio.held_sets = vec![(asset(1), ShareMicros(SHARE))],
        &[MergeSplitNotApplicable],
    ),
    ("a merge with a micro-share of one", World::merge, |w| w.portfolio.held_sets[0].1 = ShareMicros(1), &[]),
    ("outcomes unknown", World::split, |w| w.market.outcomes = vec![], &[MergeSplitNotApplicable]),
    ("outcomes unknown for a merge", World::merge, |w| w.market.outcomes = vec![], &[MergeSplitNotApplicable]),
    ("a split at the market's cap", World::split, |w| w.portfolio.exposure_market = UsdcMicros(490 * USDC), &[]),
    (
        "a split a micro over it",
        World::split,
        |w| w.portfolio.exposure_market = UsdcMicros(490 * USDC + 1),
        &[RiskCapUser],
    ),
    (
        "a split without the cash",
        || World::split().in_global_portfolio(),
        |w| w.portfolio.cash = UsdcMicros(10 * USDC - 1),
        &[RiskCapGlobal],
    ),
    ("a conversion", World::split, |w| w.group.action = GroupAction::Conversion, &[MergeSplitNotApplicable]),
    ("a conversion, globally", global_buy, |w| w.group.action = GroupAction::Conversion, &[MergeSplitNotApplicable]),
    (
        "a conversion whatever the switches",
        World::split,
        |w| (w.group.action, w.user_enabled) = (GroupAction::Conversion, false),
        &[MergeSplitNotApplicable],
    ),
];

/// The spec's order, each code once, whatever fails together.
const ORDER: &[Row] = &[
    (
        "all switches at once, and nothing after them",
        World::buy,
        |w| {
            everything_wrong(w);
            w.config.system.copy_engine_enabled = false;
            w.user_enabled = false;
            w.market.blacklisted = true;
            w.group.event_time = w.group.detect_time.plus_millis(-900_001);
        },
        &[EnginePaused, UserDisabled, MarketBlacklisted, SignalTooOld],
    ),
    (
        "every later step of a buy",
        World::buy,
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
        |w| {
            w.portfolio.cash = UsdcMicros(0);
            close_in(w, 0);
            w.asks = vec![(500_000, SHARE)];
        },
        &[MarketTooCloseToClose, InsufficientDepth, RiskCapGlobal],
    ),
    (
        "a missing book ends a buy after steps 2 and 3",
        World::buy,
        |w| {
            everything_wrong(w);
            w.book_is_there = false;
        },
        &[RiskCapUser, MarketTooCloseToClose, CircuitBreakerTripped, BookUnavailable],
    ),
    (
        "a missing book ends a sell after step 2",
        World::sell,
        |w| (w.portfolio.held, w.book_is_there) = (ShareMicros(0), false),
        &[NotEnoughPositionToSell, BookUnavailable],
    ),
    (
        "nothing held lists the prices, but neither depth nor liquidity",
        World::sell,
        |w| (w.portfolio.held, w.bids) = (ShareMicros(0), vec![]),
        &[NotEnoughPositionToSell, SpreadTooWide, PriceWorseThanTheirFill, PriceTooFarOverMid],
    ),
    (
        "every later step of a split",
        World::split,
        |w| {
            everything_wrong(w);
            w.portfolio.cash = UsdcMicros(0);
            w.market.outcomes = vec![];
        },
        &[MarketTooCloseToClose, CircuitBreakerTripped, RiskCapUser, MergeSplitNotApplicable],
    ),
];

fn everything_wrong(world: &mut World) {
    world.portfolio.equity = UsdcMicros(100 * USDC);
    close_in(world, 0);
    (world.bids, world.asks) = (vec![(100_000, SHARE)], vec![(900_000, SHARE)]);
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
    ]
    .into_iter()
    .flatten()
}

#[test]
fn sets_are_split_like_a_buy_and_merged_from_what_is_held() {
    check(SETS);
}

#[test]
fn reasons_stand_in_the_order_of_the_spec() {
    check(ORDER);
}

#[test]
fn every_reason_code_is_reached() {
    let reached: BTreeSet<_> = all_rows().flat_map(|row| row.3).collect();
    assert_eq!(reached, ReasonCode::ALL.iter().collect());
}

#[test]
fn a_precheck_decides_exactly_what_needs_no_book() {
    for (name, world, spoil, _) in all_rows() {
        let mut world = world();
        spoil(&mut world);
        let early = world.with_situation(precheck).unwrap();
        match early {
            Some(decision) => assert_eq!(decision, world.decide(), "{name}"),
            None => {
                assert!(world.decide().checks().iter().any(|check| check.name == CheckName::BookAvailable), "{name}")
            }
        }
    }
}
