//! Leaders' events: rows of the API and of the chain, and the lists of them.

pub(super) mod activities;
pub(super) mod chain_confirmations;
pub(super) mod event_rows;
pub(super) mod polls;
pub(super) mod trades;
