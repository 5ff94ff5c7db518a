//! Authentication: sessions, tokens, the sign-in, and the CSRF token that proves that a form came from our page.

pub(super) mod csrf;
pub(super) mod refusals;
pub(crate) mod session;
pub(super) mod session_store;
pub(super) mod sign_in;
pub(super) mod token_uses;
pub(super) mod user;
