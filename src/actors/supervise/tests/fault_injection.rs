//! Makes guarded actors fail on command, so that tests can watch them come back.
//!
//! In    an actor's name and how it shall fail. Every guarded actor takes `InjectPanic`, by way of `observable!`.
//! Out   a panic where it hurts: in a handler, in a future of the context, in work outside the actor.
//!
//! Compiled for tests alone. What is started is noted for the thread it runs on: a test and all the actors of its house
//! share one, and no part of the house needs to know that it can be provoked.

use std::{any::Any, cell::RefCell, sync::Arc, sync::atomic::AtomicU32, sync::atomic::Ordering};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, fut};

use crate::actors::supervise::ActorName;

/// Fail, now.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum InjectPanic {
    InHandler,
    /// In a future that runs beside the handlers.
    InFuture,
    /// In a future that holds back the mail.
    InWait,
    /// In the next work outside the actor, before any of it is done.
    BeforeWork,
    /// In the next work outside the actor, when all of it is done and nobody knows.
    AfterWork,
}

/// What `start_supervised` asks of an actor in tests.
pub trait FaultInjection: Actor<Context = Context<Self>> + Handler<InjectPanic> {}

impl<A: Actor<Context = Context<Self>> + Handler<InjectPanic>> FaultInjection for A {}

struct Started {
    name: ActorName,
    provoke: Recipient<InjectPanic>,
    restarts: Arc<AtomicU32>,
}

/// The address of an actor whose next work panics.
struct Spoiled {
    actor: Box<dyn Any>,
    when: InjectPanic,
}

thread_local! {
    static STARTED: RefCell<Vec<Started>> = const { RefCell::new(Vec::new()) };
    static SPOILED: RefCell<Vec<Spoiled>> = const { RefCell::new(Vec::new()) };
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

/// Has the actor of this name fail: the newest of them, where one has taken the place of another.
pub fn provoke(name: &str, how: InjectPanic) {
    of(name, |actor| actor.provoke.do_send(how));
}

/// How often the newest actor of this name was restarted.
pub fn restarts(name: &str) -> u32 {
    of(name, |actor| actor.restarts.load(Ordering::Relaxed))
}

/// The names of those who run, in the order of their start.
pub fn running() -> Vec<String> {
    STARTED.with_borrow(|all| {
        all.iter().filter(|actor| actor.provoke.connected()).map(|actor| actor.name.to_string()).collect()
    })
}

fn of<T>(name: &str, act: impl Fn(&Started) -> T) -> T {
    STARTED.with_borrow(|all| {
        let actor = all.iter().rev().find(|actor| actor.name.as_str() == name);
        act(actor.unwrap_or_else(|| panic!("nobody was started as `{name}`")))
    })
}

/// The handler of every guarded actor.
pub fn inject_panic<A: Actor<Context = Context<A>>>(how: InjectPanic, ctx: &mut Context<A>) {
    match how {
        InjectPanic::InHandler => panic!("provoked in a handler"),
        InjectPanic::InFuture => {
            ctx.spawn(fut::wrap_future(async { panic!("provoked in a future") }));
        }
        InjectPanic::InWait => ctx.wait(fut::wrap_future(async { panic!("provoked while it waited") })),
        InjectPanic::BeforeWork | InjectPanic::AfterWork => {
            let actor = Box::new(ctx.address());
            SPOILED.with_borrow_mut(|all| all.push(Spoiled { actor, when: how }));
        }
    }
}

/// The work itself, unless its actor was told to fail in it.
pub(in crate::actors::supervise) async fn with_injected_panic<A: Actor<Context = Context<A>>, F: Future>(
    actor: Addr<A>,
    work: F,
) -> F::Output {
    let is_ours = |with_injected_panic: &Spoiled| with_injected_panic.actor.downcast_ref() == Some(&actor);
    let with_injected_panic =
        SPOILED.with_borrow_mut(|all| all.iter().position(is_ours).map(|place| all.remove(place)));
    match with_injected_panic.map(|with_injected_panic| with_injected_panic.when) {
        None => work.await,
        Some(InjectPanic::BeforeWork) => panic!("provoked before its work"),
        Some(_) => {
            work.await;
            panic!("provoked after its work")
        }
    }
}
