//! What Polymarket's answers say, as our types: text to micros, rows to drafts of events.

pub mod activity;
pub(super) mod book_scan;
pub mod book_text;
pub mod draft;
pub mod fee;
pub mod gamma;
pub mod number;
pub(super) mod ordinal;
