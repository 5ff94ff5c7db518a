//! Tests of settings files: the example at the root, and files with something wrong in them.

mod example;
mod malformed;
pub(super) mod settings;
