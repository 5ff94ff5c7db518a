//! Refused attempts: wrong tokens, wrong links, and ends of sign-ins that were not begun here.
//!
//! The audit log has the first of an address at once, and one row with the number of the others a minute later. A row for
//! each would let a stranger fill the database.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::web::Data;
use serde_json::json;

use crate::clock::Clock;
use crate::db::{Audit, Db};

/// Time from the first attempt of an address to the row that counts the others.
const SUMMARY_AFTER: Duration = Duration::from_secs(60);
/// Addresses that are counted one by one; the attempts of further ones are counted together.
const ADDRESSES_MAX: usize = 1_000;
const OTHERS: &str = "others";

/// The attempts that no row counts yet: by address and action.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<(String, &'static str), u64>>);

impl Refusals {
    /// Counts an attempt. Returns the row to write for the first of an address; the number of the others is written by
    /// itself.
    pub fn note(
        refusals: &Data<Self>,
        db: &Data<Db>,
        clock: &Data<Clock>,
        address: &str,
        action: &'static str,
    ) -> Option<String> {
        let mut counted = refusals.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = (address.to_owned(), action);
        let key = match counted.len() < ADDRESSES_MAX || counted.contains_key(&known) {
            true => known,
            false => (OTHERS.to_owned(), action),
        };
        if let Some(more) = counted.get_mut(&key) {
            *more = more.saturating_add(1);
            return None;
        }
        counted.insert(key.clone(), 0);
        let who = format!("address:{}", key.0);
        let (refusals, db, clock) = (refusals.clone(), db.clone(), clock.clone());
        actix_web::rt::spawn(async move {
            tokio::time::sleep(SUMMARY_AFTER).await;
            refusals.summarise(&key, &db, &clock).await;
        });
        Some(who)
    }

    /// Writes how many attempts came after the first, if any did.
    async fn summarise(&self, key: &(String, &'static str), db: &Db, clock: &Clock) {
        let more = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).unwrap_or_default();
        if more == 0 {
            return;
        }
        let (address, action) = key;
        let details = json!({ "reason": "further attempts", "address": address, "count": more, "seconds": SUMMARY_AFTER.as_secs() });
        let bare = Audit::bare(&format!("address:{address}"), action, "session");
        let audit = Audit { after_json: Some(details.to_string()), ..bare };
        if let Err(error) = db.record(audit, clock.now()).await {
            tracing::warn!(service = "web", %address, action, count = more, %error, "refused attempts are not in the audit log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn an_address_has_a_row_for_its_first_attempt_and_one_for_the_number_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}", folder.path().join("r.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let (refusals, db, clock) = (Data::new(Refusals::default()), Data::new(db), Data::new(Clock::System));
        let note = |address: &str| Refusals::note(&refusals, &db, &clock, address, "token_refused");
        assert_eq!(note("192.0.2.1").as_deref(), Some("address:192.0.2.1"));
        assert!((0..500).all(|_| note("192.0.2.1").is_none()));
        assert_eq!(note("192.0.2.2").as_deref(), Some("address:192.0.2.2"));
        for address in ["192.0.2.1", "192.0.2.2"] {
            refusals.summarise(&(address.to_owned(), "token_refused"), &db, &clock).await;
        }
        let rows = db.audits(Some("token_refused"), None, 10).await.unwrap();
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!(row.audit.who, "address:192.0.2.1");
        assert!(row.audit.after_json.as_ref().unwrap().contains(r#""count":500"#), "{row:?}");
        assert!(note("192.0.2.1").is_some(), "the next minute begins");
    }

    #[actix_web::test]
    async fn the_attempts_of_very_many_addresses_are_counted_together() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}", folder.path().join("r.db").display())).await.unwrap();
        let (refusals, db, clock) = (Data::new(Refusals::default()), Data::new(db), Data::new(Clock::System));
        let note = |n: usize| Refusals::note(&refusals, &db, &clock, &format!("address {n}"), "token_refused");
        let rows = (0..5 * ADDRESSES_MAX).filter(|n| note(*n).is_some()).count();
        assert_eq!(rows, ADDRESSES_MAX + 1);
    }
}
