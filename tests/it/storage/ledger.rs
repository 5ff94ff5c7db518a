//! Rules of the group commit: each write whole or not at all, and a repeated write counts once.

use polymarketspy::db::{Committed, Db, LedgerOutcome, LedgerWrite, Standing};
use polymarketspy::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::money::ids::AssetId;
use polymarketspy::domain::money::units::{ShareMicros, UsdcMicros};
use polymarketspy::queue::{NewJob, Queue};

use super::facts::{NOW, attempt, copy_jobs, entries, follow, grouped, skipped, write};
use super::harness::{number, on_both, sql};

const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;

fn deposit(portfolio: PortfolioId) -> LedgerEntry {
    LedgerEntry {
        portfolio,
        attributed_user: None,
        market: None,
        asset: None,
        kind: EntryType::Deposit,
        shares: ShareMicros::ZERO,
        cash: UsdcMicros(10_000_000_000),
        price: None,
        ref_id: "deposit:opening".to_owned(),
        created_at: NOW,
    }
}

fn opening(portfolio: PortfolioId) -> LedgerWrite {
    LedgerWrite { entries: vec![deposit(portfolio)], ..LedgerWrite::default() }
}

async fn counts(db: &Db) -> [i64; 3] {
    [
        number!(db, "select count(*) from copy_attempt"),
        number!(db, "select count(*) from executable_fill"),
        number!(db, "select count(*) from ledger_entry"),
    ]
}

on_both! {
    async fn many_writes_are_one_commit_and_each_knows_its_last_entry(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..90).await;
        let jobs = copy_jobs(db, Queue::CopyAttemptUser, &groups).await;
        let portfolio = PortfolioId::ExecUser(user);
        let mut writes: Vec<_> = groups.iter().zip(&jobs).map(|(group, job)| write(portfolio, group, job)).collect();
        writes[3] = LedgerWrite {
            attempt: Some(skipped(portfolio, &groups[3], vec![ReasonCode::SpreadTooWide, ReasonCode::RiskCapUser])),
            entries: Vec::new(),
            ..writes[3].clone()
        };
        let outcomes = db.commit(&writes, NOW).await.unwrap();
        let placed = db.entries_after(portfolio, 0, 1_000).await.unwrap();
        assert_eq!(placed.len(), 2 * 89);
        let wanted: Vec<LedgerEntry> = writes.iter().flat_map(|write| write.entries.clone()).collect();
        assert_eq!(placed.iter().map(|placed| placed.entry.clone()).collect::<Vec<_>>(), wanted, "in the order asked");
        for (n, (write, outcome)) in writes.iter().zip(&outcomes).enumerate() {
            let ref_id = write.entries.last().map(|entry| entry.ref_id.as_str());
            let last = placed.iter().rev().find(|placed| Some(placed.entry.ref_id.as_str()) == ref_id);
            let last_entry = last.map(|placed| placed.position);
            assert_eq!(*outcome, LedgerOutcome::Written { last_entry }, "write {n}");
        }
        assert_eq!(counts(db).await, [90, 2 * 89, 2 * 89]);
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_copy_attempt_user'"), 0);
        assert_eq!(db.last_position(portfolio).await.unwrap(), placed.last().unwrap().position);
        let behind = db.entries_after(portfolio, placed[9].position, 5).await.unwrap();
        assert_eq!(behind, placed[10..15]);
    }

    async fn a_second_delivery_changes_nothing_but_finishes_its_job(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..3).await;
        let jobs = copy_jobs(db, Queue::CopyAttemptGlobal, &groups).await;
        let writes: Vec<_> = groups.iter().zip(&jobs).map(|(group, job)| write(GLOBAL, group, job)).collect();
        db.commit(&writes[..1], NOW).await.unwrap();
        // The same work under another job, together with two new writes, which must be written.
        let other = copy_jobs(db, Queue::CopyAttemptUser, &groups).await;
        let again = LedgerWrite { finishes: vec![other[0].fence()], ..writes[0].clone() };
        let outcomes = db.commit(&[writes[1].clone(), again.clone(), writes[2].clone()], NOW).await.unwrap();
        assert!(matches!(outcomes[0], LedgerOutcome::Written { last_entry: Some(_) }));
        assert_eq!(outcomes[1], LedgerOutcome::Known);
        assert!(matches!(outcomes[2], LedgerOutcome::Written { last_entry: Some(_) }));
        assert_eq!(counts(db).await, [3, 6, 6]);
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_copy_attempt_user'"), 2);
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_copy_attempt_global'"), 0);
    }

    async fn the_same_write_twice_in_one_commit_counts_once(db: &Db) {
        let outcomes = db.commit(&[opening(GLOBAL), opening(GLOBAL)], NOW).await.unwrap();
        assert!(matches!(outcomes[0], LedgerOutcome::Written { last_entry: Some(_) }));
        assert_eq!(outcomes[1], LedgerOutcome::Known);
        assert_eq!(counts(db).await, [0, 0, 1]);
    }

    async fn a_worker_that_lost_a_job_writes_nothing(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..3).await;
        let jobs = copy_jobs(db, Queue::CopyAttemptUser, &groups).await;
        let portfolio = PortfolioId::ExecUser(user);
        let mut writes: Vec<_> = groups.iter().zip(&jobs).map(|(group, job)| write(portfolio, group, job)).collect();
        // Another worker claimed the second job in the meantime; the third write has a second job that is still held.
        sql!(db, format!("update job set attempts = attempts + 1 where id = {}", jobs[1].id)).unwrap();
        let held = copy_jobs(db, Queue::CopyAttemptGlobal, &groups).await;
        writes[1].finishes.push(held[1].fence());
        writes[1].jobs.push(NewJob::for_portfolio(portfolio, NOW));
        let outcomes = db.commit(&writes, NOW).await.unwrap();
        assert!(matches!(outcomes[0], LedgerOutcome::Written { .. }));
        assert_eq!(outcomes[1], LedgerOutcome::FenceLost);
        assert!(matches!(outcomes[2], LedgerOutcome::Written { .. }));
        assert_eq!(counts(db).await, [2, 4, 4]);
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_portfolio_apply'"), 0);
        let still = number!(db, format!("select count(*) from job where id in ({}, {})", jobs[1].id, held[1].id));
        assert_eq!(still, 2, "the lost job and the one that was still held are both there");
    }

    async fn all_or_nothing_names_the_writes_that_prevented_it(db: &Db) {
        let user = follow(db, 1).await;
        db.commit(&[opening(GLOBAL)], NOW).await.unwrap();
        let writes = [opening(PortfolioId::ExecUser(user)), opening(GLOBAL)];
        let committed = db.commit_all(&writes, &[], NOW).await.unwrap();
        assert_eq!(committed, Committed::Nothing(vec![Standing::New, Standing::Known]));
        assert_eq!(counts(db).await, [0, 0, 1]);
        let committed = db.commit_all(&writes[..1], &[], NOW).await.unwrap();
        assert!(matches!(committed, Committed::All { last_entry: Some(_) }));
        assert_eq!(counts(db).await, [0, 0, 2]);
    }

    async fn one_entry_that_is_known_makes_the_whole_write_known(db: &Db) {
        let user = follow(db, 1).await;
        db.commit(&[opening(PortfolioId::ExecUser(user))], NOW).await.unwrap();
        let mixed = LedgerWrite {
            entries: vec![deposit(GLOBAL), deposit(PortfolioId::ExecUser(user))],
            ..LedgerWrite::default()
        };
        assert_eq!(db.commit(&[mixed], NOW).await.unwrap(), [LedgerOutcome::Known]);
        assert_eq!(counts(db).await, [0, 0, 1]);
    }

    async fn one_cause_may_move_several_assets_and_kinds(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..1).await;
        let attempt = attempt(GLOBAL, &groups[0]);
        let mut both = entries(&attempt, &groups[0]);
        // A split moves each outcome under one cause; a fill and its fee have one asset, and their key is without it.
        both.extend([1, 2].map(|n| LedgerEntry {
            kind: EntryType::Split,
            asset: Some(AssetId::parse(&n.to_string()).unwrap()),
            ..both[0].clone()
        }));
        let write = LedgerWrite { entries: both, ..LedgerWrite::default() };
        let written = db.commit(std::slice::from_ref(&write), NOW).await.unwrap();
        assert!(matches!(written[0], LedgerOutcome::Written { .. }));
        assert_eq!(db.commit(&[write], NOW).await.unwrap(), [LedgerOutcome::Known]);
    }

    async fn jobs_audits_and_checkpoints_come_with_the_entries(db: &Db) {
        let noted = LedgerWrite {
            jobs: vec![NewJob::for_portfolio(GLOBAL, NOW)],
            checkpoints: vec![("portfolio:EXEC_GLOBAL".into(), "{\"position\":1}".into())],
            ..opening(GLOBAL)
        };
        let later = LedgerWrite {
            jobs: vec![NewJob::for_portfolio(GLOBAL, NOW)],
            checkpoints: vec![("portfolio:EXEC_GLOBAL".into(), "{\"position\":2}".into())],
            ..LedgerWrite::default()
        };
        db.commit(&[noted, later], NOW).await.unwrap();
        assert_eq!(number!(db, "select count(*) from job"), 1);
        assert_eq!(db.checkpoint("portfolio:EXEC_GLOBAL").await.unwrap().as_deref(), Some("{\"position\":2}"));
    }

    async fn a_commit_that_breaks_in_the_middle_leaves_nothing(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..2).await;
        let jobs = copy_jobs(db, Queue::CopyAttemptUser, &groups).await;
        let portfolio = PortfolioId::ExecUser(user);
        let mut writes: Vec<_> = groups.iter().zip(&jobs).map(|(group, job)| write(portfolio, group, job)).collect();
        // The last statement of the transaction fails: its entry belongs to no portfolio.
        writes[1].entries[1].portfolio = PortfolioId::ShadowUser(polymarketspy::domain::money::ids::FollowedUserId(999));
        db.commit(&writes, NOW).await.unwrap_err();
        assert_eq!(counts(db).await, [0, 0, 0]);
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_copy_attempt_user'"), 2);
    }

    async fn a_call_that_is_given_up_half_way_leaves_nothing(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..200).await;
        let jobs = copy_jobs(db, Queue::CopyAttemptUser, &groups).await;
        let portfolio = PortfolioId::ExecUser(user);
        let writes: Vec<_> = groups.iter().zip(&jobs).map(|(group, job)| write(portfolio, group, job)).collect();
        // Let it run for more steps each time, and drop it; it must have written all or nothing.
        for steps in (0..60).step_by(3) {
            let mut commit = Box::pin(db.commit(&writes, NOW));
            for _ in 0..steps {
                tokio::select! { biased; _ = &mut commit => break, () = tokio::task::yield_now() => {} }
            }
            drop(commit);
            let [attempts, fills, entries] = counts(db).await;
            assert!([[0, 0, 0], [200, 400, 400]].contains(&[attempts, fills, entries]), "{attempts} {fills} {entries}");
        }
        for outcome in db.commit(&writes, NOW).await.unwrap() {
            assert!(matches!(outcome, LedgerOutcome::Written { .. } | LedgerOutcome::FenceLost));
        }
        assert_eq!(counts(db).await, [200, 400, 400]);
    }

    async fn what_was_decided_and_booked_cannot_be_changed(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..1).await;
        let jobs = copy_jobs(db, Queue::CopyAttemptGlobal, &groups).await;
        db.commit(&[write(GLOBAL, &groups[0], &jobs[0])], NOW).await.unwrap();
        for table in ["event_group", "event_group_member", "copy_attempt", "executable_fill", "ledger_entry"] {
            let column = if table == "event_group_member" { "group_id" } else { "id" };
            for text in [format!("update {table} set {column} = {column}"), format!("delete from {table}")] {
                let error = sql!(db, text.clone()).unwrap_err().to_string();
                assert!(error.contains("append-only"), "{text}: {error}");
            }
        }
    }
}
