//! The pages, their JSON and their live frames. Everything a visitor sees is read from the database or pushed by the
//! live hub; of the world, web changes nothing but sessions.

mod assets;
mod attempts;
mod broadcaster;
mod error;
mod format;
pub(crate) mod health;
mod list;
mod live;
mod middleware;
mod names;
mod overview;
mod regions;
mod render;
pub mod server;
mod session;
mod socket;
mod trace;
mod trades;

pub use attempts::AttemptView;
pub(crate) use format::decimals;
pub use trades::TradeView;

#[cfg(test)]
mod tests;
