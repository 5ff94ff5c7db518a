//! Copies all leaders into one portfolio: the executor of `q_copy_attempt_global`. There is only one.
//!
//! Groups of all leaders wait in one global order, by earliest detect_time, earliest event_time and key. So it does not
//! depend on the speed of the books which copy gets the last of the bankroll.

use actix::Addr;

use super::{
    executor::{Executor, ExecutorDeps, ExecutorRole},
    supervise::SupervisorContext,
};
use crate::domain::accounting::ledger::PortfolioId;
use crate::queue::Queue;

/// Starts the executor of all leaders.
pub fn start(deps: ExecutorDeps, supervisor: &SupervisorContext) -> Addr<Executor> {
    let role = ExecutorRole { portfolio: PortfolioId::ExecGlobal, queue: Queue::CopyAttemptGlobal, leader: None };
    Executor::start(role, "global_executor".into(), deps, supervisor)
}
