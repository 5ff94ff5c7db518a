//! Tests of settings: their sources, the example file at the root, and malformed files.

mod example;
mod malformed;
pub(super) mod settings;
