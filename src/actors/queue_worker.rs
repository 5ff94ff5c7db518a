//! What the actors that work through a queue have in common.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, fut};

use crate::queue::Queue;
use crate::queue::wakeup::local::Wakeups;

/// Sends the actor `look` whenever its queue is announced, and every `sweep` in case a wake-up was lost.
pub fn look_at<A, M>(ctx: &mut Context<A>, wakeups: &Wakeups, queue: Queue, sweep: Duration, look: fn() -> M)
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result = ()> + Send + 'static,
{
    let (actor, mut listener) = (ctx.address(), wakeups.listen(queue));
    // Part of the context, so that it ends with this incarnation of the actor.
    ctx.spawn(fut::wrap_future(async move {
        loop {
            // A sweep that finds nothing and a wake-up mean the same.
            let _ = tokio::time::timeout(sweep, listener.notified()).await;
            actor.do_send(look());
        }
    }));
}
