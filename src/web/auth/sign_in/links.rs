//! One-time links: without a provider, a person who can read the output of the program may sign in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::token::{Hash, NoRandomness, hash, random_text, same_hash};

/// The unused links. Only the hashes of their tokens are kept.
#[derive(Default)]
pub struct LoginLinks {
    open: Mutex<Vec<Hash>>,
}

impl LoginLinks {
    /// Returns an empty list.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Creates a token of 256 random bits that works once.
    ///
    /// # Errors
    /// [`NoRandomness`] when the operating system provides none.
    pub fn mint(&self) -> Result<String, NoRandomness> {
        let token = random_text()?;
        self.hashes().push(hash(&token));
        Ok(token)
    }

    /// Uses up a token. Returns whether it was valid. Takes equally long for every wrong token.
    pub(super) fn redeem(&self, token: &str) -> bool {
        let given = hash(token);
        let mut open = self.hashes();
        let before = open.len();
        open.retain(|known| !same_hash(known, &given));
        open.len() < before
    }

    fn hashes(&self) -> MutexGuard<'_, Vec<Hash>> {
        // No code panics while it holds the lock, so a poisoned list is still complete.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_link_works_once_and_others_stay_open() {
        let links = LoginLinks::new();
        let (first, second) = (links.mint().unwrap(), links.mint().unwrap());
        assert_ne!(first, second);
        assert!(!links.redeem("wrong"));
        assert!(links.redeem(&first));
        assert!(!links.redeem(&first), "a link works once");
        assert!(links.redeem(&second));
    }
}
