//! A machine that runs the whole bot in virtual time on one thread: its disk, its network, its clock, its processes.
//!
//! Real are the domain, every actor of the worker, the queues, the client of Polymarket with its limits and breakers,
//! the SQL and SQLite. Simulated are time, the way of bytes to the exchange, the exchange, and what a disk keeps. Left
//! out are the pages, the chain's websocket and Redis (docs/adr/0031).
//!
//! Everything runs inside Tokio's paused clock, which moves on when no task can run. No other thread takes part while
//! tasks run, so a seed has the same run each time.

mod disk;
mod machine;
mod network;
mod trace;

pub use disk::{MachineDisk, PatientDisk, ProcessDisk};
pub use machine::{Ending, Machine, MachineSettings};
pub use network::{Network, Weather};
pub use trace::Trace;
