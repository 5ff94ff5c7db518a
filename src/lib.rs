//! polymarketspy: a paper copy-trading bot for Polymarket. Modules in reading order.

pub mod actors;
pub mod app;
pub mod audit;
pub mod backup;
pub mod chain;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod config_text;
pub mod db;
pub mod domain;
pub mod health;
pub mod http_client;
pub mod metrics;
pub mod polymarket;
pub mod queue;
pub mod secret;
pub mod simulator;
mod sql;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod token;
pub mod web;
pub mod what_if;
