//! What a simulation puts in the place of the network. Compiled for tests only.

pub mod in_process;
