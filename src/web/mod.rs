//! The pages, their JSON and their live frames. Everything a visitor sees is read from the database or pushed by the
//! live hub. Web changes the world by writing a row with its audit; who must know of it watches the rows.

mod access;
mod activities;
mod assets;
mod attempts;
mod broadcaster;
mod check_words;
mod config;
mod control;
mod curves;
mod distributions;
mod error;
mod explanation;
mod export;
mod export_text;
mod feed;
mod following;
mod format;
pub(crate) mod health;
mod histogram;
mod holdings;
mod ladder;
mod letters;
mod limits;
mod list;
mod lists;
mod live;
mod market;
mod market_figures;
mod markets;
mod middleware;
mod names;
mod notice;
mod overview;
mod pace;
mod portfolio;
mod posted;
mod regions;
mod render;
mod results;
mod risk;
mod routes;
mod series;
pub mod server;
pub(crate) mod session;
mod session_store;
mod sides;
mod sign_in;
mod socket;
mod sources;
mod status;
mod theme;
mod trace;
mod trades;
mod user;
mod users;
mod visit;
mod visitor;
mod worker;

pub use attempts::AttemptView;
pub(crate) use format::decimals;
pub use trades::TradeView;

#[cfg(test)]
mod tests;
