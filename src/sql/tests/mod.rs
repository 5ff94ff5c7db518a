//! What a simulation puts in the place of the connection pools. Compiled for tests only.

pub mod driven;
