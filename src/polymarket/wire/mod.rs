//! Parses Polymarket's answers into our types: text to micros, rows to drafts of events.

pub mod activity;
pub mod book_parts;
pub(super) mod book_scan;
pub mod book_text;
pub mod decimal_text;
pub mod draft;
pub mod fee;
pub mod gamma;
pub mod gamma_result;
pub(super) mod ordinal;
pub mod positions;
