//! How well the bot is, in one word: for `/health` of the worker and `/api/health` of the pages.

use serde::Serialize;

/// The verdict on the whole bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It works, but something needs a look.
    Degraded,
    /// The database does not answer.
    Down,
}
