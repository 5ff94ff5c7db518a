//! Copies one leader into a portfolio of their own: the executor of `q_copy_attempt_user`, one for each followed user.

use actix::Addr;

use super::{
    executor::{Executor, ExecutorDeps, ExecutorRole},
    supervise::{ActorName, SupervisorContext},
};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::FollowedUserId;
use crate::queue::Queue;

/// Starts the executor of `leader`. It also decides for a leader who is disabled: that is a reason, not a silence.
pub fn start(leader: FollowedUserId, deps: ExecutorDeps, supervisor: &SupervisorContext) -> Addr<Executor> {
    let portfolio = PortfolioId::ExecUser(leader);
    let post = ExecutorRole { portfolio, queue: Queue::CopyAttemptUser, leader: Some(leader) };
    Executor::start(post, ActorName::of_user("user_executor", leader), deps, supervisor)
}
