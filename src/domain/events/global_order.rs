//! The global order: groups are decided by (earliest detect_time, earliest event_time, group key), in whatever order
//! they become ready (spec 7).

use std::collections::BTreeMap;

use crate::domain::money::ids::GroupKey;
use crate::domain::money::units::Timestamp;

/// The place of a group in the global order.
///
/// Rows of one poll share a detect_time; of these, what the leader did first comes first. The key only makes the order
/// the same every time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPlace {
    /// The earliest of the group's members.
    pub detect_time: Timestamp,
    /// The earliest of the group's members.
    pub event_time: Timestamp,
    pub key: GroupKey,
}

/// A queue of groups in the global order. A group enters it when it closes, and leaves it when it is ready to be
/// decided and no group is ahead of it.
///
/// A group that enters after a later one has already left cannot be decided in order any more: it goes to the head.
#[derive(Debug, Clone)]
pub struct GlobalOrder<T> {
    /// `None` while the group is not ready.
    queue: BTreeMap<GroupPlace, Option<T>>,
    place_of: BTreeMap<GroupKey, GroupPlace>,
}

impl<T> Default for GlobalOrder<T> {
    fn default() -> Self {
        Self { queue: BTreeMap::new(), place_of: BTreeMap::new() }
    }
}

impl<T> GlobalOrder<T> {
    /// Returns an empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a group that is not ready yet. Returns false when it is queued already; then nothing changes.
    pub fn enqueue(&mut self, place: GroupPlace) -> bool {
        if self.place_of.contains_key(&place.key) {
            return false;
        }
        self.place_of.insert(place.key.clone(), place.clone());
        self.queue.insert(place, None);
        true
    }

    /// Marks a queued group as ready and stores `value` with it. A second call replaces the value.
    ///
    /// # Errors
    /// Returns `value` when the group is not queued: it never was, or it has left the queue.
    pub fn mark_ready(&mut self, key: &GroupKey, value: T) -> Result<(), T> {
        let Some(place) = self.place_of.get(key) else { return Err(value) };
        match self.queue.get_mut(place) {
            Some(queued) => {
                *queued = Some(value);
                Ok(())
            }
            None => Err(value),
        }
    }

    /// Removes the head of the queue and returns its value, if it is ready. Call until `None`.
    pub fn pop_ready(&mut self) -> Option<T> {
        let head = self.queue.first_entry()?;
        if head.get().is_none() {
            return None;
        }
        let (place, value) = head.remove_entry();
        self.place_of.remove(&place.key);
        value
    }

    /// Removes a group that will never be ready, so that it does not block the others. Returns whether it was queued.
    pub fn remove(&mut self, key: &GroupKey) -> bool {
        self.place_of.remove(key).is_some_and(|place| self.queue.remove(&place).is_some())
    }

    /// Returns the head of the queue, for which all other groups wait.
    pub fn head(&self) -> Option<&GroupPlace> {
        self.queue.keys().next()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> GroupKey {
        GroupKey::from_text(text)
    }

    /// A group of which all times are the same.
    fn place(millis: i64, text: &str) -> GroupPlace {
        GroupPlace { detect_time: at(millis), event_time: at(millis), key: key(text) }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_group_waits_for_the_groups_ahead_of_it() {
        let mut queue = GlobalOrder::new();
        assert!(queue.enqueue(place(1, "b")));
        assert!(queue.enqueue(place(1, "a")));
        assert!(queue.enqueue(place(2, "0")));
        assert_eq!(queue.mark_ready(&key("0"), "third"), Ok(()));
        assert_eq!(queue.mark_ready(&key("b"), "second"), Ok(()));
        assert_eq!((queue.pop_ready(), queue.head()), (None, Some(&place(1, "a"))));
        assert_eq!(queue.mark_ready(&key("a"), "first"), Ok(()));
        assert_eq!(
            [queue.pop_ready(), queue.pop_ready(), queue.pop_ready()].map(Option::unwrap),
            ["first", "second", "third"]
        );
        assert_eq!((queue.pop_ready(), queue.len()), (None, 0));
    }

    #[test]
    fn of_the_groups_of_one_poll_the_earliest_event_comes_first_whatever_the_keys_are() {
        let mut queue = GlobalOrder::new();
        let placed = |happened, text| GroupPlace { detect_time: at(9_000), event_time: at(happened), key: key(text) };
        for (happened, text) in [(8_000, "7:10:BUY"), (1_000, "7:10:SELL"), (1_000, "7:11:BUY")] {
            queue.enqueue(placed(happened, text));
            assert_eq!(queue.mark_ready(&key(text), text), Ok(()));
        }
        let decided: Vec<_> = std::iter::from_fn(|| queue.pop_ready()).collect();
        assert_eq!(decided, ["7:10:SELL", "7:11:BUY", "7:10:BUY"]);
    }

    #[test]
    fn a_group_is_queued_once_and_the_value_of_an_unqueued_group_is_returned() {
        let mut queue = GlobalOrder::new();
        assert_eq!(queue.mark_ready(&key("a"), 1), Err(1));
        assert!(queue.enqueue(place(1, "a")));
        assert_eq!(queue.mark_ready(&key("a"), 2), Ok(()));
        assert!(!queue.enqueue(place(9, "a")));
        assert_eq!(queue.pop_ready(), Some(2));
        assert_eq!(queue.mark_ready(&key("a"), 3), Err(3));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_removed_group_does_not_block_the_others() {
        let mut queue = GlobalOrder::new();
        queue.enqueue(place(1, "a"));
        queue.enqueue(place(2, "b"));
        assert_eq!(queue.mark_ready(&key("b"), "b"), Ok(()));
        assert!(queue.remove(&key("a")));
        assert!(!queue.remove(&key("a")));
        assert_eq!(queue.pop_ready(), Some("b"));
    }

    #[test]
    fn a_late_group_goes_to_the_head_but_earlier_decisions_stay() {
        let mut queue = GlobalOrder::new();
        queue.enqueue(place(2, "b"));
        queue.enqueue(place(3, "c"));
        assert_eq!(queue.mark_ready(&key("b"), "b"), Ok(()));
        assert_eq!(queue.mark_ready(&key("c"), "c"), Ok(()));
        assert_eq!(queue.pop_ready(), Some("b"));
        queue.enqueue(place(1, "a"));
        assert_eq!(queue.pop_ready(), None);
        assert_eq!(queue.mark_ready(&key("a"), "a"), Ok(()));
        assert_eq!((queue.pop_ready(), queue.pop_ready()), (Some("a"), Some("c")));
    }

    proptest! {
        #[test]
        fn groups_leave_in_sorted_order_whatever_the_order_of_readiness(
            times in prop::collection::vec((0_i64..5, 0_i64..5), 1..40),
            ready_order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let place = |(n, (detected, happened)): (usize, &(i64, i64))| GroupPlace {
                detect_time: at(*detected),
                event_time: at(*happened),
                key: key(&format!("{:02}", 97 * n % 41)),
            };
            let groups: Vec<GroupPlace> = times.iter().enumerate().map(place).collect();
            let mut queue = GlobalOrder::new();
            for place in &groups {
                queue.enqueue(place.clone());
            }
            let mut decided = Vec::new();
            for n in ready_order {
                let Some(group) = groups.get(n) else { continue };
                prop_assert_eq!(queue.mark_ready(&group.key, group.clone()), Ok(()));
                decided.extend(std::iter::from_fn(|| queue.pop_ready()));
            }
            let mut sorted = groups;
            sorted.sort();
            prop_assert_eq!(decided, sorted);
        }
    }
}
