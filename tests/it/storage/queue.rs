//! Jobs: claimed in order, held by a fencing token, retried, and turned into dead letters.

use polymarketspy::db::Replay;
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::queue::{self, Failed, JobScope, Queue, RETRIES};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::facts::{NOW, follow, poll, trade};
use super::harness::{number, on_both, sql};

const LEASE_MS: i64 = 30_000;

on_both! {
    async fn the_longest_due_is_taken_first_and_only_what_is_due(db: &Db) {
        for (key, due) in [("late", 30), ("early", 10), ("same", 10), ("not yet", 101)] {
            sql!(db, format!("insert into job (queue, key, payload, due, created_at)
                values ('q_prices', '{key}', '', {due}, 0)")).unwrap();
        }
        let at = Timestamp::from_millis(100);
        let keys = |jobs: Vec<queue::Job>| jobs.into_iter().map(|job| job.key).collect::<Vec<_>>();
        assert_eq!(keys(queue::claim(db, Queue::Prices, &JobScope::All, at, LEASE_MS, 2).await.unwrap()), ["early", "same"]);
        assert_eq!(keys(queue::claim(db, Queue::Prices, &JobScope::All, at, LEASE_MS, 9).await.unwrap()), ["late"]);
        assert_eq!(keys(queue::claim(db, Queue::Prices, &JobScope::All, at, LEASE_MS, 9).await.unwrap()), Vec::<String>::new());
        let due = queue::next_due(db, Queue::Prices, &JobScope::All).await.unwrap();
        assert_eq!(due, Some(Timestamp::from_millis(101)));
    }

    async fn each_users_jobs_can_be_taken_alone(db: &Db) {
        let (one, two) = (follow(db, 1).await, follow(db, 2).await);
        db.record_poll(poll(one, vec![trade(one, 1), trade(one, 2)])).await.unwrap();
        db.record_poll(poll(two, vec![trade(two, 3)])).await.unwrap();
        let jobs = queue::claim(db, Queue::GroupEvents, &JobScope::OfUser(two), NOW, LEASE_MS, 9).await.unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].followed_user, Some(two));
        assert_eq!(queue::next_due(db, Queue::GroupEvents, &JobScope::OfUser(one)).await.unwrap(), Some(NOW));
    }

    async fn a_lease_that_passed_is_taken_again_and_the_first_holder_has_lost_it(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
        let first = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, LEASE_MS, 9).await.unwrap().remove(0);
        let later = NOW.plus_millis(LEASE_MS);
        let second = queue::claim(db, Queue::GroupEvents, &JobScope::All, later, LEASE_MS, 9).await.unwrap().remove(0);
        assert_eq!((first.id, first.attempts, second.attempts), (second.id, 1, 2));
        assert_eq!(queue::finish(db, &[first.fence()]).await.unwrap(), []);
        let mut rng = StdRng::seed_from_u64(7);
        assert_eq!(queue::fail(db, &first, "late", later, &mut rng).await.unwrap(), Failed::FenceLost);
        assert!(!queue::renew(db, first.fence(), later).await.unwrap());
        assert!(queue::renew(db, second.fence(), later.plus_millis(5)).await.unwrap());
        assert_eq!(queue::finish(db, &[second.fence()]).await.unwrap(), [second.fence()]);
        assert_eq!(queue::finish(db, &[second.fence()]).await.unwrap(), []);
    }

    async fn at_start_every_lease_ends_and_no_job_is_due_early(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
        let held = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, LEASE_MS, 9).await.unwrap();
        assert_eq!(queue::release_all(db).await.unwrap(), 1);
        let again = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, LEASE_MS, 9).await.unwrap();
        assert_eq!((again.len(), again[0].id, again[0].due), (1, held[0].id, NOW));
    }

    async fn a_job_dated_by_a_clock_that_was_ahead_is_due_at_the_start(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
        for (before_ms, held) in [(-3_600_000, 0), (-180_001, 0), (-180_000, 180_000)] {
            let clock = NOW.plus_millis(before_ms);
            queue::bring_forward(db, clock).await.unwrap();
            let due = queue::next_due(db, Queue::GroupEvents, &JobScope::All).await.unwrap().unwrap();
            assert_eq!(due.millis_since(clock), held, "{before_ms}");
            sql!(db, "update job set due = 1768478400000").unwrap();
        }
    }

    async fn a_job_that_keeps_failing_is_retried_ever_later_and_then_given_up(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let mut now = NOW;
        let mut wait_ms = 1_000;
        for _ in 0..RETRIES {
            let job = queue::claim(db, Queue::IngestEvents, &JobScope::All, now, LEASE_MS, 9).await.unwrap().remove(0);
            let Failed::Retry(due) = queue::fail(db, &job, "no luck", now, &mut rng).await.unwrap() else {
                panic!("given up too soon")
            };
            let waited = due.millis_since(now);
            assert!((wait_ms..=wait_ms + wait_ms / 4).contains(&waited), "{waited} after {wait_ms}");
            assert!(queue::claim(db, Queue::IngestEvents, &JobScope::All, now, LEASE_MS, 9).await.unwrap().is_empty());
            (now, wait_ms) = (due, wait_ms * 4);
        }
        let job = queue::claim(db, Queue::IngestEvents, &JobScope::All, now, LEASE_MS, 9).await.unwrap().remove(0);
        assert_eq!((job.failures, job.last_error.as_deref()), (3, Some("no luck")));
        assert_eq!(queue::fail(db, &job, "for good", now, &mut rng).await.unwrap(), Failed::Dead);
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_ingest_events'"), 0);

        let letter = db.dead_letters(None, 10).await.unwrap().remove(0);
        assert_eq!((letter.queue, letter.error.as_str()), (Some(Queue::IngestEvents), "for good"));
        assert_eq!((letter.followed_user, &letter.payload), (Some(user), &job.payload));
        let replay = async || db.replay_dead_letter(letter.id, "a test", now).await.unwrap();
        assert_eq!(replay().await, Replay::Queued(Queue::IngestEvents));
        assert_eq!(replay().await, Replay::NotReplayable);
        assert_eq!(db.count_dead_letters().await.unwrap(), 0);
        let again = queue::claim(db, Queue::IngestEvents, &JobScope::All, now, LEASE_MS, 9).await.unwrap().remove(0);
        assert_eq!((again.failures, again.payload), (0, job.payload));
    }

    async fn a_restart_is_no_failure(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
        for _ in 0..20 {
            queue::claim(db, Queue::IngestEvents, &JobScope::All, NOW, LEASE_MS, 9).await.unwrap();
            queue::release_all(db).await.unwrap();
        }
        let job = queue::claim(db, Queue::IngestEvents, &JobScope::All, NOW, LEASE_MS, 9).await.unwrap().remove(0);
        assert_eq!((job.attempts, job.failures), (21, 0));
    }

    async fn depths_name_every_queue(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1), trade(user, 2)])).await.unwrap();
        queue::claim(db, Queue::IngestEvents, &JobScope::All, NOW, LEASE_MS, 1).await.unwrap();
        let depths = queue::depths(db).await.unwrap();
        assert_eq!(depths.len(), Queue::ALL.len());
        let ingest = depths.iter().find(|depth| depth.queue == Queue::IngestEvents).unwrap();
        assert_eq!((ingest.open, ingest.leased, ingest.oldest_due), (2, 1, Some(NOW)));
        let prices = depths.iter().find(|depth| depth.queue == Queue::Prices).unwrap();
        assert_eq!((prices.open, prices.oldest_due), (0, None));
    }

    async fn a_finished_jobs_number_is_never_given_out_again(db: &Db) {
        let user = follow(db, 1).await;
        db.record_poll(poll(user, vec![trade(user, 1)])).await.unwrap();
        let old = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, LEASE_MS, 9).await.unwrap();
        sql!(db, "delete from job").unwrap();
        db.record_poll(poll(user, vec![trade(user, 2)])).await.unwrap();
        let new = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, LEASE_MS, 9).await.unwrap();
        assert!(new[0].id > old[0].id);
    }
}
