//! What leaders did: polls and chain logs as rows, and how pages list them.

pub(super) mod activities;
pub(super) mod chain_confirmations;
pub(super) mod event_rows;
pub(super) mod polls;
pub(super) mod trades;
