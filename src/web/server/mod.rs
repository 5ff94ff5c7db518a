//! The HTTP server: start and stop, routes, middleware, errors and rendering.
//!
//! `http` and `routes` are the top of the web part: they import every page, and no page imports them. The other files
//! are its ground floor and know no page.

pub(super) mod assets;
pub(super) mod connection;
mod database_guard;
pub(super) mod error;
pub(super) mod error_page;
pub(super) mod format;
pub mod http;
pub(super) mod json;
pub(super) mod middleware;
pub(super) mod rate_limit;
pub(super) mod render;
pub(super) mod request_span;
pub(super) mod routes;
