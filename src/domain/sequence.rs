//! The global order: groups are decided by (earliest detect_time, group key), whatever is ready first (spec section 7).

use std::collections::BTreeMap;

use super::ids::GroupKey;
use super::units::Timestamp;

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
