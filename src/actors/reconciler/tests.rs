use actix::ResponseFuture;

use super::*;
use crate::db::FollowedUser;
use crate::domain::events::event::Side;
use crate::simulator::wallet_of;
use crate::testkit::feed_setup::{FeedSetup, Received, receiver, trade};
use crate::testkit::wait::within;

/// Reports the windows it was asked for, and stores fill 1 from its `shows_at`th answer on.
struct FakePoller {
    db: Db,
    user: FollowedUser,
    said: Recipient<Delivery>,
    n_asked: usize,
    shows_at: usize,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Delivery(PollWindow);

impl Actor for FakePoller {
    type Context = Context<Self>;
}

impl Handler<PollWindow> for FakePoller {
    type Result = ResponseFuture<Result<Polled, NotPolled>>;

    fn handle(&mut self, window: PollWindow, _: &mut Context<Self>) -> Self::Result {
        // The spans that are read again whatever happens are not what these tests look at.
        if window.by != Reader::Asked {
            return Box::pin(async { Ok(Polled::default()) });
        }
        self.n_asked += 1;
        let shows = self.n_asked >= self.shows_at;
        let (db, user, said) = (self.db.clone(), self.user.clone(), self.said.clone());
        Box::pin(async move {
            let write = crate::db::PollWrite {
                user: user.id,
                fence: None,
                trades: if shows { vec![trade(&user, 1, Side::Buy, window.end)] } else { vec![] },
                activities: vec![],
                dead: vec![],
                new_wallets: vec![],
                checkpoints: vec![],
                now: window.end,
            };
            db.record_poll(write).await.unwrap();
            said.do_send(Delivery(window));
            Ok(Polled::default())
        })
    }
}

struct Asking {
    setup: FeedSetup,
    user: FollowedUser,
    reconciler: Addr<Reconciler>,
    asked: Received<Delivery>,
}

fn reconciler_deps(db: Db, clock: Clock, wakeups: Wakeups, live: Recipient<Announce>) -> ReconcilerDeps {
    let (venue, pace) = (VenueClock::new(clock), ReadingPace::default());
    ReconcilerDeps { db, clock, scope: JobScope::All, wakeups, live, venue, pace }
}

async fn asking(shows_at: usize) -> Asking {
    let setup = FeedSetup::new().await;
    let user = setup.follow(&wallet_of("leader")).await;
    let (said, asked) = receiver();
    let (db, clock, wakeups, live) = (setup.db.clone(), setup.clock, setup.wakeups.clone(), setup.live.clone());
    let poller = FakePoller { db: db.clone(), user: user.clone(), said, n_asked: 0, shows_at }.start().recipient();
    let reconciler = Reconciler::start(reconciler_deps(db, clock, wakeups, live), &setup.supervisor);
    reconciler.do_send(PollersChanged(Arc::new([(user.id, poller)].into())));
    Asking { setup, user, reconciler, asked }
}

impl Asking {
    /// Stores a log and its job, as the chain watcher does. Returns the time of the log.
    async fn chain_shows(&self) -> Timestamp {
        let seen = self.setup.clock.now();
        let fill = trade(&self.user, 1, Side::Buy, seen);
        let job = ReconcileJob::Transaction { tx_hash: fill.tx_hash.clone(), seen }.for_user(self.user.id, seen);
        let log = crate::db::ChainTrade {
            tx_hash: fill.tx_hash,
            log_index: 1,
            block_hash: None,
            profile_wallet: fill.profile_wallet,
            proxy_wallet: None,
            followed_user: self.user.id,
            asset: Some(fill.asset),
            side: fill.side,
            price: fill.price,
            shares: fill.shares,
            notional: fill.notional,
            fee: None,
            event_time: seen,
            detect_time: seen,
        };
        let _ = self.setup.db.insert_chain_trade(&log, &job, &[], seen).await.unwrap();
        self.setup.wakeups.notify(Queue::Reconcile);
        seen
    }
}

#[actix_web::test]
async fn a_transaction_on_chain_is_polled_for_at_once_and_done_when_the_api_shows_it() {
    let mut it = asking(1).await;
    let seen = it.chain_shows().await;
    let Delivery(window) = it.asked.next().await;
    assert!(window.start < seen && seen <= window.end);
    it.setup.drained(Queue::Reconcile).await;
}

#[actix_web::test]
async fn a_transaction_that_the_api_does_not_show_yet_is_polled_for_again_after_two_seconds() {
    let mut it = asking(2).await;
    let seen = it.chain_shows().await;
    it.asked.next().await;
    let Delivery(again) = it.asked.next().await;
    let waited = again.end.millis_since(seen);
    assert!((2_000..10_000).contains(&waited), "{waited} ms");
    it.setup.drained(Queue::Reconcile).await;
}

#[actix_web::test]
async fn after_a_chain_outage_every_user_is_read_again() {
    let mut it = asking(9).await;
    let since = it.setup.clock.now().plus_millis(-300_000);
    it.reconciler.send(ReconcileAll { since }).await.unwrap();
    assert_eq!(it.asked.next().await.0.start, since);
}

#[actix_web::test]
async fn jobs_of_a_user_who_is_not_followed_any_more_are_finished() {
    let it = asking(9).await;
    it.reconciler.send(PollersChanged(Arc::default())).await.unwrap();
    let other = it.setup.follow(&wallet_of("somebody else")).await;
    let (poller, _ear) = {
        let (said, ear) = receiver();
        let (db, user) = (it.setup.db.clone(), other.clone());
        (FakePoller { db, user, said, n_asked: 0, shows_at: 9 }.start().recipient(), ear)
    };
    it.setup.db.set_enabled(it.user.id, false, "test", it.setup.clock.now()).await.unwrap();
    it.chain_shows().await;
    within(it.reconciler.send(PollersChanged(Arc::new([(other.id, poller)].into())))).await.unwrap();
    it.setup.drained(Queue::Reconcile).await;
}

#[actix_web::test]
async fn a_window_of_a_user_followed_a_moment_ago_waits_for_the_poller() {
    let it = asking(9).await;
    let newcomer = it.setup.follow(&wallet_of("newcomer")).await;
    let now = it.setup.clock.now();
    let job = ReconcileJob::Window { start: now.plus_millis(-5_000), end: now }.for_user(newcomer.id, now);
    queue::enqueue(&it.setup.db, &[job], now).await.unwrap();
    it.setup.wakeups.notify(Queue::Reconcile);
    // Taken, found without a poller, and given back: its lease is the short one.
    let given_back = async || loop {
        let open = queue::open_jobs(&it.setup.db, Some(Queue::Reconcile), 9).await.unwrap();
        let until = open[0].leased_until.map(|until| until.millis_since(it.setup.clock.now()));
        if until.is_some_and(|left| left <= POLLER_COMES_MS) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    within(given_back()).await;

    let (said, mut asked) = receiver();
    let db = it.setup.db.clone();
    let theirs = FakePoller { db, user: newcomer.clone(), said, n_asked: 0, shows_at: 9 }.start().recipient();
    it.reconciler.do_send(PollersChanged(Arc::new([(newcomer.id, theirs)].into())));
    assert_eq!(asked.next().await.0.end, now);
    it.setup.drained(Queue::Reconcile).await;
}

#[actix_web::test]
async fn no_progress_for_three_minutes_is_reported_once_and_so_is_its_end() {
    let mut setup = FeedSetup::new().await;
    let user = setup.follow(&wallet_of("leader")).await;
    tokio::time::pause();
    let (db, clock, wakeups) = (setup.db.clone(), Clock::starting_at(setup.clock.now()), setup.wakeups.clone());
    let deps = reconciler_deps(db, clock, wakeups, setup.live.clone());
    let mut reconciler = Reconciler::new(deps, Arc::default());
    reconciler.progress.insert(user.id, Progress { last_success: clock.now(), stalled: false });
    let mut after = async |reconciler: &mut Reconciler, millis: u64| {
        tokio::time::advance(Duration::from_millis(millis)).await;
        reconciler.check_progress();
        reconciler.deps.live.do_send(Announce(Vec::new()));
        match setup.announced.next().await.0.as_slice() {
            [] => None,
            [LiveFact::HealthChanged(change)] => {
                setup.announced.next().await;
                Some((change.part.clone(), change.healthy))
            }
            other => panic!("{other:?}"),
        }
    };
    let part = format!("reading:{}", user.id);
    assert_eq!(after(&mut reconciler, 179_999).await, None);
    assert_eq!(after(&mut reconciler, 1).await, Some((part.clone(), false)));
    assert_eq!(after(&mut reconciler, 600_000).await, None);
    reconciler.progress.get_mut(&user.id).unwrap().last_success = clock.now();
    assert_eq!(after(&mut reconciler, 1).await, Some((part, true)));
}

/// A regular poll reads from the newest row on, but the API may show an older row later.
#[actix_web::test]
async fn a_row_older_than_the_newest_one_is_found_by_the_poll_of_each_minute() {
    use crate::actors::poller::{PollNow, Poller, PollerDeps};
    use crate::domain::config::effective::SystemPatch;
    use crate::simulator::{Fill, Host};

    let setup = FeedSetup::new().await;
    setup.configure(SystemPatch { polling_interval_ms: Some(3_600_000), ..SystemPatch::default() }).await;
    let wallet = wallet_of("leader");
    let (user, market) = (setup.follow(&wallet).await, setup.market("rain"));
    let fill = |seconds_ago: i64| {
        let at = setup.clock.now().plus_millis(-1_000 * seconds_ago);
        let fill = Fill::maker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 10_000_000).at(at);
        setup.exchange.with(|exchange| exchange.push_fill(fill.visible_at(exchange.now()))).unwrap();
    };
    let n_stored = async || setup.jobs(Queue::GroupEvents).await.len();
    let until = async |n: usize| {
        within(async {
            while n_stored().await < n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(n_stored().await, n);
    };
    fill(10);
    // Both checkpoints move, each with a row of its kind.
    let (at, cash) = (setup.clock.now().plus_millis(-10_000), crate::domain::money::units::UsdcMicros(1_000_000));
    setup.exchange.with(|exchange| exchange.pay(&wallet, "REWARD", cash, at)).unwrap();
    let (db, clock, wakeups, live) = (setup.db.clone(), setup.clock, setup.wakeups.clone(), setup.live.clone());
    let deps = PollerDeps {
        db,
        polymarket: setup.polymarket(),
        clock,
        wakeups,
        live,
        fence: None,
        metrics: Arc::default(),
        pace: ReadingPace::default(),
        reads: None,
    };
    let poller = Poller::start(deps, user.clone(), setup.directory().await, &setup.supervisor);
    until(2).await;

    fill(110);
    let asked = || setup.exchange.with(|exchange| exchange.n_requests(Host::Data, "/v2/activity"));
    let before = asked();
    poller.send(PollNow).await.unwrap();
    while asked() == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A window waits for the poll that is under way; when it is read, that one has been written.
    let now = setup.clock.now();
    let second = PollWindow { start: now.plus_millis(-1_000), end: now, by: Reader::Asked };
    within(poller.send(second)).await.unwrap().unwrap();
    assert_eq!(n_stored().await, 2, "the regular poll does not read so far back");

    let (db, wakeups, live) = (setup.db.clone(), setup.wakeups.clone(), setup.live.clone());
    let reconciler = Reconciler::start(reconciler_deps(db, clock, wakeups, live), &setup.supervisor);
    reconciler.do_send(PollersChanged(Arc::new([(user.id, poller.recipient())].into())));
    reconciler.do_send(ReadDue);
    until(3).await;
}
