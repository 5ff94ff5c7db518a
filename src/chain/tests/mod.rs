//! Tests with texts that a node sends.

mod malformed;
