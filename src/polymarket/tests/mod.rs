//! Recorded and broken answers, and clients against small servers.

mod broken;
mod built_rows;
mod calls;
mod failures;
mod fields;
mod holdings;
mod limits;
mod malformed;
mod payouts;
mod recorded;
mod recorded_ids;
mod recorded_trades;
mod retries;
mod server;
