//! Tests that need more than one part of the program, in one binary.

mod cli;
mod ops;
mod pipeline;
mod recovery;
mod simulation;
mod source;
mod storage;
mod web;
