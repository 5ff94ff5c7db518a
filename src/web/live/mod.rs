//! The websocket: what is pushed to open pages, and by whom it is rendered.

pub(super) mod broadcaster;
pub(super) mod fragments;
pub(super) mod messages;
pub(super) mod socket;
