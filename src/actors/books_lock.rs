//! One lock for the shadow of each leader, so that what is computed from it is written before it changes.
//!
//! The ingestor holds the lock of a leader while rows enter the shadow, and the position checker while it books an
//! opening or an adjustment. Without it a row could enter between the moment when a position was compared and the moment
//! when its adjustment is written: then the row would count twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::domain::money::ids::FollowedUserId;

/// The locks of all leaders of this process.
#[derive(Debug, Clone, Default)]
pub struct BooksLock(Arc<Mutex<BTreeMap<FollowedUserId, Arc<tokio::sync::Mutex<()>>>>>);

impl BooksLock {
    /// Waits for the lock of one leader; it is held until the guard is dropped.
    pub async fn of(&self, user: FollowedUserId) -> OwnedMutexGuard<()> {
        let lock = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(user).or_default().clone();
        lock.lock_owned().await
    }

    /// Waits for the locks of several leaders, always in the same order, so that two holders never wait for each other.
    pub async fn of_all(&self, users: BTreeSet<FollowedUserId>) -> Vec<OwnedMutexGuard<()>> {
        let mut guards = Vec::with_capacity(users.len());
        for user in users {
            guards.push(self.of(user).await);
        }
        guards
    }
}
