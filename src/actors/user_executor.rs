//! Copies one leader into a separate portfolio: the executor of `q_copy_attempt_user`. There is one for each followed
//! user.

use actix::Addr;

use super::{
    executor::{Executor, ExecutorDeps, ExecutorRole},
    supervise::{ActorName, SupervisorContext},
};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::FollowedUserId;
use crate::queue::Queue;

/// Starts the executor of `leader`. It also decides for a disabled leader, so that the SKIP is recorded with its
/// reason.
pub fn start(leader: FollowedUserId, deps: ExecutorDeps, supervisor: &SupervisorContext) -> Addr<Executor> {
    let portfolio = PortfolioId::ExecUser(leader);
    let role = ExecutorRole { portfolio, queue: Queue::CopyAttemptUser, leader: Some(leader) };
    Executor::start(role, ActorName::of_user("user_executor", leader), deps, supervisor)
}
