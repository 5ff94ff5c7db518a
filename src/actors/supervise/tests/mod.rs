use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, Supervised,
    WrapFuture,
};
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::clock::Clock;
use crate::domain::money::units::Timestamp;
use crate::telemetry::json::{JsonLines, may_listen};

pub(crate) mod fault_injection;

/// Forwards each message to the probe, and breaks on command.
struct Brittle {
    collected: Recipient<Told>,
}

#[derive(Message, Debug, Clone, PartialEq)]
#[rtype(result = "()")]
struct Told(u32);

#[derive(Message)]
#[rtype(result = "()")]
enum Break {
    InHandler,
    InFuture,
    InIo,
    InIoAloud,
    InAnswer,
    Stop,
}

impl Actor for Brittle {
    type Context = Context<Self>;
}

impl Supervised for Brittle {}

observable!(Brittle);

impl Brittle {
    fn observed(&self) -> Observed {
        Observed { state: serde_json::json!({"brittle": true}), last_activity: None }
    }

    fn io_done(&mut self, result: IoResult<u32, Infallible>, _: &mut Context<Self>) {
        assert_eq!(result, Err(IoError::Panicked(Panicked("io".to_owned()))));
        self.collected.do_send(Told(99));
    }
}

impl Handler<Told> for Brittle {
    type Result = ();

    fn handle(&mut self, told: Told, _: &mut Context<Self>) {
        self.collected.do_send(told);
    }
}

impl Handler<Break> for Brittle {
    type Result = ();

    fn handle(&mut self, how: Break, ctx: &mut Context<Self>) {
        match how {
            Break::InHandler => panic!("handler"),
            Break::InFuture => {
                ctx.spawn(async { panic!("future") }.into_actor(self));
            }
            Break::InIo => {
                spawn_io(ctx, async { panic!("io") }, Self::io_done);
            }
            Break::InIoAloud => {
                let work = async {
                    tracing::error!("work goes wrong");
                    panic!("io")
                };
                spawn_io(ctx, work, Self::io_done);
            }
            Break::InAnswer => {
                ctx.wait(async { panic!("wait") }.into_actor(self));
            }
            Break::Stop => ctx.stop(),
        }
    }
}

/// Stands in for the root, and collects the messages for the test.
#[derive(Default)]
struct Probe {
    told: Vec<u32>,
    started: Vec<ActorStarted>,
    causes: Vec<String>,
    ended: Vec<ActorName>,
}

#[derive(Message)]
#[rtype(result = "Probe")]
struct Seen;

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<Told> for Probe {
    type Result = ();

    fn handle(&mut self, told: Told, _: &mut Context<Self>) {
        self.told.push(told.0);
    }
}

impl Handler<ActorStarted> for Probe {
    type Result = ();

    fn handle(&mut self, started: ActorStarted, _: &mut Context<Self>) {
        self.started.push(started);
    }
}

impl Handler<RestartReported> for Probe {
    type Result = ();

    fn handle(&mut self, restart: RestartReported, _: &mut Context<Self>) {
        self.causes.push(restart.cause);
    }
}

impl Handler<ActorEnded> for Probe {
    type Result = ();

    fn handle(&mut self, ended: ActorEnded, _: &mut Context<Self>) {
        self.ended.push(ended.name);
    }
}

impl Handler<Seen> for Probe {
    type Result = ResponseFuture<Probe>;

    fn handle(&mut self, _: Seen, _: &mut Context<Self>) -> Self::Result {
        Box::pin(std::future::ready(std::mem::take(self)))
    }
}

struct RestartSetup {
    probe: Addr<Probe>,
    supervisor: SupervisorContext,
    failures: mpsc::UnboundedReceiver<Failure>,
}

/// With Tokio's clock paused, rests pass at once and in order.
fn setup() -> RestartSetup {
    let probe = Probe::default().start();
    let (supervisor, failures) = SupervisorContext::new(Clock::starting_at(Timestamp::EPOCH));
    RestartSetup { supervisor: supervisor.reporting_to(&probe), probe, failures }
}

async fn later(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[actix_web::test]
async fn an_actor_that_breaks_comes_back_and_handles_its_queued_mail_in_order() {
    tokio::time::pause();
    for (how, cause) in [
        (Break::InHandler, "it panicked: handler"),
        (Break::InFuture, "it panicked: future"),
        (Break::InAnswer, "it panicked: wait"),
        (Break::Stop, "it stopped"),
    ] {
        let setup = setup();
        let actor =
            start_supervised(&setup.supervisor, "brittle", Brittle { collected: setup.probe.clone().recipient() });
        actor.do_send(Told(1));
        actor.do_send(how);
        for n in 2..7 {
            actor.do_send(Told(n));
        }
        later(1).await;
        actor.send(Told(7)).await.unwrap();
        let seen = setup.probe.send(Seen).await.unwrap();
        assert_eq!(seen.told, [1, 2, 3, 4, 5, 6, 7], "{cause}");
        assert_eq!(seen.causes, [cause]);
        assert_eq!(seen.started[0].name, "brittle".into());
        assert_eq!(seen.started[0].restarts.load(Ordering::Relaxed), 1);
        assert!(seen.started[0].observe.send(Observe).await.is_ok());
    }
}

#[actix_web::test]
async fn work_that_panics_comes_back_as_a_message_and_breaks_no_actor() {
    tokio::time::pause();
    let setup = setup();
    let actor = start_supervised(&setup.supervisor, "brittle", Brittle { collected: setup.probe.clone().recipient() });
    actor.send(Break::InIo).await.unwrap();
    later(1).await;
    let seen = setup.probe.send(Seen).await.unwrap();
    assert_eq!((seen.told, seen.causes), (vec![99], vec![]));
}

#[actix_web::test]
async fn log_lines_of_an_actor_and_of_its_work_name_the_actor() {
    tokio::time::pause();
    may_listen();
    let log = tempfile::NamedTempFile::new().unwrap();
    let json = JsonLines::new(Arc::new(log.reopen().unwrap()));
    let only_errors = tracing::level_filters::LevelFilter::ERROR;
    let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(only_errors).with(json));
    let setup = setup();
    let supervisor = setup.supervisor.of_service("theatre");
    let actor = start_supervised(&supervisor, "brittle", Brittle { collected: setup.probe.clone().recipient() });
    actor.send(Break::InIoAloud).await.unwrap();
    let _ = actor.send(Break::InHandler).await;
    later(1).await;
    let lines = std::fs::read_to_string(log.path()).unwrap();
    for said in ["work goes wrong", "actor ended and will be restarted"] {
        let line = lines.lines().find(|line| line.contains(said)).unwrap_or_else(|| panic!("`{said}` in {lines}"));
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["service"], &line["actor"]), (&"theatre".into(), &"brittle".into()));
    }
}

#[actix_web::test]
async fn a_burst_of_restarts_ends_with_the_failure_reported() {
    tokio::time::pause();
    let mut setup = setup();
    let actor = start_supervised(&setup.supervisor, "brittle", Brittle { collected: setup.probe.clone().recipient() });
    for _ in 0..=RESTARTS_ALLOWED {
        assert!(setup.failures.try_recv().is_err());
        let _ = actor.send(Break::InHandler).await;
        later(5).await;
    }
    assert_eq!(setup.failures.try_recv().unwrap().to_string(), "actor `brittle` keeps failing: it panicked: handler");
    assert!(!actor.connected());
}

#[actix_web::test]
async fn restarts_far_apart_are_not_a_burst() {
    tokio::time::pause();
    let mut setup = setup();
    let actor = start_supervised(&setup.supervisor, "brittle", Brittle { collected: setup.probe.clone().recipient() });
    for _ in 0..3 * RESTARTS_ALLOWED {
        let _ = actor.send(Break::InHandler).await;
        later(13).await;
    }
    actor.send(Told(1)).await.unwrap();
    assert!(setup.failures.try_recv().is_err());
}

#[actix_web::test]
async fn a_released_actor_ends_although_its_address_is_known() {
    tokio::time::pause();
    let setup = setup();
    let (supervisor, scope) = setup.supervisor.scope();
    let actor = start_supervised(&supervisor, "brittle", Brittle { collected: setup.probe.clone().recipient() });
    actor.send(Told(1)).await.unwrap();
    drop(scope);
    later(1).await;
    assert!(!actor.connected());
    let seen = setup.probe.send(Seen).await.unwrap();
    assert_eq!((seen.causes, seen.ended), (vec![], vec!["brittle".into()]));
}

#[test]
fn a_back_off_doubles_up_to_its_limit() {
    let check = |attempt, low, high| {
        let millis = back_off(Duration::from_millis(100), Duration::from_secs(1), attempt).as_millis();
        assert!((low..=high).contains(&millis), "{attempt}: {millis}");
    };
    check(1, 80, 120);
    check(2, 160, 240);
    check(4, 640, 960);
    check(5, 800, 1200);
    check(u32::MAX, 800, 1200);
}
