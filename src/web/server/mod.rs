//! The HTTP server: routes, middleware, errors and rendering; nothing here knows a page.

pub(super) mod assets;
pub(super) mod connection;
pub(super) mod error;
pub(super) mod error_page;
pub(super) mod format;
pub mod http;
pub(super) mod middleware;
pub(super) mod rate_limit;
pub(super) mod render;
pub(super) mod request_span;
pub(super) mod routes;
