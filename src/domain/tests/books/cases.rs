//! Inputs that went wrong, with the figures that are right.

use super::account::{Account, Books, Row, second};
use crate::domain::accounting::ledger::EntryType;
use crate::domain::accounting::lot::Position;
use crate::domain::accounting::shadow::exactness::{BooksRecord, CheckOutcome, Exactness, ExactnessFact, InexactCause};
use crate::domain::accounting::shadow::opening::{OpeningAsset, OpeningCase, OpeningRule, opening};
use crate::domain::accounting::shadow::reading::{PositionReading, Readings};
use crate::domain::events::event::{ActivityEvent, ActivityKind, PositionEffect, Side, TradeEvent};
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{Bps, ShareMicros, UsdcMicros};
use crate::testkit::samples::{ALICE, activity, asset, market_id, trade};

/// One share, and one USDC.
const M: i64 = 1_000_000;

fn fill(at: i64, n: usize, side: Side, price: i64, shares: i64) -> Row {
    let fill = trade(&format!("fill {at} {n}"), n, side, price, shares, 0);
    Row::Trade(TradeEvent { market: market_id(n / 10), event_time: second(at), detect_time: second(at), ..fill })
}

fn row(at: i64, market: usize, kind: ActivityKind, shares: i64, cash: i64, token: Option<usize>) -> Row {
    let mut row = activity(&format!("row {at}"), kind, shares, cash, token.map(asset));
    row.payload.condition_id = Some(market_id(market));
    Row::Activity(ActivityEvent { event_time: second(at), detect_time: second(at), ..row })
}

/// An account with these holdings, all moved last at second `at`.
fn account(at: i64, held: &[(usize, i64)]) -> Account {
    let mut account = Account::default();
    account.hold(at, held);
    account
}

#[test]
fn case_1_a_redemption_of_shares_bought_before_brings_nothing() {
    let paid = |n: usize| if n == 41 { M } else { 0 };
    let mut account = account(0, &[(41, 1000 * M)]);
    account.payouts = Some([0, M]);
    let redeemed = row(1, 4, ActivityKind::Redeem, 1000 * M, 1000 * M, None);

    let mut books = Books::new();
    books.mark(&paid);
    books.open(&account.readings(0, &paid), &paid);
    assert_eq!((books.held(41), books.equity()), (1000 * M, 0));
    account.hold(1, &[(41, 0)]);
    let after = account.readings(1, &paid);
    books.take(&redeemed, &account, &after);
    assert_eq!((books.held(41), books.equity(), books.portfolio.figures().realized.0), (0, 0, 0));

    // The same when the row is in the ledger before the positions are read, and when they are never read.
    let mut early = Books::new();
    early.mark(&paid);
    early.take(&redeemed, &account, &after);
    assert_eq!((early.held(41), early.equity()), (0, 0));
    early.open(&after, &paid);
    assert_eq!((early.held(41), early.equity()), (0, 0));
    assert_eq!(early.portfolio.closed_lots().total(), 0, "nothing that we followed was won or lost");
}

#[test]
fn case_2_the_pnl_of_old_shares_counts_from_the_opening() {
    let at_follow = |_: usize| 600_000;
    let mut account = account(0, &[(41, 1500 * M)]);
    let mut books = Books::new();
    books.mark(&at_follow);
    books.open(&account.readings(0, &at_follow), &at_follow);
    assert_eq!(books.portfolio.figures().cash.0, -900 * M);
    account.hold(1, &[(41, 500 * M)]);
    books.take(&fill(1, 41, Side::Sell, 600_000, 1000 * M), &account, &account.readings(1, &at_follow));
    account.hold(2, &[(41, 0)]);
    account.payouts = Some([0, M]);
    let readings = account.readings(2, &at_follow);
    books.take(&row(2, 4, ActivityKind::Redeem, 500 * M, 500 * M, Some(41)), &account, &readings);
    let figures = books.portfolio.figures();
    assert_eq!((figures.realized.0, figures.equity.0, books.held(41)), (200 * M, 200 * M, 0));
}

#[test]
fn case_3_a_conversion_brings_no_profit_from_siblings_held_before() {
    let marks = |n: usize| if n == 10 { 300_000 } else { 400_000 };
    let mut account = account(0, &[(10, 5000 * M)]);
    let mut books = Books::new().of_questions(2);
    books.mark(&marks);
    books.open(&account.readings(0, &marks), &marks);
    account.hold(1, &[(21, 10 * M)]);
    books.take(&fill(1, 21, Side::Buy, 400_000, 10 * M), &account, &account.readings(1, &marks));
    account.hold(2, &[(21, 0), (10, 5010 * M)]);
    books.take(&row(2, 2, ActivityKind::Conversion, 10 * M, 0, None), &account, &account.readings(2, &marks));
    assert_eq!((books.n_waiting(), books.held(10), books.held(21)), (0, 5010 * M, 0));
    assert_eq!(books.equity(), -M, "10 x 0.30 less 10 x 0.40");
    assert_eq!(books.portfolio.figures().realized.0, 0);
}

#[test]
fn case_4_a_conversion_of_three_of_five_pays_cash_and_carries_the_cost() {
    // The prices of a fair event of five questions: every YES 0.20, every NO 0.80.
    let marks = |n: usize| if n.is_multiple_of(10) { 200_000 } else { 800_000 };
    let mut account = Account::default();
    let mut books = Books::new().of_questions(5);
    books.mark(&marks);
    for (at, no) in (0..).zip([11, 21, 31]) {
        account.hold(at, &[(no, 100 * M)]);
        books.take(&fill(at, no, Side::Buy, 800_000, 100 * M), &account, &account.readings(at, &marks));
    }
    assert_eq!((books.equity(), books.portfolio.figures().cash.0), (0, -240 * M));
    account.hold(5, &[(11, 0), (21, 0), (31, 0), (40, 100 * M), (50, 100 * M)]);
    books.take(&row(5, 1, ActivityKind::Conversion, 100 * M, 0, None), &account, &account.readings(5, &marks));
    let figures = books.portfolio.figures();
    assert_eq!((books.n_waiting(), figures.cash.0, figures.realized.0), (0, -40 * M, 0));
    assert_eq!(figures.equity.0, 0, "a leader who breaks even");
    for yes in [40, 50] {
        let lot = books.portfolio.position(&asset(yes), ALICE);
        assert_eq!((lot.shares.0, lot.cost.0), (100 * M, 20 * M));
    }
}

#[test]
fn case_4_the_fee_of_the_event_is_cut_from_cash_and_yes_as_the_contract_does() {
    let marks = |_: usize| 500_000;
    let mut account = account(0, &[(11, 100 * M), (21, 100 * M)]);
    account.fee = Bps(200);
    let mut books = Books::new();
    books.mark(&marks);
    books.open(&account.readings(0, &marks), &marks);
    account.hold(1, &[(11, 0), (21, 0), (30, 98 * M)]);
    books.take(&row(1, 1, ActivityKind::Conversion, 100 * M, 0, None), &account, &account.readings(1, &marks));
    assert_eq!((books.held(30), books.portfolio.figures().cash.0), (98 * M, -100 * M + 98 * M));
    assert_eq!(books.portfolio.position(&asset(30), ALICE).cost, UsdcMicros(2 * M));
}

#[test]
fn case_5_combos_are_in_no_opening() {
    let combo = "1478180995445884194963783500106018329313736528433258596285541062936163778560";
    let listed = PositionReading {
        asset: AssetId::parse(combo).unwrap(),
        market: None,
        shares: ShareMicros(225_208_623_029),
        last_event_at: None,
        current_price: None,
        average_price: None,
    };
    let readings = Readings::new(second(0), [listed.clone()]).unwrap();
    assert_eq!(readings.positions().count(), 0);
    let case = OpeningCase { leader: ALICE, rule: OpeningRule::New, checked_at: second(0) };
    let row = OpeningAsset {
        asset: listed.asset.clone(),
        market: None,
        reading: Some(&listed),
        counted: ShareMicros(0),
        lot: Position::default(),
        payout: None,
        midpoint: None,
    };
    assert_eq!(opening(&case, &[row]).unwrap().entries, []);
}

#[test]
fn case_6_an_unknown_kind_makes_the_books_not_exact_until_a_check_has_adjusted_them() {
    let marks = |_: usize| 500_000;
    let mut account = account(0, &[(10, 100 * M)]);
    let mut books = Books::new();
    books.mark(&marks);
    books.open(&account.readings(0, &marks), &marks);
    assert_eq!(ActivityKind::from_text("TELEPORT").position_effect(), PositionEffect::Unknown);
    account.hold(7, &[(10, 0)]);
    let mut record =
        BooksRecord::of(&[ExactnessFact::Followed { at: second(0) }, ExactnessFact::Opened { adjusted: None }]);
    assert_eq!(record.exactness(), Exactness::Exact);
    record.take(&ExactnessFact::Harmed { at: second(7), cause: InexactCause::UnknownKind });
    record.take(&ExactnessFact::Checked { at: second(60), outcome: CheckOutcome::Drifting });
    assert_eq!(record.exactness(), Exactness::NotExact { since: second(7), cause: InexactCause::UnknownKind });
    books.check(&account.readings(360, &marks), &marks);
    assert_eq!((books.held(10), books.equity()), (0, 0), "the token that the leader no longer has is gone");
    let last = books.entries.last().unwrap();
    assert_eq!((last.kind, last.shares.0, last.cash.0), (EntryType::Adjustment, -100 * M, 50 * M));
    let outcome = CheckOutcome::Adjusted { value: UsdcMicros(50 * M) };
    record.take(&ExactnessFact::Checked { at: second(360), outcome });
    let adjusted = Exactness::Adjusted { n: 1, last: second(360), value: UsdcMicros(50 * M) };
    assert_eq!(record.exactness(), adjusted);
}
