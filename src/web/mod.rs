//! The pages, their JSON and their live frames.
//!
//! Every figure that a visitor sees is read from the database or pushed by the live hub. A changing request writes a
//! row and its audit entry, and sends no message: the actor that needs the change polls the row.

mod auth;
mod charts;
mod config;
mod export;
mod labels;
mod live;
mod openapi;
mod pages;
pub mod server;
mod shell;
#[cfg(test)]
mod tests;
mod views;

pub(crate) use auth::session::Who;
pub(crate) use server::format::decimals;
pub use views::attempts::AttemptView;
pub use views::trades::TradeView;
