//! Downloads as CSV and JSON.

pub(super) mod download;
pub(super) mod text;
