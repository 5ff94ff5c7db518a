//! Questions asked of the record: attempt counts, and what another configuration would have decided.

pub mod attempt_stats;
pub mod what_if;
