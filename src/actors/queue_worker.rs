//! Wakes the actors that consume a queue.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, fut};

use crate::queue::Queue;
use crate::queue::wakeup::local::Wakeups;

/// There may be work in the queue. Losing this message costs only latency: the next sweep finds the work.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub(super) struct Look;

/// Sends the actor [`Look`] at each wake-up of its queue, and every `sweep` in case a wake-up was lost.
pub(super) fn look_at<A>(ctx: &mut Context<A>, wakeups: &Wakeups, queue: Queue, sweep: Duration)
where
    A: Actor<Context = Context<A>> + Handler<Look>,
{
    let (actor, mut listener) = (ctx.address(), wakeups.listen(queue));
    // Spawned in the context, so that it ends with this incarnation of the actor.
    ctx.spawn(fut::wrap_future(async move {
        loop {
            // After a wake-up and after a timeout alike, the actor looks.
            let _ = tokio::time::timeout(sweep, listener.notified()).await;
            actor.do_send(Look);
        }
    }));
}
