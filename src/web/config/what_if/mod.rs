//! "Test on the last 24 h": a changed configuration is tested on recorded groups and books before it is saved (spec 11).

pub(super) mod form;
pub(super) mod request;
pub(in crate::web) mod routes;
pub(in crate::web) mod runner;
pub(super) mod view;
