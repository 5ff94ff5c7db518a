//! The payload of a q_reconcile job.

use serde::{Deserialize, Serialize};

use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue::{NewJob, Queue};

/// The work of a q_reconcile job, as its payload holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReconcileJob {
    /// The chain has shown this transaction: poll until the API shows it too.
    Transaction { tx_hash: String, seen: Timestamp },
    /// Read this span again.
    Window { start: Timestamp, end: Timestamp },
}

impl ReconcileJob {
    /// Parses the payload of a job.
    ///
    /// # Errors
    /// When the payload is not the JSON of a [`ReconcileJob`]; the error is the text of the JSON parser.
    pub fn parse(payload: &str) -> Result<Self, String> {
        serde_json::from_str(payload).map_err(|error| error.to_string())
    }

    /// Returns the new job for `user`, due at once.
    pub fn for_user(&self, user: FollowedUserId, now: Timestamp) -> NewJob {
        let key = match self {
            Self::Transaction { tx_hash, .. } => format!("{user}:{tx_hash}"),
            Self::Window { start, end } => format!("{user}:{start}:{end}"),
        };
        let payload = serde_json::json!(self).to_string();
        NewJob { queue: Queue::Reconcile, key, followed_user: Some(user), payload, due: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_reads_back_as_it_was_written_and_nonsense_is_an_error() {
        let seen = Timestamp::from_millis(1_790_000_000_123);
        for job in [
            ReconcileJob::Transaction { tx_hash: "0xab".to_owned(), seen },
            ReconcileJob::Window { start: seen, end: seen.plus_millis(5) },
        ] {
            let new = job.for_user(FollowedUserId(7), seen);
            assert_eq!(ReconcileJob::parse(&new.payload), Ok(job));
            assert_eq!((new.queue, new.due), (Queue::Reconcile, seen));
        }
        assert!(ReconcileJob::parse("{}").is_err());
        assert!(ReconcileJob::parse(r#"{"kind":"window","start":1}"#).is_err());
    }
}
