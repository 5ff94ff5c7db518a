//! Jobs and dead letters for the operator: listing, requeueing and dropping.

use polymarketspy::db::{DbError, DeadRow, LedgerWrite, Origin, PollWrite, Replay};
use polymarketspy::domain::accounting::ledger::PortfolioId;
use polymarketspy::domain::money::ids::FollowedUserId;
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::queue::{self, Failed, JobScope, NewJob, Queue, RETRIES};
use polymarketspy::testkit::TestDb;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::facts::{NOW, attempt, entries, follow, grouped, poll, trade};
use super::harness::{number, on_both, sql};

const LEASE_MS: i64 = 30_000;

/// A dead letter of the ingest queue, after all retries.
async fn given_up(db: &polymarketspy::db::Db, user: FollowedUserId) -> i64 {
    db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let mut now = NOW;
    for _ in 0..=RETRIES {
        let job = queue::claim(db, Queue::IngestEvents, &JobScope::All, now, LEASE_MS, 9).await.unwrap().remove(0);
        if let Failed::Retry(due) = queue::fail(db, &job, "no luck", now, &mut rng).await.unwrap() {
            now = due;
        }
    }
    db.dead_letters(None, 1).await.unwrap()[0].id
}

on_both! {
    async fn of_unreadable_rows_a_poll_keeps_a_hundred_and_an_hour_of_a_leader_a_thousand(db: &Db) {
        let (user, other) = (follow(db, 1).await, follow(db, 2).await);
        let row = |n: usize| DeadRow { text: format!("row {n} {}", "y".repeat(9_000)), reason: "it is cut".to_owned() };
        let write = |user, rows: std::ops::Range<usize>, now| PollWrite {
            dead: rows.map(row).collect(),
            now,
            ..poll(user, Vec::new())
        };
        let keep = async |user, rows, now| {
            let outcome = db.record_poll(write(user, rows, now)).await.unwrap();
            (outcome.dead, outcome.dead_left_out)
        };
        assert_eq!(keep(user, 0..250, NOW).await, (100, 150));
        assert_eq!(keep(user, 0..250, NOW).await, (100, 50), "known rows take no room");
        assert_eq!(keep(user, 0..250, NOW).await, (50, 0));
        assert_eq!(keep(user, 0..250, NOW).await, (0, 0));
        for n in 1..8 {
            assert_eq!(keep(user, 1_000 * n..1_000 * n + 150, NOW).await, (100, 50));
        }
        assert_eq!(keep(user, 9_000..9_150, NOW).await, (50, 100), "the hour is full");
        assert_eq!(keep(user, 10_000..10_001, NOW.plus_millis(3_599_999)).await, (0, 1));
        assert_eq!(keep(other, 20_000..20_001, NOW).await, (1, 0), "another leader's rows have room of their own");
        assert_eq!(keep(user, 10_000..10_001, NOW.plus_millis(3_600_000)).await, (1, 0));
        assert_eq!(number!(db, "select cast(max(octet_length(payload)) as bigint) from dead_letter"), 4_096);
        let letter = db.dead_letters(None, 1).await.unwrap().remove(0);
        assert_eq!((letter.payload.len(), letter.payload_bytes), (4_096, 9_010));
        assert_eq!(db.dead_letter_counts().await.unwrap(), [(Origin::Row, 1_002)]);
    }

    async fn open_jobs_are_listed_with_their_leases(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1), trade(user, 2)])).await.unwrap();
        let taken = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, LEASE_MS, 1).await.unwrap().remove(0);

        let all = queue::open_jobs(db, None, 100).await.unwrap();
        assert!(all.len() == 4 && all.is_sorted_by_key(|open| open.job.id));
        assert_eq!(queue::open_jobs(db, None, 3).await.unwrap(), all[..3]);
        let grouping = queue::open_jobs(db, Some(Queue::GroupEvents), 100).await.unwrap();
        assert_eq!(grouping.len(), 2);
        assert_eq!(grouping[0].job, taken);
        let leases: Vec<_> = grouping.iter().map(|open| open.leased_until).collect();
        assert_eq!(leases, [Some(NOW.plus_millis(LEASE_MS)), None]);
        assert_eq!(queue::open_job(db, taken.id).await.unwrap().as_ref(), Some(&grouping[0]));
        assert_eq!(queue::open_job(db, i64::MAX).await.unwrap(), None);
    }

    async fn a_dropped_dead_letter_is_gone_from_the_list_and_kept_in_the_record(db: &Db) {
        let user = follow(db, 1).await;
        let id = given_up(db, user).await;
        assert!(db.drop_dead_letter(id, "a test", NOW).await.unwrap());
        assert!(!db.drop_dead_letter(id, "a test", NOW).await.unwrap(), "it is dropped once");
        assert_eq!(db.replay_dead_letter(id, "a test", NOW).await.unwrap(), Replay::NotReplayable);
        assert_eq!(db.count_dead_letters().await.unwrap(), 0);
        assert_eq!(db.dead_letter(id).await.unwrap(), None);

        assert_eq!(number!(db, "select count(*) from trade_event"), 1, "the fill itself stays");
        assert_eq!(number!(db, "select count(*) from dead_letter where dropped_at is not null"), 1);
        let audits = db.audits(Some("drop_dead_letter"), None, 10).await.unwrap();
        assert_eq!((audits.len(), audits[0].audit.who.as_str()), (1, "a test"));
        let before = audits[0].audit.before_json.as_deref().unwrap();
        assert!(before.contains(&trade(user, 1).id.to_string()) && before.contains("no luck"), "{before}");
        // `audit` still knows why this fill is missing from the ledger.
        let rules = db.integrity().await.unwrap();
        assert!(rules.iter().all(|rule| rule.off_by == 0), "{rules:?}");
    }

    async fn a_dead_letter_is_requeued_or_dropped_but_not_both(db: &Db) {
        let user = follow(db, 1).await;
        let id = given_up(db, user).await;
        assert_eq!(db.replay_dead_letter(id, "a test", NOW).await.unwrap(), Replay::Queued(Queue::IngestEvents));
        assert!(!db.drop_dead_letter(id, "a test", NOW).await.unwrap());
        assert!(sql!(db, format!("update dead_letter set dropped_at = 1 where id = {id}")).is_err());
    }

    async fn dead_letters_are_listed_by_where_they_come_from(db: &Db) {
        let user = follow(db, 1).await;
        given_up(db, user).await;
        sql!(db, "insert into dead_letter (queue, key, payload, error, created_at) values ('row', 'k', '{', 'cut', 1)").unwrap();
        let of = async |origin| db.dead_letters_of(origin, None, 10).await.unwrap().into_iter().map(|l| l.queue).collect::<Vec<_>>();
        assert_eq!(of(None).await, [None, Some(Queue::IngestEvents)]);
        assert_eq!(of(Some(Origin::Row)).await, [None]);
        assert_eq!(of(Some(Origin::Queue(Queue::IngestEvents))).await, [Some(Queue::IngestEvents)]);
        assert_eq!(of(Some(Origin::Queue(Queue::Prices))).await, []);
    }

    async fn a_dropped_job_is_kept_with_its_content_and_its_holder_has_lost_it(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
        let seen = queue::open_jobs(db, Some(Queue::GroupEvents), 9).await.unwrap().remove(0).job;
        let taken = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, LEASE_MS, 9).await.unwrap().remove(0);
        assert!(!db.drop_job(&seen, "a test", NOW).await.unwrap(), "a worker claimed it after it was read");
        assert_eq!(number!(db, "select count(*) from dead_letter"), 0);

        assert!(db.drop_job(&taken, "a test", NOW).await.unwrap());
        assert_eq!(queue::finish(db, &[taken.fence()]).await.unwrap(), []);
        assert_eq!(queue::open_job(db, taken.id).await.unwrap(), None);
        assert_eq!((db.count_dead_letters().await.unwrap(), number!(db, "select count(*) from dead_letter")), (0, 1));
        let audit = db.audits(Some("drop_job"), None, 10).await.unwrap().remove(0).audit;
        assert_eq!(audit.subject, format!("job:{}", taken.id));
        assert!(audit.before_json.unwrap().contains(&taken.payload));
        let rules = db.integrity().await.unwrap();
        assert!(rules.iter().all(|rule| rule.off_by == 0), "{rules:?}");
    }


    async fn a_backfill_is_asked_for_once_and_what_it_adds_is_counted(db: &Db) {
        let (one, two) = (follow(db, 1).await, follow(db, 2).await);
        let (start, end) = (NOW.plus_millis(-10_000), NOW);
        let job = |user: FollowedUserId| NewJob {
            queue: Queue::Reconcile, key: format!("{user}:x"), followed_user: Some(user), payload: String::new(), due: NOW,
        };
        db.ask_backfill(&[job(one), job(two)], (start, end), "a test", NOW).await.unwrap();
        db.ask_backfill(&[job(one)], (start, end), "a test", NOW).await.unwrap();
        assert_eq!(queue::peek_open(db, Queue::Reconcile).await.unwrap().len(), 2);
        let audits = db.audits(Some("backfill"), None, 9).await.unwrap();
        assert_eq!(audits.len(), 2);
        let asked: serde_json::Value = serde_json::from_str(audits[1].audit.after_json.as_deref().unwrap()).unwrap();
        assert_eq!((&asked["users"], &asked["windows"]), (&serde_json::json!([one, two]), &2.into()));

        // Fills took place two seconds before `NOW`.
        db.record_poll(poll(one, vec![trade(one, 1), trade(one, 2)])).await.unwrap();
        let count = async |user, start, end| db.count_rows_within(user, start, end).await.unwrap();
        assert_eq!(count(one, start, end).await, 2);
        assert_eq!(count(one, NOW.plus_millis(-2_000), NOW.plus_millis(-2_000)).await, 2, "both ends count");
        assert_eq!(count(one, NOW.plus_millis(-1_999), end).await, 0);
        assert_eq!(count(one, start, NOW.plus_millis(-2_001)).await, 0);
        assert_eq!(count(two, start, end).await, 0);
    }

    async fn cursors_give_the_positions_of_rows_without_reading_them(db: &Db) {
        let user = follow(db, 1).await;
        assert_eq!((db.newest_trade_cursor().await.unwrap(), db.newest_attempt_cursor().await.unwrap()), (None, None));
        db.record_poll(poll(user, (0..5).map(|n| trade(user, n)).collect())).await.unwrap();
        let places = db.trade_cursors(NOW.plus_millis(2)).await.unwrap();
        let expected: Vec<_> = (2..5).map(|n| trade(user, n)).map(|t| (t.detect_time, t.id.0)).collect();
        assert_eq!(places.iter().map(|place| (place.at, place.id)).collect::<Vec<_>>(), expected);
        assert_eq!(db.newest_trade_cursor().await.unwrap(), places.last().copied());

        let groups = grouped(db, user, 10..12).await;
        let attempts: Vec<_> = groups.iter().map(|group| attempt(PortfolioId::ExecGlobal, group)).collect();
        let writes: Vec<_> = attempts.iter().zip(&groups).map(|(attempt, group)| LedgerWrite {
            entries: entries(attempt, group), attempt: Some(attempt.clone()), ..Default::default()
        }).collect();
        db.commit(&writes, NOW).await.unwrap();
        let mut expected: Vec<_> = attempts.iter().map(|attempt| (attempt.created_at, attempt.id.0)).collect();
        expected.sort();
        let places = db.attempt_cursors(Timestamp::EPOCH).await.unwrap();
        assert_eq!(places.iter().map(|place| (place.at, place.id)).collect::<Vec<_>>(), expected);
        assert_eq!(db.newest_attempt_cursor().await.unwrap(), places.last().copied());
    }
}

/// A database file belongs to one bot, and checking for a bot does not disturb it.
#[tokio::test]
async fn a_check_sees_whether_a_bot_runs_and_does_not_stop_one_from_starting() {
    let test_db = TestDb::sqlite().await;
    let db = &test_db.db;
    assert!(!db.is_worked_on().await.unwrap());
    let bot = db.own().await.unwrap();
    assert!(db.is_worked_on().await.unwrap());
    assert!(matches!(db.own().await, Err(DbError::InUse)));
    drop(bot);
    for _ in 0..20 {
        let (asked, owned) = tokio::join!(db.is_worked_on(), db.own());
        asked.unwrap();
        let owned = owned.unwrap();
        assert!(db.is_worked_on().await.unwrap());
        drop(owned);
        assert!(!db.is_worked_on().await.unwrap());
    }
    test_db.close().await;
}
