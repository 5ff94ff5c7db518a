//! Everything that needs more than one part of the house, in one binary.

mod bot;
mod chain;
mod cli;
mod db;
mod dependencies;
mod deploy;
mod faults;
mod first_run;
mod generate;
mod health;
mod kill;
mod measure;
mod polymarket;
mod process;
mod reading;
mod reasons;
mod redis;
mod replay;
mod roles;
mod secrets;
mod sight;
mod sign_in;
mod upgrade;
mod what_if;
