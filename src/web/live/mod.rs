//! Live updates: facts of the live hub are rendered once and pushed over the websocket to every open page.

pub(super) mod broadcaster;
pub(super) mod fragments;
pub(super) mod messages;
pub(super) mod socket;
