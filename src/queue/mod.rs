//! Jobs as rows, and the wake-ups that tell a consumer to look now (spec 10).
//!
//! A job is written in the transaction that makes it necessary and deleted in the transaction of its effect, so it
//! exists if and only if the work is owed. Losing every wake-up costs latency, never work.
#![warn(clippy::missing_errors_doc)]

pub(crate) mod claim;
pub(crate) mod depth;
mod job;
pub(crate) mod jobs;
pub(crate) mod operator;
mod row;
mod transfer;
pub mod wakeup;

pub(crate) use claim::release_lease_in;
pub use claim::{JobScope, bring_forward, claim, next_due, release, release_all, renew};
pub use depth::{Depth, depths, oldest};
pub use job::{Job, JobFence, NewJob, Queue};
pub use jobs::{Failed, RETRIES, enqueue, fail, finish, open_of, opened_after, peek_open, postpone, undecided_of};
pub(crate) use jobs::{drop_own_in, finish_in, insert_in};
pub use operator::{OpenJob, open_job, open_jobs};
pub use transfer::Transfer;
