//! Access: sign-in, sessions, tokens, and that every closed route stays closed.

pub(super) mod access;
pub(super) mod gate;
pub(super) mod sign_in;
