//! What an insert did.

/// What became of an insert: a new row, or one that was there already. The caller must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Inserted<T> {
    New(T),
    Known,
}
