//! Rules with few cases, one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::account::second;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::domain::accounting::lot::Position;
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::accounting::shadow::carried::{ShadowAsset, ShadowAssets};
use crate::domain::accounting::shadow::cause::Cause;
use crate::domain::accounting::shadow::check::{CheckCase, adjust, standing};
use crate::domain::accounting::shadow::conversion::{Lag, PositionCase, Resolved, StoredRows, Unresolved};
use crate::domain::accounting::shadow::correction::{Booked, Correction, Takes, enter};
use crate::domain::accounting::shadow::exactness::{BooksRecord, CheckOutcome, Exactness, ExactnessFact, InexactCause};
use crate::domain::accounting::shadow::opening::{
    OpeningAsset, OpeningCase, OpeningRule, is_before_following, opening,
};
use crate::domain::accounting::shadow::reading::{Drift, PositionReading, Readings};
use crate::domain::accounting::shadow::{ActivityFacts, ShadowEffect, entries_for_activity, entries_for_trade};
use crate::domain::events::event::{ActivityEvent, ActivityKind, Side, TradeEvent};
use crate::domain::money::ids::{AssetId, EventId, PositionCheckId};
use crate::domain::money::units::{Bps, ShareMicros, UsdcMicros};
use crate::testkit::samples::{ALICE, SHADOW, activity, asset, entry, market, market_id, price, trade};

const M: i64 = 1_000_000;

fn lot(shares: i64, cost: i64) -> Position {
    Position { shares: ShareMicros(shares), cost: UsdcMicros(cost) }
}

fn position(n: usize, shares: i64, last: Option<i64>) -> PositionReading {
    PositionReading {
        asset: asset(n),
        market: Some(market_id(n / 10)),
        shares: ShareMicros(shares),
        last_event_at: last.map(second),
        current_price: None,
        average_price: None,
    }
}

fn drift(n: usize, shares: i64) -> Drift {
    Drift {
        asset: asset(n),
        market: Some(market_id(n / 10)),
        leader_holds: ShareMicros(0),
        shadow_holds: ShareMicros(0),
        shares: ShareMicros(shares),
        counted_to: second(100),
        price: Some(price(900_000)),
    }
}

/// Kind, ref_id without the ids of events and checks, shares, cash.
fn shown(entries: &[LedgerEntry]) -> Vec<(EntryType, i64, i64)> {
    entries.iter().map(|entry| (entry.kind, entry.shares.0, entry.cash.0)).collect()
}

#[test]
fn rows_from_before_the_first_window_are_part_of_the_opening() {
    assert!(is_before_following(second(9), second(10)));
    assert!(!is_before_following(second(10), second(10)));
}

#[test]
fn an_opening_takes_the_first_price_that_is_known_and_books_nothing_below_zero() {
    let check = |payout: Option<i64>, current: Option<i64>, mid: Option<i64>, average: Option<i64>, cash: i64| {
        let listed = PositionReading {
            current_price: current.map(price),
            average_price: average.map(price),
            ..position(10, 10 * M, Some(50))
        };
        let case = OpeningCase { leader: ALICE, rule: OpeningRule::New, checked_at: second(60) };
        let row = OpeningAsset {
            asset: asset(10),
            market: None,
            reading: Some(&listed),
            counted: ShareMicros(4 * M),
            lot: lot(4 * M, M),
            payout: payout.map(price),
            midpoint: mid.map(price),
        };
        let opened = opening(&case, std::slice::from_ref(&row)).unwrap();
        assert_eq!(shown(&opened.entries), [(EntryType::Opening, 6 * M, cash)]);
        assert_eq!((opened.entries[0].ref_id.as_str(), opened.corrections[0].counted_to), ("open:7", second(50)));
        let none_known = payout.or(current).or(mid).or(average).is_none();
        assert_eq!(opened.unpriced.is_empty(), !none_known);
        let sold = opening(&case, &[OpeningAsset { reading: None, counted: ShareMicros(4 * M), ..row }]).unwrap();
        assert_eq!((sold.entries, sold.corrections[0].shares.0), (vec![], -4 * M), "left to the check");
        assert_eq!(sold.corrections[0].counted_to, second(60), "not listed: the time of the check");
    };
    check(Some(M), Some(500_000), Some(400_000), Some(300_000), -6 * M);
    check(Some(0), Some(500_000), Some(400_000), Some(300_000), 0);
    check(None, Some(500_000), Some(400_000), Some(300_000), -3 * M);
    check(None, None, Some(400_000), Some(300_000), -2_400_000);
    check(None, None, None, Some(300_000), -1_800_000);
    check(None, None, None, None, 0);
}

#[test]
fn a_leader_followed_before_gets_adjustments_that_close_at_cost() {
    let listed = PositionReading { current_price: Some(price(500_000)), ..position(10, 5 * M, Some(50)) };
    let case = OpeningCase { leader: ALICE, rule: OpeningRule::FollowedBefore, checked_at: second(60) };
    let row = OpeningAsset {
        asset: asset(10),
        market: None,
        reading: Some(&listed),
        counted: ShareMicros(-10 * M),
        lot: lot(-10 * M, -6 * M),
        payout: None,
        midpoint: None,
    };
    let opened = opening(&case, &[row]).unwrap();
    let adjusted = EntryType::Adjustment;
    assert_eq!(shown(&opened.entries), [(adjusted, 10 * M, -6 * M), (adjusted, 5 * M, -2_500_000)]);
    let refs: Vec<_> = opened.entries.iter().map(|entry| entry.ref_id.as_str()).collect();
    assert_eq!(refs, ["open:7", "open:7:mark"]);
}

#[test]
fn a_drift_is_a_ten_thousandth_of_a_share_and_stands_in_two_checks() {
    let found = |leader: i64, shadow: i64| {
        let readings = Readings::new(second(0), [position(10, leader, None)]).unwrap();
        let counted = BTreeMap::from([(asset(10), (None, ShareMicros(shadow)))]);
        readings.drifts(&counted, &BTreeSet::new()).unwrap().first().map(|drift| drift.shares.0)
    };
    assert_eq!((found(5 * M, 5 * M - 99), found(5 * M, 5 * M + 99)), (None, None));
    assert_eq!((found(5 * M, 5 * M - 100), found(5 * M, 5 * M + 100)), (Some(100), Some(-100)));
    // Not listed is not held; a market with a row that waits is left alone.
    let readings = Readings::new(second(0), []).unwrap();
    let counted = BTreeMap::from([(asset(10), (Some(market_id(1)), ShareMicros(7 * M)))]);
    assert_eq!(readings.drifts(&counted, &BTreeSet::new()).unwrap()[0].shares.0, -7 * M);
    assert_eq!(readings.drifts(&counted, &BTreeSet::from([market_id(1)])).unwrap(), []);

    let stands = |before: i64, now: i64, later: i64| {
        let drifts = standing(&[drift(10, before)], second(0), &[drift(10, now)], second(later)).unwrap();
        drifts.first().map(|drift| drift.shares.0)
    };
    assert_eq!(stands(5, 5, 300), None);
    assert_eq!((stands(500, 500, 299), stands(500, 500, 300)), (None, Some(500)));
    assert_eq!((stands(500, 300, 300), stands(300, 500, 300)), (Some(300), Some(300)), "what is in both");
    assert_eq!((stands(-500, -300, 300), stands(-500, 300, 300)), (Some(-300), None));
    assert_eq!(standing(&[drift(11, 500)], second(0), &[drift(10, 500)], second(300)).unwrap(), []);
}

/// A migrated pair of ids has one name, so an asset that is held on both ledgers is listed twice.
#[test]
fn rows_of_one_asset_are_one_position() {
    let rows = [position(20, 5 * M, Some(7)), position(20, 3 * M, Some(9))];
    let readings = Readings::new(second(99), rows).unwrap();
    assert_eq!(readings.shares(&asset(20)).0, 8 * M);
    assert_eq!(readings.counted_to(&asset(20)), second(9));
}

fn checked(shares: i64, held: Position) -> Vec<Correction> {
    let case = CheckCase { check: PositionCheckId::of(ALICE, 1), leader: ALICE, checked_at: second(200) };
    adjust(&case, &drift(10, shares), held, Some(price(500_000))).unwrap().corrections
}

fn late(side: Side, shares: i64, corrections: &[Correction], at: i64) -> (Vec<(EntryType, i64, i64)>, Vec<Correction>) {
    let fill = TradeEvent { event_time: second(at), ..trade("late", 10, side, 400_000, shares, 0) };
    let booked = Booked { entries: entries_for_trade(&fill).unwrap(), ..Booked::default() };
    let entered = enter(&Cause::of_trade(&fill), booked, corrections).unwrap();
    for entry in entered.entries.iter().filter(|entry| entry.kind != EntryType::TradeFill) {
        assert!(entry.ref_id.ends_with(&format!(":{}", fill.id)), "{}", entry.ref_id);
    }
    (shown(&entered.entries), entered.corrections)
}

#[test]
fn an_adjustment_through_zero_has_two_parts_and_a_late_purchase_takes_the_closing_one_first() {
    let both = checked(15 * M, lot(-10 * M, -6 * M));
    let parts: Vec<_> = both.iter().map(|part| (part.takes, part.shares.0, part.booked_cash.0)).collect();
    assert_eq!(parts, [(Takes::UpToZero, 10 * M, -6 * M), (Takes::Any, 5 * M, -2_500_000)]);
    assert!(both[1].ref_id.ends_with(":mark") && !both[0].ref_id.ends_with(":mark"));

    let bought = (EntryType::TradeFill, 12 * M, -4_800_000);
    let (entries, left) = late(Side::Buy, 12 * M, &both, 100);
    let back = EntryType::Adjustment;
    assert_eq!(entries, [bought, (back, -10 * M, 6 * M), (back, -2 * M, M)]);
    assert_eq!(left.iter().map(|part| part.shares.0).collect::<Vec<_>>(), [0, 3 * M]);
    // A row after the last event of the position is not part of it.
    assert_eq!(late(Side::Buy, 12 * M, &both, 101), (vec![bought], vec![]));
    // A late sale is not what closed the holding. What it takes comes back before it.
    let (entries, _) = late(Side::Sell, M, &both, 100);
    assert_eq!(entries, [(back, M, -500_000), (EntryType::TradeFill, -M, 400_000)]);
}

/// A redemption takes all losing shares. A sale of some of them from before it, which arrives after it, sold shares that
/// did not lose anything any more: without the record it would leave a negative holding, and the check would take the
/// real result of the sale back.
#[test]
fn losing_shares_of_late_rows_leave_with_those_that_were_redeemed() {
    let row = activity("lost", ActivityKind::Redeem, 0, 0, Some(asset(10)));
    let lost = market(1, &[Some(0), Some(M)]);
    let holdings = [(asset(10), ShareMicros(16 * M))];
    let facts = ActivityFacts { market: Some(&lost), holdings: &holdings, booked: &[], payout_overdue: false };
    let Ok(ShadowEffect::Entries(booked)) = entries_for_activity(&row, &facts) else { panic!("{row:?}") };
    let at = row.event_time.millis() / 1000 - second(0).millis() / 1000;
    let entered = enter(&Cause::of_activity(&row), booked, &[]).unwrap();
    assert_eq!(shown(&entered.entries), [(EntryType::Settlement, -16 * M, 0)]);
    assert!(!entered.is_beyond_holding());
    let (sold, left) = late(Side::Sell, 6 * M, &entered.corrections, at);
    assert_eq!(sold, [(EntryType::Adjustment, 6 * M, 0), (EntryType::TradeFill, -6 * M, 2_400_000)]);
    assert_eq!(left[0].shares.0, -10 * M);
    let (bought, _) = late(Side::Buy, 6 * M, &entered.corrections, at);
    assert_eq!(bought, [(EntryType::TradeFill, 6 * M, -2_400_000), (EntryType::Adjustment, -6 * M, 0)]);
}

#[test]
fn what_an_opening_did_not_book_is_filled_first_and_the_rest_goes_on_to_the_check() {
    let case = OpeningCase { leader: ALICE, rule: OpeningRule::New, checked_at: second(50) };
    let listed = PositionReading { current_price: Some(price(600_000)), ..position(10, 3 * M, Some(50)) };
    let row = OpeningAsset {
        asset: asset(10),
        market: None,
        reading: Some(&listed),
        counted: ShareMicros(10 * M),
        lot: lot(10 * M, 4 * M),
        payout: None,
        midpoint: None,
    };
    let mut all = opening(&case, &[row]).unwrap().corrections;
    assert_eq!(all[0].shares.0, -7 * M);
    all.extend(checked(-7 * M, lot(10 * M, 4 * M)));
    // The sale of 12 that was missing: 5 were held at the opening, and the check has nothing left to explain.
    let (entries, left) = late(Side::Sell, 12 * M, &all, 40);
    assert_eq!(
        entries,
        [
            (EntryType::Opening, 5 * M, -3 * M),
            (EntryType::Adjustment, 7 * M, -3_500_000),
            (EntryType::TradeFill, -12 * M, 4_800_000)
        ]
    );
    assert_eq!(left.iter().map(|known| known.shares.0).collect::<Vec<_>>(), [5 * M, 0]);
}

#[test]
fn books_are_not_exact_since_the_first_cause_that_has_not_ended() {
    let at = second;
    let check = |facts: &[ExactnessFact], expected: Exactness| {
        assert_eq!(BooksRecord::of(facts).exactness(), expected, "{facts:?}");
    };
    let not = |since: i64, cause| Exactness::NotExact { since: at(since), cause };
    let checked = |n: i64, outcome| ExactnessFact::Checked { at: at(n), outcome };
    let harmed = |n: i64, cause| ExactnessFact::Harmed { at: at(n), cause };
    let followed = ExactnessFact::Followed { at: at(1) };
    let opened = ExactnessFact::Opened { adjusted: None };
    let adjusted = CheckOutcome::Adjusted { value: UsdcMicros(5) };
    check(&[], Exactness::Exact);
    check(std::slice::from_ref(&followed), not(1, InexactCause::NoOpening));
    check(&[followed.clone(), checked(2, CheckOutcome::Exact)], not(1, InexactCause::NoOpening));
    check(&[followed.clone(), opened.clone()], Exactness::Exact);
    check(&[checked(3, CheckOutcome::Drifting), checked(4, CheckOutcome::Drifting)], not(3, InexactCause::Drift));
    check(&[checked(3, CheckOutcome::Drifting), checked(4, CheckOutcome::Exact)], Exactness::Exact);
    let partly = CheckOutcome::PartlyAdjusted { value: UsdcMicros(7) };
    check(&[checked(3, partly)], not(3, InexactCause::Drift));
    let later = Exactness::Adjusted { n: 1, last: at(3), value: UsdcMicros(7) };
    check(&[checked(3, partly), checked(4, CheckOutcome::Exact)], later);
    let twice = [checked(3, adjusted), checked(4, CheckOutcome::Exact), checked(5, adjusted)];
    check(&twice, Exactness::Adjusted { n: 2, last: at(5), value: UsdcMicros(10) });
    check(&[checked(3, CheckOutcome::Unreadable)], not(3, InexactCause::UnreadablePositions));
    check(&[checked(3, CheckOutcome::Unreadable), checked(4, CheckOutcome::Drifting)], not(4, InexactCause::Drift));
    for cause in [
        InexactCause::UnknownKind,
        InexactCause::UnpricedOpening,
        InexactCause::PayoutAssumed,
        InexactCause::UnresolvedConversion,
        InexactCause::RowNotApplied,
    ] {
        check(&[harmed(3, cause), checked(4, CheckOutcome::Drifting)], not(3, cause));
        check(&[harmed(3, cause), checked(4, CheckOutcome::Exact)], Exactness::Exact);
    }
    let event = EventId::of("DATA_API", "a");
    let waits = ExactnessFact::RowWaits { event, at: at(3) };
    let resolved = ExactnessFact::RowResolved { event };
    check(&[waits.clone(), checked(9, CheckOutcome::Exact)], not(3, InexactCause::WaitingRows));
    check(&[waits.clone(), resolved.clone()], Exactness::Exact);
    check(&[resolved, waits], Exactness::Exact);
    let before = ExactnessFact::Opened { adjusted: Some((at(2), UsdcMicros(7))) };
    check(&[followed, before], Exactness::Adjusted { n: 1, last: at(2), value: UsdcMicros(7) });
}

/// The event of two questions, its NO 21 converted at second 100.
fn resolved(positions: &[PositionReading], held: &[(usize, i64)], since: StoredRows, last_try: bool) -> Resolved {
    let row = converted();
    let markets = [market(1, &[None, None]), market(2, &[None, None])];
    let readings = Readings::new(second(200), positions.iter().cloned()).unwrap();
    let known = |n: usize, shares: i64| ShadowAsset {
        market: Some(market_id(n / 10)),
        lot: lot(shares, shares / 2),
        counted: ShareMicros(shares),
        mark: None,
    };
    let assets: ShadowAssets = held.iter().map(|(n, shares)| (asset(*n), known(*n, *shares))).collect();
    let case = PositionCase {
        row: &row,
        markets: &markets,
        fee: Bps(0),
        readings: &readings,
        assets: &assets,
        corrections: &[],
        pending: &StoredRows::default(),
        since: &since,
    };
    case.resolve(last_try)
}

fn converted() -> ActivityEvent {
    let row = activity("convert", ActivityKind::Conversion, 10 * M, 0, None);
    ActivityEvent { event_time: second(100), ..row }
}

#[test]
fn a_conversion_is_booked_only_when_the_positions_show_all_of_it() {
    let stored = || StoredRows { trades: Vec::new(), activities: vec![converted()] };
    let before = [(21, 10 * M)];
    let done = [position(21, 0, Some(100)), position(10, 10 * M, Some(100))];
    assert!(matches!(resolved(&done, &before, stored(), false), Resolved::Booked(_)));
    // The positions route rounds to 4 decimals.
    let rounded = [position(21, 100, Some(100)), position(10, 10 * M - 100, Some(100))];
    assert!(matches!(resolved(&rounded, &before, stored(), false), Resolved::Booked(_)));
    let off = [position(21, 101, Some(100)), position(10, 10 * M, Some(100))];
    assert_eq!(resolved(&off, &before, stored(), false), Resolved::Unresolved(Unresolved::NothingFell));
    let yes_missing = [position(21, 0, Some(100))];
    assert_eq!(
        resolved(&yes_missing, &before, stored(), false),
        Resolved::Unresolved(Unresolved::YesDoNotMatch { n_questions: 2, n_fell: 1, n_rose: 0 })
    );
    // A source that is behind is asked again, until the last try.
    let old = [position(21, 10 * M, Some(99))];
    assert_eq!(resolved(&old, &before, stored(), false), Resolved::Waits(Lag::Positions));
    let newer = [position(21, 0, Some(100)), position(10, 10 * M, Some(150))];
    let feed = Lag::Feed { asset: asset(10), at: second(150) };
    assert_eq!(resolved(&newer, &before, stored(), false), Resolved::Waits(feed));
    assert!(matches!(resolved(&newer, &before, stored(), true), Resolved::Booked(_)));
}

#[test]
fn two_conversions_that_wait_together_are_told_apart() {
    let event = [market(1, &[None, None]), market(2, &[None, None]), market(3, &[None, None])];
    // 10 of NO 11 and NO 21, then 4 (or 10 too) of NO 31: the positions show both.
    let check = |second_amount: i64| {
        let listed = [
            position(10, second_amount * M, Some(150)),
            position(20, second_amount * M, Some(150)),
            position(30, 10 * M, Some(150)),
        ];
        let readings = Readings::new(second(200), listed).unwrap();
        let mut shares = BTreeMap::from([(11, 10 * M), (21, 10 * M), (31, second_amount * M)]);
        let other = activity("other", ActivityKind::Conversion, second_amount * M, 0, None);
        let mut waiting = vec![converted(), ActivityEvent { event_time: second(150), ..other }];
        let mut cash = 0;
        while !waiting.is_empty() {
            let row = waiting.remove(0);
            let assets: ShadowAssets = shares.iter().map(|(n, shares)| ShareAsset(*n, *shares).known()).collect();
            let case = PositionCase {
                row: &row,
                markets: &event,
                fee: Bps(0),
                readings: &readings,
                assets: &assets,
                corrections: &[],
                pending: &StoredRows { trades: Vec::new(), activities: waiting.clone() },
                since: &StoredRows::default(),
            };
            let Resolved::Booked(entered) = case.resolve(true) else { panic!("{row:?}") };
            for entry in entered.entries {
                cash += entry.cash.0;
                let n = (10..40).find(|n| entry.asset == Some(asset(*n))).unwrap();
                *shares.entry(n).or_default() += entry.shares.0;
            }
        }
        shares.retain(|_, shares| *shares != 0);
        let expected = [(10, second_amount * M), (20, second_amount * M), (30, 10 * M)];
        assert_eq!((cash, shares), (10 * M, BTreeMap::from(expected)), "{second_amount}");
    };
    check(4);
    check(10);
}

/// An asset of the shadow without a cost.
struct ShareAsset(usize, i64);

impl ShareAsset {
    fn known(&self) -> (AssetId, ShadowAsset) {
        let shares = ShareMicros(self.1);
        let market = Some(market_id(self.0 / 10));
        (asset(self.0), ShadowAsset { market, lot: lot(self.1, 0), counted: shares, mark: None })
    }
}

#[test]
fn the_range_kinds_carry_their_cost_over() {
    let carried = |kind: ActivityKind, cash: i64, positions: &[PositionReading], held: &[(usize, i64, i64)]| {
        let row = ActivityEvent { event_time: second(100), ..activity("range", kind, 0, cash, None) };
        let markets = [market(1, &[None, None]), market(2, &[None, None])];
        let readings = Readings::new(second(200), positions.iter().cloned()).unwrap();
        let known = |n: usize, shares: i64, cost: i64| ShadowAsset {
            market: Some(market_id(n / 10)),
            lot: lot(shares, cost),
            counted: ShareMicros(shares),
            mark: None,
        };
        let assets: ShadowAssets =
            held.iter().map(|(n, shares, cost)| (asset(*n), known(*n, *shares, *cost))).collect();
        let nothing = StoredRows::default();
        let case = PositionCase {
            row: &row,
            markets: &markets,
            fee: Bps(0),
            readings: &readings,
            assets: &assets,
            corrections: &[],
            pending: &nothing,
            since: &nothing,
        };
        match case.resolve(true) {
            Resolved::Booked(entered) => Ok(shown(&entered.entries)),
            Resolved::Unresolved(reason) => Err(reason),
            Resolved::Waits(lag) => panic!("{lag}"),
        }
    };
    let moved = |shares: i64, cash: i64| (EntryType::Conversion, shares, cash);
    // Two buckets become one line.
    let composed = [position(20, 8 * M, None)];
    let buckets = [(10, 8 * M, 2 * M), (11, 8 * M, 3 * M)];
    let found = carried(ActivityKind::ThresholdCompose, 0, &composed, &buckets);
    assert_eq!(found, Ok(vec![moved(-8 * M, 2 * M), moved(-8 * M, 3 * M), moved(8 * M, -5 * M)]));
    // Collateral and a bucket become one position above and one below, and the reverse.
    let above_below = [position(20, 8 * M, None), position(21, 8 * M, None)];
    let found = carried(ActivityKind::DirectionalSplit, 8 * M, &above_below, &[(10, 8 * M, 2 * M)]);
    assert_eq!(found, Ok(vec![moved(-8 * M, 2 * M), moved(8 * M, -5 * M), moved(8 * M, -5 * M)]));
    let bucket = [position(10, 8 * M, None)];
    let both = [(20, 8 * M, 5 * M), (21, 8 * M, 5 * M)];
    let found = carried(ActivityKind::DirectionalMerge, 8 * M, &bucket, &both);
    assert_eq!(found, Ok(vec![moved(-8 * M, 5 * M), moved(-8 * M, 5 * M), moved(8 * M, -2 * M)]));
    // A migrated position has one name: nothing moves.
    let stays = [position(20, 8 * M, None)];
    assert_eq!(carried(ActivityKind::Migration, 0, &stays, &[(20, 8 * M, 5 * M)]), Ok(Vec::new()));
    // Shares out of nothing are for the check.
    let found = carried(ActivityKind::ThresholdCompose, 0, &composed, &[]);
    assert_eq!(found, Err(Unresolved::OneSided));
}

#[test]
fn openings_and_adjustments_are_not_results_of_the_leader() {
    use EntryType::{Adjustment, Opening, Settlement, TradeFill};
    let check = |entries: &[(EntryType, &str, i64, i64)], (won, lost, even): (u64, u64, u64)| {
        let mut portfolio = Portfolio::new(SHADOW);
        for (kind, ref_id, shares, cash) in entries {
            let entry = entry(SHADOW, *kind, 10, *shares, *cash);
            portfolio.apply(&LedgerEntry { ref_id: (*ref_id).to_owned(), ..entry }).unwrap();
            portfolio = Portfolio::restore(SHADOW, &portfolio.checkpoint(1)).unwrap();
        }
        let counts = portfolio.closed_lots();
        assert_eq!((counts.won, counts.lost, counts.even), (won, lost, even), "{entries:?}");
    };
    check(&[(Opening, "open:7", 10, -5), (TradeFill, "event:1", -10, 6)], (1, 0, 0));
    check(&[(Opening, "open:7", 10, -5), (Opening, "open:7:late", -10, 5)], (0, 0, 0));
    check(&[(TradeFill, "event:1", 10, -5), (Adjustment, "adjust:1", -10, 9)], (0, 0, 0));
    check(&[(TradeFill, "event:1", -10, 5), (Adjustment, "adjust:1", 10, -5)], (0, 0, 0));
    check(&[(TradeFill, "event:1", -10, 5), (TradeFill, "event:2", 10, -4)], (0, 0, 0));
    // A redemption of shares that were not known.
    check(&[(Adjustment, "event:1", 10, -10), (Settlement, "event:1", -10, 10)], (0, 0, 0));
    // Of 5 that were known and 5 that were not.
    let known = (TradeFill, "event:0", 5, -2);
    check(&[known, (Adjustment, "event:1", 5, -5), (Settlement, "event:1", -10, 10)], (1, 0, 0));
    check(&[(Adjustment, "adjust:1", 10, -5), (TradeFill, "event:1", -10, 6)], (1, 0, 0));
}
