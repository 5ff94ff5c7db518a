//! Everything that needs more than one part of the house, in one binary.

mod db;
mod polymarket;
