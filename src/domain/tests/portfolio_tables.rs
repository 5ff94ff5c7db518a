//! The running portfolio, computed by hand: a small history, marks, shorts, and refused entries.

use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::accounting::lot::Position;
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::portfolio::{Portfolio, PortfolioError, ViewQuery};
use crate::domain::accounting::totals::Figures;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{ShareMicros, UsdcMicros};
use crate::testkit::samples::{ALICE, BOB, SHADOW, asset, at, deposit, entry, market_id, price};

const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;

fn fill(portfolio: PortfolioId, leader: FollowedUserId, n: usize, shares: i64, cash: i64) -> LedgerEntry {
    LedgerEntry { attributed_user: Some(leader), ..entry(portfolio, EntryType::TradeFill, n, shares, cash) }
}

fn folded(id: PortfolioId, entries: &[LedgerEntry]) -> Portfolio {
    let mut portfolio = Portfolio::new(id);
    for entry in entries {
        portfolio.apply(entry).unwrap();
    }
    portfolio
}

fn figures(equity: i64, cash: i64, exposure: i64, realized: i64, unrealized: i64) -> Figures {
    let deposits = UsdcMicros(10_000);
    let [equity, cash, exposure, realized, unrealized] = [equity, cash, exposure, realized, unrealized].map(UsdcMicros);
    Figures { equity, cash, exposure, realized, unrealized, deposits }
}

#[test]
fn a_small_history_computed_by_hand() {
    let mut portfolio = folded(GLOBAL, &[deposit(GLOBAL, 10_000)]);
    assert_eq!(portfolio.figures(), figures(10_000, 10_000, 0, 0, 0));

    portfolio.apply(&fill(GLOBAL, ALICE, 10, 1000, -400)).unwrap();
    assert_eq!(portfolio.figures(), figures(10_000, 9600, 400, 0, 0));
    portfolio.apply(&entry(GLOBAL, EntryType::Fee, 10, 0, -7)).unwrap();
    assert_eq!(portfolio.figures(), figures(9993, 9593, 400, -7, 0));

    portfolio.set_mark(&asset(10), Mark::Midpoint(price(500_500), at(0))).unwrap();
    assert_eq!(portfolio.figures(), figures(10_093, 9593, 501, -7, 100));

    portfolio.apply(&fill(GLOBAL, BOB, 10, 500, -300)).unwrap();
    assert_eq!(portfolio.figures(), figures(10_043, 9293, 752, -7, 50));
    assert_eq!(portfolio.exposure_of(ALICE), UsdcMicros(501));
    assert_eq!(portfolio.exposure_of(BOB), UsdcMicros(251));
    assert_eq!(portfolio.exposure_in(&market_id(1)), UsdcMicros(752));

    portfolio.apply(&fill(GLOBAL, ALICE, 10, -250, 120)).unwrap();
    // 100 of cost leaves for 120. Alice's 750 are worth 375, Bob's 500 are worth 250.
    assert_eq!(portfolio.figures(), figures(10_038, 9413, 376 + 251, 13, 25));
    portfolio.apply(&entry(GLOBAL, EntryType::Settlement, 10, -750, 750)).unwrap();
    assert_eq!(portfolio.figures(), figures(10_413, 10_163, 251, 463, -50));
    assert_eq!(portfolio.position(&asset(10), ALICE), Position::default());
    assert_eq!(portfolio.exposure_by_leader().collect::<Vec<_>>(), [(BOB, UsdcMicros(251))]);
}

#[test]
fn one_leaders_exit_leaves_the_others_lot_alone() {
    let entries =
        [fill(GLOBAL, ALICE, 10, 100, -50), fill(GLOBAL, BOB, 10, 300, -90), fill(GLOBAL, ALICE, 10, -100, 60)];
    let portfolio = folded(GLOBAL, &entries);
    assert_eq!(portfolio.position(&asset(10), ALICE).shares, ShareMicros::ZERO);
    assert_eq!(portfolio.position(&asset(10), BOB), Position { shares: ShareMicros(300), cost: UsdcMicros(90) });
    assert_eq!(portfolio.figures().realized, UsdcMicros(10));
}

#[test]
fn a_lot_is_marked_at_payout_then_midpoint_then_last_trade_then_cost() {
    let mut portfolio = folded(GLOBAL, &[fill(GLOBAL, ALICE, 10, 1_000_000, -400_000)]);
    let mut check = |mark: Option<Mark>, value: i64| {
        if let Some(mark) = mark {
            portfolio.set_mark(&asset(10), mark).unwrap();
        }
        let lot = portfolio.lots().next().unwrap();
        assert_eq!((lot.value.0, portfolio.figures().exposure.0), (value, value), "{mark:?}");
    };
    check(None, 400_000);
    check(Some(Mark::LastTrade(price(410_000), at(0))), 410_000);
    check(Some(Mark::Midpoint(price(420_000), at(0))), 420_000);
    check(Some(Mark::LastTrade(price(430_000), at(0))), 420_000);
    check(Some(Mark::Payout(price(1_000_000))), 1_000_000);
    check(Some(Mark::Midpoint(price(440_000), at(0))), 1_000_000);
}

#[test]
fn a_mark_set_before_the_first_share_counts_at_once() {
    let mut portfolio = Portfolio::new(GLOBAL);
    assert_eq!(portfolio.set_mark(&asset(10), Mark::Midpoint(price(600_000), at(0))), Ok(true));
    assert_eq!(portfolio.set_mark(&asset(10), Mark::Midpoint(price(600_000), at(0))), Ok(false));
    assert_eq!(portfolio.held_assets().count(), 0);
    portfolio.apply(&fill(GLOBAL, ALICE, 10, 100, -50)).unwrap();
    assert_eq!(portfolio.figures().equity, UsdcMicros(10));
    assert_eq!(portfolio.held_assets().collect::<Vec<_>>(), [&asset(10)]);
}

#[test]
fn a_leaders_fill_sets_the_last_trade_and_our_paper_fill_does_not() {
    let filled = |id| {
        let fill = LedgerEntry { price: Some(price(490_000)), ..fill(id, ALICE, 10, 100, -50) };
        folded(id, &[fill]).lots().next().unwrap().mark
    };
    assert_eq!(filled(SHADOW), Some(price(490_000)));
    assert_eq!(filled(GLOBAL), None);
    assert_eq!(filled(PortfolioId::ExecUser(ALICE)), None);
}

#[test]
fn a_shadow_goes_short_and_back() {
    let mut shadow = Portfolio::new(SHADOW);
    let mut check = |shares: i64, cash: i64, held: i64, realized: i64| {
        shadow.apply(&fill(SHADOW, ALICE, 10, shares, cash)).unwrap();
        assert_eq!(shadow.position(&asset(10), ALICE).shares, ShareMicros(held));
        assert_eq!(shadow.figures().realized, UsdcMicros(realized));
        let figures = shadow.figures();
        assert_eq!(figures.realized.0 + figures.unrealized.0, figures.equity.0);
    };
    check(-100, 60, -100, 0);
    check(40, -20, -60, 4);
    check(100, -50, 40, 10);
    check(-40, 30, 0, 20);
}

#[test]
fn a_short_owes_its_value_and_counts_as_exposure() {
    let mut shadow = folded(SHADOW, &[fill(SHADOW, ALICE, 10, -101, 60)]);
    shadow.set_mark(&asset(10), Mark::Midpoint(price(500_000), at(0))).unwrap();
    let figures = shadow.figures();
    assert_eq!((figures.equity.0, figures.exposure.0, figures.unrealized.0), (60 - 51, 51, 9));
}

#[test]
fn a_market_that_becomes_known_later_gets_the_exposure() {
    let nameless = LedgerEntry { market: None, ..fill(GLOBAL, ALICE, 10, 100, -50) };
    let mut portfolio = folded(GLOBAL, std::slice::from_ref(&nameless));
    assert_eq!(portfolio.exposure_in(&market_id(1)), UsdcMicros::ZERO);
    portfolio.apply(&fill(GLOBAL, BOB, 10, 10, -5)).unwrap();
    assert_eq!(portfolio.exposure_in(&market_id(1)), UsdcMicros(55));
    portfolio.apply(&nameless).unwrap();
    assert_eq!(portfolio.exposure_in(&market_id(1)), UsdcMicros(105));
    assert_eq!(portfolio.lots_in(&market_id(1)).len(), 2);
    for (leader, shares) in [(ALICE, 200), (BOB, 10)] {
        portfolio.apply(&fill(GLOBAL, leader, 10, -shares, 1)).unwrap();
    }
    assert_eq!(portfolio.exposure_by_market().count(), 0);
}

#[test]
fn an_entry_of_another_portfolio_is_refused() {
    let mut portfolio = Portfolio::new(GLOBAL);
    let refused = portfolio.apply(&fill(SHADOW, ALICE, 10, 1, -1));
    assert_eq!(refused, Err(PortfolioError::WrongPortfolio { portfolio: GLOBAL, entry: SHADOW }));
    assert_eq!(portfolio.version(), 0);
}

#[test]
fn totals_that_would_not_fit_are_refused_and_nothing_moves() {
    let mut portfolio = folded(GLOBAL, &[fill(GLOBAL, ALICE, 10, i64::MAX, -1), fill(GLOBAL, ALICE, 11, i64::MAX, -1)]);
    portfolio.set_mark(&asset(10), Mark::Midpoint(price(900_000), at(0))).unwrap();
    let before = portfolio.figures();
    assert!(portfolio.set_mark(&asset(11), Mark::Midpoint(price(1_000_000), at(0))).is_err());
    assert_eq!(portfolio.figures(), before);
    assert!(portfolio.apply(&deposit(GLOBAL, i64::MAX)).is_err());
    assert_eq!((portfolio.figures(), portfolio.version()), (before, 2));
}

#[test]
fn a_version_never_comes_back_after_a_reload() {
    let mut portfolio = folded(GLOBAL, &[deposit(GLOBAL, 1)]);
    portfolio.continue_from_version(8);
    assert_eq!(portfolio.version(), 8);
    portfolio.continue_from_version(3);
    portfolio.apply(&deposit(GLOBAL, 1)).unwrap();
    assert_eq!(portfolio.version(), 9);
}

#[test]
fn a_view_carries_the_baselines_of_its_time() {
    let mut portfolio = folded(GLOBAL, &[deposit(GLOBAL, 10_000)]);
    let midnight = at(0).day_start().plus_millis(86_400_000);
    portfolio.apply(&entry(GLOBAL, EntryType::Fee, 10, 0, -100)).unwrap();
    let equity = portfolio.figures().equity;
    assert!(portfolio.note_snapshot(midnight.plus_millis(-60_000), equity, true));
    let market = market_id(1);
    let day_start = |now| {
        let query = ViewQuery { leader: ALICE, market: &market, asset: None, outcomes: &[], now };
        portfolio.view(&query).baselines.day_start
    };
    assert_eq!(day_start(midnight.plus_millis(-1)), Some(UsdcMicros(10_000)));
    assert_eq!(day_start(midnight), Some(UsdcMicros(9900)));
}

#[test]
fn the_same_books_may_be_marked_differently_but_not_hold_differently() {
    let fills = [deposit(GLOBAL, 100), fill(GLOBAL, ALICE, 10, 100, -50)];
    let one = folded(GLOBAL, &fills);
    let mut other = folded(GLOBAL, &fills);
    other.set_mark(&asset(10), Mark::Midpoint(price(1), at(0))).unwrap();
    other.continue_from_version(99);
    assert!(one.same_books(&other));
    other.apply(&entry(GLOBAL, EntryType::Fee, 10, 0, -1)).unwrap();
    assert!(!one.same_books(&other));
    assert!(!one.same_books(&folded(GLOBAL, &[fills[0].clone(), fill(GLOBAL, BOB, 10, 100, -50)])));
}
