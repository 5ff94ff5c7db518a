//! Two configurations on the same ground, one difference at a time.

use super::*;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::config::effective::ConfigPatch;
use crate::domain::decision::decide::ReasonCode;
use crate::domain::events::event::Side;
use crate::domain::money::units::Bps;
use crate::testkit::facts::trade_group;
use crate::testkit::samples::{ALICE, BOB, asset, at, deposit, market, price};

const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;
const USDC: i64 = 1_000_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

/// Alice and Bob, copied with the defaults but for what a test says.
struct Scene {
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

/// A book around one half: the best bid, and plenty at one half.
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

impl Scene {
    /// Opened with 10,000 USDC before the window.
    fn new(current: Policy, candidate: Policy) -> Self {
        let mut portfolio = Portfolio::new(GLOBAL);
        portfolio.apply(&deposit(GLOBAL, 10_000 * USDC)).unwrap();
        let start = Start { time: at(0), portfolio, enabled: BTreeSet::from([ALICE, BOB]) };
        Self { comparison: Comparison::new(start, current, candidate), n: 0 }
    }

    fn case(&mut self, leader: FollowedUserId, asset_n: usize, side: Side, notional: i64, book: KeptBook) {
        self.n += 1;
        let group = group(self.n, leader, asset_n, side, notional);
        let market = market(asset_n / 10, &[None, None]);
        self.comparison.decide(&Case { group: &group, market: &market, book, recorded: None }).unwrap();
    }

    /// The leader buys for this many USDC; our copy is one hundredth.
    fn buys(&mut self, leader: FollowedUserId, asset_n: usize, notional: i64) {
        self.case(leader, asset_n, Side::Buy, notional, KeptBook::Known(&book(490_000)));
    }

    fn finish(self) -> Findings {
        self.comparison.finish(at(3_600 * SECOND)).unwrap()
    }
}

/// By group number, what each side decided.
fn changed(findings: &Findings) -> Vec<(i64, Vec<ReasonCode>, Vec<ReasonCode>)> {
    let number = |change: &Change| change.group.key.as_str().rsplit(':').next().unwrap().parse().unwrap();
    findings
        .changes
        .iter()
        .map(|change| (number(change), change.current.reasons.clone(), change.candidate.reasons.clone()))
        .collect()
}

#[test]
fn the_same_configuration_makes_the_same_of_everything() {
    let mut scene = Scene::new(defaults(), defaults());
    scene.buys(ALICE, 10, 1_000);
    scene.buys(BOB, 10, 2_000);
    scene.case(ALICE, 10, Side::Sell, 500, KeptBook::Known(&book(490_000)));
    scene.case(ALICE, 21, Side::Buy, 500, KeptBook::Unavailable);
    let findings = scene.finish();
    assert_eq!(findings.current, findings.candidate);
    assert_eq!((findings.counts.groups, findings.counts.changes(), findings.changes.len()), (4, 0, 0));
    let tally = &findings.current.tally;
    assert_eq!((tally.executed, tally.skipped), (3, 1));
    assert_eq!(tally.by_reason, BTreeMap::from([(ReasonCode::BookUnavailable, 1)]));
    // 10 and 20 USDC bought, 5 USDC wanted of the sale: 10 shares at 0.49.
    assert_eq!(tally.filled_notional, UsdcMicros(34_900_000));
}

#[test]
fn a_tighter_spread_changes_exactly_the_groups_it_is_about() {
    let tight = policy(|patch| patch.guardrails.max_spread = Some(price(10_000)));
    let mut scene = Scene::new(defaults(), tight);
    for bid in [490_000, 485_000, 491_000, 489_999, 480_000, 479_000] {
        scene.case(ALICE, 10, Side::Buy, 600, KeptBook::Known(&book(bid)));
    }
    let findings = scene.finish();
    let too_wide = vec![ReasonCode::SpreadTooWide];
    let flips = [2, 4, 5].map(|n| (n, vec![], too_wide.clone()));
    assert_eq!(changed(&findings), flips);
    assert_eq!((findings.counts.flipped, findings.counts.other_reasons, findings.counts.other_fill), (3, 0, 0));
    assert_eq!((findings.current.tally.executed, findings.candidate.tally.executed), (5, 2));
}

#[test]
fn an_earlier_copy_of_its_own_eats_the_cap_of_a_later_one() {
    // Market 1 may hold 0.2 %: 20 USDC, which is two copies of 10 and not three; of 15 it is one.
    let cap = |patch: &mut ConfigPatch| patch.guardrails.max_exposure_per_market = Some(Bps(20));
    let larger = policy(|patch| {
        cap(patch);
        patch.sizing.copy_pct_notional = Some(Bps(150));
    });
    let mut scene = Scene::new(policy(cap), larger);
    scene.buys(ALICE, 10, 1_000);
    scene.buys(BOB, 11, 1_000);
    scene.buys(ALICE, 10, 1_000);
    scene.buys(BOB, 20, 1_000);
    let findings = scene.finish();
    let capped = vec![ReasonCode::RiskCapGlobal];
    // The second differs by its decision, the first and fourth by size alone; the third is refused by both.
    assert_eq!(changed(&findings), [(2, vec![], capped), (1, vec![], vec![]), (4, vec![], vec![])]);
    assert_eq!(findings.changes[1].current.filled_notional, UsdcMicros(10 * USDC));
    assert_eq!(findings.changes[1].candidate.filled_notional, UsdcMicros(15 * USDC));
    assert_eq!((findings.counts.flipped, findings.counts.other_fill), (1, 2));
}

#[test]
fn prices_move_each_portfolio_by_what_it_holds_and_trip_its_breaker() {
    // A loss of 0.05 % of the day stops: 5 USDC.
    let strict = |patch: &mut ConfigPatch| patch.guardrails.daily_loss_limit = Some(Bps(5));
    let smaller = policy(|patch| {
        strict(patch);
        patch.sizing.copy_pct_notional = Some(Bps(50));
    });
    let mut scene = Scene::new(policy(strict), smaller);
    scene.buys(ALICE, 10, 2_000);
    scene.comparison.expect(at(MINUTE), Happening::Midpoint(asset(10), price(350_000))).unwrap();
    scene.comparison.advance(at(2 * MINUTE)).unwrap();
    scene.n = 180;
    scene.buys(BOB, 20, 2_000);
    let findings = scene.finish();
    // 40 shares of 0.50 that are worth 0.35 lost 6 USDC; half as many lost 3.
    assert_eq!((findings.current.pnl, findings.candidate.pnl), (UsdcMicros(-6 * USDC), UsdcMicros(-3 * USDC)));
    assert_eq!(findings.current.worst_drawdown, UsdcMicros(6 * USDC));
    assert_eq!(findings.current.worst_drawdown_bps, Bps(6));
    assert_eq!(changed(&findings)[0], (181, vec![ReasonCode::CircuitBreakerTripped], vec![]));
}

#[test]
fn a_market_resolves_for_what_each_holds_and_was_open_until_then() {
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
    let mut scene = Scene::new(no_minimum(defaults()), no_minimum(none));
    let resolved = Market { active: false, resolved_at: Some(at(MINUTE)), ..market(1, &[Some(1_000_000), Some(0)]) };
    let (before, after) = (group(1, ALICE, 10, Side::Buy, 1_000), group(120, ALICE, 10, Side::Buy, 1_000));
    let known = book(490_000);
    let case = |group| Case { group, market: &resolved, book: KeptBook::Known(&known), recorded: None };
    scene.comparison.expect(at(MINUTE), Happening::Resolved(Arc::new(resolved.clone()))).unwrap();
    scene.comparison.decide(&case(&before)).unwrap();
    scene.comparison.decide(&case(&after)).unwrap();
    assert!(scene.comparison.held_assets().is_empty());
    let findings = scene.finish();
    // 20 shares bought at one half paid one.
    assert_eq!((findings.current.pnl, findings.candidate.pnl), (UsdcMicros(10 * USDC), UsdcMicros::ZERO));
    let tally = &findings.current.tally;
    assert_eq!((tally.executed, tally.skipped), (1, 1));
    assert_eq!(tally.by_reason, BTreeMap::from([(ReasonCode::MarketTooCloseToClose, 1)]));
}

#[test]
fn a_group_that_was_skipped_before_looking_has_no_book_to_decide_on() {
    let paused = policy(|patch| patch.system.copy_engine_enabled = Some(false));
    let mut scene = Scene::new(paused, defaults());
    scene.case(ALICE, 10, Side::Buy, 1_000, KeptBook::NotKept);
    scene.case(FollowedUserId(99), 10, Side::Buy, 1_000, KeptBook::NotKept);
    let findings = scene.finish();
    assert_eq!((findings.counts.groups, findings.counts.without_book), (2, 1));
    let disabled = ReasonCode::UserDisabled;
    let paused = ReasonCode::EnginePaused;
    assert_eq!(
        changed(&findings),
        [(1, vec![paused], vec![ReasonCode::BookUnavailable]), (2, vec![paused, disabled], vec![disabled])]
    );
    assert_eq!(findings.counts.other_reasons, 2);
}

#[test]
fn what_life_decided_is_decided_at_its_time_and_told_apart() {
    let mut scene = Scene::new(defaults(), defaults());
    let one = group(1, ALICE, 10, Side::Buy, 1_000);
    let closing = Market { close_time: Some(at(40 * MINUTE)), ..market(1, &[None, None]) };
    let known = book(490_000);
    let filled = Verdict {
        decision: DecisionKind::Execute,
        reasons: vec![],
        filled_notional: UsdcMicros(10 * USDC),
        filled_shares: ShareMicros(20 * USDC),
    };
    let on_time = Recorded { decided_at: at(3 * SECOND), verdict: filled };
    scene
        .comparison
        .decide(&Case { group: &one, market: &closing, book: KeptBook::Known(&known), recorded: Some(&on_time) })
        .unwrap();
    // Decided a quarter of an hour later, when the market was about to close.
    let two = group(2, ALICE, 10, Side::Buy, 1_000);
    let late = Recorded { decided_at: at(15 * MINUTE), ..on_time.clone() };
    scene
        .comparison
        .decide(&Case { group: &two, market: &closing, book: KeptBook::Known(&known), recorded: Some(&late) })
        .unwrap();
    let findings = scene.finish();
    assert_eq!((findings.counts.recorded, findings.counts.as_recorded), (2, 1));
    assert_eq!(findings.current.tally.by_reason, BTreeMap::from([(ReasonCode::MarketTooCloseToClose, 1)]));
}

#[test]
fn a_deposit_is_no_gain_and_what_was_before_it_no_loss() {
    let start = Start { time: at(0), portfolio: Portfolio::new(GLOBAL), enabled: BTreeSet::from([ALICE]) };
    let mut comparison = Comparison::new(start, defaults(), defaults());
    comparison.expect(at(MINUTE + 1), Happening::Entry(deposit(GLOBAL, 10_000 * USDC))).unwrap();
    comparison.advance(at(10 * MINUTE)).unwrap();
    let findings = comparison.finish(at(20 * MINUTE)).unwrap();
    assert_eq!((findings.current.pnl, findings.current.worst_drawdown), (UsdcMicros::ZERO, UsdcMicros::ZERO));
    assert_eq!(findings.current.end.equity, UsdcMicros(10_000 * USDC));
}

#[test]
fn no_more_disagreements_are_kept_than_anybody_reads() {
    let none = policy(|patch| patch.system.copy_engine_enabled = Some(false));
    let mut scene = Scene::new(defaults(), none);
    for _ in 0..CHANGES_KEPT + 5 {
        scene.case(ALICE, 10, Side::Sell, 1, KeptBook::Known(&book(490_000)));
    }
    let findings = scene.finish();
    assert_eq!((findings.changes.len(), findings.counts.changes()), (CHANGES_KEPT, CHANGES_KEPT as u64 + 5));
    assert_eq!(changed(&findings)[0].0, 1);
}
