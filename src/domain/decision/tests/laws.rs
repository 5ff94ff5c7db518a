//! Properties of every decision, over random books, groups, portfolios and settings.

use proptest::prelude::*;

use super::scenario::{SHARE, Scenario, USDC, price};
use crate::domain::accounting::ledger::EntryType;
use crate::domain::config::effective::ExitSizing;
use crate::domain::decision::check::{CheckName, ReasonCode};
use crate::domain::decision::exit::TheirHolding;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::decision::outcome::Decision;
use crate::domain::events::event::Side;
use crate::domain::events::group::GroupAction;
use crate::domain::money::units::{Bps, ShareMicros, UsdcMicros};

prop_compose! {
    fn levels(around: i64)(
        levels in prop::collection::vec((-40_000..=40_000i64, 0..=100 * SHARE), 0..12),
    ) -> Vec<(i64, i64)> {
        levels.into_iter().map(|(distance, shares)| ((around + distance).clamp(0, 1_000_000), shares)).collect()
    }
}

prop_compose! {
    /// Scenarios mostly near the boundaries: small caps, tight limits, thin books.
    fn any_scenario()(
        (sell, global, fees, split) in (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)),
        reference in 20_000..980_000i64,
        notional in 0..3_000 * USDC,
        (equity, cash) in (-USDC..20_000 * USDC, -USDC..12_000 * USDC),
        (exposure, market_exposure) in (0..12_000 * USDC, 0..600 * USDC),
        held in -SHARE..200 * SHARE,
        (worsening, over_mid, spread) in (0..40_000i64, 0..40_000i64, 0..60_000i64),
        depth in 0..20_000i64,
        seconds_to_close in -60..7_200i64,
        rules in any::<bool>(),
        (proportional, their_holding, sold) in (any::<bool>(), -SHARE..5_000 * SHARE, 1..=10_000i64),
    )(
        bids in levels(reference - 8_000), asks in levels(reference + 8_000),
        sell in Just(sell), global in Just(global), fees in Just(fees), split in Just(split),
        reference in Just(reference), notional in Just(notional), equity in Just(equity), cash in Just(cash),
        exposure in Just(exposure), market_exposure in Just(market_exposure), held in Just(held),
        worsening in Just(worsening), over_mid in Just(over_mid), spread in Just(spread), depth in Just(depth),
        seconds_to_close in Just(seconds_to_close), rules in Just(rules), proportional in Just(proportional),
        their_holding in Just(their_holding), sold in Just(sold),
    ) -> Scenario {
        let mut scenario = match (split, sell) {
            (true, false) => Scenario::split(),
            (true, true) => Scenario::merge(),
            (false, true) => Scenario::sell(),
            (false, false) => Scenario::buy(),
        };
        if global {
            scenario = scenario.in_global_portfolio();
        }
        scenario.group.notional = UsdcMicros(notional);
        scenario.group.reference_price = Some(price(reference));
        (scenario.portfolio.equity, scenario.portfolio.cash) = (UsdcMicros(equity), UsdcMicros(cash));
        scenario.portfolio.baselines.day_start = Some(UsdcMicros(equity));
        scenario.portfolio.baselines.week_start = Some(UsdcMicros(equity));
        (scenario.portfolio.exposure_total, scenario.portfolio.exposure_market) = (UsdcMicros(exposure), UsdcMicros(market_exposure));
        scenario.portfolio.held = ShareMicros(held);
        scenario.portfolio.baselines.peak = UsdcMicros(equity);
        scenario.config.sizing.apply_taker_fees = fees;
        let guardrails = &mut scenario.config.guardrails;
        guardrails.max_worsening_vs_their_fill = price(worsening);
        (guardrails.max_over_mid, guardrails.max_spread) = (price(over_mid), price(spread));
        guardrails.min_depth_multiplier = Bps(depth);
        scenario.market.close_time = Some(scenario.now.plus_millis(seconds_to_close * 1_000));
        (scenario.bids, scenario.asks) = (bids, asks);
        scenario.config.sizing.venue_order_rules = rules;
        if proportional {
            scenario.config.sizing.exit_sizing = ExitSizing::Proportional;
            scenario.their_holding = TheirHolding::Known(ShareMicros(their_holding));
            scenario.group.shares = ShareMicros((their_holding.max(0) / 10_000 * sold).max(1));
        }
        scenario
    }
}

/// A scenario with wide guardrails, so that most cases reach the walk and execute.
fn easy_scenario() -> impl Strategy<Value = Scenario> {
    any_scenario().prop_map(|mut scenario| {
        scenario.portfolio.cash = UsdcMicros(100_000 * USDC);
        scenario.portfolio.equity = UsdcMicros(100_000 * USDC);
        let all = scenario.portfolio.equity;
        (scenario.portfolio.baselines.day_start, scenario.portfolio.baselines.week_start) = (Some(all), Some(all));
        scenario.portfolio.baselines.peak = all;
        scenario.portfolio.held = ShareMicros(scenario.portfolio.held.0.max(1));
        let guardrails = &mut scenario.config.guardrails;
        (guardrails.max_spread, guardrails.min_depth_multiplier) = (price(1_000_000), Bps(0));
        scenario.market.close_time = None;
        scenario
    })
}

fn side_of(scenario: &Scenario) -> Option<Side> {
    match scenario.group.action {
        GroupAction::Trade { side, .. } => Some(side),
        _ => None,
    }
}

proptest! {
    #[test]
    fn the_same_situation_gives_the_same_decision(scenario in any_scenario()) {
        prop_assert_eq!(scenario.try_decide(), scenario.try_decide());
    }

    #[test]
    fn reasons_are_exactly_the_codes_of_the_failed_checks_each_once(scenario in any_scenario()) {
        let decision = scenario.decide();
        let mut expected: Vec<ReasonCode> = Vec::new();
        for check in decision.checks().iter().filter(|check| check.failed()) {
            if !expected.contains(&check.code) {
                expected.push(check.code);
            }
        }
        prop_assert_eq!(decision.kind() == DecisionKind::Execute, expected.is_empty());
        prop_assert_eq!(decision.reasons(), expected);
        prop_assert!(decision.checks().len() <= 24);
        prop_assert!(decision.checks().iter().all(|check| check.unit == check.name.unit()));
    }

    #[test]
    fn an_executed_trade_stays_within_target_limit_depth_cash_and_lot(scenario in prop_oneof![any_scenario(), easy_scenario()]) {
        let (Some(side), Decision::Execute(_)) = (side_of(&scenario), scenario.decide()) else { return Ok(()) };
        let (attempt, entries) = scenario.decide().into_record(scenario.portfolio.id, &scenario.group, scenario.now).unwrap();
        let limit = attempt.explanation.limit_price_micros.unwrap();
        let book = scenario.book();
        prop_assert!(attempt.filled_shares > ShareMicros(0));
        for fill in &attempt.fills {
            let level = book.side_against(side).iter().find(|level| level.price == fill.price).unwrap();
            prop_assert!(fill.shares <= level.shares);
            match side {
                Side::Buy => prop_assert!(fill.price <= limit && fill.notional == fill.price.cost_of(fill.shares).unwrap()),
                Side::Sell => prop_assert!(fill.price >= limit && fill.notional == fill.price.proceeds_of(fill.shares).unwrap()),
            }
        }
        let cash: i64 = entries.iter().map(|entry| entry.cash.0).sum();
        let shares: i64 = entries.iter().map(|entry| entry.shares.0).sum();
        let fee = attempt.explanation.fee_micros;
        prop_assert!(fee >= 0 && (fee == 0 || scenario.config.sizing.apply_taker_fees));
        match side {
            Side::Buy => {
                prop_assert!(attempt.filled_notional <= attempt.target_notional);
                prop_assert_eq!((cash, shares), (-attempt.filled_notional.0 - fee, attempt.filled_shares.0));
                prop_assert!(scenario.portfolio.cash.0 + cash >= 0);
                prop_assert!(scenario.portfolio.exposure_total.0 - cash <= scenario.portfolio.equity.0 * 7 / 10);
            }
            Side::Sell => {
                prop_assert!(attempt.filled_shares <= scenario.portfolio.held);
                prop_assert_eq!((cash, shares), (attempt.filled_notional.0 - fee, -attempt.filled_shares.0));
            }
        }
        prop_assert!(attempt.filled_ratio >= Bps(0) && attempt.filled_ratio <= Bps::WHOLE);
    }

    #[test]
    fn an_executed_trade_never_breaks_the_rules_of_the_venue(scenario in prop_oneof![any_scenario(), easy_scenario()]) {
        let mut scenario = scenario;
        scenario.config.sizing.venue_order_rules = true;
        let (Some(side), Decision::Execute(_)) = (side_of(&scenario), scenario.decide()) else { return Ok(()) };
        let attempt = scenario.decide().into_attempt(scenario.portfolio.id, &scenario.group, scenario.now);
        match side {
            Side::Buy => {
                let order = attempt.explanation.order_notional_micros.unwrap();
                prop_assert!(order.0 % 10_000 == 0 && order.0 >= USDC && order <= attempt.target_notional);
                prop_assert!(attempt.filled_notional <= order);
            }
            Side::Sell => {
                let order = attempt.explanation.order_share_micros.unwrap();
                prop_assert!(order.0 % 10_000 == 0 && Some(order) <= attempt.explanation.target_share_micros);
                prop_assert!(scenario.book().best_bid().proceeds_of(order).unwrap().0 >= USDC);
                prop_assert!(attempt.filled_shares <= order);
            }
        }
    }

    #[test]
    fn a_leader_who_leaves_leaves_us_no_more_than_dust(scenario in easy_scenario(), before in SHARE..5_000 * SHARE) {
        let mut scenario = scenario;
        scenario.config.sizing.exit_sizing = ExitSizing::Proportional;
        scenario.their_holding = TheirHolding::Known(ShareMicros(before));
        scenario.group.shares = ShareMicros(before);
        let (Some(Side::Sell), Decision::Execute(_)) = (side_of(&scenario), scenario.decide()) else { return Ok(()) };
        let attempt = scenario.decide().into_attempt(scenario.portfolio.id, &scenario.group, scenario.now);
        prop_assert_eq!(attempt.explanation.target_share_micros, Some(scenario.portfolio.held));
        if attempt.filled_ratio == Bps::WHOLE {
            let rest = scenario.portfolio.held.0 - attempt.filled_shares.0;
            let most = if scenario.config.sizing.venue_order_rules { 10_000 } else { 1 };
            prop_assert!((0..=most).contains(&rest), "{rest}");
        }
    }

    #[test]
    fn a_fee_never_makes_a_skip_an_execute(scenario in any_scenario()) {
        let mut free = scenario.clone();
        free.config.sizing.apply_taker_fees = false;
        if free.decide().kind() == DecisionKind::Skip {
            prop_assert_eq!(scenario.decide().kind(), DecisionKind::Skip);
        }
    }

    #[test]
    fn the_order_of_the_levels_does_not_matter(scenario in any_scenario()) {
        let mut turned = scenario.clone();
        turned.bids.reverse();
        turned.asks.reverse();
        prop_assert_eq!(turned.decide(), scenario.decide());
    }

    #[test]
    fn more_depth_at_the_same_prices_fills_no_less(scenario in easy_scenario(), more in 0..100 * SHARE) {
        let filled = |scenario: &Scenario| {
            scenario.decide().into_attempt(scenario.portfolio.id, &scenario.group, scenario.now).filled_ratio
        };
        let mut deeper = scenario.clone();
        // Only existing levels grow, so that the best prices and the middle do not change.
        for level in deeper.bids.iter_mut().chain(&mut deeper.asks).filter(|level| level.1 > 0) {
            level.1 += more;
        }
        // The larger fill of a deeper book may exceed a cap that the smaller fill did not reach.
        let capped = deeper.decide().reasons().iter().any(|code| matches!(code, ReasonCode::RiskCapUser | ReasonCode::RiskCapGlobal));
        prop_assert!(capped || filled(&deeper) >= filled(&scenario));
    }

    #[test]
    fn sets_balance_and_never_exceed_what_is_held(scenario in any_scenario()) {
        let (None, Decision::Execute(_)) = (side_of(&scenario), scenario.decide()) else { return Ok(()) };
        let (attempt, entries) = scenario.decide().into_record(scenario.portfolio.id, &scenario.group, scenario.now).unwrap();
        let sets = attempt.filled_shares.0;
        let cash: i64 = entries.iter().map(|entry| entry.cash.0).sum();
        prop_assert_eq!(entries.len(), scenario.market.outcomes.len());
        prop_assert_eq!(cash, if scenario.group.action == GroupAction::Split { -sets } else { sets });
        for entry in &entries {
            prop_assert_eq!(entry.shares.0.abs(), sets);
            if entry.kind == EntryType::Merge {
                let held = scenario.portfolio.held_sets.iter().find(|(asset, _)| Some(asset) == entry.asset.as_ref());
                prop_assert!(held.is_some_and(|(_, shares)| shares.0 >= sets));
            }
        }
    }

    #[test]
    fn prices_are_listed_whenever_there_is_a_book(scenario in any_scenario()) {
        let Some(side) = side_of(&scenario) else { return Ok(()) };
        let decision = scenario.decide();
        let listed = |name| decision.checks().iter().any(|check| check.name == name);
        prop_assert!(listed(CheckName::Spread) && listed(CheckName::PriceVersusTheirFill) && listed(CheckName::PriceVersusMid));
        let attempt = scenario.decide().into_attempt(scenario.portfolio.id, &scenario.group, scenario.now);
        let no_order = attempt.explanation.order_share_micros == Some(ShareMicros(0));
        let nothing_to_sell = side == Side::Sell && (no_order || scenario.portfolio.held <= ShareMicros(0));
        prop_assert_eq!(listed(CheckName::Depth) && listed(CheckName::Liquidity), !nothing_to_sell);
        prop_assert_eq!(listed(CheckName::Cash), side == Side::Buy);
    }
}
