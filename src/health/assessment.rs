//! The health of the bot in one word, for `/health` of the worker and `/api/health` of the pages.

use serde::Serialize;

/// The health of the whole bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It works, but an operator should look at it.
    Degraded,
    /// The database does not answer, or no write has succeeded for 30 s.
    Down,
}
