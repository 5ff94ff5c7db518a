//! The windows that gather pending events into groups (spec 6): when one opens, what it takes and when it closes.
//!
//! In    events that belong to no group yet, in any order, also twice; `now`.
//! Out   closed groups, and the time at which the next one is due. The caller owns the timer.
//! Fails when the amounts of one window would not fit; the event is then not added.

use std::collections::BTreeMap;

use super::group::{ClosedGroup, EventGroup, Member, PendingEvent, WindowKey, group_key};
use crate::domain::money::ids::GroupId;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros, div_half_up, product};

/// The open windows of all leaders.
///
/// A window opens at the detect_time of its first event and takes the events detected less than its length after that.
/// Pending events are kept sorted, and a window is cut off only when it is due. So the groups depend on the set of
/// events and not on the order in which they arrive, as long as each event arrives before its window closes:
/// [`add`](Self::add) every known event before calling [`close_due`](Self::close_due). An event that arrives later
/// opens a new window.
#[derive(Debug, Clone)]
pub struct Windows {
    length_ms: i64,
    open: BTreeMap<WindowKey, Waiting>,
}

/// The events under one key that belong to no group yet.
#[derive(Debug, Clone, Default)]
struct Waiting {
    events: BTreeMap<(Timestamp, Member), PendingEvent>,
    notional: UsdcMicros,
    shares: ShareMicros,
}

impl Windows {
    /// Returns an empty set of windows, each `length_ms` long.
    pub const fn new(length_ms: i64) -> Self {
        Self { length_ms, open: BTreeMap::new() }
    }

    /// Changes the length of every window, including those that are open.
    pub fn set_length(&mut self, length_ms: i64) {
        self.length_ms = length_ms;
    }

    /// Adds `event` to the window it belongs to. Returns false when it was added before.
    ///
    /// # Errors
    /// [`UnitError::Overflow`] when the sums of the pending events under its key would not fit; nothing changes then.
    pub fn add(&mut self, event: PendingEvent) -> Result<bool, UnitError> {
        let waiting = self.open.entry(event.window_key()).or_default();
        let place = (event.detect_time, event.member);
        if waiting.events.contains_key(&place) {
            return Ok(false);
        }
        let notional = waiting.notional.plus(event.notional)?;
        let shares = waiting.shares.plus(event.shares)?;
        (waiting.notional, waiting.shares) = (notional, shares);
        waiting.events.insert(place, event);
        Ok(true)
    }

    /// Returns the time at which the earliest window closes; the caller sets its timer to it.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.open.values().filter_map(Waiting::start).min().map(|start| start.plus_millis(self.length_ms))
    }

    /// Removes and returns every group whose window is over at `now`, in the global order: (detect_time, key).
    pub fn close_due(&mut self, now: Timestamp) -> Vec<ClosedGroup> {
        let mut closed = Vec::new();
        for waiting in self.open.values_mut() {
            while let Some(start) = waiting.start()
                && start.plus_millis(self.length_ms) <= now
            {
                closed.extend(waiting.close(start, start.plus_millis(self.length_ms)));
            }
        }
        self.open.retain(|_, waiting| !waiting.events.is_empty());
        closed.sort_by(|a, b| (a.group.detect_time, &a.group.key).cmp(&(b.group.detect_time, &b.group.key)));
        closed
    }

    /// Returns how many events belong to no group yet.
    pub fn n_waiting(&self) -> usize {
        self.open.values().map(|waiting| waiting.events.len()).sum()
    }
}

impl Waiting {
    fn start(&self) -> Option<Timestamp> {
        self.events.keys().next().map(|(detect_time, _)| *detect_time)
    }

    /// Removes the events before `end`, and those at `start` even if the window has no length: events with the same
    /// time would otherwise make two groups with the same key.
    fn close(&mut self, start: Timestamp, end: Timestamp) -> Option<ClosedGroup> {
        let mut events = Vec::new();
        while let Some(next) = self.events.first_entry()
            && (next.key().0 < end || next.key().0 == start)
        {
            events.push(next.remove());
        }
        let closed = closed_group(&events)?;
        self.notional.0 = self.notional.0.saturating_sub(closed.group.notional.0);
        self.shares.0 = self.shares.0.saturating_sub(closed.group.shares.0);
        Some(closed)
    }
}

/// Returns the group of these events. [`Windows::add`] has checked that the sums fit, so nothing saturates here.
fn closed_group(events: &[PendingEvent]) -> Option<ClosedGroup> {
    let first = events.first()?;
    let sum = |amount: fn(&PendingEvent) -> i64| events.iter().map(amount).fold(0, i64::saturating_add);
    let shares = sum(|event| event.shares.0);
    let window_start = first.detect_time;
    let key = group_key(first.followed_user, &first.action, &first.market, window_start);
    let group = EventGroup {
        id: GroupId::of(&key),
        key,
        followed_user: first.followed_user,
        market: first.market.clone(),
        action: first.action.clone(),
        notional: UsdcMicros(sum(|event| event.notional.0)),
        shares: ShareMicros(shares),
        reference_price: reference_price(events, shares).or(first.price),
        window_start,
        detect_time: window_start,
        event_time: events.iter().map(|event| event.event_time).min()?,
    };
    Some(ClosedGroup { group, members: events.iter().map(|event| event.member).collect() })
}

/// Returns the share-weighted price of the fills, rounded half up. `None` for other kinds and for fills without shares.
fn reference_price(events: &[PendingEvent], shares: i64) -> Option<PriceMicros> {
    let mut weighted: i128 = 0;
    for event in events {
        weighted = weighted.checked_add(product(event.price?.micros(), event.shares.0))?;
    }
    PriceMicros::new(div_half_up(weighted, i128::from(shares)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::events::event::{ActivityKind, Side};
    use crate::domain::money::ids::EventId;
    use crate::testkit::samples::{ALICE, BOB, activity, at, market_id, trade};

    fn windows(events: &[PendingEvent]) -> Windows {
        let mut windows = Windows::new(2000);
        for event in events {
            assert_eq!(windows.add(event.clone()), Ok(true));
        }
        windows
    }

    fn buy(name: &str, detected: i64) -> PendingEvent {
        PendingEvent::from_trade(&trade(name, 10, Side::Buy, 500_000, 1_000_000, detected))
    }

    fn sizes(closed: &[ClosedGroup]) -> Vec<usize> {
        closed.iter().map(|closed| closed.members.len()).collect()
    }

    #[test]
    fn a_window_takes_events_detected_less_than_its_length_after_its_first_event() {
        let check = |later: i64, groups: &[usize]| {
            let closed = windows(&[buy("a", 0), buy("b", later)]).close_due(at(100_000));
            assert_eq!(sizes(&closed), groups, "second event {later} ms later");
        };
        check(0, &[2]);
        check(1, &[2]);
        check(1999, &[2]);
        check(2000, &[1, 1]);
        check(2001, &[1, 1]);
    }

    #[test]
    fn a_window_closes_when_its_length_has_passed_and_not_before() {
        let mut windows = windows(&[buy("a", 0)]);
        assert_eq!(windows.next_deadline(), Some(at(2000)));
        assert_eq!(windows.close_due(at(1999)), []);
        assert_eq!(windows.next_deadline(), Some(at(2000)));
        assert_eq!(sizes(&windows.close_due(at(2000))), [1]);
        assert_eq!((windows.next_deadline(), windows.n_waiting()), (None, 0));
        assert_eq!(windows.close_due(at(9999)), []);
    }

    #[test]
    fn the_second_window_starts_at_its_own_first_event() {
        let mut windows = windows(&[buy("a", 0), buy("b", 1500), buy("c", 2500), buy("d", 4400), buy("e", 4500)]);
        assert_eq!(sizes(&windows.close_due(at(2000))), [2]);
        assert_eq!(windows.next_deadline(), Some(at(4500)));
        assert_eq!(sizes(&windows.close_due(at(4500))), [2]);
        assert_eq!(windows.next_deadline(), Some(at(6500)));
        assert_eq!(sizes(&windows.close_due(at(6500))), [1]);
    }

    #[test]
    fn an_earlier_event_that_arrives_later_moves_the_start_of_an_open_window() {
        let mut windows = windows(&[buy("b", 1000), buy("c", 2500)]);
        assert_eq!(windows.add(buy("a", 400)), Ok(true));
        assert_eq!(windows.next_deadline(), Some(at(2400)));
        let closed = windows.close_due(at(5000));
        assert_eq!(sizes(&closed), [2, 1]);
        assert_eq!(closed[0].group.window_start, at(400));
        assert_eq!(closed[1].group.window_start, at(2500));
    }

    #[test]
    fn an_event_that_is_added_twice_is_counted_once() {
        let mut windows = windows(&[buy("a", 0)]);
        assert_eq!(windows.add(buy("a", 0)), Ok(false));
        assert_eq!(windows.close_due(at(2000))[0].group.shares, ShareMicros(1_000_000));
    }

    #[test]
    fn a_group_sums_its_fills_and_weighs_its_reference_price_by_shares() {
        let mut events = [
            trade("a", 10, Side::Buy, 400_000, 3_000_000, 10),
            trade("b", 10, Side::Buy, 410_001, 1_000_000, 5),
            trade("c", 10, Side::Buy, 400_000, 1, 1000),
        ];
        events[2].event_time = at(-9000);
        let closed = windows(&events.each_ref().map(PendingEvent::from_trade)).close_due(at(3000));
        let group = &closed[0].group;
        assert_eq!(group.notional, UsdcMicros(1_200_000 + 410_001));
        assert_eq!(group.shares, ShareMicros(4_000_001));
        // (1_200_000 + 410_001 + 0.4) / 4.000001 = 402_500.25
        assert_eq!(group.reference_price, PriceMicros::new(402_500).ok());
        assert_eq!((group.window_start, group.detect_time, group.event_time), (at(5), at(5), at(-9000)));
        let members = ["b", "a", "c"].map(|name| Member::Trade(EventId::of("DATA_API", name)));
        assert_eq!(closed[0].members, members);
        assert_eq!(group.id, GroupId::of(&group.key));
    }

    #[test]
    fn a_reference_price_rounds_half_up_and_fills_without_shares_keep_the_first_price() {
        let check = |fills: [(i64, i64); 2], reference| {
            let [a, b] = fills;
            let events = [trade("a", 10, Side::Buy, a.0, a.1, 0), trade("b", 10, Side::Buy, b.0, b.1, 1)];
            let closed = windows(&events.each_ref().map(PendingEvent::from_trade)).close_due(at(3000));
            assert_eq!(closed[0].group.reference_price, PriceMicros::new(reference).ok(), "{fills:?}");
        };
        check([(500_000, 1), (500_001, 1)], 500_001);
        check([(500_000, 2), (500_001, 1)], 500_000);
        check([(0, 5), (0, 5)], 0);
        check([(300_000, 0), (500_001, 0)], 300_000);
        check([(300_000, 0), (500_001, 5)], 500_001);
    }

    #[test]
    fn leaders_assets_sides_and_kinds_have_separate_windows() {
        let row = |name: &str, kind| PendingEvent::from_activity(&activity(name, kind, 5, 5, None)).unwrap();
        let events = [
            buy("a", 500),
            PendingEvent { followed_user: BOB, ..buy("b", 500) },
            PendingEvent::from_trade(&trade("c", 11, Side::Buy, 500_000, 1_000_000, 500)),
            PendingEvent::from_trade(&trade("d", 10, Side::Sell, 500_000, 1_000_000, 500)),
            row("e", ActivityKind::Merge),
            row("f", ActivityKind::Split),
            row("g", ActivityKind::Conversion),
            PendingEvent { market: market_id(2), ..row("h", ActivityKind::Merge) },
        ];
        assert_eq!(sizes(&windows(&events).close_due(at(2500))), [1; 8]);
    }

    #[test]
    fn key_texts_are_as_the_spec_writes_them() {
        let start = Timestamp::parse_iso("2026-01-15T12:00:00.123Z").unwrap();
        let key = |event: PendingEvent| {
            let mut windows = windows(&[PendingEvent { detect_time: start, ..event }]);
            windows.close_due(start.plus_millis(2000)).remove(0).group.key.to_string()
        };
        assert_eq!(key(buy("a", 0)), "7:1010:BUY:2026-01-15T12:00:00.123Z");
        let condition = market_id(1);
        let row = |kind| PendingEvent::from_activity(&activity("b", kind, 5, 5, None)).unwrap();
        assert_eq!(key(row(ActivityKind::Merge)), format!("7:MERGE:{condition}:2026-01-15T12:00:00.123Z"));
        assert_eq!(key(row(ActivityKind::Conversion)), format!("7:CONVERSION:{condition}:2026-01-15T12:00:00.123Z"));
    }

    #[test]
    fn rows_that_cannot_be_copied_form_no_group() {
        let pending = |kind| PendingEvent::from_activity(&activity("a", kind, 1, 1, None));
        for kind in [
            ActivityKind::Redeem,
            ActivityKind::Combo,
            ActivityKind::Migration,
            ActivityKind::DirectionalSplit,
            ActivityKind::DirectionalMerge,
            ActivityKind::ThresholdCompose,
            ActivityKind::ThresholdDecompose,
        ] {
            assert_eq!(pending(kind), None);
        }
        assert_eq!(pending(ActivityKind::Other("REWARD".to_owned())), None);
        let mut nameless = activity("a", ActivityKind::Merge, 1, 1, None);
        nameless.payload.condition_id = None;
        assert_eq!(PendingEvent::from_activity(&nameless), None);
    }

    #[test]
    fn groups_come_out_in_the_global_order() {
        let events = [
            buy("a", 20),
            PendingEvent { followed_user: BOB, ..buy("b", 10) },
            PendingEvent::from_trade(&trade("c", 12, Side::Buy, 500_000, 1, 10)),
        ];
        let closed = windows(&events).close_due(at(9000));
        let order: Vec<_> =
            closed.iter().map(|closed| (closed.group.followed_user, closed.group.detect_time)).collect();
        assert_eq!(order, [(ALICE, at(10)), (BOB, at(10)), (ALICE, at(20))]);
    }

    #[test]
    fn an_event_whose_amount_would_not_fit_the_window_is_refused_and_the_others_are_kept() {
        let mut windows = windows(&[buy("a", 0)]);
        let huge = PendingEvent { notional: UsdcMicros(i64::MAX), ..buy("b", 1) };
        assert!(windows.add(huge.clone()).is_err());
        assert_eq!(sizes(&windows.close_due(at(2000))), [1]);
        assert_eq!(windows.add(huge), Ok(true));
    }

    #[test]
    fn a_window_without_length_still_groups_events_of_the_same_millisecond() {
        let mut windows = windows(&[buy("a", 0), buy("b", 0), buy("c", 1)]);
        windows.set_length(0);
        assert_eq!(sizes(&windows.close_due(at(0))), [2]);
        assert_eq!(sizes(&windows.close_due(at(1))), [1]);
    }
}
