//! What the venue and its markets ask for: order rules, unknown markets, filters, delays, end dates, proportional exits.

use super::scenario::{MINUTE, Row, SHARE, Scenario, USDC, check, close_in, price};
use crate::domain::config::effective::{ExitSizing, Tags};
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::check::ReasonCode::*;
use crate::domain::decision::check::{CheckName, ReasonCode, Verdict};
use crate::domain::decision::exit::{NotionalBecause, TheirHolding};
use crate::domain::market::facts::FeeSchedule;
use crate::domain::money::units::{Bps, ShareMicros, UsdcMicros};

fn attempt(scenario: &Scenario) -> CopyAttempt {
    scenario.decide().into_attempt(scenario.portfolio.id, &scenario.group, scenario.now)
}

fn with_rules(mut scenario: Scenario) -> Scenario {
    scenario.config.sizing.venue_order_rules = true;
    scenario
}

/// A sell with PROPORTIONAL exits: the leader sells 250 of the 1,000 shares that they held, and we hold 50.
fn proportional() -> Scenario {
    let mut scenario = with_rules(Scenario::sell());
    scenario.config.sizing.exit_sizing = ExitSizing::Proportional;
    scenario.their_holding = TheirHolding::Known(ShareMicros(1_000 * SHARE));
    scenario.group.shares = ShareMicros(250 * SHARE);
    scenario.group.notional = UsdcMicros(125 * USDC);
    scenario.portfolio.held = ShareMicros(50 * SHARE);
    scenario
}

fn tags(list: &[&str]) -> Tags {
    Tags::new(list.iter().map(|tag| (*tag).to_owned())).unwrap()
}

/// A row of conditions of step 1: opens are paused, the leader winds down, the market is unknown or filtered.
pub const STEP_1: &[Row] = &[
    ("opens paused", Scenario::buy, |s| s.config.system.opens_enabled = false, &[OpensPaused]),
    ("opens paused for a split", Scenario::split, |s| s.config.system.opens_enabled = false, &[OpensPaused]),
    ("opens paused, exits go on", Scenario::sell, |s| s.config.system.opens_enabled = false, &[]),
    ("opens paused, merges go on", Scenario::merge, |s| s.config.system.opens_enabled = false, &[]),
    ("winding down", Scenario::buy, |s| s.leader = FollowState::WindingDown, &[OpensPaused]),
    ("winding down, exits go on", Scenario::sell, |s| s.leader = FollowState::WindingDown, &[]),
    (
        "both causes of one code",
        Scenario::buy,
        |s| (s.leader, s.config.system.opens_enabled) = (FollowState::WindingDown, false),
        &[OpensPaused],
    ),
    ("unknown market", Scenario::buy, |s| s.market.outcomes.clear(), &[MarketUnknown]),
    ("unknown market for an exit", Scenario::sell, |s| s.market.outcomes.clear(), &[MarketUnknown]),
    (
        "unknown and filtered: unknown alone",
        Scenario::buy,
        |s| {
            s.market.outcomes.clear();
            s.config.sizing.min_price = price(900_000);
        },
        &[MarketUnknown],
    ),
    (
        "all switches, and nothing of the market",
        Scenario::buy,
        |s| {
            s.config.system.copy_engine_enabled = false;
            s.leader = FollowState::Stopped;
            s.config.system.opens_enabled = false;
            s.market.blacklisted = true;
            s.group.event_time = s.now.plus_millis(-900_001);
            s.market.outcomes.clear();
            s.config.sizing.min_price = price(900_000);
        },
        &[EnginePaused, UserDisabled, OpensPaused, MarketBlacklisted, SignalTooOld],
    ),
    // Detected at once and decided late: a restart, a retry or a pause lies between.
    ("old at the decision", Scenario::buy, |s| s.now = s.group.event_time.plus_millis(900_001), &[SignalTooOld]),
];

pub const FILTERS: &[Row] = &[
    ("at the lowest price", Scenario::buy, |s| s.config.sizing.min_price = price(500_000), &[]),
    ("below the lowest price", Scenario::buy, |s| s.config.sizing.min_price = price(500_001), &[MarketFiltered]),
    ("at the highest price", Scenario::buy, |s| s.config.sizing.max_price = price(500_000), &[]),
    ("above the highest price", Scenario::buy, |s| s.config.sizing.max_price = price(499_999), &[MarketFiltered]),
    ("an exit is not filtered", Scenario::sell, |s| s.config.sizing.max_price = price(1), &[]),
    ("a merge is not filtered", Scenario::merge, |s| s.config.sizing.max_price = price(1), &[]),
    // A set of two outcomes costs 0.50 a share.
    ("a split at half a dollar", Scenario::split, |s| s.config.sizing.min_price = price(500_000), &[]),
    ("a split below the lowest", Scenario::split, |s| s.config.sizing.min_price = price(500_001), &[MarketFiltered]),
    ("large enough", Scenario::buy, |s| s.config.sizing.min_leader_notional = UsdcMicros(1_000 * USDC), &[]),
    (
        "too small",
        Scenario::buy,
        |s| s.config.sizing.min_leader_notional = UsdcMicros(1_000 * USDC + 1),
        &[MarketFiltered],
    ),
    ("closes in time", Scenario::buy, |s| s.config.sizing.max_minutes_to_close = 90, &[]),
    ("closes too late", Scenario::buy, |s| s.config.sizing.max_minutes_to_close = 89, &[MarketFiltered]),
    (
        "close unknown",
        Scenario::buy,
        |s| (s.config.sizing.max_minutes_to_close, s.market.close_time) = (90, None),
        &[MarketFiltered],
    ),
    (
        "end date passed: close unknown",
        Scenario::buy,
        |s| {
            s.config.sizing.max_minutes_to_close = 90;
            close_in(s, -1);
        },
        &[MarketFiltered],
    ),
    (
        "a wanted tag",
        Scenario::buy,
        |s| {
            s.market.tags = vec!["nba".to_owned(), "sports".to_owned()];
            s.config.sizing.only_categories = tags(&["politics", "sports"]);
        },
        &[],
    ),
    ("no tags", Scenario::buy, |s| s.config.sizing.only_categories = tags(&["sports"]), &[MarketFiltered]),
    ("no tags and none refused", Scenario::buy, |s| s.config.sizing.not_categories = tags(&["sports"]), &[]),
    (
        "wanted and refused",
        Scenario::buy,
        |s| {
            s.market.tags = vec!["nba".to_owned(), "sports".to_owned()];
            s.config.sizing.only_categories = tags(&["sports"]);
            s.config.sizing.not_categories = tags(&["nba"]);
        },
        &[MarketFiltered],
    ),
    (
        "filters end the decision",
        Scenario::buy,
        |s| {
            s.config.sizing.min_price = price(900_000);
            s.market.active = false;
            s.book_is_there = false;
        },
        &[MarketFiltered],
    ),
];

/// Orders below a dollar: a copy of 0.40 USDC, a sale of the last 0.40 USDC, and one of 0.004 share.
pub const MINIMUM: &[Row] = &[
    ("a small copy", small_copy, |_| {}, &[BelowVenueMinimum]),
    ("a small copy without the rules", small_copy, |s| s.config.sizing.venue_order_rules = false, &[]),
    ("the last 0.40 USDC", a_rest, |s| s.portfolio.held = ShareMicros(800_000), &[BelowVenueMinimum]),
    ("a micro-share under a dollar", a_rest, |s| s.portfolio.held = ShareMicros(1_999_999), &[BelowVenueMinimum]),
    ("a dollar", a_rest, |s| s.portfolio.held = ShareMicros(2_000_000), &[]),
    ("no whole hundredth", a_rest, |s| s.portfolio.held = ShareMicros(4_000), &[BelowVenueMinimum]),
    ("nothing", a_rest, |s| s.portfolio.held = ShareMicros(0), &[NotEnoughPositionToSell]),
];

fn small_copy() -> Scenario {
    let mut scenario = with_rules(Scenario::buy());
    scenario.config.sizing.min_trade_notional = UsdcMicros(0);
    scenario.group.notional = UsdcMicros(40 * USDC);
    scenario
}

fn a_rest() -> Scenario {
    with_rules(Scenario::sell())
}

#[test]
fn switches_and_unknown_markets_end_the_decision() {
    check(STEP_1);
}

#[test]
fn filters_refuse_opens_alone() {
    check(FILTERS);
}

#[test]
fn only_filters_that_are_set_are_listed() {
    let names: Vec<_> = Scenario::buy().decide().checks().iter().map(|check| check.name).take(8).collect();
    assert_eq!(
        names[..7],
        [
            CheckName::EngineEnabled,
            CheckName::UserEnabled,
            CheckName::OpensEnabled,
            CheckName::LeaderOpens,
            CheckName::MarketAllowed,
            CheckName::SignalAge,
            CheckName::MarketKnown,
        ]
    );
    assert_eq!(names[7], CheckName::TargetAboveMinimum);
}

/// Case 16.
#[test]
fn a_market_of_which_no_source_told_the_fee_pays_the_highest() {
    let mut scenario = Scenario::buy();
    scenario.market.fee = FeeSchedule::HIGHEST;
    // 20 shares * 0.07 * 0.5 * 0.5.
    assert_eq!(attempt(&scenario).explanation.fee_micros, 350_000);
    assert_eq!(FeeSchedule::HIGHEST, FeeSchedule { rate_micros: 70_000, exponent: 1 });
}

/// Case 17.
#[test]
fn an_end_date_in_the_past_of_an_open_market_is_unknown() {
    for millis_ago in [1, 40 * MINUTE, 68 * 24 * 60 * MINUTE] {
        let mut scenario = Scenario::buy();
        close_in(&mut scenario, -millis_ago);
        let decision = scenario.decide();
        assert_eq!(decision.reasons(), []);
        let time = decision.checks().iter().find(|check| check.name == CheckName::TimeToClose).unwrap();
        assert_eq!((time.verdict, time.value), (Verdict::Unknown, None));
        scenario.market.accepts_orders = false;
        assert_eq!(scenario.reasons(), [MarketTooCloseToClose]);
        (scenario.market.accepts_orders, scenario.market.active) = (true, false);
        assert_eq!(scenario.reasons(), [MarketTooCloseToClose]);
    }
}

/// Case 18.
#[test]
fn orders_are_cut_to_cents_and_hundredths_and_the_target_stays() {
    let mut buy = with_rules(Scenario::buy());
    buy.group.notional = UsdcMicros(1_000_500_000);
    let bought = attempt(&buy);
    assert_eq!(
        (bought.target_notional.0, bought.explanation.order_notional_micros.unwrap().0),
        (10_005_000, 10_000_000)
    );
    assert_eq!((bought.filled_notional.0, bought.filled_ratio), (10_000_000, Bps::WHOLE));

    let mut sell = with_rules(Scenario::sell());
    sell.portfolio.held = ShareMicros(15_009_999);
    let sold = attempt(&sell);
    assert_eq!((sold.explanation.target_share_micros.unwrap().0, sold.filled_shares.0), (15_009_999, 15_000_000));
    assert_eq!((sold.explanation.order_share_micros, sold.filled_ratio), (Some(ShareMicros(15_000_000)), Bps::WHOLE));
    // Depth counts the order too: 1.25 times 10 USDC, and a micro less.
    buy.asks = vec![(500_000, 25 * SHARE)];
    assert_eq!(buy.reasons(), []);
    buy.asks = vec![(500_000, 25 * SHARE - 2)];
    assert_eq!(buy.reasons(), [InsufficientDepth]);
}

/// Case 18.
#[test]
fn orders_below_a_dollar_are_refused() {
    check(MINIMUM);
    let mut no_bid = a_rest();
    (no_bid.portfolio.held, no_bid.bids) = (ShareMicros(800_000), Vec::new());
    assert!(!no_bid.reasons().contains(&BelowVenueMinimum), "not judged without a bid");
}

/// Where the codes of step 2 stand: after the cap, before everything of the market and its book.
#[test]
fn the_venue_minimum_stands_in_step_2() {
    let mut scenario = with_rules(Scenario::buy());
    scenario.portfolio.equity = UsdcMicros(USDC);
    scenario.market.active = false;
    scenario.asks = vec![(600_000, 1_000 * SHARE)];
    let codes: Vec<ReasonCode> = scenario.reasons().into_iter().take(3).collect();
    assert_eq!(codes, [RiskCapUser, BelowVenueMinimum, MarketTooCloseToClose]);
}

/// Case 19.
#[test]
fn the_taker_delay_is_in_the_explanation() {
    let mut scenario = Scenario::buy();
    assert_eq!(attempt(&scenario).explanation.taker_delay_ms, None);
    scenario.market.taker_delay_ms = Some(1_000);
    assert_eq!(attempt(&scenario).explanation.taker_delay_ms, Some(1_000));
}

/// Case 20.
#[test]
fn a_proportional_exit_sells_the_share_that_the_leader_sold() {
    let sold = attempt(&proportional());
    assert_eq!((sold.filled_shares.0, sold.target_notional.0), (12_500_000, 6_250_000));
    assert_eq!((sold.explanation.raw_notional_micros, sold.explanation.cap_notional_micros), (None, None));
    let basis = sold.explanation.exit.unwrap();
    assert_eq!(
        (basis.sizing, basis.their_holding_micros),
        (ExitSizing::Proportional, Some(ShareMicros(1_000 * SHARE)))
    );

    // One sale of everything, of a leader whose five buys were each raised to 5 USDC: all of our 50 shares.
    let mut all = proportional();
    all.group.shares = ShareMicros(1_000 * SHARE);
    all.group.notional = UsdcMicros(500 * USDC);
    assert_eq!(attempt(&all).filled_shares, ShareMicros(50 * SHARE));
    all.config.sizing.exit_sizing = ExitSizing::Notional;
    let as_today = attempt(&all);
    assert_eq!((as_today.filled_shares.0, as_today.explanation.exit), (10 * SHARE, None));
}

/// Case 20.
#[test]
fn an_exit_of_an_unknown_share_is_sized_like_a_purchase_and_says_so() {
    for (holding, because) in [
        (TheirHolding::Late, NotionalBecause::ShadowLate),
        (TheirHolding::Known(ShareMicros(0)), NotionalBecause::HoldingUnknown),
        (TheirHolding::Known(ShareMicros(-1)), NotionalBecause::HoldingUnknown),
        (TheirHolding::Inexact(ShareMicros(1_000 * SHARE)), NotionalBecause::BooksNotExact),
    ] {
        let mut scenario = proportional();
        scenario.their_holding = holding;
        let sold = attempt(&scenario);
        // 1 % of 125 USDC is raised to the smallest copy: 5 USDC at 0.50.
        assert_eq!(
            (sold.filled_shares, sold.explanation.exit.unwrap().because),
            (ShareMicros(10 * SHARE), Some(because))
        );
    }
}

#[test]
fn a_proportional_merge_takes_the_same_share_of_our_smallest_holding() {
    let mut scenario = Scenario::merge();
    scenario.config.sizing.exit_sizing = ExitSizing::Proportional;
    scenario.their_holding = TheirHolding::Known(ShareMicros(4_000 * SHARE));
    // 1,000 of their 4,000 sets; the smaller of our holdings is 20.
    let merged = attempt(&scenario);
    assert_eq!((merged.filled_shares.0, merged.target_notional.0), (5 * SHARE, 5 * USDC));
    scenario.their_holding = TheirHolding::Known(ShareMicros(1_000 * SHARE));
    assert_eq!(attempt(&scenario).filled_shares, ShareMicros(20 * SHARE));
    for unknown in [TheirHolding::Late, TheirHolding::Inexact(ShareMicros(1_000 * SHARE))] {
        scenario.their_holding = unknown;
        assert_eq!(attempt(&scenario).filled_shares, ShareMicros(10 * SHARE));
    }
}
