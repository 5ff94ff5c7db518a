//! The outcome of an insert.

/// The outcome of an insert: a new row, or a row that was stored already. The caller must check which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Inserted<T> {
    New(T),
    Known,
}
