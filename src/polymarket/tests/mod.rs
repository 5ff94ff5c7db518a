//! Recorded and broken answers, and clients against small servers.

mod broken;
mod built_rows;
mod calls;
mod limits;
mod misfortunes;
mod politeness;
mod recorded;
mod recorded_trades;
mod server;
mod strangers;
