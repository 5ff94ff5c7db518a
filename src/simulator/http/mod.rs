//! Requests, responses and the cache between them, as plain values without sockets.

pub(super) mod cache;
pub(super) mod json_objects;
pub(super) mod request;
pub(super) mod request_log;
pub(super) mod response;
