//! The pages, their JSON and their live frames. Everything a visitor sees is read from the database or pushed by the
//! live hub. Web changes the world by writing a row with its audit; who must know of it watches the rows.

mod auth;
mod charts;
mod config;
mod export;
mod labels;
mod live;
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
