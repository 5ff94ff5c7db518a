//! Analysis of stored decisions: counts of copy attempts, and the what-if test of another configuration.

pub mod attempt_stats;
pub mod disk_forecast;
pub mod what_if;
