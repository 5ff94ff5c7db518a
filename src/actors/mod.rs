//! One actor per job. Each loads its state from the database on start and sends typed messages to the `Recipient`s it
//! was given.

pub mod book_fetcher;
pub mod book_sampler;
pub mod books_lock;
pub mod chain_watcher;
pub mod directory;
pub mod executor;
pub mod file_watch;
pub mod global_executor;
pub mod grouper;
pub mod housekeeper;
pub mod ingestor;
pub mod lease_keeper;
pub mod ledger_writer;
pub mod live_feed;
pub mod live_hub;
pub mod payouts;
pub mod poller;
pub mod position_checker;
pub mod price_refresher;
pub mod queue_watch;
mod queue_worker;
pub mod reconciler;
pub mod redis_relay;
pub mod root;
pub mod settler;
pub mod snapshotter;
pub mod supervise;
pub mod user_executor;
pub mod winding_down;
