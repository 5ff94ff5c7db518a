//! The program's own records: schema, leases, checkpoints, audits, failed jobs; and markets.

pub(super) mod audit;
pub(super) mod backfill;
pub(super) mod checkpoints;
pub(super) mod dead_letters;
pub(super) mod file_lock;
pub(super) mod latency_stats;
pub(super) mod leases;
pub(super) mod market_lists;
pub(super) mod market_resolutions;
pub(super) mod markets;
pub(super) mod migrate;
pub(super) mod page_check;
pub(super) mod retention;
pub(super) mod storage;
