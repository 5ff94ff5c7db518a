//! Times as the venue's routes print them.

use crate::domain::money::units::Timestamp;

/// Returns a time cut to whole seconds: `2026-09-09T21:19:19Z`.
pub fn whole_seconds(at: Timestamp) -> String {
    at.bucket(1000).iso().replace(".000Z", "Z")
}
