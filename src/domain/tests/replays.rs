//! From events to ledgers without a database: the history of a leader computed by hand, and the same events in any
//! order of arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use proptest::prelude::*;

use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::accounting::shadow::{ActivityFacts, ShadowEffect, entries_for_activity, entries_for_trade};
use crate::domain::events::event::{ActivityEvent, ActivityKind, Side};
use crate::domain::events::group::{ClosedGroup, GroupAction, Member, PendingEvent};
use crate::domain::events::group_windows::Windows;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::testkit::samples::{ALICE, SHADOW, activity, asset, at, market, trade};

/// A shadow portfolio and the market that its leader trades.
struct Shadow {
    portfolio: Portfolio,
    market: Market,
}

impl Shadow {
    fn buys(&mut self, micros: i64, shares: i64, fee: i64) -> Vec<LedgerEntry> {
        self.trades(Side::Buy, micros, shares, fee)
    }

    fn trades(&mut self, side: Side, micros: i64, shares: i64, fee: i64) -> Vec<LedgerEntry> {
        let mut fill = trade("fill", 10, side, micros, shares, 0);
        fill.fee = Some(UsdcMicros(fee));
        self.take(entries_for_trade(&fill).unwrap())
    }

    fn acts(&mut self, row: &ActivityEvent) -> Vec<LedgerEntry> {
        let held: Vec<_> =
            self.portfolio.lots_in(&self.market.id).into_iter().map(|lot| (lot.asset, lot.shares)).collect();
        let facts = ActivityFacts { market: Some(&self.market), holdings: &held, booked: &[], payout_overdue: false };
        match entries_for_activity(row, &facts).unwrap() {
            ShadowEffect::Entries(booked) => self.take(booked.entries),
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, entries: Vec<LedgerEntry>) -> Vec<LedgerEntry> {
        for entry in &entries {
            self.portfolio.apply(entry).unwrap();
        }
        entries
    }

    /// Asserts cash, realized PnL, and (shares, cost) of both outcomes.
    #[track_caller]
    fn assert_state(&self, cash: i64, realized: i64, yes: (i64, i64), no: (i64, i64)) {
        let figures = self.portfolio.figures();
        assert_eq!((figures.cash.0, figures.realized.0), (cash, realized));
        for (n, expected) in [(10, yes), (11, no)] {
            let position = self.portfolio.position(&asset(n), ALICE);
            assert_eq!((position.shares.0, position.cost.0), expected, "asset {n}");
        }
    }
}

#[test]
fn the_history_of_a_leader_matches_the_one_computed_by_hand() {
    let mut shadow = Shadow { portfolio: Portfolio::new(SHADOW), market: market(1, &[None, None]) };

    // 100 at 0.40 and 0.30 of fee; then 50 at 0.46.
    shadow.buys(400_000, 100_000_000, 300_000);
    shadow.assert_state(-40_300_000, -300_000, (100_000_000, 40_000_000), (0, 0));
    shadow.buys(460_000, 50_000_000, 0);
    shadow.assert_state(-63_300_000, -300_000, (150_000_000, 63_000_000), (0, 0));

    // 120 at 0.50: cost 63 * 120 / 150 = 50.4 leaves for 60.
    shadow.trades(Side::Sell, 500_000, 120_000_000, 0);
    shadow.assert_state(-3_300_000, 9_300_000, (30_000_000, 12_600_000), (0, 0));

    // 60 at 0.55 with 30 held: half of the 33 closes at 16.5 - 12.6 = 3.9, the other half opens a short.
    shadow.trades(Side::Sell, 550_000, 60_000_000, 0);
    shadow.assert_state(29_700_000, 13_200_000, (-30_000_000, -16_500_000), (0, 0));

    // 40 sets for 40: of the 20 paid for YES, 15 cover the short (16.5 - 15 = 1.5), 5 buy the remaining 10.
    shadow.acts(&activity("split", ActivityKind::Split, 40_000_000, 40_000_000, None));
    shadow.assert_state(-10_300_000, 14_700_000, (10_000_000, 5_000_000), (40_000_000, 20_000_000));

    // 4 sets back for 4: each side leaves at 0.50, which is its average cost.
    shadow.acts(&activity("merge", ActivityKind::Merge, 4_000_000, 4_000_000, None));
    shadow.assert_state(-6_300_000, 14_700_000, (6_000_000, 3_000_000), (36_000_000, 18_000_000));

    // YES wins. 6 - 3 for YES, and NO leaves for nothing: -18.
    shadow.market = market(1, &[Some(1_000_000), Some(0)]);
    shadow.acts(&activity("won", ActivityKind::Redeem, 6_000_000, 6_000_000, Some(asset(10))));
    shadow.assert_state(-300_000, 17_700_000, (0, 0), (36_000_000, 18_000_000));
    shadow.acts(&activity("lost", ActivityKind::Redeem, 36_000_000, 0, Some(asset(11))));
    shadow.assert_state(-300_000, -300_000, (0, 0), (0, 0));
    // A row of the old shape without a token, for shares that the shadow never saw: no profit.
    shadow.acts(&activity("late", ActivityKind::Redeem, 1_250_000, 1_250_000, None));
    shadow.assert_state(-300_000, -300_000, (0, 0), (0, 0));
    assert_eq!(shadow.portfolio.figures().equity, UsdcMicros(-300_000));
}

/// An event and the time at which it arrives.
#[derive(Clone)]
struct Arrival {
    time: Timestamp,
    event: PendingEvent,
}

/// A random number generator; its numbers depend only on the seed.
struct SeededRng(u64);

impl SeededRng {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Random fills and sets of three leaders in five assets, on both sides, over ten minutes.
fn events(n: usize, rng: &mut SeededRng) -> Vec<PendingEvent> {
    let event = |n: usize| {
        let detected = rng.below(600) * 1000 + rng.below(3) * rng.below(1000);
        let name = format!("event {n}");
        let leader = FollowedUserId(7 + rng.below(3));
        let pending = if rng.below(20) == 0 {
            let kind = [ActivityKind::Merge, ActivityKind::Split][usize::try_from(rng.below(2)).unwrap()].clone();
            let row = activity(&name, kind, 1 + rng.below(50_000_000), rng.below(50_000_000), None);
            PendingEvent::from_activity(&ActivityEvent { detect_time: at(detected), ..row }).unwrap()
        } else {
            let side = [Side::Buy, Side::Buy, Side::Sell][usize::try_from(rng.below(3)).unwrap()];
            let asset = 10 + usize::try_from(rng.below(5)).unwrap();
            PendingEvent::from_trade(&trade(
                &name,
                asset,
                side,
                1 + rng.below(999_999),
                1 + rng.below(99_000_000),
                detected,
            ))
        };
        PendingEvent { followed_user: leader, ..pending }
    };
    (0..n).map(event).collect()
}

/// Groups as the live grouper makes them: it adds each event on arrival, and closes each window when it is due. An
/// event that joined a group before is not added again, because the database knows it.
fn grouped(arrivals: &[Arrival]) -> Vec<ClosedGroup> {
    let mut windows = Windows::new(2000);
    let mut closed = Vec::new();
    let mut joined: BTreeSet<Member> = BTreeSet::new();
    let mut take = |groups: Vec<ClosedGroup>, joined: &mut BTreeSet<Member>| {
        joined.extend(groups.iter().flat_map(|closed| &closed.members));
        closed.extend(groups);
    };
    for Arrival { time, event } in arrivals {
        while let Some(due) = windows.next_deadline().filter(|due| due <= time) {
            take(windows.close_due(due), &mut joined);
        }
        if !joined.contains(&event.member) {
            windows.add(event.clone()).unwrap();
        }
    }
    while let Some(due) = windows.next_deadline() {
        take(windows.close_due(due), &mut joined);
    }
    closed
}

type Events = BTreeMap<Member, PendingEvent>;

/// The text of all results: groups, members, a plain copy of each group, and the portfolio after all copies.
fn ledgers(closed: &[ClosedGroup]) -> String {
    let mut text = String::new();
    let mut global = Portfolio::new(PortfolioId::ExecGlobal);
    for ClosedGroup { group, members } in closed {
        writeln!(text, "{group:?}").unwrap();
        for member in members {
            writeln!(text, "{member:?}").unwrap();
        }
        let GroupAction::Trade { asset, side } = &group.action else { continue };
        let shares = ShareMicros(group.shares.0 / 100);
        let cost = group.reference_price.unwrap().cost_of(shares).unwrap();
        let (shares, cash) = match side {
            Side::Buy => (shares, cost.negated().unwrap()),
            Side::Sell => (shares.negated().unwrap(), cost),
        };
        let copy = LedgerEntry {
            portfolio: PortfolioId::ExecGlobal,
            attributed_user: Some(group.followed_user),
            market: Some(group.market.clone()),
            asset: Some(asset.clone()),
            kind: EntryType::TradeFill,
            shares,
            cash,
            price: group.reference_price,
            ref_id: format!("copy:{}", group.id),
            created_at: group.detect_time,
        };
        global.apply(&copy).unwrap();
        writeln!(text, "{copy:?}").unwrap();
    }
    writeln!(text, "{:?}", global.checkpoint(0)).unwrap();
    text
}

/// The polls of a leader arrive in their order, each at any time before the first of its windows closes, and the rows of
/// one poll in any order. Some rows arrive a second time, at any time after that.
fn shuffled(events: &Events, in_order: &[ClosedGroup], rng: &mut SeededRng) -> Vec<Arrival> {
    let mut polls: BTreeMap<(FollowedUserId, Timestamp), (Timestamp, Vec<&PendingEvent>)> = BTreeMap::new();
    for closed in in_order {
        let close = closed.group.detect_time.plus_millis(2000);
        for event in closed.members.iter().map(|member| &events[member]) {
            let poll = polls.entry((event.followed_user, event.detect_time)).or_insert((close, Vec::new()));
            poll.0 = poll.0.min(close);
            poll.1.push(event);
        }
    }
    // A poll must arrive before the polls behind it must.
    let mut next: Option<(FollowedUserId, Timestamp)> = None;
    for ((leader, _), (close, _)) in polls.iter_mut().rev() {
        *close = next.filter(|next| next.0 == *leader).map_or(*close, |next| next.1.min(*close));
        next = Some((*leader, *close));
    }
    let mut arrivals = Vec::new();
    let mut last: Option<(FollowedUserId, Timestamp)> = None;
    for ((leader, detected), (close, events)) in &polls {
        let from = last.filter(|last| last.0 == *leader).map_or(*detected, |last| last.1.max(*detected));
        let time = from.plus_millis(rng.below(close.millis_since(from)));
        last = Some((*leader, time));
        for event in events {
            arrivals.push((time, rng.below(1 << 30), (*event).clone()));
            if rng.below(3) == 0 {
                arrivals.push((time.plus_millis(rng.below(10_000)), rng.below(1 << 30), (*event).clone()));
            }
        }
    }
    arrivals.sort_by_key(|(time, tie_break, _)| (*time, *tie_break));
    arrivals.into_iter().map(|(time, _, event)| Arrival { time, event }).collect()
}

#[test]
fn ten_thousand_events_shuffled_and_doubled_make_the_same_ledgers_to_the_byte() {
    let mut rng = SeededRng(2026);
    let events: Events = events(10_000, &mut rng).into_iter().map(|event| (event.member, event)).collect();
    let mut on_time: Vec<_> =
        events.values().map(|event| Arrival { time: event.detect_time, event: event.clone() }).collect();
    on_time.sort_by_key(|arrival| arrival.time);
    let in_order = grouped(&on_time);
    assert_eq!(in_order.iter().map(|closed| closed.members.len()).sum::<usize>(), 10_000);
    let expected = ledgers(&in_order);
    for _ in 0..3 {
        let arrivals = shuffled(&events, &in_order, &mut rng);
        assert!(arrivals.len() > 13_000);
        assert!(ledgers(&grouped(&arrivals)) == expected, "another order of arrival made other ledgers");
    }
    let mut at_once = Windows::new(2000);
    for event in events.values().rev() {
        at_once.add(event.clone()).unwrap();
    }
    let replayed = at_once.close_due(at(10_000_000));
    assert!(ledgers(&replayed) == expected, "a replay made other ledgers");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_event_is_in_one_group_and_within_its_window(seed in any::<u64>(), n in 1_usize..200) {
        let events = events(n, &mut SeededRng(seed));
        let mut windows = Windows::new(2000);
        for event in &events {
            windows.add(event.clone()).unwrap();
        }
        let closed = windows.close_due(at(10_000_000));
        prop_assert_eq!(windows.n_waiting(), 0);
        let members: BTreeSet<_> = closed.iter().flat_map(|closed| &closed.members).collect();
        prop_assert_eq!(members.len(), n);
        let keys: BTreeSet<_> = closed.iter().map(|closed| &closed.group.key).collect();
        prop_assert_eq!(keys.len(), closed.len());
        let shares = |of: &mut dyn Iterator<Item = ShareMicros>| of.map(|shares| shares.0).sum::<i64>();
        prop_assert_eq!(
            shares(&mut closed.iter().map(|closed| closed.group.shares)),
            shares(&mut events.iter().map(|event| event.shares))
        );
        let by_member: Events = events.into_iter().map(|event| (event.member, event)).collect();
        for ClosedGroup { group, members } in &closed {
            let of_group: Vec<_> = members.iter().map(|member| &by_member[member]).collect();
            prop_assert_eq!(of_group[0].detect_time, group.detect_time);
            prop_assert!(group.window_start >= group.detect_time);
            prop_assert!(of_group.is_sorted_by_key(|event| (event.detect_time, event.event_time)));
            for event in &of_group {
                prop_assert!(event.detect_time.millis_since(group.detect_time) < 2000);
                let same_poll = of_group.iter().filter(|other| other.detect_time == event.detect_time);
                let first = same_poll.map(|other| other.event_time).min().unwrap();
                prop_assert!(event.event_time.millis_since(first) < 2000);
            }
            let prices: Vec<PriceMicros> = of_group.iter().filter_map(|event| event.price).collect();
            match group.reference_price {
                Some(reference) => prop_assert!(prices.iter().min() <= Some(&reference) && Some(&reference) <= prices.iter().max()),
                None => prop_assert!(prices.is_empty()),
            }
        }
        for one in &closed {
            let of_leader = |other: &&ClosedGroup| other.group.followed_user == one.group.followed_user;
            for other in closed.iter().filter(of_leader).filter(|other| other.group.place() > one.group.place()) {
                let GroupAction::Trade { asset, side } = &one.group.action else { continue };
                if matches!(&other.group.action, GroupAction::Trade { asset: theirs, .. } if theirs == asset) {
                    prop_assert!(other.group.window_start > one.group.window_start);
                    // No window is cut without a need: a length has passed, or a fill of the other side lies between.
                    let mut between = closed.iter().filter(of_leader).filter(|group| {
                        matches!(&group.group.action, GroupAction::Trade { asset: theirs, side: of } if theirs == asset && of != side)
                            && group.group.place() > one.group.place() && group.group.place() < other.group.place()
                    });
                    let is_other_side = one.group.action != other.group.action;
                    let late = other.group.detect_time.millis_since(one.group.detect_time) >= 2000
                        || other.group.event_time.millis_since(one.group.event_time) >= 2000;
                    prop_assert!(is_other_side || late || between.next().is_some());
                }
            }
        }
    }

    #[test]
    fn cash_and_shares_reconcile_with_the_rows_they_came_from(
        fills in prop::collection::vec((any::<bool>(), 0_i64..=1_000_000, 0_i64..50_000_000, prop::option::of(0_i64..1000)), 1..50),
    ) {
        let mut shadow = Portfolio::new(SHADOW);
        let (mut cash, mut shares) = (0, 0);
        for (n, (buys, micros, size, fee)) in fills.iter().enumerate() {
            let side = if *buys { Side::Buy } else { Side::Sell };
            let mut fill = trade(&format!("{n}"), 10, side, *micros, *size, 0);
            fill.fee = fee.map(UsdcMicros);
            let sign = if *buys { 1 } else { -1 };
            cash -= sign * fill.notional.0 + fee.unwrap_or(0);
            shares += sign * size;
            for entry in entries_for_trade(&fill).unwrap() {
                shadow.apply(&entry).unwrap();
            }
        }
        prop_assert_eq!(shadow.figures().cash.0, cash);
        prop_assert_eq!(shadow.position(&asset(10), ALICE).shares.0, shares);
        let figures = shadow.figures();
        prop_assert_eq!(figures.realized.0 + figures.unrealized.0, figures.equity.0);
    }
}

#[test]
fn a_group_whose_key_is_taken_moves_on_by_a_millisecond_and_keeps_all_else() {
    let mut windows = Windows::new(2000);
    windows.add(PendingEvent::from_trade(&trade("a", 10, Side::Buy, 500_000, 5, 123))).unwrap();
    let closed = windows.close_due(at(5000)).remove(0);
    let moved = closed.clone().moved_by_one_ms();
    assert_eq!(moved.group.window_start, at(124));
    assert!(moved.group.key.as_str().ends_with(&at(124).iso()));
    assert_ne!(moved.group.id, closed.group.id);
    assert_eq!((moved.group.detect_time, moved.members), (at(123), closed.members));
}
