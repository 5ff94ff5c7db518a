//! Tests of what a node sends.

mod malformed;
