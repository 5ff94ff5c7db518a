//! The last uses of tokens, written beside the requests: a request with a token only reads, so it is answered while the
//! database cannot be written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use actix_web::web::Data;

use crate::db::{ApiToken, Db};
use crate::domain::money::units::Timestamp;

/// The uses that are not written yet.
#[derive(Debug, Default)]
pub struct TokenUses(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// By the id of the token.
    uses: BTreeMap<i64, Timestamp>,
    is_writing: bool,
}

impl TokenUses {
    /// Notes that a token was used. What cannot be written is written with the next use.
    pub fn note(uses: &Data<Self>, db: &Data<Db>, token: &ApiToken, now: Timestamp) {
        if !token.is_new_use(now) {
            return;
        }
        let mut waiting = uses.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.uses.insert(token.id, now);
        if !std::mem::replace(&mut waiting.is_writing, true) {
            let (uses, db) = (uses.clone(), db.clone());
            actix_web::rt::spawn(async move { uses.write(&db).await });
        }
    }

    async fn write(&self, db: &Db) {
        loop {
            let uses = {
                let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.is_writing = !waiting.uses.is_empty();
                std::mem::take(&mut waiting.uses)
            };
            if uses.is_empty() {
                return;
            }
            if let Err(error) = db.note_token_uses(&uses).await {
                tracing::debug!(service = "web", %error, "the last uses of tokens could not be written");
                let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                for (id, at) in uses {
                    waiting.uses.entry(id).or_insert(at);
                }
                waiting.is_writing = false;
                return;
            }
        }
    }
}
