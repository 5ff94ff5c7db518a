use super::*;
use crate::db::FollowedUser;
use crate::domain::config::effective::SystemPatch;
use crate::domain::events::event::{ActivityEvent, ActivityKind, ActivityPayload, Side};
use crate::domain::events::group::EventGroup;
use crate::domain::money::ids::EventId;
use crate::domain::money::units::{ShareMicros, UsdcMicros};
use crate::queue::wakeup::local::WakeupListener;
use crate::simulator::wallet_of;
use crate::testkit::feed_setup::{FeedSetup, trade};
use crate::testkit::wait::within;

/// Short enough for a test, long enough for its events to arrive in one window.
const WINDOW_MS: i64 = 400;

struct Grouping {
    setup: FeedSetup,
    user: FollowedUser,
    closed: WakeupListener,
}

async fn grouping() -> Grouping {
    let setup = FeedSetup::new().await;
    setup.configure(SystemPatch { aggregation_window_ms: Some(WINDOW_MS), ..SystemPatch::default() }).await;
    let user = setup.follow(&wallet_of("leader")).await;
    let closed = setup.wakeups.listen(Queue::CopyAttemptGlobal);
    Grouping { setup, user, closed }
}

impl Grouping {
    fn start(&self) -> Addr<Grouper> {
        let FeedSetup { db, clock, wakeups, supervisor, .. } = &self.setup;
        Grouper::start(
            GrouperDeps { db: db.clone(), clock: *clock, scope: JobScope::All, wakeups: wakeups.clone() },
            supervisor,
        )
    }

    /// Returns the closed groups, in the order of their copy jobs.
    async fn groups(&self) -> Vec<EventGroup> {
        let mut groups = Vec::new();
        for job in self.setup.jobs(Queue::CopyAttemptUser).await {
            groups.push(self.setup.db.group(job.group().unwrap()).await.unwrap().unwrap());
        }
        groups
    }
}

#[actix_web::test]
async fn fills_of_one_window_close_as_one_group_with_both_copy_jobs() {
    let mut it = grouping().await;
    let _grouper = it.start();
    let start = it.setup.clock.now();
    let later = start.plus_millis(WINDOW_MS - 1);
    it.setup
        .record(&it.user, vec![trade(&it.user, 1, Side::Buy, later), trade(&it.user, 2, Side::Buy, start)], vec![])
        .await;
    within(it.closed.notified()).await;
    let groups = it.groups().await;
    assert_eq!(groups.len(), 1);
    assert_eq!((groups[0].notional, groups[0].detect_time), (UsdcMicros(10_000_000), start));
    assert_eq!(it.setup.db.members(groups[0].id).await.unwrap().len(), 2);
    assert_eq!(it.setup.jobs(Queue::GroupEvents).await, []);
    let (ours, global) = (it.setup.jobs(Queue::CopyAttemptUser).await, it.setup.jobs(Queue::CopyAttemptGlobal).await);
    let wait_ms = ours[0].due.millis_since(start.plus_millis(WINDOW_MS));
    assert!((750..=1_000).contains(&wait_ms), "latency and jitter: {wait_ms} ms");
    assert_eq!(ours[0].due, global[0].due, "both scopes decide on the same book");
}

#[actix_web::test]
async fn groups_open_at_the_start_are_closed_without_a_wake_up() {
    let mut it = grouping().await;
    let long_ago = it.setup.clock.now().plus_millis(-3_600_000);
    let events = vec![trade(&it.user, 1, Side::Buy, long_ago), trade(&it.user, 2, Side::Sell, long_ago)];
    it.setup.record(&it.user, events, vec![]).await;
    // As a process that died left them.
    let now = it.setup.clock.now();
    let taken = queue::claim(&it.setup.db, Queue::GroupEvents, &JobScope::All, now, 3_600_000, 10).await.unwrap();
    assert_eq!(taken.len(), 2);
    let _grouper = it.start();
    within(it.closed.notified()).await;
    assert_eq!(it.groups().await.len(), 2);
}

#[actix_web::test]
async fn an_event_too_late_for_its_group_gets_the_next_free_millisecond() {
    let mut it = grouping().await;
    let _grouper = it.start();
    let at = it.setup.clock.now().plus_millis(-60_000);
    for n in 0..3 {
        it.setup.record(&it.user, vec![trade(&it.user, n, Side::Buy, at)], vec![]).await;
        within(it.closed.notified()).await;
    }
    it.setup.drained(Queue::GroupEvents).await;
    let mut starts: Vec<i64> = it.groups().await.iter().map(|group| group.window_start.millis_since(at)).collect();
    starts.sort_unstable();
    assert_eq!(starts, [0, 1, 2]);
    assert!(it.groups().await.iter().all(|group| group.detect_time == at));
}

#[actix_web::test]
async fn a_row_that_forms_no_group_only_finishes_its_job() {
    let it = grouping().await;
    let _grouper = it.start();
    let now = it.setup.clock.now();
    let reward = ActivityEvent {
        id: EventId::of("DATA_API", "reward"),
        source_id: "reward".to_owned(),
        profile_wallet: it.user.profile_wallet.clone(),
        proxy_wallet: None,
        followed_user: it.user.id,
        kind: ActivityKind::Other("REWARD".to_owned()),
        payload: ActivityPayload {
            tx_hash: "0xab".to_owned(),
            condition_id: None,
            token_id: None,
            share_micros: ShareMicros(1),
            cash_micros: UsdcMicros(1),
            row: "{}".to_owned(),
        },
        event_time: now,
        detect_time: now,
    };
    it.setup.record(&it.user, vec![], vec![reward]).await;
    it.setup.drained(Queue::GroupEvents).await;
    assert_eq!(it.groups().await, []);
}
