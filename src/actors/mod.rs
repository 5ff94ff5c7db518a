//! The shell: each actor owns one trade, loads its truth on start and says facts to recipients it does not know.

pub mod grouper;
pub mod live_hub;
pub mod poller;
pub mod root;
pub mod supervise;
