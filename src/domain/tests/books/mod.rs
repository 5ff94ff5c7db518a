//! The leader's exact books: a small model of a venue account makes histories, and the books of the account must follow.

mod account;
mod cases;
mod laws;
mod rules;
