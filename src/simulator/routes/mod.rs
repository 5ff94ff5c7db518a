//! The wires that the simulator speaks: Data API, CLOB, Gamma, a Polygon node, and a GitHub to sign in at.

pub(super) mod answer;
pub(super) mod chain;
pub(super) mod chain_socket;
pub(super) mod clob;
pub(super) mod cursor;
pub(super) mod data_api;
pub(super) mod gamma;
pub mod github;
pub(super) mod server;
