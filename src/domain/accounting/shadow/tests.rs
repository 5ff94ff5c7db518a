//! Rows of one event each, and their entries.

use std::collections::BTreeMap;

use super::exactness::InexactCause;
use super::*;
use crate::domain::accounting::ledger::PortfolioId;
use crate::testkit::samples::{ALICE, activity, asset, at, market, market_id, price, trade};

/// The fields of an entry that the tests compare: kind, asset, shares, cash, price.
type Row = (EntryType, Option<AssetId>, i64, i64, Option<i64>);

fn row(entry: &LedgerEntry) -> Row {
    (entry.kind, entry.asset.clone(), entry.shares.0, entry.cash.0, entry.price.map(PriceMicros::micros))
}

fn rows(entries: &[LedgerEntry]) -> Vec<Row> {
    entries.iter().map(row).collect()
}

fn effect(activity: &ActivityEvent, market: &Market, holdings: &[(usize, i64)]) -> Vec<Row> {
    let holdings: Vec<_> = holdings.iter().map(|(n, held)| (asset(*n), ShareMicros(*held))).collect();
    let facts = ActivityFacts { market: Some(market), holdings: &holdings, booked: &[], payout_overdue: false };
    match entries_for_activity(activity, &facts) {
        Ok(ShadowEffect::Entries(Booked { entries, .. })) => {
            for entry in &entries {
                assert_eq!(entry.validate(), Ok(()));
                assert_eq!(entry.ref_id, format!("event:{}", activity.id));
                assert_eq!(
                    (entry.portfolio, entry.market.as_ref()),
                    (PortfolioId::ShadowUser(ALICE), Some(&market_id(1)))
                );
            }
            rows(&entries)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trade_moves_shares_against_gross_cash_and_a_known_fee_is_a_separate_entry() {
    let check = |side, fee: Option<i64>, expected: &[Row]| {
        let mut trade = trade("a", 10, side, 400_000, 5_000_000, 250);
        trade.fee = fee.map(UsdcMicros);
        assert_eq!(rows(&entries_for_trade(&trade).unwrap()), expected, "{side} {fee:?}");
    };
    let asset = || Some(asset(10));
    let bought = (EntryType::TradeFill, asset(), 5_000_000, -2_000_000, Some(400_000));
    let sold = (EntryType::TradeFill, asset(), -5_000_000, 2_000_000, Some(400_000));
    let fee = (EntryType::Fee, asset(), 0, -1234, None);
    check(Side::Buy, None, std::slice::from_ref(&bought));
    check(Side::Buy, Some(0), std::slice::from_ref(&bought));
    check(Side::Buy, Some(1234), &[bought, fee.clone()]);
    check(Side::Sell, None, std::slice::from_ref(&sold));
    check(Side::Sell, Some(1234), &[sold, fee]);
}

#[test]
fn entries_carry_their_cause_and_the_time_of_the_event() {
    let trade = trade("a", 10, Side::Buy, 400_000, 5_000_000, 250);
    let entry = &entries_for_trade(&trade).unwrap()[0];
    assert_eq!(entry.ref_id, format!("event:{}", trade.id));
    assert_eq!((entry.portfolio, entry.attributed_user), (PortfolioId::ShadowUser(ALICE), Some(ALICE)));
    assert_eq!((entry.market.as_ref(), entry.created_at), (Some(&market_id(1)), at(250)));
}

#[test]
fn a_split_and_a_merge_share_the_cash_and_the_last_outcome_takes_the_rest() {
    let check = |kind: ActivityKind, k: usize, cash: i64, price: i64, cashes: &[i64]| {
        let sets = activity("a", kind.clone(), 3, cash, None);
        let (entry, shares) = if kind == ActivityKind::Split { (EntryType::Split, 3) } else { (EntryType::Merge, -3) };
        let expected: Vec<Row> =
            (10..).zip(cashes).map(|(n, cash)| (entry, Some(asset(n)), shares, *cash, Some(price))).collect();
        assert_eq!(effect(&sets, &market(1, &vec![None; k]), &[]), expected, "{kind:?} of {k}");
    };
    check(ActivityKind::Split, 2, 4, 500_000, &[-2, -2]);
    check(ActivityKind::Split, 2, 5, 500_000, &[-2, -3]);
    check(ActivityKind::Merge, 2, 5, 500_000, &[2, 3]);
    check(ActivityKind::Merge, 3, 3, 333_333, &[1, 1, 1]);
    check(ActivityKind::Merge, 3, 5, 333_333, &[1, 1, 3]);
    check(ActivityKind::Merge, 6, 1, 166_667, &[0, 0, 0, 0, 0, 1]);
    check(ActivityKind::Split, 1, 5, 1_000_000, &[-5]);
}

#[test]
fn sets_of_a_market_whose_assets_are_unknown_are_not_applicable() {
    let unknown = NotApplicable::UnknownAssets(market_id(1));
    for kind in [ActivityKind::Split, ActivityKind::Merge] {
        let row = activity("a", kind, 3, 3, None);
        for market in [None, Some(market(1, &[])), Some(market(2, &[None, None]))] {
            let facts = ActivityFacts { market: market.as_ref(), ..ActivityFacts::default() };
            assert_eq!(entries_for_activity(&row, &facts), Err(unknown.clone()));
        }
    }
    for kind in [ActivityKind::Split, ActivityKind::Merge, ActivityKind::Redeem] {
        let mut nameless = activity("a", kind, 3, 3, None);
        nameless.payload.condition_id = None;
        let market = market(1, &[None, None]);
        let facts = ActivityFacts { market: Some(&market), ..ActivityFacts::default() };
        assert_eq!(entries_for_activity(&nameless, &facts), Err(NotApplicable::NoCondition));
    }
}

/// A row of a redemption, with its name.
fn redeem(name: &str, cash: i64, token: Option<usize>) -> ActivityEvent {
    activity(name, ActivityKind::Redeem, 0, cash, token.map(asset))
}

fn settled(n: usize, shares: i64, cash: i64, price: i64) -> Row {
    (EntryType::Settlement, Some(asset(n)), shares, cash, Some(price))
}

/// Shares that the shadow did not hold.
fn unknown(n: usize, shares: i64, cash: i64, price: i64) -> Row {
    (EntryType::Adjustment, Some(asset(n)), shares, cash, Some(price))
}

const M: i64 = 1_000_000;

#[test]
fn a_redeem_takes_losing_shares_and_of_the_winning_ones_what_the_cash_paid_for() {
    let won = market(1, &[Some(0), Some(M)]);
    let both = [(10, 50 * M), (11, 20 * M)];
    let check = |cash: i64, token: Option<usize>, held: &[(usize, i64)], expected: &[Row]| {
        assert_eq!(effect(&redeem("a", cash, token), &won, held), expected, "{cash} {token:?} {held:?}");
    };
    check(20 * M, None, &both, &[settled(10, -50 * M, 0, 0), settled(11, -20 * M, 20 * M, M)]);
    check(20 * M, Some(11), &both, &[settled(11, -20 * M, 20 * M, M)]);
    check(0, Some(10), &both, &[settled(10, -50 * M, 0, 0)]);
    check(0, None, &[(10, 50 * M)], &[settled(10, -50 * M, 0, 0)]);
    // Shares that the cash does not pay for stay, but no rest below a hundredth.
    check(15 * M, None, &both, &[settled(10, -50 * M, 0, 0), settled(11, -15 * M, 15 * M, M)]);
    check(20 * M - 9_999, Some(11), &both, &[settled(11, -20 * M, 20 * M - 9_999, M)]);
    check(20 * M - 10_000, Some(11), &both, &[settled(11, -20 * M + 10_000, 20 * M - 10_000, M)]);
    check(0, Some(11), &both, &[]);
    // Cash on a token that pays nothing belongs to the condition.
    check(20 * M, Some(10), &both, &[settled(10, -50 * M, 0, 0), settled(11, -20 * M, 20 * M, M)]);
    // A negative holding is not redeemed.
    check(20 * M, None, &[(10, -50 * M), (11, 20 * M)], &[settled(11, -20 * M, 20 * M, M)]);
    check(0, None, &[], &[]);
}

#[test]
fn a_split_payout_divides_the_cash_over_the_outcomes_held() {
    let even = market(1, &[Some(500_000), Some(500_000)]);
    let both = [(10, 50 * M), (11, 20 * M)];
    let whole = effect(&redeem("a", 35 * M, None), &even, &both);
    assert_eq!(whole, [settled(10, -50 * M, 25 * M, 500_000), settled(11, -20 * M, 10 * M, 500_000)]);
    let one = effect(&redeem("a", 10 * M, Some(11)), &even, &both);
    assert_eq!(one, [settled(11, -20 * M, 10 * M, 500_000)]);
    // 10 / 0.333333 shares to the nearest micro.
    let third = market(1, &[Some(333_333), Some(666_667)]);
    let part = effect(&redeem("a", 10 * M, Some(10)), &third, &both);
    assert_eq!(part, [settled(10, -30_000_030, 10 * M, 333_333)]);
}

#[test]
fn cash_beyond_the_holding_is_of_shares_we_did_not_know_and_brings_no_profit() {
    let won = market(1, &[Some(0), Some(M)]);
    let check = |token: Option<usize>, held: &[(usize, i64)], expected: &[Row]| {
        assert_eq!(effect(&redeem("a", 30 * M, token), &won, held), expected, "{token:?} {held:?}");
    };
    let all = [unknown(11, 30 * M, -30 * M, M), settled(11, -30 * M, 30 * M, M)];
    check(None, &[], &all);
    check(Some(11), &[], &all);
    check(Some(11), &[(11, -4 * M)], &all);
    check(Some(11), &[(11, 20 * M)], &[unknown(11, 10 * M, -10 * M, M), settled(11, -30 * M, 30 * M, M)]);
    check(
        None,
        &[(10, 5 * M), (11, 20 * M)],
        &[settled(10, -5 * M, 0, 0), unknown(11, 10 * M, -10 * M, M), settled(11, -30 * M, 30 * M, M)],
    );
    // Less than the positions route can show is rounding.
    check(Some(11), &[(11, 30 * M - 99)], &[settled(11, -30 * M + 99, 30 * M, M)]);
    let half = market(1, &[Some(500_000), Some(500_000)]);
    let split = effect(&redeem("a", 30 * M, None), &half, &[(11, 20 * M)]);
    assert_eq!(
        split,
        [
            unknown(10, 40 * M, -20 * M, 500_000),
            settled(10, -40 * M, 20 * M, 500_000),
            settled(11, -20 * M, 10 * M, 500_000)
        ]
    );
}

#[test]
fn rows_of_one_transaction_book_what_one_row_with_their_cash_would() {
    let won = market(1, &[Some(0), Some(M)]);
    let check = |rows: &[(i64, Option<usize>)], held: &[(usize, i64)]| {
        let (mut booked, mut holdings): (Vec<LedgerEntry>, BTreeMap<AssetId, ShareMicros>) = Default::default();
        holdings.extend(held.iter().map(|(n, shares)| (asset(*n), ShareMicros(*shares))));
        for (n, (cash, token)) in rows.iter().enumerate() {
            let row = redeem(&format!("row {n}"), *cash, token.map(|n| n));
            let now: Vec<_> = holdings.iter().map(|(asset, shares)| (asset.clone(), *shares)).collect();
            let facts = ActivityFacts { market: Some(&won), holdings: &now, booked: &booked, payout_overdue: false };
            let Ok(ShadowEffect::Entries(effect)) = entries_for_activity(&row, &facts) else { panic!("{row:?}") };
            let paid: i64 = effect.entries.iter().filter(|e| e.kind == EntryType::Settlement).map(|e| e.cash.0).sum();
            assert_eq!(paid, *cash, "each row books its own cash: {rows:?}");
            for entry in effect.entries {
                let sum = holdings.entry(entry.asset.clone().unwrap()).or_default();
                *sum = sum.plus(entry.shares).unwrap();
                booked.push(entry);
            }
        }
        let cash: i64 = booked.iter().map(|entry| entry.cash.0).sum();
        (cash, holdings.into_values().map(|shares| shares.0).collect::<Vec<_>>())
    };
    let both = [(10, 50 * M), (11, 20 * M)];
    assert_eq!(check(&[(20 * M, None)], &both), (20 * M, vec![0, 0]));
    assert_eq!(check(&[(20 * M, Some(11)), (0, Some(10))], &both), (20 * M, vec![0, 0]));
    assert_eq!(check(&[(0, Some(10)), (20 * M, Some(11))], &both), (20 * M, vec![0, 0]));
    assert_eq!(check(&[(0, None), (20 * M, None)], &both), (20 * M, vec![0, 0]));
    assert_eq!(check(&[(7 * M, None), (8 * M, None)], &both), (15 * M, vec![0, 5 * M]));
    // 19.995 takes all 20 shares; the half cent that follows is of them, and not of a share we did not know.
    assert_eq!(check(&[(20 * M - 5_000, None), (5_000, None)], &both), (20 * M, vec![0, 0]));
    // 5 of 25 are shares we did not know.
    assert_eq!(check(&[(15 * M, None), (10 * M, None)], &both), (20 * M, vec![0, 0]));
    assert_eq!(check(&[(25 * M, None), (2 * M, None)], &both), (20 * M, vec![0, 0]));
}

#[test]
fn a_redeem_waits_for_the_payout_and_takes_one_after_a_day() {
    let held = |held: &[(usize, i64)]| -> Vec<_> { held.iter().map(|(n, h)| (asset(*n), ShareMicros(*h))).collect() };
    let both = held(&[(10, 50 * M), (11, 20 * M)]);
    let open = market(1, &[None, None]);
    let asked = |row: &ActivityEvent, market: Option<&Market>, holdings: &[(AssetId, ShareMicros)], payout_overdue| {
        entries_for_activity(row, &ActivityFacts { market, holdings, booked: &[], payout_overdue })
    };
    let half_known = market(1, &[Some(M), None]);
    for (row, market) in [
        (redeem("a", 20 * M, None), Some(&open)),
        (redeem("a", 20 * M, Some(11)), Some(&open)),
        (redeem("a", 20 * M, Some(11)), None),
        (redeem("a", 20 * M, Some(11)), Some(&half_known)),
        (redeem("a", 20 * M, None), Some(&half_known)),
        (redeem("a", 0, Some(11)), Some(&open)),
    ] {
        assert_eq!(asked(&row, market, &both, false), Ok(ShadowEffect::NeedsPayout), "{row:?}");
    }
    assert_eq!(asked(&redeem("a", 20 * M, None), Some(&open), &[], false), Ok(ShadowEffect::NeedsPayout));
    let overdue = |cash, token: Option<usize>, holdings: &[(AssetId, ShareMicros)]| match asked(
        &redeem("a", cash, token),
        Some(&open),
        holdings,
        true,
    ) {
        Ok(ShadowEffect::Entries(booked)) => {
            assert_eq!(booked.inexact, Some(InexactCause::PayoutAssumed));
            rows(&booked.entries)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(overdue(20 * M, Some(11), &both), [settled(11, -20 * M, 20 * M, M)]);
    assert_eq!(overdue(20 * M, None, &both), [settled(10, -20 * M, 20 * M, M)]);
    assert_eq!(overdue(20 * M, None, &[]), [unknown(10, 20 * M, -20 * M, M), settled(10, -20 * M, 20 * M, M)]);
    let nameless = asked(&redeem("a", 20 * M, None), None, &[], true);
    assert_eq!(nameless, Err(NotApplicable::UnknownAssets(market_id(1))));
}

#[test]
fn rows_that_do_not_say_what_moved_wait_for_the_positions() {
    let market = market(1, &[None, None]);
    let facts = ActivityFacts { market: Some(&market), ..ActivityFacts::default() };
    for kind in [
        ActivityKind::Conversion,
        ActivityKind::Migration,
        ActivityKind::DirectionalSplit,
        ActivityKind::DirectionalMerge,
        ActivityKind::ThresholdCompose,
        ActivityKind::ThresholdDecompose,
    ] {
        let row = activity("a", kind, 5, 0, None);
        assert_eq!(entries_for_activity(&row, &facts), Ok(ShadowEffect::ReadPositions));
    }
}

/// Case 7 of the inputs that went wrong: a credit of the account names no condition.
#[test]
fn a_migration_without_a_condition_is_only_an_activity() {
    let mut credit = activity("a", ActivityKind::Migration, 0, 25 * M, None);
    credit.payload.condition_id = None;
    let effect = entries_for_activity(&credit, &ActivityFacts::default());
    assert_eq!(effect, Ok(ShadowEffect::Entries(Booked::default())));
}

/// Case 5: a combo is bought as an ignored row and pays by a REDEEM of its condition.
#[test]
fn combos_of_every_kind_are_left_out() {
    let condition = MarketId::parse("0x03449eec66c044cecb729af4169b45afbf0000000000000000000000000000").unwrap();
    let token = "1478180995445884194963783500106018329313736528433258596285541062936163778560";
    let market = market(1, &[None, Some(M)]);
    for kind in [ActivityKind::Redeem, ActivityKind::Split, ActivityKind::Merge, ActivityKind::Combo] {
        let mut by_condition = activity("a", kind.clone(), 0, 79_375_723_165, None);
        by_condition.payload.condition_id = Some(condition.clone());
        assert_eq!(effect(&by_condition, &market, &[]), []);
        let mut by_token = activity("a", kind, 0, 79_375_723_165, Some(AssetId::parse(token).unwrap()));
        by_token.payload.condition_id = None;
        assert_eq!(effect(&by_token, &market, &[]), []);
    }
}

#[test]
fn rows_that_move_no_position_leave_the_ledger_alone() {
    let market = market(1, &[None, None]);
    for kind in [ActivityKind::Combo, ActivityKind::Other("REWARD".to_owned()), ActivityKind::Other("TIP".to_owned())] {
        assert_eq!(effect(&activity("a", kind, 5, 5, None), &market, &[(10, 5)]), []);
    }
}

#[test]
fn an_average_price_is_kept_as_the_row_says_it() {
    let mut odd = trade("a", 10, Side::Buy, 333_333, 3_000_001, 0);
    odd.notional = UsdcMicros(1_000_001);
    let entry = &entries_for_trade(&odd).unwrap()[0];
    assert_eq!((entry.cash, entry.price), (UsdcMicros(-1_000_001), Some(price(333_333))));
}
