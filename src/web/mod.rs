//! The pages, their JSON and their live frames. Everything a visitor sees is read from the database or pushed by the
//! live hub. Web changes the world by writing a row with its audit; who must know of it watches the rows.

mod assets;
mod attempts;
mod broadcaster;
mod control;
mod curves;
mod error;
mod export;
mod export_text;
mod format;
pub(crate) mod health;
mod list;
mod live;
mod middleware;
mod names;
mod notice;
mod overview;
mod posted;
mod regions;
mod render;
mod series;
pub mod server;
mod session;
mod socket;
mod theme;
mod trace;
mod trades;
mod visit;

pub use attempts::AttemptView;
pub(crate) use format::decimals;
pub use trades::TradeView;

#[cfg(test)]
mod tests;
