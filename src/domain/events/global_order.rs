//! The global order: groups are decided by (earliest detect_time, group key), whatever is ready first (spec section 7).

use std::collections::BTreeMap;

use crate::domain::money::ids::GroupKey;
use crate::domain::money::units::Timestamp;

/// Groups that took their place when they closed, each waiting for what it needs and for the ones before it.
///
/// A place taken after a later one was already handed out cannot go back in time: it is next.
#[derive(Debug, Clone)]
pub struct Sequence<T> {
    places: BTreeMap<(Timestamp, GroupKey), Option<T>>,
    time_of: BTreeMap<GroupKey, Timestamp>,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), time_of: BTreeMap::new() }
    }
}

impl<T> Sequence<T> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lines the group up. False when it stands in line already; its place and what it holds stay.
    pub fn take_place(&mut self, detect_time: Timestamp, key: GroupKey) -> bool {
        if self.time_of.contains_key(&key) {
            return false;
        }
        self.time_of.insert(key.clone(), detect_time);
        self.places.insert((detect_time, key), None);
        true
    }

    /// Gives a waiting group what it was waiting for; a second time replaces the first.
    ///
    /// # Errors
    /// The value back, when the group stands in no line: nobody asked for it, or it has gone through.
    pub fn ready(&mut self, key: &GroupKey, value: T) -> Result<(), T> {
        let Some(detect_time) = self.time_of.get(key) else { return Err(value) };
        match self.places.get_mut(&(*detect_time, key.clone())) {
            Some(place) => {
                *place = Some(value);
                Ok(())
            }
            None => Err(value),
        }
    }

    /// The first in line, if it is ready; it leaves the line. Call until `None`.
    pub fn next_ready(&mut self) -> Option<T> {
        let first = self.places.first_entry()?;
        if first.get().is_none() {
            return None;
        }
        let ((_, key), value) = first.remove_entry();
        self.time_of.remove(&key);
        value
    }

    /// Takes a group out of the line that will never be ready, so that the others go on.
    pub fn give_up(&mut self, key: &GroupKey) -> bool {
        match self.time_of.remove(key) {
            Some(detect_time) => self.places.remove(&(detect_time, key.clone())).is_some(),
            None => false,
        }
    }

    /// Whom all others wait for.
    pub fn first(&self) -> Option<&GroupKey> {
        self.places.keys().next().map(|(_, key)| key)
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> GroupKey {
        GroupKey::from_text(text)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_group_waits_for_the_ones_before_it() {
        let mut line = Sequence::new();
        assert!(line.take_place(at(1), key("b")));
        assert!(line.take_place(at(1), key("a")));
        assert!(line.take_place(at(2), key("0")));
        assert_eq!(line.ready(&key("0"), "third"), Ok(()));
        assert_eq!(line.ready(&key("b"), "second"), Ok(()));
        assert_eq!((line.next_ready(), line.first()), (None, Some(&key("a"))));
        assert_eq!(line.ready(&key("a"), "first"), Ok(()));
        assert_eq!(
            [line.next_ready(), line.next_ready(), line.next_ready()].map(Option::unwrap),
            ["first", "second", "third"]
        );
        assert_eq!((line.next_ready(), line.len()), (None, 0));
    }

    #[test]
    fn a_place_is_taken_once_and_readiness_without_a_place_is_handed_back() {
        let mut line = Sequence::new();
        assert_eq!(line.ready(&key("a"), 1), Err(1));
        assert!(line.take_place(at(1), key("a")));
        assert_eq!(line.ready(&key("a"), 2), Ok(()));
        assert!(!line.take_place(at(9), key("a")));
        assert_eq!(line.next_ready(), Some(2));
        assert_eq!(line.ready(&key("a"), 3), Err(3));
        assert!(line.is_empty());
    }

    #[test]
    fn a_group_that_is_given_up_holds_nobody_back() {
        let mut line = Sequence::new();
        line.take_place(at(1), key("a"));
        line.take_place(at(2), key("b"));
        assert_eq!(line.ready(&key("b"), "b"), Ok(()));
        assert!(line.give_up(&key("a")));
        assert!(!line.give_up(&key("a")));
        assert_eq!(line.next_ready(), Some("b"));
    }

    #[test]
    fn a_place_taken_late_is_next_but_does_not_go_back_in_time() {
        let mut line = Sequence::new();
        line.take_place(at(2), key("b"));
        line.take_place(at(3), key("c"));
        assert_eq!(line.ready(&key("b"), "b"), Ok(()));
        assert_eq!(line.ready(&key("c"), "c"), Ok(()));
        assert_eq!(line.next_ready(), Some("b"));
        line.take_place(at(1), key("a"));
        assert_eq!(line.next_ready(), None);
        assert_eq!(line.ready(&key("a"), "a"), Ok(()));
        assert_eq!((line.next_ready(), line.next_ready()), (Some("a"), Some("c")));
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_sorting_whatever_the_readiness_order(
            times in prop::collection::vec(0_i64..5, 1..40),
            ready_order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let groups: Vec<_> = times.iter().enumerate().map(|(n, time)| (at(*time), key(&format!("{:02}", 97 * n % 41)))).collect();
            let mut line = Sequence::new();
            for (time, key) in &groups {
                line.take_place(*time, key.clone());
            }
            let mut decided = Vec::new();
            for n in ready_order {
                let Some(group) = groups.get(n) else { continue };
                prop_assert_eq!(line.ready(&group.1, group.clone()), Ok(()));
                decided.extend(std::iter::from_fn(|| line.next_ready()));
            }
            let mut sorted = groups;
            sorted.sort();
            prop_assert_eq!(decided, sorted);
        }
    }
}
