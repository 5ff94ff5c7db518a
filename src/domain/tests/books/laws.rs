//! The laws of openings, adjustments, late rows and conversions over random histories of an account.

use proptest::prelude::*;

use super::account::{Account, Books, CENT, Deed, N_QUESTIONS, RESOLVING, Row, all_assets, second};
use crate::domain::accounting::ledger::EntryType;
use crate::domain::accounting::lot::Position;
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::shadow::carried::{ShadowAsset, ShadowAssets, carried_over};
use crate::domain::accounting::shadow::cause::Cause;
use crate::domain::accounting::shadow::check::{CheckCase, adjust};
use crate::domain::accounting::shadow::reading::Drift;
use crate::domain::events::event::ActivityKind;
use crate::domain::money::ids::PositionCheckId;
use crate::domain::money::units::{Bps, ShareMicros, UsdcMicros};
use crate::testkit::samples::{ALICE, activity, asset, at, entry, market_id, price};

/// A history: what the account holds at the start, what it does in each step, and when the last market resolves.
#[derive(Debug, Clone)]
struct History {
    held: Vec<i64>,
    deeds: Vec<Deed>,
    resolves: usize,
    payouts: [i64; 2],
    fee: i64,
    prices: u64,
}

impl History {
    fn account(&self) -> Account {
        let held = all_assets().into_iter().zip(self.held.iter().map(|amount| amount * CENT));
        let held: std::collections::BTreeMap<_, _> = held.filter(|(_, shares)| *shares > 0).collect();
        let last_event = held.keys().map(|n| (*n, -1)).collect();
        Account { held, last_event, fee: Bps(self.fee), payouts: None }
    }

    /// Returns the price of an asset at a step. It changes at each step, and is the payout once there is one.
    fn mark(&self, at: i64, n: usize) -> i64 {
        if n / 10 == RESOLVING && at >= i64::try_from(self.resolves).unwrap() {
            return self.payouts[n % 10];
        }
        let mixed = self.prices ^ u64::try_from((at + 2) * 1_000 + i64::try_from(n).unwrap()).unwrap();
        i64::try_from(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).unwrap() % 999_999 + 1
    }

    fn step(&self, account: &mut Account, at: usize) -> Vec<Row> {
        if at == self.resolves {
            account.payouts = Some(self.payouts);
        }
        account.act(i64::try_from(at).unwrap(), &self.deeds[at])
    }
}

fn a_deed() -> impl Strategy<Value = Deed> {
    let any_asset = || prop::sample::select(all_assets());
    let micros = || 1_i64..1_000_000;
    prop_oneof![
        5 => (any_asset(), 1_i64..100_000, micros()).prop_map(|(asset, amount, price)| Deed::Buy { asset, amount, price }),
        4 => (any_asset(), 1_i64..=1000, micros()).prop_map(|(asset, part, price)| Deed::Sell { asset, part, price }),
        2 => (1..=RESOLVING, 1_i64..100_000).prop_map(|(market, amount)| Deed::Split { market, amount }),
        2 => (1..=RESOLVING, 1_i64..=1000).prop_map(|(market, part)| Deed::Merge { market, part }),
        2 => (1_usize..(1 << N_QUESTIONS), 1_i64..=1000).prop_map(|(questions, part)| Deed::Convert { questions, part }),
        2 => any::<bool>().prop_map(|by_outcome| Deed::Redeem { by_outcome }),
    ]
}

fn a_history() -> impl Strategy<Value = History> {
    let held = prop::collection::vec(prop_oneof![1 => Just(0_i64), 2 => 1_i64..200_000], all_assets().len());
    let payouts = prop::sample::select(vec![[0, 1_000_000], [1_000_000, 0], [500_000, 500_000]]);
    let deeds = prop::collection::vec(a_deed(), 1..25);
    (held, deeds, 0_usize..25, payouts, prop::sample::select(vec![0_i64, 25, 100]), any::<u64>()).prop_map(
        |(held, deeds, resolves, payouts, fee, prices)| History { held, deeds, resolves, payouts, fee, prices },
    )
}

/// When a row arrives, and whether positions are checked, for each step.
#[derive(Debug, Clone)]
struct Arrivals {
    delays: Vec<usize>,
    checks: Vec<bool>,
    opens: usize,
    reversed: bool,
}

/// Keeps books of a history whose rows arrive in some order. Conversions take place after the opening, and three at most:
/// positions cannot tell many that wait at the same time apart. Of a split payout, one row for both outcomes does not say
/// how many of each were redeemed, so there each outcome has a row.
fn kept(history: &History, arrivals: &Arrivals) -> Books {
    let mut history = history.clone();
    let (mut account, mut books) = (history.account(), Books::new());
    let n_steps = history.deeds.len().max(arrivals.opens + 1);
    let mut late: Vec<(usize, Row)> = Vec::new();
    let mut n_converted = 0;
    for at in 0..n_steps + 12 {
        let now = i64::try_from(at).unwrap();
        let prices = history.clone();
        let mark = |n: usize| prices.mark(now, n);
        books.mark(&mark);
        if at < history.deeds.len() {
            let converts = matches!(history.deeds[at], Deed::Convert { .. });
            let whole_split =
                matches!(history.deeds[at], Deed::Redeem { by_outcome: false }) && history.payouts[0] == 500_000;
            if whole_split {
                history.deeds[at] = Deed::Redeem { by_outcome: true };
            }
            if !converts || (at > arrivals.opens && n_converted < 3) {
                let rows = history.step(&mut account, at);
                n_converted += usize::from(converts && !rows.is_empty());
                late.extend(rows.into_iter().map(|row| (at + arrivals.delays[at % arrivals.delays.len()], row)));
            } else if at == history.resolves {
                account.payouts = Some(history.payouts);
            }
        }
        let readings = account.readings(now, &mark);
        let (mut due, rest): (Vec<_>, Vec<_>) = late.into_iter().partition(|(arrives, _)| *arrives <= at);
        late = rest;
        if arrivals.reversed {
            due.reverse();
        }
        let opens_first = arrivals.reversed && at == arrivals.opens;
        if opens_first {
            books.open(&readings, &mark);
        }
        due.iter().for_each(|(_, row)| books.take(row, &account, &readings));
        if at == arrivals.opens && !opens_first {
            books.open(&readings, &mark);
        }
        if at > arrivals.opens && arrivals.checks[at % arrivals.checks.len()] {
            books.check(&readings, &mark);
        }
    }
    let last = i64::try_from(n_steps + 12).unwrap();
    books.mark(&|n| history.mark(last, n));
    for _ in 0..3 {
        books.resolve_waiting(&account, &account.readings(last, &|n| history.mark(last, n)));
    }
    assert!(late.is_empty() && books.n_waiting() == 0, "every row was booked");
    for n in all_assets().into_iter().filter(|n| n / 10 != RESOLVING) {
        assert_eq!(books.held(n), account.held.get(&n).copied().unwrap_or(0), "asset {n}");
    }
    books
}

fn some_arrivals() -> impl Strategy<Value = Arrivals> {
    (prop::collection::vec(0_usize..12, 1..25), prop::collection::vec(any::<bool>(), 1..9), 0_usize..20, any::<bool>())
        .prop_map(|(delays, checks, opens, reversed)| Arrivals { delays, checks, opens, reversed })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_opening_changes_no_total_pnl(history in a_history(), opens in 0_usize..25, knows_rows in any::<bool>()) {
        let (mut account, mut books) = (history.account(), Books::new());
        let opens = opens.min(history.deeds.len() - 1);
        let now = i64::try_from(opens).unwrap();
        let mark = |n: usize| history.mark(now, n);
        for at in 0..=opens {
            let rows = history.step(&mut account, at);
            let readings = account.readings(i64::try_from(at).unwrap(), &mark);
            if knows_rows {
                rows.iter().for_each(|row| books.take(row, &account, &readings));
            }
        }
        books.mark(&mark);
        let before = books.equity();
        let held_before = all_assets().into_iter().filter(|n| books.held(*n) != 0).count();
        books.open(&account.readings(now, &mark), &mark);
        let change = books.equity() - before;
        // The value of a lot is cut to whole micros; where the shadow holds some already, the sum may gain one.
        prop_assert!((0..=i64::try_from(held_before).unwrap()).contains(&change), "{change} with {held_before} held");
        if !knows_rows {
            for n in all_assets() {
                prop_assert_eq!(books.held(n), account.held.get(&n).copied().unwrap_or(0));
            }
        }
    }

    #[test]
    fn following_gives_the_pnl_of_a_shadow_kept_since_the_first_trade(
        mut history in a_history(),
        follows in 0_usize..25,
        window in 0_usize..5,
    ) {
        history.held = Vec::new();
        let (mut account, mut full, mut following) = (history.account(), Books::new(), Books::new());
        let follows = follows.min(history.deeds.len());
        // Rows of the first window that only trade may be in the ledger before the opening is.
        let trades = history.deeds[follows..].iter().take(window);
        let window = trades.take_while(|deed| !matches!(deed, Deed::Convert { .. } | Deed::Redeem { .. })).count();
        let (opens, mut at_start) = (follows + window, 0);
        for at in 0..=history.deeds.len() {
            let now = i64::try_from(at).unwrap();
            if at == follows {
                let opened = i64::try_from(opens).unwrap();
                full.mark(&|n| history.mark(opened, n));
                at_start = full.equity();
            }
            if at == opens {
                let before = i64::try_from(at).unwrap() - 1;
                following.mark(&|n| history.mark(now, n));
                following.open(&account.readings(before, &|n| history.mark(now, n)), &|n| history.mark(now, n));
            }
            if at == history.deeds.len() {
                break;
            }
            let mark = |n: usize| history.mark(now, n);
            let rows = history.step(&mut account, at);
            let readings = account.readings(now, &mark);
            full.mark(&mark);
            following.mark(&mark);
            for row in &rows {
                full.take(row, &account, &readings);
                if at >= follows {
                    following.take(row, &account, &readings);
                }
            }
        }
        let last = i64::try_from(history.deeds.len()).unwrap() + 5;
        full.mark(&|n| history.mark(last, n));
        following.mark(&|n| history.mark(last, n));
        prop_assert_eq!((full.n_waiting(), following.n_waiting()), (0, 0));
        prop_assert_eq!(following.equity(), full.equity() - at_start, "to the micro");
        for n in all_assets() {
            prop_assert_eq!(following.held(n), full.held(n));
        }
    }

    #[test]
    fn every_order_of_rows_and_checks_gives_the_same_total_pnl(
        history in a_history(),
        (one, other) in (some_arrivals(), some_arrivals()),
    ) {
        let other = Arrivals { opens: one.opens, ..other };
        let on_time = Arrivals { delays: vec![0], checks: vec![false], opens: one.opens, reversed: false };
        let expected = kept(&history, &on_time).equity();
        prop_assert_eq!(kept(&history, &one).equity(), expected);
        prop_assert_eq!(kept(&history, &other).equity(), expected);
        let checked = Arrivals { checks: vec![true], ..on_time };
        prop_assert_eq!(kept(&history, &checked).equity(), expected);
    }

    #[test]
    fn an_adjustment_brings_no_pnl_but_takes_back_that_of_a_negative_holding(
        moves in prop::collection::vec((-9_000_000_i64..=9_000_000, 0_i64..=9_000_000), 1..6),
        drift in -9_000_000_i64..=9_000_000,
        mark in prop::option::of(0_i64..=1_000_000),
    ) {
        let mut books = Books::new();
        for (n, (shares, cash)) in moves.iter().enumerate() {
            let cash = if *shares > 0 { -cash } else { *cash };
            let mut fill = entry(books.portfolio.id(), EntryType::TradeFill, 10, *shares, cash);
            fill.ref_id = format!("event:{n}");
            books.portfolio.apply(&fill).unwrap();
        }
        if let Some(mark) = mark {
            books.portfolio.set_mark(&asset(10), Mark::Midpoint(price(mark), at(0))).unwrap();
        }
        let lot = books.portfolio.position(&asset(10), ALICE);
        let before = books.portfolio.figures();
        let drift = Drift {
            asset: asset(10),
            market: Some(market_id(1)),
            leader_holds: ShareMicros(0),
            shadow_holds: ShareMicros(0),
            shares: ShareMicros(drift),
            counted_to: second(0),
            price: None,
        };
        let case = CheckCase { check: PositionCheckId::of(ALICE, 1), leader: ALICE, checked_at: second(0) };
        let adjusted = adjust(&case, &drift, lot, mark.map(price)).unwrap();
        let closing = lot.closing(drift.shares).unwrap();
        for entry in &adjusted.entries {
            books.portfolio.apply(entry).unwrap();
        }
        let after = books.portfolio.figures();
        prop_assert_eq!(books.held(10), lot.shares.0 + drift.shares.0);
        if closing.0 > 0 && closing == lot.shares.negated().unwrap() {
            let false_result = before.unrealized.0;
            prop_assert!((0..=1).contains(&(after.equity.0 - before.equity.0 + false_result)), "{before:?} {after:?}");
            prop_assert!(after.unrealized.0.abs() <= 1, "nothing unrealized is left: {after:?}");
            prop_assert_eq!(after.realized, before.realized);
        } else if closing.0 > 0 {
            prop_assert_eq!(after.realized, before.realized);
        } else if mark.is_some() {
            prop_assert!((after.equity.0 - before.equity.0).abs() <= 1, "{before:?} {after:?}");
        }
        prop_assert!(adjusted.value >= UsdcMicros::ZERO);
    }

    #[test]
    fn a_conversion_conserves_cash_and_cost(
        lots in prop::collection::vec((0_i64..9_000_000, 0_i64..9_000_000), N_QUESTIONS),
        amount in 1_i64..9_000_000,
        questions in 1_usize..(1 << N_QUESTIONS),
        fee in 0_i64..=10,
    ) {
        let mut books = Books::new();
        let chosen = |n: usize| questions >> (n - 1) & 1 == 1;
        let mut assets = ShadowAssets::new();
        let mut changes = std::collections::BTreeMap::new();
        let paid = amount - amount * fee / 100;
        for (n, (shares, cost)) in (1..).zip(&lots) {
            let no = 10 * n + 1;
            let mut fill = entry(books.portfolio.id(), EntryType::TradeFill, no, *shares, -cost);
            fill.ref_id = format!("event:{n}");
            if *shares > 0 {
                books.portfolio.apply(&fill).unwrap();
            }
            books.portfolio.set_mark(&asset(no), Mark::Midpoint(price(400_000), at(0))).unwrap();
            let lot: Position = books.portfolio.position(&asset(no), ALICE);
            let known = ShadowAsset { market: Some(market_id(n)), lot, counted: lot.shares, mark: Some(price(400_000)) };
            assets.insert(asset(no), known);
            if chosen(n) {
                changes.insert(asset(no), ShareMicros(-amount));
            } else if paid > 0 {
                changes.insert(asset(10 * n), ShareMicros(paid));
            }
        }
        let k = i64::from(questions.count_ones());
        let cash = (k - 1) * paid;
        let row = activity("convert", ActivityKind::Conversion, amount, 0, None);
        let before = books.portfolio.figures();
        let cost_before = before.realized.0 - before.cash.0;
        let entered = carried_over(&Cause::of_activity(&row), &changes, UsdcMicros(cash), &assets, &[]).unwrap();
        for entry in &entered.entries {
            entry.validate().unwrap();
            books.portfolio.apply(entry).unwrap();
        }
        let after = books.portfolio.figures();
        let of = |kind| entered.entries.iter().filter(move |entry| entry.kind == kind);
        prop_assert_eq!(of(EntryType::Conversion).map(|entry| entry.cash.0).sum::<i64>(), cash);
        let entered_cost: i64 = of(EntryType::Adjustment).map(|entry| -entry.cash.0).sum();
        let realized = after.realized.0 - before.realized.0;
        let cost_after = after.realized.0 - after.cash.0;
        prop_assert_eq!(cost_after, cost_before + entered_cost - cash + realized);
        let to_yes: i64 = entered.entries.iter().filter(|entry| entry.shares.0 > 0 && entry.kind == EntryType::Conversion).map(|entry| -entry.cash.0).sum();
        prop_assert!(to_yes >= 0 && (to_yes == 0 || realized == 0), "cost moves on, or the rest is realized, never both");
        for n in 1..=N_QUESTIONS {
            prop_assert!(books.held(10 * n + 1) >= 0 && books.portfolio.position(&asset(10 * n), ALICE).cost.0 >= 0);
        }
    }
}
