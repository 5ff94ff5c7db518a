//! The records of a decision: the attempt, its entries, and the texts that are contracts.

use super::scenario::{SHARE, Scenario, USDC, asset, price};
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::check::{CheckName, CheckUnit, ReasonCode, Verdict};
use crate::domain::decision::explanation::{DecisionKind, Explanation};
use crate::domain::market::book_walk::LevelFill;
use crate::domain::market::facts::OutcomeAsset;
use crate::domain::money::ids::AttemptId;
use crate::domain::money::units::{Bps, ShareMicros, UsdcMicros};

fn record(scenario: &Scenario) -> (CopyAttempt, Vec<LedgerEntry>) {
    scenario.decide().into_record(scenario.portfolio.id, &scenario.group, scenario.now).unwrap()
}

/// Kind, asset, shares, cash, price.
fn plain(entries: &[LedgerEntry]) -> Vec<(EntryType, &str, i64, i64, Option<i64>)> {
    entries
        .iter()
        .map(|entry| {
            let asset = entry.asset.as_ref().unwrap().as_str();
            (entry.kind, asset, entry.shares.0, entry.cash.0, entry.price.map(|price| price.micros()))
        })
        .collect()
}

fn fills(attempt: &CopyAttempt) -> Vec<(i64, i64, i64)> {
    attempt.fills.iter().map(|LevelFill { price, shares, notional }| (price.micros(), shares.0, notional.0)).collect()
}

#[test]
fn a_buy_over_two_levels_is_exact_to_the_micro() {
    let mut scenario = Scenario::buy();
    // 15 shares for 7.5, then 2.5 USDC at 0.503: 4.970178 shares, whose cost of 2.499999534 rounds up to 2.5.
    scenario.asks = vec![(503_000, 1_000 * SHARE), (500_000, 15 * SHARE)];
    let (attempt, entries) = record(&scenario);

    assert_eq!(attempt.id, AttemptId::of("EXEC_USER:7", &scenario.group.key));
    assert_eq!((attempt.decision, attempt.reasons.as_slice()), (DecisionKind::Execute, [].as_slice()));
    assert_eq!(fills(&attempt), [(500_000, 15 * SHARE, 7_500_000), (503_000, 4_970_178, 2_500_000)]);
    assert_eq!((attempt.target_notional, attempt.filled_notional), (UsdcMicros(10 * USDC), UsdcMicros(10 * USDC)));
    assert_eq!((attempt.filled_shares, attempt.filled_ratio), (ShareMicros(19_970_178), Bps::WHOLE));
    // 10 / 19.970178 = 0.50074666...; 19.970178 * 0.04 * 0.500747 * 0.499253 = 0.19970133...
    assert_eq!((attempt.vwap, attempt.explanation.fee_micros), (Some(price(500_747)), 199_700));
    assert_eq!((attempt.their_reference_price, attempt.mid_at_decision), (Some(price(500_000)), Some(price(495_000))));
    assert_eq!((attempt.created_at, attempt.explanation.decided_at), (scenario.now, scenario.now));

    assert_eq!(
        plain(&entries),
        [(EntryType::TradeFill, "1", 19_970_178, -10_000_000, Some(500_747)), (EntryType::Fee, "1", 0, -199_700, None)]
    );
    let ref_id = format!("copy:{}", attempt.id);
    for entry in &entries {
        assert_eq!((entry.ref_id.as_str(), entry.created_at), (ref_id.as_str(), scenario.now));
        assert_eq!(
            (entry.portfolio, entry.attributed_user),
            (scenario.portfolio.id, Some(scenario.group.followed_user))
        );
        assert_eq!(entry.market.as_ref(), Some(&scenario.group.market));
    }
}

#[test]
fn a_sell_brings_cash_less_the_fee() {
    let mut scenario = Scenario::sell();
    scenario.bids = vec![(500_000, 15 * SHARE), (499_999, 1_000 * SHARE)];
    let (attempt, entries) = record(&scenario);
    assert_eq!(fills(&attempt), [(500_000, 15 * SHARE, 7_500_000), (499_999, 5 * SHARE, 2_499_995)]);
    assert_eq!(attempt.filled_ratio, Bps::WHOLE);
    assert_eq!(
        plain(&entries),
        [(EntryType::TradeFill, "1", -20 * SHARE, 9_999_995, Some(500_000)), (EntryType::Fee, "1", 0, -200_000, None)]
    );
}

#[test]
fn no_fee_means_no_fee_entry() {
    let mut scenario = Scenario::buy();
    scenario.config.sizing.apply_taker_fees = false;
    assert_eq!(plain(&record(&scenario).1), [(EntryType::TradeFill, "1", 20 * SHARE, -10_000_000, Some(500_000))]);
}

#[test]
fn part_of_the_target_is_an_execute_with_its_ratio() {
    let check = |asks: &[(i64, i64)], ratio| {
        let mut scenario = Scenario::buy();
        scenario.config.guardrails.min_depth_multiplier = Bps(0);
        scenario.asks = asks.to_vec();
        let (attempt, _) = record(&scenario);
        assert_eq!((attempt.decision, attempt.filled_ratio), (DecisionKind::Execute, Bps(ratio)), "{asks:?}");
    };
    check(&[(500_000, 20 * SHARE)], 10_000);
    check(&[(500_000, 20 * SHARE - 1)], 10_000);
    check(&[(500_000, 20 * SHARE - 2)], 9_999);
    check(&[(500_000, 5 * SHARE), (510_001, 100 * SHARE)], 2_500);
    check(&[(500_000, 1)], 0);
}

#[test]
fn a_skip_writes_the_attempt_alone_with_nothing_filled() {
    let mut scenario = Scenario::buy().in_global_portfolio();
    scenario.portfolio.cash = UsdcMicros(0);
    let (attempt, entries) = record(&scenario);
    assert_eq!(attempt.reasons, [ReasonCode::RiskCapGlobal]);
    assert_eq!((attempt.filled_notional, attempt.filled_shares), (UsdcMicros(0), ShareMicros(0)));
    assert_eq!((attempt.vwap, attempt.filled_ratio, fills(&attempt)), (None, Bps(0), vec![]));
    assert_eq!(attempt.target_notional, UsdcMicros(10 * USDC));
    assert_eq!(attempt.id, AttemptId::of("EXEC_GLOBAL", &scenario.group.key));
    assert_eq!(entries, []);
}

#[test]
fn sets_are_written_one_entry_an_outcome_with_the_remainder_on_the_last() {
    let third = OutcomeAsset { asset: asset(3), outcome: "Third".into(), index: 2, payout: None };
    let mut split = Scenario::split();
    split.market.outcomes.push(third.clone());
    let (attempt, entries) = record(&split);
    assert_eq!(
        plain(&entries),
        [
            (EntryType::Split, "1", 10 * SHARE, -3_333_333, Some(333_333)),
            (EntryType::Split, "2", 10 * SHARE, -3_333_333, Some(333_333)),
            (EntryType::Split, "3", 10 * SHARE, -3_333_334, Some(333_333)),
        ]
    );
    assert_eq!((attempt.filled_shares, attempt.filled_notional), (ShareMicros(10 * SHARE), UsdcMicros(10 * USDC)));
    assert_eq!((attempt.vwap, attempt.filled_ratio), (None, Bps::WHOLE));

    let mut merge = Scenario::merge();
    merge.market.outcomes.push(third);
    merge.portfolio.held_sets.push((asset(3), ShareMicros(4 * SHARE)));
    let (attempt, entries) = record(&merge);
    assert_eq!(
        plain(&entries),
        [
            (EntryType::Merge, "1", -4 * SHARE, 1_333_333, Some(333_333)),
            (EntryType::Merge, "2", -4 * SHARE, 1_333_333, Some(333_333)),
            (EntryType::Merge, "3", -4 * SHARE, 1_333_334, Some(333_333)),
        ]
    );
    assert_eq!((attempt.target_notional, attempt.filled_ratio), (UsdcMicros(10 * USDC), Bps(4_000)));
}

#[test]
#[should_panic(expected = "a decision belongs to its portfolio and group")]
fn a_decision_is_not_recorded_in_another_portfolio() {
    let scenario = Scenario::buy();
    let _ = scenario.decide().into_attempt(PortfolioId::ExecGlobal, &scenario.group, scenario.now);
}

#[test]
fn reason_codes_and_check_names_never_change() {
    let texts = |all: &[&str]| all.join(" ");
    assert_eq!(
        texts(&ReasonCode::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>()),
        "ENGINE_PAUSED USER_DISABLED OPENS_PAUSED MARKET_BLACKLISTED SIGNAL_TOO_OLD MARKET_UNKNOWN MARKET_FILTERED \
         NOT_ENOUGH_POSITION_TO_SELL BELOW_VENUE_MINIMUM MARKET_TOO_CLOSE_TO_CLOSE CIRCUIT_BREAKER_TRIPPED BOOK_UNAVAILABLE SPREAD_TOO_WIDE \
         PRICE_WORSE_THAN_THEIR_FILL PRICE_TOO_FAR_OVER_MID INSUFFICIENT_DEPTH NO_LIQUIDITY_WITHIN_BOUNDS \
         RISK_CAP_USER RISK_CAP_GLOBAL MERGE_SPLIT_NOT_APPLICABLE"
    );
    assert_eq!(
        texts(&CheckName::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>()),
        "ENGINE_ENABLED USER_ENABLED OPENS_ENABLED LEADER_OPENS MARKET_ALLOWED SIGNAL_AGE MARKET_KNOWN \
         THEIR_PRICE_LOW THEIR_PRICE_HIGH THEIR_NOTIONAL CLOSES_SOON_ENOUGH CATEGORY_WANTED CATEGORY_ALLOWED \
         TARGET_ABOVE_MINIMUM POSITION_HELD VENUE_MINIMUM MARKET_OPEN \
         TIME_TO_CLOSE DAILY_LOSS WEEKLY_LOSS DRAWDOWN BOOK_AVAILABLE SPREAD PRICE_VERSUS_THEIR_FILL \
         PRICE_VERSUS_MID DEPTH LIQUIDITY TOTAL_EXPOSURE MARKET_EXPOSURE LEADER_EXPOSURE CASH SETS_APPLICABLE"
    );
    assert_eq!(
        texts(&CheckUnit::ALL.iter().map(|unit| unit.as_str()).collect::<Vec<_>>()),
        "FLAG MS USDC_MICROS SHARE_MICROS PRICE_MICROS BPS"
    );
    assert_eq!(texts(&Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect::<Vec<_>>()), "PASS FAIL UNKNOWN");
}

#[test]
fn an_explanation_is_kept_as_this_text() {
    let mut scenario = Scenario::buy().in_global_portfolio();
    scenario.market.close_time = None;
    scenario.portfolio.exposure_leader = UsdcMicros(1_995 * USDC);
    let (attempt, _) = record(&scenario);
    let text = serde_json::to_string_pretty(&attempt.explanation).unwrap();
    assert_eq!(text, include_str!("explanation.json").trim_end());
    assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), attempt.explanation);
}
