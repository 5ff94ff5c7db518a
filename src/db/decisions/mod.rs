//! Our decisions: groups, books, attempts, and counts of attempts.

pub(super) mod attempt_rows;
pub(super) mod attempt_stats;
pub(super) mod attempts;
pub(super) mod book_samples;
pub(in crate::db) mod book_sides;
pub(super) mod books;
pub(super) mod closes;
pub(super) mod event_outcomes;
pub(in crate::db) mod explanation_text;
pub(super) mod export;
pub(super) mod groups;
pub(super) mod leader_holding;
pub(super) mod what_if_cases;
