//! Who asks: sessions, tokens, the sign-in, and the proof that a form came from a page of ours.

pub(super) mod csrf;
pub(crate) mod session;
pub(super) mod session_store;
pub(super) mod sign_in;
pub(super) mod user;
