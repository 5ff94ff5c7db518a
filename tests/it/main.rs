//! Everything that needs more than one part of the house, in one binary.

mod bot;
mod chain;
mod cli;
mod db;
mod health;
mod kill;
mod polymarket;
mod reasons;
mod replay;
mod secrets;
mod sight;
