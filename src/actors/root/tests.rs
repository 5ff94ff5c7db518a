use actix::ResponseFuture;

use super::*;
use crate::actors::poller::{NotPolled, Polled};
use crate::actors::supervise::start_supervised;
use crate::domain::events::lease::WorkerId;
use crate::polymarket::Gate;
use crate::simulator::wallet_of;
use crate::testkit::feed_setup::{FeedSetup, Received, receiver};

/// Stands in for a user's poller or executor.
struct Worker(Recipient<Told>);

#[derive(Message, Debug, PartialEq)]
#[rtype(result = "()")]
enum Told {
    Started(&'static str, String),
    Ended,
    Directory(i64),
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.0.do_send(Told::Ended);
    }
}

impl Supervised for Worker {}

observable!(Worker);

impl Worker {
    fn observed(&self) -> Observed {
        Observed { state: serde_json::json!({}), last_activity: None }
    }
}

impl Handler<DirectoryChanged> for Worker {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, _: &mut Self::Context) {
        self.0.do_send(Told::Directory(directory.revision));
    }
}

impl Handler<PollWindow> for Worker {
    type Result = ResponseFuture<Result<Polled, NotPolled>>;

    fn handle(&mut self, _: PollWindow, _: &mut Self::Context) -> Self::Result {
        Box::pin(async { Ok(Polled::default()) })
    }
}

struct RootSetup {
    feed: FeedSetup,
    root: Addr<Root>,
    told: Received<Told>,
    pollers: Received<PollersChanged>,
    directories: Received<DirectoryChanged>,
}

async fn setup() -> RootSetup {
    setup_with(Arc::new(Leases::All)).await
}

async fn setup_with(leases: Arc<Leases>) -> RootSetup {
    let mut setup = FeedSetup::new().await;
    let (reserve_address, address) = Root::reserve_address();
    setup.supervisor = setup.supervisor.clone().reporting_to(&address);
    let (told, told_received) = receiver();
    let (reconciler, pollers) = receiver();
    let (listener, directories) = receiver();
    let says = told.clone();
    let deps = RootDeps {
        db: setup.db.clone(),
        clock: setup.clock,
        live: setup.live.clone(),
        wakeups: Wakeups::new(),
        supervisor: setup.supervisor.clone(),
        start_poller: Rc::new(move |user, _, _, supervisor| {
            says.do_send(Told::Started("poller", user.label.clone()));
            let name = ActorName::of_user("poller", user.id);
            let worker = start_supervised(supervisor, name, Worker(says.clone()));
            PollerHandle { windows: worker.clone().recipient(), directory: worker.recipient() }
        }),
        start_executor: Rc::new(move |user, _, supervisor| {
            told.do_send(Told::Started("executor", user.label.clone()));
            start_supervised(supervisor, ActorName::of_user("executor", user.id), Worker(told.clone())).recipient()
        }),
        start_global_executor: Rc::new(move |_, supervisor| {
            let (nobody, _) = receiver();
            start_supervised(supervisor, "global_executor", Worker(nobody)).recipient()
        }),
        leases,
        metrics: Arc::default(),
        gate: Gate::new(&Default::default(), setup.clock),
        started_at: setup.clock.now(),
        reconciler,
        listeners: vec![listener],
    };
    let root = Root::start_at(reserve_address, deps, &setup.supervisor);
    RootSetup { feed: setup, root, told: told_received, pollers, directories }
}

#[actix_web::test]
async fn actors_of_a_user_start_and_end_while_the_bot_runs() {
    let mut setup = setup().await;
    assert_eq!(setup.pollers.next().await.0.len(), 0);
    let user = setup.feed.follow(&wallet_of("leader")).await;
    setup.root.do_send(LookAtDirectory);
    assert_eq!(setup.told.next().await, Told::Started("poller", "leader".to_owned()));
    assert_eq!(setup.told.next().await, Told::Started("executor", "leader".to_owned()));
    assert_eq!(setup.pollers.next().await.0.len(), 1);
    setup.feed.db.set_enabled(user.id, false, "test", setup.feed.clock.now()).await.unwrap();
    setup.root.do_send(LookAtDirectory);
    assert_eq!(setup.pollers.next().await.0.len(), 0);
    let last_two = [setup.told.next().await, setup.told.next().await];
    assert!(last_two.contains(&Told::Ended), "the poller ends: {last_two:?}");
    assert!(last_two.iter().any(|told| matches!(told, Told::Directory(_))), "the executor stays: {last_two:?}");
    let revisions = [setup.directories.next().await, setup.directories.next().await, setup.directories.next().await];
    assert!(revisions.windows(2).all(|pair| pair[0].0.revision < pair[1].0.revision));
}

#[actix_web::test]
async fn a_burst_of_restarts_over_all_actors_ends_the_process() {
    let mut setup = setup().await;
    let at = setup.feed.clock.now();
    for n in 0..=super::super::supervise::RESTARTS_ALLOWED {
        assert!(setup.feed.failures.try_recv().is_err());
        let name = ActorName::from(format!("actor {n}").as_str());
        let report = RestartReported { name, restarts: 1, cause: "it panicked: oh".to_owned(), at };
        setup.root.send(report).await.unwrap();
    }
    let failure = setup.feed.failures.try_recv().unwrap();
    assert_eq!(
        failure.to_string(),
        "actor `actor 5` keeps failing: 6 actors were restarted within a minute, the last because it panicked: oh"
    );
}

#[actix_web::test]
async fn every_supervised_actor_is_in_the_registry_until_it_ends() {
    let mut setup = setup().await;
    let names = |health: Vec<ActorHealth>| health.iter().map(|actor| actor.name.to_string()).collect::<Vec<_>>();
    setup.pollers.next().await;
    assert_eq!(names(setup.root.send(ReadHealth).await.unwrap()), ["global_executor", "root"]);
    let user = setup.feed.follow(&wallet_of("leader")).await;
    setup.root.do_send(LookAtDirectory);
    setup.pollers.next().await;
    let (poller, executor) = (format!("poller:{}", user.id), format!("executor:{}", user.id));
    assert_eq!(
        names(setup.root.send(ReadHealth).await.unwrap()),
        [executor.clone(), "global_executor".to_owned(), poller, "root".to_owned()]
    );
    setup.feed.db.set_enabled(user.id, false, "test", setup.feed.clock.now()).await.unwrap();
    setup.root.do_send(LookAtDirectory);
    while setup.told.next().await != Told::Ended {}
    assert_eq!(
        names(setup.root.send(ReadHealth).await.unwrap()),
        [executor, "global_executor".to_owned(), "root".to_owned()]
    );
}

#[actix_web::test]
async fn actors_of_a_leader_run_while_the_lease_is_held_and_are_replaced_when_another_worker_held_it() {
    let by = WorkerId::new("me");
    let held = |epochs: &[(LeaseName, i64)]| {
        LeasesChanged(Arc::new(Leases::Held { by: by.clone(), epochs: epochs.iter().copied().collect() }))
    };
    let mut setup = setup_with(Arc::new(Leases::none(by.clone()))).await;
    assert_eq!(setup.pollers.next().await.0.len(), 0);
    let user = setup.feed.follow(&wallet_of("leader")).await;
    setup.root.do_send(LookAtDirectory);
    setup.directories.next().await;
    setup.directories.next().await;
    let lease = LeaseName::User(user.id);
    for (epoch, n_ended) in [(1, 0), (3, 2)] {
        setup.root.do_send(held(&[(lease, epoch)]));
        let started = ["poller", "executor"].map(|actor| Told::Started(actor, "leader".to_owned()));
        assert_eq!([setup.told.next().await, setup.told.next().await], started);
        for _ in 0..n_ended {
            assert_eq!(setup.told.next().await, Told::Ended, "those of the first time are gone");
        }
        assert_eq!(setup.pollers.next().await.0.len(), 1);
    }
    setup.root.do_send(held(&[(LeaseName::Global, 1)]));
    assert_eq!(setup.pollers.next().await.0.len(), 0);
    assert_eq!([setup.told.next().await, setup.told.next().await], [Told::Ended, Told::Ended]);
}
