//! The shell: each actor owns one trade, loads its truth on start and says facts to recipients it does not know.

pub mod book_fetcher;
pub mod chain_watcher;
pub mod executor;
pub mod global_executor;
pub mod grouper;
pub mod ingestor;
pub mod lease_keeper;
pub mod ledger_writer;
pub mod live_feed;
pub mod live_hub;
pub mod poller;
pub mod price_refresher;
pub mod queue_watch;
pub mod reconciler;
pub mod redis_relay;
pub mod root;
pub mod settler;
pub mod snapshotter;
pub mod supervise;
pub mod user_executor;
