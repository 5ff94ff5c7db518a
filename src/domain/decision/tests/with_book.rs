//! Steps 4 to 7: prices, depth, walk, caps. One row per boundary and its neighbours.

use super::scenario::{Row, SHARE, Scenario, USDC, check, equity, global_buy, price};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::decision::check::CheckName;
use crate::domain::decision::check::ReasonCode::*;
use crate::domain::decision::outcome::Decision;
use crate::domain::money::units::{Bps, ShareMicros, UsdcMicros};

pub const STEP_4_BOOK: &[Row] = &[
    ("no book", Scenario::buy, |s| s.book_is_there = false, &[BookUnavailable]),
    ("no book for a sell", Scenario::sell, |s| s.book_is_there = false, &[BookUnavailable]),
    ("spread at the limit", Scenario::buy, |s| s.bids = vec![(480_000, SHARE)], &[]),
    ("spread a micro wider", Scenario::buy, |s| s.bids = vec![(479_999, SHARE)], &[SpreadTooWide]),
    ("a crossed book has no spread", Scenario::buy, |s| s.bids = vec![(505_000, SHARE)], &[]),
    // The middle moves with both sides, so that only one limit is touched at a time.
    ("ask at their price plus the worsening", Scenario::buy, |s| ask_at(s, 510_000), &[]),
    (
        "ask a micro above it",
        Scenario::buy,
        |s| ask_at(s, 510_001),
        &[PriceWorseThanTheirFill, InsufficientDepth, NoLiquidityWithinBounds],
    ),
    ("bid at their price less the worsening", Scenario::sell, |s| bid_at(s, 490_000), &[]),
    (
        "bid a micro below it",
        Scenario::sell,
        |s| bid_at(s, 489_999),
        &[PriceWorseThanTheirFill, InsufficientDepth, NoLiquidityWithinBounds],
    ),
    // A spread of 30,000 is 15,000 to either side of the middle, a spread of 30,002 one micro more.
    ("ask at the middle plus its limit", Scenario::buy, |s| spread_around(s, 30_000, 490_000), &[]),
    (
        "ask a micro beyond",
        Scenario::buy,
        |s| spread_around(s, 30_002, 490_000),
        &[PriceTooFarOverMid, InsufficientDepth, NoLiquidityWithinBounds],
    ),
    ("bid at the middle less its limit", Scenario::sell, |s| spread_around(s, 30_000, 510_000), &[]),
    (
        "bid a micro beyond",
        Scenario::sell,
        |s| spread_around(s, 30_002, 510_000),
        &[PriceTooFarOverMid, InsufficientDepth, NoLiquidityWithinBounds],
    ),
    // 470,001 and 500,000: the middle is 485,000.5, half up 485,001.
    (
        "an odd spread rounds the middle up",
        Scenario::buy,
        |s| {
            (s.bids, s.config.guardrails.max_spread, s.config.guardrails.max_over_mid) =
                (vec![(470_001, SHARE)], price(30_000), price(14_999))
        },
        &[],
    ),
    ("a better price is welcome", Scenario::buy, |s| ask_at(s, 300_000), &[]),
    ("a better price is welcome to a seller", Scenario::sell, |s| bid_at(s, 700_000), &[]),
];

pub const STEP_5_DEPTH: &[Row] = &[
    // 10 USDC times 1.25 at 0.50: 25 shares.
    ("just deep enough", Scenario::buy, |s| s.asks = vec![(500_000, 25 * SHARE)], &[]),
    ("a micro of notional short", Scenario::buy, |s| s.asks = vec![(500_000, 25 * SHARE - 2)], &[InsufficientDepth]),
    (
        "deep only beyond the limit",
        Scenario::buy,
        |s| s.asks = vec![(500_000, 24 * SHARE), (510_001, 100 * SHARE)],
        &[InsufficientDepth],
    ),
    ("deep up to the limit", Scenario::buy, |s| s.asks = vec![(500_000, 24 * SHARE), (510_000, SHARE)], &[]),
    // 20 shares aimed at, 10 USDC at their price: again 25 shares at 0.50.
    ("deep enough to sell into", Scenario::sell, |s| s.bids = vec![(500_000, 25 * SHARE)], &[]),
    ("too shallow to sell into", Scenario::sell, |s| s.bids = vec![(500_000, 25 * SHARE - 2)], &[InsufficientDepth]),
    // Holding 4 shares the target is 2 USDC, not 10.
    (
        "a small lot needs little depth",
        Scenario::sell,
        |s| (s.portfolio.held, s.bids) = (ShareMicros(4 * SHARE), vec![(500_000, 5 * SHARE)]),
        &[],
    ),
    (
        "a requirement rounds up",
        Scenario::buy,
        |s| (s.group.notional, s.asks) = (UsdcMicros(500_000_100), vec![(500_000, 12_500_002)]),
        &[InsufficientDepth],
    ),
    (
        "and is met by the next micro",
        Scenario::buy,
        |s| (s.group.notional, s.asks) = (UsdcMicros(500_000_100), vec![(500_000, 12_500_004)]),
        &[],
    ),
];

pub const STEP_6_WALK: &[Row] = &[
    (
        "an empty book",
        Scenario::buy,
        |s| (s.bids, s.asks) = (vec![], vec![]),
        &[SpreadTooWide, PriceWorseThanTheirFill, PriceTooFarOverMid, InsufficientDepth, NoLiquidityWithinBounds],
    ),
    (
        "no bids",
        Scenario::sell,
        |s| s.bids = vec![],
        &[SpreadTooWide, PriceWorseThanTheirFill, PriceTooFarOverMid, InsufficientDepth, NoLiquidityWithinBounds],
    ),
    ("nothing asked for, nothing filled", Scenario::buy, |s| s.config.guardrails.min_depth_multiplier = Bps(0), &[]),
    (
        "no depth wanted, none there",
        Scenario::buy,
        |s| (s.config.guardrails.min_depth_multiplier, s.asks) = (Bps(0), vec![(510_001, SHARE)]),
        &[SpreadTooWide, PriceWorseThanTheirFill, NoLiquidityWithinBounds],
    ),
    (
        "part of the target will do",
        Scenario::buy,
        |s| (s.config.guardrails.min_depth_multiplier, s.asks) = (Bps(0), vec![(500_000, 1)]),
        &[],
    ),
    ("an equity of zero sells nothing", Scenario::sell, |s| equity(s, 0), &[NoLiquidityWithinBounds]),
];

pub const STEP_7_CAPS: &[Row] = &[
    // The copy costs 10 USDC and a fee of 20 * 0.04 * 0.25 = 0.2. Caps of 10,000: 7,000, 500 and 2,000.
    ("total at the cap", Scenario::buy, |s| s.portfolio.exposure_total = UsdcMicros(6_989_800_000), &[]),
    ("total a micro over", Scenario::buy, |s| s.portfolio.exposure_total = UsdcMicros(6_989_800_001), &[RiskCapUser]),
    (
        "total a micro over, globally",
        global_buy,
        |s| s.portfolio.exposure_total = UsdcMicros(6_989_800_001),
        &[RiskCapGlobal],
    ),
    ("market at the cap", Scenario::buy, |s| s.portfolio.exposure_market = UsdcMicros(489_800_000), &[]),
    ("market a micro over", Scenario::buy, |s| s.portfolio.exposure_market = UsdcMicros(489_800_001), &[RiskCapUser]),
    (
        "market a micro over, globally",
        global_buy,
        |s| s.portfolio.exposure_market = UsdcMicros(489_800_001),
        &[RiskCapGlobal],
    ),
    ("leader at the cap", global_buy, |s| s.portfolio.exposure_leader = UsdcMicros(1_989_800_000), &[]),
    ("leader a micro over", global_buy, |s| s.portfolio.exposure_leader = UsdcMicros(1_989_800_001), &[RiskCapGlobal]),
    (
        "the user's own portfolio has no leader cap",
        Scenario::buy,
        |s| s.portfolio.exposure_leader = UsdcMicros(9_000 * USDC),
        &[],
    ),
    ("cash for all of it", Scenario::buy, |s| s.portfolio.cash = UsdcMicros(10_200_000), &[]),
    ("cash a micro short", Scenario::buy, |s| s.portfolio.cash = UsdcMicros(10_199_999), &[RiskCapUser]),
    (
        "without fees the cash is enough",
        Scenario::buy,
        |s| (s.portfolio.cash, s.config.sizing.apply_taker_fees) = (UsdcMicros(10 * USDC), false),
        &[],
    ),
    (
        "and not a micro less",
        Scenario::buy,
        |s| (s.portfolio.cash, s.config.sizing.apply_taker_fees) = (UsdcMicros(10 * USDC - 1), false),
        &[RiskCapUser],
    ),
    (
        "a sell is never capped",
        Scenario::sell,
        |s| (s.portfolio.exposure_total, s.portfolio.cash) = (UsdcMicros(20_000 * USDC), UsdcMicros(-5)),
        &[],
    ),
    (
        "everything over: one code",
        global_buy,
        |s| (s.portfolio.exposure_total, s.portfolio.cash) = (UsdcMicros(20_000 * USDC), UsdcMicros(-5)),
        &[RiskCapGlobal],
    ),
];

fn ask_at(scenario: &mut Scenario, micros: i64) {
    (scenario.bids, scenario.asks) = (vec![(micros - 10_000, 1_000 * SHARE)], vec![(micros, 1_000 * SHARE)]);
}

fn bid_at(scenario: &mut Scenario, micros: i64) {
    (scenario.bids, scenario.asks) = (vec![(micros, 1_000 * SHARE)], vec![(micros + 10_000, 1_000 * SHARE)]);
}

fn spread_around(scenario: &mut Scenario, spread: i64, middle: i64) {
    scenario.config.guardrails.max_spread = price(100_000);
    scenario.config.guardrails.max_worsening_vs_their_fill = price(100_000);
    scenario.bids = vec![(middle - spread / 2, 1_000 * SHARE)];
    scenario.asks = vec![(middle + spread / 2, 1_000 * SHARE)];
}

#[test]
fn spread_and_prices_stay_within_their_limits() {
    check(STEP_4_BOOK);
}

#[test]
fn depth_covers_the_target_and_its_margin() {
    check(STEP_5_DEPTH);
}

#[test]
fn a_walk_that_fills_nothing_is_a_skip() {
    check(STEP_6_WALK);
}

#[test]
fn caps_count_the_cost_with_its_fee() {
    check(STEP_7_CAPS);
}

#[test]
fn only_the_shared_bankroll_limits_one_leader() {
    let cost = |portfolio| {
        let mut scenario = Scenario::buy();
        scenario.portfolio.id = portfolio;
        let decision = scenario.decide();
        decision.checks().iter().filter(|check| check.name == CheckName::LeaderExposure).count()
    };
    assert_eq!(cost(PortfolioId::ExecGlobal), 1);
    assert_eq!(cost(Scenario::buy().portfolio.id), 0);
}

#[test]
fn a_trade_without_a_price_is_an_error_not_a_copy() {
    let mut scenario = Scenario::buy();
    scenario.group.reference_price = None;
    assert!(scenario.try_decide().is_err());
}

#[test]
fn a_price_of_zero_sells_all_that_is_held() {
    let mut scenario = Scenario::sell();
    scenario.group.reference_price = Some(price(0));
    scenario.bids = vec![(5_000, 1_000 * SHARE)];
    scenario.asks = vec![(6_000, SHARE)];
    let Decision::Execute(_) = scenario.decide() else { panic!("{:?}", scenario.reasons()) };
}
