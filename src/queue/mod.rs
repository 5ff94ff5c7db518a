//! Jobs as rows, and the bell that says "look now".
//!
//! A job is written in the transaction that makes it necessary and deleted in the transaction of its effect, so it
//! exists if and only if the work is owed. Losing every ring costs latency, never work.

mod job;
mod jobs;
pub(crate) mod operator;
pub mod wakeup;

pub use job::{Job, JobFence, NewJob, Queue};
pub(crate) use jobs::{BATCHES, STATEMENTS, drop_own_in, finish_in, insert_in, release_lease_in};
pub use jobs::{
    Depth, Failed, JobScope, RETRIES, claim, depths, enqueue, fail, finish, next_due, oldest, open_of, opened_after,
    peek_open, release, release_all, renew,
};

pub use operator::{OpenJob, open_job, open_jobs};
