//! The windows that gather pending events into groups (spec 6): when one opens, what it takes and when it closes.
//!
//! In    events that belong to no group yet, in any order, also twice; `now`.
//! Out   closed groups, and the time at which the next one is due. The caller owns the timer.
//! Fails when the amounts of one window would not fit; the event is then not added.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::group::{ClosedGroup, EventGroup, GroupAction, Member, PendingEvent, WindowKey, group_key};
use crate::domain::money::ids::GroupId;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros, div_half_up, product};

/// The open windows of all leaders.
///
/// A window opens at the detect_time of its first event and takes the events detected less than its length after that.
/// Rows of one poll share a detect_time: among them the window runs over event_time. A fill closes the open group of the
/// asset's other side, so that a sale between two purchases is decided between them.
///
/// Pending events are kept sorted, and a window is cut off only when it is due. So the groups depend on the set of
/// events and not on the order in which the rows of a poll arrive, as long as the polls of a leader arrive in their
/// order, and each before its windows close: [`add`](Self::add) every known event before calling
/// [`close_due`](Self::close_due). An event that arrives later opens a new window.
#[derive(Debug, Clone)]
pub struct Windows {
    length_ms: i64,
    open: BTreeMap<WindowKey, Waiting>,
}

/// The events under one key that belong to no group yet.
#[derive(Debug, Clone, Default)]
struct Waiting {
    events: BTreeMap<(Timestamp, Timestamp, Member), PendingEvent>,
    /// The sums of each action among the events: of one side, or of the rows of one kind.
    sums: BTreeMap<GroupAction, (UsdcMicros, ShareMicros)>,
    /// The start of the newest group that was cut off while others waited.
    last_start: Option<Timestamp>,
}

/// A group that is being gathered.
struct Gathering<'a> {
    window_start: Timestamp,
    /// When its first event was detected.
    detect_time: Timestamp,
    /// The poll that brought its last event, and the earliest event that this poll brought.
    poll: (Timestamp, Timestamp),
    events: Vec<&'a PendingEvent>,
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
    /// [`UnitError::Overflow`] when the sums of the pending events of its side or kind would not fit; nothing changes
    /// then.
    pub fn add(&mut self, event: PendingEvent) -> Result<bool, UnitError> {
        let waiting = self.open.entry(event.window_key()).or_default();
        let place = (event.detect_time, event.event_time, event.member);
        if waiting.events.contains_key(&place) {
            return Ok(false);
        }
        let sums = waiting.sums.entry(event.action.clone()).or_default();
        *sums = (sums.0.plus(event.notional)?, sums.1.plus(event.shares)?);
        waiting.events.insert(place, event);
        Ok(true)
    }

    /// Returns the time at which the earliest window closes; the caller sets its timer to it.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.open.values().filter_map(Waiting::start).min().map(|start| start.plus_millis(self.length_ms))
    }

    /// Removes and returns every group whose window is over at `now`, in the global order.
    pub fn close_due(&mut self, now: Timestamp) -> Vec<ClosedGroup> {
        let mut closed = Vec::new();
        for waiting in self.open.values_mut() {
            if waiting.start().is_some_and(|start| start.plus_millis(self.length_ms) <= now) {
                closed.extend(waiting.close_due(self.length_ms, now));
            }
        }
        self.open.retain(|_, waiting| !waiting.events.is_empty());
        closed.sort_by_cached_key(|closed| closed.group.place());
        closed
    }

    /// Returns how many events belong to no group yet.
    pub fn n_waiting(&self) -> usize {
        self.open.values().map(|waiting| waiting.events.len()).sum()
    }
}

impl Waiting {
    fn start(&self) -> Option<Timestamp> {
        self.events.keys().next().map(|(detect_time, ..)| *detect_time)
    }

    /// Removes the groups whose windows are over at `now`.
    fn close_due(&mut self, length_ms: i64, now: Timestamp) -> Vec<ClosedGroup> {
        let gathered = self.gather(length_ms);
        // Detect times only grow from group to group.
        let due = gathered.iter().take_while(|group| group.detect_time.plus_millis(length_ms) <= now);
        let closed: Vec<ClosedGroup> = due.filter_map(closed_group).collect();
        self.last_start = closed.last().map(|closed| closed.group.window_start).or(self.last_start);
        let members: BTreeSet<Member> = closed.iter().flat_map(|closed| closed.members.iter().copied()).collect();
        self.events.retain(|(.., member), _| !members.contains(member));
        for ClosedGroup { group, .. } in &closed {
            if let Some((notional, shares)) = self.sums.get_mut(&group.action) {
                notional.0 = notional.0.saturating_sub(group.notional.0);
                shares.0 = shares.0.saturating_sub(group.shares.0);
            }
        }
        closed
    }

    /// Returns all groups of the waiting events, whether their windows are over or not.
    fn gather(&self, length_ms: i64) -> Vec<Gathering<'_>> {
        let mut groups: Vec<Gathering<'_>> = Vec::new();
        let mut events: VecDeque<&PendingEvent> = self.events.values().collect();
        while let Some(first) = events.front().copied() {
            // The API's times are whole seconds. Of the fills of one second those of the side that is open come first:
            // which of them the leader did first is not known, and so a group is not cut without a need.
            let is_same =
                |event: &&&PendingEvent| (event.detect_time, event.event_time) == (first.detect_time, first.event_time);
            let n_same = events.iter().take_while(is_same).count();
            let mut same: Vec<&PendingEvent> = events.drain(..n_same).collect();
            let open = groups.last().filter(|group| same.iter().any(|event| group.takes(event, length_ms)));
            let open = open.and_then(|group| group.events.first()).map(|event| &event.action);
            same.sort_by_key(|event| (Some(&event.action) != open, &event.action));
            for event in same {
                match groups.last_mut().filter(|group| group.takes(event, length_ms)) {
                    Some(group) => group.push(event),
                    None => {
                        let last_start = groups.last().map(|group| group.window_start).or(self.last_start);
                        groups.push(Gathering::begin(event, last_start));
                    }
                }
            }
        }
        groups
    }
}

impl<'a> Gathering<'a> {
    /// Begins a group. Its window starts after that of the group before it, so that keys stay unique.
    fn begin(event: &'a PendingEvent, last_start: Option<Timestamp>) -> Self {
        let after_last = last_start.map(|start| start.plus_millis(1));
        Self {
            window_start: after_last.map_or(event.detect_time, |after| event.detect_time.max(after)),
            detect_time: event.detect_time,
            poll: (event.detect_time, event.event_time),
            events: vec![event],
        }
    }

    /// Returns whether the group, which is the newest of its leader and asset, takes this event.
    fn takes(&self, event: &PendingEvent, length_ms: i64) -> bool {
        // A window without length still takes the events of the same millisecond or second.
        let within = |from: Timestamp, to: Timestamp| to == from || to.millis_since(from) < length_ms;
        self.events.first().is_some_and(|first| first.action == event.action)
            && within(self.detect_time, event.detect_time)
            && (self.poll.0 != event.detect_time || within(self.poll.1, event.event_time))
    }

    fn push(&mut self, event: &'a PendingEvent) {
        if self.poll.0 != event.detect_time {
            self.poll = (event.detect_time, event.event_time);
        }
        self.events.push(event);
    }
}

/// Returns the group of these events. [`Windows::add`] has checked that the sums fit, so nothing saturates here.
fn closed_group(gathered: &Gathering<'_>) -> Option<ClosedGroup> {
    let events = &gathered.events;
    let first = events.first()?;
    let sum = |amount: fn(&PendingEvent) -> i64| events.iter().map(|event| amount(event)).fold(0, i64::saturating_add);
    let shares = sum(|event| event.shares.0);
    let window_start = gathered.window_start;
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
        detect_time: gathered.detect_time,
        event_time: events.iter().map(|event| event.event_time).min()?,
    };
    Some(ClosedGroup { group, members: events.iter().map(|event| event.member).collect() })
}

/// Returns the share-weighted price of the fills, rounded half up. `None` for other kinds and for fills without shares.
fn reference_price(events: &[&PendingEvent], shares: i64) -> Option<PriceMicros> {
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

    /// Fills of one poll, each with its side and the second in which it took place.
    fn one_poll(fills: &[(Side, i64)], detected: i64) -> Vec<PendingEvent> {
        let fill = |(n, (side, second)): (usize, &(Side, i64))| {
            let fill = trade(&format!("{n} of {detected}"), 10, *side, 500_000, 1_000_000, detected);
            PendingEvent { event_time: at(1_000 * second), ..PendingEvent::from_trade(&fill) }
        };
        fills.iter().enumerate().map(fill).collect()
    }

    /// Side, seconds and start of each group, in the global order.
    fn shape(closed: &[ClosedGroup]) -> Vec<(Side, usize, i64, i64)> {
        let one = |closed: &ClosedGroup| {
            let GroupAction::Trade { side, .. } = closed.group.action else { panic!("{closed:?}") };
            let group = &closed.group;
            (side, closed.members.len(), group.event_time.millis_since(at(0)), group.window_start.millis_since(at(0)))
        };
        closed.iter().map(one).collect()
    }

    #[test]
    fn a_sale_and_a_later_purchase_of_one_poll_are_two_groups_in_the_order_of_the_leader() {
        let events = one_poll(&[(Side::Sell, 1), (Side::Buy, 9)], 20_000);
        let closed = windows(&events).close_due(at(22_000));
        assert_eq!(shape(&closed), [(Side::Sell, 1, 1_000, 20_000), (Side::Buy, 1, 9_000, 20_001)]);
        assert!(closed.iter().all(|closed| closed.group.detect_time == at(20_000)));
    }

    #[test]
    fn among_the_rows_of_one_poll_the_window_runs_over_the_event_time() {
        let fills = [(Side::Buy, 1), (Side::Buy, 2), (Side::Buy, 3), (Side::Buy, 9)];
        let closed = windows(&one_poll(&fills, 20_000)).close_due(at(22_000));
        let buys = [(2, 1_000, 20_000), (1, 3_000, 20_001), (1, 9_000, 20_002)];
        assert_eq!(shape(&closed), buys.map(|(n, event, start)| (Side::Buy, n, event, start)));
    }

    #[test]
    fn a_fill_closes_the_open_group_of_the_other_side_also_when_that_came_with_another_poll() {
        let mut events = one_poll(&[(Side::Buy, 1)], 20_000);
        events.extend(one_poll(&[(Side::Sell, 2), (Side::Buy, 3)], 20_500));
        events.extend(one_poll(&[(Side::Buy, 30)], 21_000));
        let mut windows = windows(&events);
        assert_eq!(shape(&windows.close_due(at(22_000))), [(Side::Buy, 1, 1_000, 20_000)]);
        let rest = [(Side::Sell, 1, 2_000, 20_500), (Side::Buy, 2, 3_000, 20_501)];
        assert_eq!(shape(&windows.close_due(at(22_500))), rest);
    }

    #[test]
    fn of_the_fills_of_one_second_those_of_the_open_side_come_first() {
        let fills = [(Side::Sell, 1), (Side::Buy, 2), (Side::Sell, 2), (Side::Buy, 2)];
        let closed = windows(&one_poll(&fills, 20_000)).close_due(at(22_000));
        assert_eq!(shape(&closed), [(Side::Sell, 2, 1_000, 20_000), (Side::Buy, 2, 2_000, 20_001)]);
        let closed = windows(&one_poll(&[(Side::Sell, 2), (Side::Buy, 2)], 20_000)).close_due(at(22_000));
        assert_eq!(shape(&closed), [(Side::Buy, 1, 2_000, 20_000), (Side::Sell, 1, 2_000, 20_001)]);
    }

    #[test]
    fn starts_stay_unique_when_a_poll_comes_a_millisecond_after_one_that_made_several_groups() {
        let mut events = one_poll(&[(Side::Buy, 1), (Side::Sell, 2), (Side::Buy, 3)], 20_000);
        events.extend(one_poll(&[(Side::Sell, 4)], 20_001));
        let mut windows = windows(&events);
        assert_eq!(windows.close_due(at(22_000)).len(), 3);
        assert_eq!(shape(&windows.close_due(at(22_001))), [(Side::Sell, 1, 4_000, 20_003)]);
    }
}
