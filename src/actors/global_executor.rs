//! Copies all leaders into one bankroll: the executor of `q_copy_attempt_global`. There is one.
//!
//! Groups of all leaders stand in one line, by earliest detect_time and then by key, so that which copy gets the last
//! of the bankroll does not depend on whose book came first.

use actix::Addr;

use super::{
    executor::{Executor, ExecutorDeps, ExecutorRole},
    supervise::SupervisorContext,
};
use crate::domain::accounting::ledger::PortfolioId;
use crate::queue::Queue;

pub fn start(deps: ExecutorDeps, supervisor: &SupervisorContext) -> Addr<Executor> {
    let post = ExecutorRole { portfolio: PortfolioId::ExecGlobal, queue: Queue::CopyAttemptGlobal, leader: None };
    Executor::start(post, "global_executor".into(), deps, supervisor)
}
