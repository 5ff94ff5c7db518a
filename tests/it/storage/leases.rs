//! Leases: which worker holds them, their epochs, and the writes that a former holder can no longer make.

use std::time::Duration;

use polymarketspy::db::{Committed, Db, DbError, LeaseRow, LedgerWrite, PollWrite, Standing, random_worker_id};
use polymarketspy::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use polymarketspy::domain::events::lease::{Fence, LeaseName, WorkerId};
use polymarketspy::domain::money::units::UsdcMicros;
use polymarketspy::queue::{self, JobScope, NewJob, Queue};
use polymarketspy::testkit::TestDb;

use super::facts::*;
use super::harness::*;

async fn lease_of(db: &Db, worker: &WorkerId, name: LeaseName) -> LeaseRow {
    let round = db.lease_round(worker).await.unwrap();
    round.leases.into_iter().find(|row| row.name == name).unwrap()
}

async fn take(db: &Db, worker: &WorkerId, name: LeaseName) -> i64 {
    let seen = lease_of(db, worker, name).await;
    db.take_lease(worker, &seen).await.unwrap().unwrap()
}

on_both! {
    async fn a_lease_is_taken_by_one_and_only_as_it_was_seen(db: &Db) {
        let user = LeaseName::User(follow(db, 1).await);
        let (me, you) = (random_worker_id(), random_worker_id());
        let seen = lease_of(db, &me, user).await;
        assert_eq!((seen.holder.clone(), seen.epoch), (None, 0));
        let both = (db.take_lease(&me, &seen).await.unwrap(), db.take_lease(&you, &seen).await.unwrap());
        assert_eq!(both, (Some(1), None));
        let held = lease_of(db, &you, user).await;
        assert_eq!((held.holder.as_ref(), held.epoch), (Some(&me), 1));
        let beaten = lease_of(db, &me, user).await;
        assert!(beaten.beat > held.beat, "its holder has beaten");
        assert_eq!(db.take_lease(&you, &held).await.unwrap(), None, "it has beaten since it was seen");
        assert_eq!(db.take_lease(&you, &beaten).await.unwrap(), Some(2));
        db.give_up_lease(&me, user).await.unwrap();
        assert_eq!(lease_of(db, &you, user).await.holder, Some(you.clone()), "only a holder gives up");
        db.leave(&you).await.unwrap();
        let free = lease_of(db, &me, user).await;
        assert_eq!((free.holder, free.epoch), (None, 3));
        let workers = db.lease_round(&me).await.unwrap().workers;
        assert_eq!(workers.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&me]);
    }

    async fn each_worker_takes_the_jobs_of_its_leases_and_its_own(db: &Db) {
        let (one, two) = (follow(db, 1).await, follow(db, 2).await);
        let (me, you) = (random_worker_id(), random_worker_id());
        take(db, &me, LeaseName::User(one)).await;
        take(db, &you, LeaseName::User(two)).await;
        let job = |key: &str, followed_user| NewJob {
            queue: Queue::PortfolioApply,
            key: key.to_owned(),
            followed_user,
            payload: String::new(),
            due: NOW,
        };
        let (mine, yours) = (format!("{}:a", me.as_str()), format!("{}:a", you.as_str()));
        let jobs = [job("one", Some(one)), job("two", Some(two)), job("EXEC_GLOBAL", None), job(&mine, None), job(&yours, None)];
        queue::enqueue(db, &jobs, NOW).await.unwrap();
        let scope = |worker: &WorkerId| JobScope::HeldBy(worker.clone());
        let keys = async |worker: &WorkerId| {
            let jobs = queue::claim(db, Queue::PortfolioApply, &scope(worker), NOW, 60_000, 9).await.unwrap();
            jobs.into_iter().map(|job| job.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&me).await, ["one".to_owned(), mine.clone()]);
        take(db, &you, LeaseName::Global).await;
        assert_eq!(keys(&you).await, ["two".to_owned(), "EXEC_GLOBAL".to_owned(), yours]);
        assert_eq!(queue::next_due(db, Queue::PortfolioApply, &scope(&me)).await.unwrap(), Some(NOW.plus_millis(60_000)));
        assert_eq!(queue::release(db, Queue::PortfolioApply, &scope(&me)).await.unwrap(), 2, "no other worker's");
        assert_eq!(keys(&me).await.len(), 2);
        // A worker that takes a lease also takes the jobs that the last holder had claimed; the last holder's own jobs
        // are deleted with it.
        db.leave(&me).await.unwrap();
        take(db, &you, LeaseName::User(one)).await;
        assert_eq!(keys(&you).await, ["one"]);
        assert!(queue::peek_open(db, Queue::PortfolioApply).await.unwrap().iter().all(|job| job.key != mine));
    }

    async fn a_former_holder_writes_nothing_under_a_lease_that_changed_hands(db: &Db) {
        let user = follow(db, 1).await;
        let name = LeaseName::User(user);
        let (me, you) = (random_worker_id(), random_worker_id());
        let old = Fence { lease: name, epoch: take(db, &me, name).await };
        let write = |n: i64| {
            let entry = LedgerEntry::opening_deposit(PortfolioId::ExecUser(user), UsdcMicros(n), NOW);
            [LedgerWrite { entries: vec![LedgerEntry { ref_id: format!("test:{n}"), ..entry }], ..LedgerWrite::default() }]
        };
        let written = db.commit_all(&write(1), &[old], NOW).await.unwrap();
        assert!(matches!(written, Committed::All { .. }), "{written:?}");
        let new = Fence { lease: name, epoch: take(db, &you, name).await };
        let refused = db.commit_all(&write(2), &[old], NOW).await.unwrap();
        assert_eq!(refused, Committed::Nothing(vec![Standing::FenceLost]));
        assert!(matches!(db.commit_all(&write(3), &[new], NOW).await.unwrap(), Committed::All { .. }));
        assert_eq!(db.entries_after(PortfolioId::ExecUser(user), 0, 9).await.unwrap().len(), 2);

        let poll = |fence| PollWrite { fence: Some(fence), ..poll(user, vec![trade(user, 1)]) };
        assert!(matches!(db.record_poll(poll(old)).await, Err(DbError::LeaseLost(lost)) if lost == name));
        assert_eq!(db.record_poll(poll(new)).await.unwrap().new_trades.len(), 1);
    }
}

mod on_postgres {
    use super::*;

    /// A commit that has begun keeps the lease until its end, so the next holder sees the whole commit.
    #[tokio::test]
    async fn a_lease_does_not_change_hands_in_the_middle_of_a_commit() {
        let test_db = TestDb::postgres().await;
        let db = &test_db.db;
        let Db::Postgres(pool, _) = db else { unreachable!() };
        let name = LeaseName::User(follow(db, 1).await);
        let (me, you) = (random_worker_id(), random_worker_id());
        take(db, &me, name).await;
        let seen = lease_of(db, &you, name).await;
        let mut commit = pool.begin().await.unwrap();
        let hold = "select epoch from lease where name = $1 for share";
        let _: i64 = sqlx::query_scalar(hold).bind(name.to_string()).fetch_one(&mut *commit).await.unwrap();
        let mut taking = Box::pin(db.take_lease(&you, &seen));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut taking).await.is_err(), "it waits");
        commit.commit().await.unwrap();
        assert_eq!(taking.as_mut().await.unwrap(), Some(2));
        drop(taking);
        test_db.close().await;
    }
}
