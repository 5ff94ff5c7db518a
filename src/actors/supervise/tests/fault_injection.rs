//! Makes supervised actors fail on command, so that tests can check their restart.
//!
//! In    an actor's name and the kind of failure. `observable!` makes every supervised actor handle [`InjectPanic`].
//! Out   a panic in a handler, in a future of the context, or in work outside the actor.
//!
//! Compiled only for tests. Each started actor is recorded in a list of its thread: a test and all the actors of its
//! bot share one thread, so no part of the bot needs to know that it can be made to fail.

use std::{any::Any, cell::RefCell, sync::Arc, sync::atomic::AtomicU32, sync::atomic::Ordering};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, fut};

use crate::actors::supervise::ActorName;

/// Makes the actor panic at the given place.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum InjectPanic {
    InHandler,
    /// In a future that runs beside the handlers.
    InFuture,
    /// In a future that the actor waits for before it handles the next message.
    InWait,
    /// In the next work outside the actor, before the work starts.
    BeforeWork,
    /// In the next work outside the actor, after the work is done and before its result is sent.
    AfterWork,
}

/// What `start_supervised` requires of an actor in tests.
pub trait FaultInjection: Actor<Context = Context<Self>> + Handler<InjectPanic> {}

impl<A: Actor<Context = Context<Self>> + Handler<InjectPanic>> FaultInjection for A {}

struct Started {
    name: ActorName,
    provoke: Recipient<InjectPanic>,
    restarts: Arc<AtomicU32>,
}

/// The address of an actor whose next work panics.
struct PendingPanic {
    actor: Box<dyn Any>,
    when: InjectPanic,
}

thread_local! {
    static STARTED: RefCell<Vec<Started>> = const { RefCell::new(Vec::new()) };
    static PENDING: RefCell<Vec<PendingPanic>> = const { RefCell::new(Vec::new()) };
}

pub(in crate::actors::supervise) fn note<A: FaultInjection>(
    name: &ActorName,
    actor: &Addr<A>,
    restarts: &Arc<AtomicU32>,
) {
    let provoke = actor.clone().recipient();
    let started = Started { name: name.clone(), provoke, restarts: restarts.clone() };
    STARTED.with_borrow_mut(|all| all.push(started));
}

/// Makes the actor of this name fail: the newest one, when an actor has replaced another of the same name.
pub fn provoke(name: &str, how: InjectPanic) {
    of(name, |actor| actor.provoke.do_send(how));
}

/// Returns how often the newest actor of this name was restarted.
pub fn restarts(name: &str) -> u32 {
    of(name, |actor| actor.restarts.load(Ordering::Relaxed))
}

/// Returns the names of the running actors, in the order of their start.
pub fn running() -> Vec<String> {
    STARTED.with_borrow(|all| {
        all.iter().filter(|actor| actor.provoke.connected()).map(|actor| actor.name.to_string()).collect()
    })
}

fn of<T>(name: &str, act: impl Fn(&Started) -> T) -> T {
    STARTED.with_borrow(|all| {
        let actor = all.iter().rev().find(|actor| actor.name.as_str() == name);
        act(actor.unwrap_or_else(|| panic!("no actor was started as `{name}`")))
    })
}

/// Handles [`InjectPanic`] for every supervised actor.
pub fn inject_panic<A: Actor<Context = Context<A>>>(how: InjectPanic, ctx: &mut Context<A>) {
    match how {
        InjectPanic::InHandler => panic!("provoked in a handler"),
        InjectPanic::InFuture => {
            ctx.spawn(fut::wrap_future(async { panic!("provoked in a future") }));
        }
        InjectPanic::InWait => ctx.wait(fut::wrap_future(async { panic!("provoked while it waited") })),
        InjectPanic::BeforeWork | InjectPanic::AfterWork => {
            let actor = Box::new(ctx.address());
            PENDING.with_borrow_mut(|all| all.push(PendingPanic { actor, when: how }));
        }
    }
}

/// Runs the work, and panics before or after it when the actor was told to fail in its work.
pub(in crate::actors::supervise) async fn with_injected_panic<A: Actor<Context = Context<A>>, F: Future>(
    actor: Addr<A>,
    work: F,
) -> F::Output {
    let is_ours = |pending: &PendingPanic| pending.actor.downcast_ref() == Some(&actor);
    let pending = PENDING.with_borrow_mut(|all| all.iter().position(is_ours).map(|place| all.remove(place)));
    match pending.map(|pending| pending.when) {
        None => work.await,
        Some(InjectPanic::BeforeWork) => panic!("provoked before its work"),
        Some(_) => {
            work.await;
            panic!("provoked after its work")
        }
    }
}
