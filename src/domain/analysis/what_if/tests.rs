//! Two configurations that decide the same groups, one difference at a time.

use super::*;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::config::effective::ConfigPatch;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::exit::TheirHolding;
use crate::domain::events::event::Side;
use crate::domain::money::units::Bps;
use crate::testkit::facts::trade_group;
use crate::testkit::samples::{ALICE, BOB, asset, at, deposit, market, price};

const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;
const USDC: i64 = 1_000_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

/// A comparison in which Alice and Bob are copied.
struct Scenario {
    comparison: Comparison,
    n: i64,
}

fn policy(change: impl FnOnce(&mut ConfigPatch)) -> Policy {
    let mut patch = ConfigPatch::default();
    change(&mut patch);
    Policy { global: StoredConfig::default().with(&patch), overrides: BTreeMap::new() }
}

fn defaults() -> Policy {
    policy(|_| {})
}

/// A deep book: bids at `bid`, asks at one half.
fn book(bid: i64) -> OrderBook {
    let plenty = ShareMicros(100_000 * USDC);
    OrderBook::from_levels([(price(bid), plenty)], [(price(500_000), plenty)]).unwrap()
}

fn group(n: i64, leader: FollowedUserId, asset_n: usize, side: Side, notional: i64) -> EventGroup {
    let key = format!("{leader}:{asset_n}:{}:{n:04}", side.as_str());
    EventGroup {
        notional: UsdcMicros(notional * USDC),
        shares: ShareMicros(2 * notional * USDC),
        ..trade_group(&key, leader, market(asset_n / 10, &[]).id, asset(asset_n), side, at(n * SECOND))
    }
}

fn active<const N: usize>(leaders: [FollowedUserId; N]) -> BTreeMap<FollowedUserId, FollowHistory> {
    leaders.map(|leader| (leader, FollowHistory::always(FollowState::Active))).into()
}

impl Scenario {
    /// Opened with 10,000 USDC before the window.
    fn new(current: Policy, candidate: Policy) -> Self {
        let mut portfolio = Portfolio::new(GLOBAL);
        portfolio.apply(&deposit(GLOBAL, 10_000 * USDC)).unwrap();
        let start = Start { time: at(0), portfolio, leaders: active([ALICE, BOB]) };
        Self { comparison: Comparison::new(start, current, candidate), n: 0 }
    }

    fn case(&mut self, leader: FollowedUserId, asset_n: usize, side: Side, notional: i64, book: StoredBook) {
        self.n += 1;
        let group = group(self.n, leader, asset_n, side, notional);
        let market = market(asset_n / 10, &[None, None]);
        self.comparison
            .decide(&Case {
                group: &group,
                market: &market,
                book,
                recorded: None,
                their_holding: TheirHolding::NotAsked,
            })
            .unwrap();
    }

    /// The leader buys for this many USDC; our copy is one hundredth.
    fn buys(&mut self, leader: FollowedUserId, asset_n: usize, notional: i64) {
        self.case(leader, asset_n, Side::Buy, notional, StoredBook::Known(&book(490_000)));
    }

    fn finish(self) -> Findings {
        self.comparison.finish(at(3_600 * SECOND)).unwrap()
    }
}

/// The changed groups: their number, and the reasons of both sides.
fn changed(findings: &Findings) -> Vec<(i64, Vec<ReasonCode>, Vec<ReasonCode>)> {
    let number = |change: &Change| change.group.key.as_str().rsplit(':').next().unwrap().parse().unwrap();
    findings
        .changes
        .iter()
        .map(|change| (number(change), change.current.reasons.clone(), change.candidate.reasons.clone()))
        .collect()
}

#[test]
fn the_same_configuration_makes_the_same_decisions() {
    let mut scenario = Scenario::new(defaults(), defaults());
    scenario.buys(ALICE, 10, 1_000);
    scenario.buys(BOB, 10, 2_000);
    scenario.case(ALICE, 10, Side::Sell, 500, StoredBook::Known(&book(490_000)));
    scenario.case(ALICE, 21, Side::Buy, 500, StoredBook::Unavailable);
    let findings = scenario.finish();
    assert_eq!(findings.current, findings.candidate);
    assert_eq!((findings.counts.groups, findings.counts.changes(), findings.changes.len()), (4, 0, 0));
    let decisions = &findings.current.decisions;
    assert_eq!((decisions.executed, decisions.skipped), (3, 1));
    assert_eq!(decisions.by_reason, BTreeMap::from([(ReasonCode::BookUnavailable, 1)]));
    // Bought for 10 and 20 USDC; the sale aims at 5 USDC, which are 10 shares, and sells them at 0.49.
    assert_eq!(decisions.filled_notional, UsdcMicros(34_900_000));
}

#[test]
fn a_tighter_spread_changes_exactly_the_groups_with_a_wider_one() {
    let tight = policy(|patch| patch.guardrails.max_spread = Some(price(10_000)));
    let mut scenario = Scenario::new(defaults(), tight);
    for bid in [490_000, 485_000, 491_000, 489_999, 480_000, 479_000] {
        scenario.case(ALICE, 10, Side::Buy, 600, StoredBook::Known(&book(bid)));
    }
    let findings = scenario.finish();
    let too_wide = vec![ReasonCode::SpreadTooWide];
    let flips = [2, 4, 5].map(|n| (n, vec![], too_wide.clone()));
    assert_eq!(changed(&findings), flips);
    assert_eq!((findings.counts.flipped, findings.counts.other_reasons, findings.counts.other_fill), (3, 0, 0));
    assert_eq!((findings.current.decisions.executed, findings.candidate.decisions.executed), (5, 2));
}

#[test]
fn an_earlier_copy_uses_up_the_cap_of_a_later_one() {
    // Market 1 may hold 0.2 %, which is 20 USDC: two copies of 10, or one copy of 15.
    let cap = |patch: &mut ConfigPatch| patch.guardrails.max_exposure_per_market = Some(Bps(20));
    let larger = policy(|patch| {
        cap(patch);
        patch.sizing.copy_pct_notional = Some(Bps(150));
    });
    let mut scenario = Scenario::new(policy(cap), larger);
    scenario.buys(ALICE, 10, 1_000);
    scenario.buys(BOB, 11, 1_000);
    scenario.buys(ALICE, 10, 1_000);
    scenario.buys(BOB, 20, 1_000);
    let findings = scenario.finish();
    let capped = vec![ReasonCode::RiskCapGlobal];
    // The second differs by its decision, the first and fourth by size alone; the third is refused by both.
    assert_eq!(changed(&findings), [(2, vec![], capped), (1, vec![], vec![]), (4, vec![], vec![])]);
    assert_eq!(findings.changes[1].current.filled_notional, UsdcMicros(10 * USDC));
    assert_eq!(findings.changes[1].candidate.filled_notional, UsdcMicros(15 * USDC));
    assert_eq!((findings.counts.flipped, findings.counts.other_fill), (1, 2));
}

#[test]
fn prices_move_each_portfolio_by_its_holdings_and_trip_its_breaker() {
    // A loss of 0.05 % since the start of the day trips the breaker: 5 USDC.
    let strict = |patch: &mut ConfigPatch| patch.guardrails.daily_loss_limit = Some(Bps(5));
    let smaller = policy(|patch| {
        strict(patch);
        patch.sizing.copy_pct_notional = Some(Bps(50));
    });
    let mut scenario = Scenario::new(policy(strict), smaller);
    scenario.buys(ALICE, 10, 2_000);
    scenario
        .comparison
        .schedule(at(MINUTE), ExternalEvent::Price(asset(10), Mark::Midpoint(price(350_000), at(MINUTE))))
        .unwrap();
    scenario.comparison.advance(at(2 * MINUTE)).unwrap();
    scenario.n = 180;
    scenario.buys(BOB, 20, 2_000);
    let findings = scenario.finish();
    // 40 shares bought at 0.50 and now worth 0.35 lost 6 USDC; half as many lost 3, and 20 of the other market, whose book
    // was at 0.49 and 0.50, lost 0.10.
    assert_eq!((findings.current.pnl, findings.candidate.pnl), (UsdcMicros(-6 * USDC), UsdcMicros(-3_100_000)));
    assert_eq!(findings.current.worst_drawdown, UsdcMicros(6 * USDC));
    assert_eq!(findings.current.worst_drawdown_bps, Bps(6));
    assert_eq!(changed(&findings)[0], (181, vec![ReasonCode::CircuitBreakerTripped], vec![]));
}

#[test]
fn a_market_settles_the_holdings_of_each_and_was_open_until_then() {
    let none = policy(|patch| patch.sizing.copy_pct_notional = Some(Bps(0)));
    let no_minimum = |policy: Policy| {
        let patch = ConfigPatch {
            sizing: crate::domain::config::effective::SizingPatch {
                min_trade_notional: Some(UsdcMicros(0)),
                ..Default::default()
            },
            ..Default::default()
        };
        Policy { global: policy.global.with(&patch), ..policy }
    };
    let mut scenario = Scenario::new(no_minimum(defaults()), no_minimum(none));
    let resolved = Market { active: false, resolved_at: Some(at(MINUTE)), ..market(1, &[Some(1_000_000), Some(0)]) };
    let (before, after) = (group(1, ALICE, 10, Side::Buy, 1_000), group(120, ALICE, 10, Side::Buy, 1_000));
    let known = book(490_000);
    let case = |group| Case {
        group,
        market: &resolved,
        book: StoredBook::Known(&known),
        recorded: None,
        their_holding: TheirHolding::NotAsked,
    };
    scenario.comparison.schedule(at(MINUTE), ExternalEvent::Resolved(Arc::new(resolved.clone()))).unwrap();
    scenario.comparison.decide(&case(&before)).unwrap();
    scenario.comparison.decide(&case(&after)).unwrap();
    assert!(scenario.comparison.held_assets().is_empty());
    let findings = scenario.finish();
    // 20 shares bought at 0.50 paid 1 each.
    assert_eq!((findings.current.pnl, findings.candidate.pnl), (UsdcMicros(10 * USDC), UsdcMicros::ZERO));
    let decisions = &findings.current.decisions;
    assert_eq!((decisions.executed, decisions.skipped), (1, 1));
    assert_eq!(decisions.by_reason, BTreeMap::from([(ReasonCode::MarketTooCloseToClose, 1)]));
}

#[test]
fn a_group_that_was_skipped_before_its_book_was_fetched_has_no_book() {
    let paused = policy(|patch| patch.system.copy_engine_enabled = Some(false));
    let mut scenario = Scenario::new(paused, defaults());
    scenario.case(ALICE, 10, Side::Buy, 1_000, StoredBook::NotStored);
    scenario.case(FollowedUserId(99), 10, Side::Buy, 1_000, StoredBook::NotStored);
    let findings = scenario.finish();
    assert_eq!((findings.counts.groups, findings.counts.without_book), (2, 1));
    let disabled = ReasonCode::UserDisabled;
    let paused = ReasonCode::EnginePaused;
    assert_eq!(
        changed(&findings),
        [(1, vec![paused], vec![ReasonCode::BookUnavailable]), (2, vec![paused, disabled], vec![disabled])]
    );
    assert_eq!(findings.counts.other_reasons, 2);
}

/// Live decisions skip what opens something from the moment on at which the leader winds down, and copy the exits.
#[test]
fn a_leader_opens_nothing_from_the_moment_on_at_which_they_wind_down() {
    let mut portfolio = Portfolio::new(GLOBAL);
    portfolio.apply(&deposit(GLOBAL, 10_000 * USDC)).unwrap();
    let changes = BTreeMap::from([(at(5 * SECOND), FollowState::WindingDown), (at(8 * SECOND), FollowState::Stopped)]);
    let leaders = BTreeMap::from([(ALICE, FollowHistory { first: FollowState::Active, changes })]);
    let start = Start { time: at(0), portfolio, leaders };
    let mut scenario = Scenario { comparison: Comparison::new(start, defaults(), defaults()), n: 0 };
    let decided_at = |scenario: &mut Scenario, second: i64, side| {
        scenario.n += 1;
        let group = group(scenario.n, ALICE, 10, side, 1_000);
        let recorded = RecordedDecision {
            decided_at: at(second * SECOND),
            summary: DecisionSummary {
                decision: DecisionKind::Execute,
                reasons: vec![],
                filled_notional: UsdcMicros(10 * USDC),
                filled_shares: ShareMicros(20 * USDC),
            },
        };
        let (market, book) = (market(1, &[None, None]), book(490_000));
        let case = Case {
            group: &group,
            market: &market,
            book: StoredBook::Known(&book),
            recorded: Some(&recorded),
            their_holding: TheirHolding::NotAsked,
        };
        scenario.comparison.decide(&case).unwrap();
    };
    decided_at(&mut scenario, 4, Side::Buy);
    decided_at(&mut scenario, 5, Side::Buy);
    decided_at(&mut scenario, 7, Side::Sell);
    decided_at(&mut scenario, 8, Side::Sell);
    let decisions = scenario.finish().current.decisions;
    assert_eq!((decisions.executed, decisions.skipped), (2, 2));
    let reasons = BTreeMap::from([(ReasonCode::OpensPaused, 1), (ReasonCode::UserDisabled, 1)]);
    assert_eq!(decisions.by_reason, reasons);
}

#[test]
fn a_recorded_group_is_decided_at_its_recorded_time_and_compared() {
    let mut scenario = Scenario::new(defaults(), defaults());
    let first = group(1, ALICE, 10, Side::Buy, 1_000);
    let closing = Market { close_time: Some(at(40 * MINUTE)), ..market(1, &[None, None]) };
    let known = book(490_000);
    let filled = DecisionSummary {
        decision: DecisionKind::Execute,
        reasons: vec![],
        filled_notional: UsdcMicros(10 * USDC),
        filled_shares: ShareMicros(20 * USDC),
    };
    let on_time = RecordedDecision { decided_at: at(3 * SECOND), summary: filled };
    scenario
        .comparison
        .decide(&Case {
            group: &first,
            market: &closing,
            book: StoredBook::Known(&known),
            recorded: Some(&on_time),
            their_holding: TheirHolding::NotAsked,
        })
        .unwrap();
    // Decided a quarter of an hour later, when the market was about to close.
    let second = group(2, ALICE, 10, Side::Buy, 1_000);
    let late = RecordedDecision { decided_at: at(15 * MINUTE), ..on_time.clone() };
    scenario
        .comparison
        .decide(&Case {
            group: &second,
            market: &closing,
            book: StoredBook::Known(&known),
            recorded: Some(&late),
            their_holding: TheirHolding::NotAsked,
        })
        .unwrap();
    let findings = scenario.finish();
    assert_eq!((findings.counts.recorded, findings.counts.as_recorded), (2, 1));
    assert_eq!(findings.current.decisions.by_reason, BTreeMap::from([(ReasonCode::MarketTooCloseToClose, 1)]));
}

#[test]
fn a_deposit_is_not_a_gain_and_the_time_before_it_not_a_loss() {
    let start = Start { time: at(0), portfolio: Portfolio::new(GLOBAL), leaders: active([ALICE]) };
    let mut comparison = Comparison::new(start, defaults(), defaults());
    comparison.schedule(at(MINUTE + 1), ExternalEvent::Entry(deposit(GLOBAL, 10_000 * USDC))).unwrap();
    comparison.advance(at(10 * MINUTE)).unwrap();
    let findings = comparison.finish(at(20 * MINUTE)).unwrap();
    assert_eq!((findings.current.pnl, findings.current.worst_drawdown), (UsdcMicros::ZERO, UsdcMicros::ZERO));
    assert_eq!(findings.current.end.equity, UsdcMicros(10_000 * USDC));
}

#[test]
fn at_most_the_first_disagreements_are_kept_and_the_others_counted() {
    let none = policy(|patch| patch.system.copy_engine_enabled = Some(false));
    let mut scenario = Scenario::new(defaults(), none);
    for _ in 0..CHANGES_KEPT + 5 {
        scenario.case(ALICE, 10, Side::Sell, 1, StoredBook::Known(&book(490_000)));
    }
    let findings = scenario.finish();
    assert_eq!((findings.changes.len(), findings.counts.changes()), (CHANGES_KEPT, CHANGES_KEPT as u64 + 5));
    assert_eq!(changed(&findings)[0].0, 1);
}
