//! What holds for every decision, over random books, groups, portfolios and settings.

use proptest::prelude::*;

use super::world::{SHARE, USDC, World, price};
use crate::domain::accounting::ledger::EntryType;
use crate::domain::decision::decide::{CheckName, Decision, DecisionKind, ReasonCode};
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
    /// Mostly near the boundaries: small caps, near limits, thin books.
    fn any_world()(
        (sell, global, fees, split) in (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)),
        reference in 20_000..980_000i64,
        notional in 0..3_000 * USDC,
        (equity, cash) in (-USDC..20_000 * USDC, -USDC..12_000 * USDC),
        (exposure, market_exposure) in (0..12_000 * USDC, 0..600 * USDC),
        held in -SHARE..200 * SHARE,
        (worsening, over_mid, spread) in (0..40_000i64, 0..40_000i64, 0..60_000i64),
        depth in 0..20_000i64,
        seconds_to_close in -60..7_200i64,
    )(
        bids in levels(reference - 8_000), asks in levels(reference + 8_000),
        sell in Just(sell), global in Just(global), fees in Just(fees), split in Just(split),
        reference in Just(reference), notional in Just(notional), equity in Just(equity), cash in Just(cash),
        exposure in Just(exposure), market_exposure in Just(market_exposure), held in Just(held),
        worsening in Just(worsening), over_mid in Just(over_mid), spread in Just(spread), depth in Just(depth),
        seconds_to_close in Just(seconds_to_close),
    ) -> World {
        let mut world = match (split, sell) {
            (true, false) => World::split(),
            (true, true) => World::merge(),
            (false, true) => World::sell(),
            (false, false) => World::buy(),
        };
        if global {
            world = world.in_global_portfolio();
        }
        world.group.notional = UsdcMicros(notional);
        world.group.reference_price = Some(price(reference));
        (world.portfolio.equity, world.portfolio.cash) = (UsdcMicros(equity), UsdcMicros(cash));
        world.portfolio.baselines.day_start = UsdcMicros(equity);
        world.portfolio.baselines.week_start = UsdcMicros(equity);
        (world.portfolio.exposure_total, world.portfolio.exposure_market) = (UsdcMicros(exposure), UsdcMicros(market_exposure));
        world.portfolio.held = ShareMicros(held);
        world.portfolio.baselines.peak = UsdcMicros(equity);
        world.config.sizing.apply_taker_fees = fees;
        let guardrails = &mut world.config.guardrails;
        guardrails.max_worsening_vs_their_fill = price(worsening);
        (guardrails.max_over_mid, guardrails.max_spread) = (price(over_mid), price(spread));
        guardrails.min_depth_multiplier = Bps(depth);
        world.market.close_time = Some(world.now.plus_millis(seconds_to_close * 1_000));
        (world.bids, world.asks) = (bids, asks);
        world
    }
}

/// A world whose guardrails are wide open, so that most rows reach the walk and execute.
fn easy_world() -> impl Strategy<Value = World> {
    any_world().prop_map(|mut world| {
        world.portfolio.cash = UsdcMicros(100_000 * USDC);
        world.portfolio.equity = UsdcMicros(100_000 * USDC);
        let all = world.portfolio.equity;
        (world.portfolio.baselines.day_start, world.portfolio.baselines.week_start) = (all, all);
        world.portfolio.baselines.peak = all;
        world.portfolio.held = ShareMicros(world.portfolio.held.0.max(1));
        let guardrails = &mut world.config.guardrails;
        (guardrails.max_spread, guardrails.min_depth_multiplier) = (price(1_000_000), Bps(0));
        world.market.close_time = None;
        world
    })
}

fn side_of(world: &World) -> Option<Side> {
    match world.group.action {
        GroupAction::Trade { side, .. } => Some(side),
        _ => None,
    }
}

proptest! {
    #[test]
    fn the_same_situation_gives_the_same_decision(world in any_world()) {
        prop_assert_eq!(world.try_decide(), world.try_decide());
    }

    #[test]
    fn reasons_are_exactly_the_codes_of_the_failed_checks_each_once(world in any_world()) {
        let decision = world.decide();
        let mut expected: Vec<ReasonCode> = Vec::new();
        for check in decision.checks().iter().filter(|check| check.failed()) {
            if !expected.contains(&check.code) {
                expected.push(check.code);
            }
        }
        prop_assert_eq!(decision.kind() == DecisionKind::Execute, expected.is_empty());
        prop_assert_eq!(decision.reasons(), expected);
        prop_assert!(decision.checks().len() <= 20);
        prop_assert!(decision.checks().iter().all(|check| check.unit == check.name.unit()));
    }

    #[test]
    fn an_executed_trade_stays_within_target_limit_depth_cash_and_lot(world in prop_oneof![any_world(), easy_world()]) {
        let (Some(side), Decision::Execute(_)) = (side_of(&world), world.decide()) else { return Ok(()) };
        let (attempt, entries) = world.decide().into_record(world.portfolio.id, &world.group, world.now).unwrap();
        let limit = attempt.explanation.limit_price_micros.unwrap();
        let book = world.book();
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
        prop_assert!(fee >= 0 && (fee == 0 || world.config.sizing.apply_taker_fees));
        match side {
            Side::Buy => {
                prop_assert!(attempt.filled_notional <= attempt.target_notional);
                prop_assert_eq!((cash, shares), (-attempt.filled_notional.0 - fee, attempt.filled_shares.0));
                prop_assert!(world.portfolio.cash.0 + cash >= 0);
                prop_assert!(world.portfolio.exposure_total.0 - cash <= world.portfolio.equity.0 * 7 / 10);
            }
            Side::Sell => {
                prop_assert!(attempt.filled_shares <= world.portfolio.held);
                prop_assert_eq!((cash, shares), (attempt.filled_notional.0 - fee, -attempt.filled_shares.0));
            }
        }
        prop_assert!(attempt.filled_ratio >= Bps(0) && attempt.filled_ratio <= Bps::WHOLE);
    }

    #[test]
    fn a_fee_never_makes_a_skip_an_execute(world in any_world()) {
        let mut free = world.clone();
        free.config.sizing.apply_taker_fees = false;
        if free.decide().kind() == DecisionKind::Skip {
            prop_assert_eq!(world.decide().kind(), DecisionKind::Skip);
        }
    }

    #[test]
    fn the_order_of_the_levels_does_not_matter(world in any_world()) {
        let mut turned = world.clone();
        turned.bids.reverse();
        turned.asks.reverse();
        prop_assert_eq!(turned.decide(), world.decide());
    }

    #[test]
    fn more_depth_at_the_same_prices_fills_no_less(world in easy_world(), more in 0..100 * SHARE) {
        let filled = |world: &World| {
            world.decide().into_attempt(world.portfolio.id, &world.group, world.now).filled_ratio
        };
        let mut deeper = world.clone();
        // Only levels that exist grow, so that best prices and the middle stay.
        for level in deeper.bids.iter_mut().chain(&mut deeper.asks).filter(|level| level.1 > 0) {
            level.1 += more;
        }
        // A deeper book may run into a cap that the shallow fill stayed below.
        let capped = deeper.decide().reasons().iter().any(|code| matches!(code, ReasonCode::RiskCapUser | ReasonCode::RiskCapGlobal));
        prop_assert!(capped || filled(&deeper) >= filled(&world));
    }

    #[test]
    fn sets_balance_and_never_exceed_what_is_held(world in any_world()) {
        let (None, Decision::Execute(_)) = (side_of(&world), world.decide()) else { return Ok(()) };
        let (attempt, entries) = world.decide().into_record(world.portfolio.id, &world.group, world.now).unwrap();
        let sets = attempt.filled_shares.0;
        let cash: i64 = entries.iter().map(|entry| entry.cash.0).sum();
        prop_assert_eq!(entries.len(), world.market.outcomes.len());
        prop_assert_eq!(cash, if world.group.action == GroupAction::Split { -sets } else { sets });
        for entry in &entries {
            prop_assert_eq!(entry.shares.0.abs(), sets);
            if entry.kind == EntryType::Merge {
                let held = world.portfolio.held_sets.iter().find(|(asset, _)| Some(asset) == entry.asset.as_ref());
                prop_assert!(held.is_some_and(|(_, shares)| shares.0 >= sets));
            }
        }
    }

    #[test]
    fn prices_are_listed_whenever_there_is_a_book(world in any_world()) {
        let Some(side) = side_of(&world) else { return Ok(()) };
        let decision = world.decide();
        let listed = |name| decision.checks().iter().any(|check| check.name == name);
        prop_assert!(listed(CheckName::Spread) && listed(CheckName::PriceVersusTheirFill) && listed(CheckName::PriceVersusMid));
        let nothing_to_sell = side == Side::Sell && world.portfolio.held <= ShareMicros(0);
        prop_assert_eq!(listed(CheckName::Depth) && listed(CheckName::Liquidity), !nothing_to_sell);
        prop_assert_eq!(listed(CheckName::Cash), side == Side::Buy);
    }
}
