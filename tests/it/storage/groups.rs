//! Groups are closed once, whole, with their copy jobs; and the books that they were decided on.

use polymarketspy::db::{BookOutcome, ClosedGroupWrite, GroupClosing, StoredBook};
use polymarketspy::domain::events::group::Member;
use polymarketspy::domain::market::book::Level;
use polymarketspy::domain::money::units::ShareMicros;
use polymarketspy::queue::{self, JobScope, Queue};

use super::facts::{NOW, asset, closing, follow, grouped, poll, price, trade};
use super::harness::{number, on_both, sql};

on_both! {
    async fn a_closed_group_is_read_back_and_owes_two_decisions(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..70).await;
        let ids: Vec<_> = groups.iter().map(|group| group.id).collect();
        let mut read = db.groups(&ids).await.unwrap();
        read.sort_by_key(|group| group.detect_time);
        assert_eq!(read, groups);
        assert_eq!(db.members(groups[5].id).await.unwrap(), [Member::Trade(trade(user, 5).id)]);
        for queue in [Queue::CopyAttemptUser, Queue::CopyAttemptGlobal] {
            assert_eq!(queue::peek_open(db, queue).await.unwrap().len(), 70);
        }
        assert_eq!(queue::peek_open(db, Queue::GroupEvents).await.unwrap(), []);
    }

    async fn a_group_cannot_be_closed_twice(db: &Db) {
        let user = follow(db, 1).await;
        let trades = [trade(user, 1), trade(user, 2)];
        db.record_poll(poll(user, trades.to_vec())).await.unwrap();
        let jobs = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, 30_000, 10).await.unwrap();
        let once = [closing(&trades[0], &jobs[0])];
        let first = &once[0];
        assert_eq!(db.close_groups(&once, NOW).await.unwrap(), [GroupClosing::New(first.group.id)]);
        // Its job is finished; another event's job with the same key finds the group stored already.
        assert_eq!(db.close_groups(&once, NOW).await.unwrap(), [GroupClosing::JobLost]);
        let taken = ClosedGroupWrite { group: first.group.clone(), ..closing(&trades[1], &jobs[1]) };
        assert_eq!(db.close_groups(&[taken], NOW).await.unwrap(), [GroupClosing::KeyTaken]);
        assert_eq!(number!(db, "select count(*) from event_group_member"), 1);
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_group_events'"), 1, "still owed");
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_copy_attempt_user'"), 1);
    }

    async fn a_group_whose_job_another_worker_holds_is_not_written(db: &Db) {
        let user = follow(db, 1).await;
        let trades = [trade(user, 1), trade(user, 2)];
        db.record_poll(poll(user, trades.to_vec())).await.unwrap();
        let jobs = queue::claim(db, Queue::GroupEvents, &JobScope::All, NOW, 30_000, 10).await.unwrap();
        let mut closed: Vec<_> = trades.iter().zip(&jobs).map(|(trade, job)| closing(trade, job)).collect();
        closed[0].finishes[0].attempts += 1;
        let outcomes = db.close_groups(&closed, NOW).await.unwrap();
        assert_eq!(outcomes, [GroupClosing::JobLost, GroupClosing::New(closed[1].group.id)]);
        assert_eq!(number!(db, "select count(*) from event_group"), 1);
        assert_eq!(number!(db, "select count(*) from job where queue = 'q_group_events'"), 1);
    }

    async fn an_event_cannot_join_a_second_group(db: &Db) {
        let user = follow(db, 1).await;
        let group = grouped(db, user, 0..2).await.remove(1);
        let join = match db {
            polymarketspy::db::Db::Postgres(..) => format!(
                "insert into event_group_member (group_id, trade_event_id) values ('{}', '{}')",
                group.id, trade(user, 0).id
            ),
            polymarketspy::db::Db::Sqlite { .. } => format!(
                "insert into event_group_member (group_id, trade_event_id) values (x'{}', x'{}')",
                group.id.0.simple(), trade(user, 0).id.0.simple()
            ),
        };
        assert!(sql!(db, join).is_err());
    }

    async fn the_first_stored_book_wins(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..3).await;
        let level = |micros, shares| Level { price: price(micros), shares: ShareMicros(shares) };
        let book = BookOutcome {
            fetched_at: NOW,
            book: Ok(StoredBook {
                asset: asset(0),
                // In the order of the answer, whatever that order is.
                bids: vec![level(310_000, 5), level(320_000, 7_000_000)],
                asks: vec![level(340_000, 1), level(330_000, 2)],
                hash: Some("abc".into()),
                tick: Some(price(10_000)),
                min_shares: Some(ShareMicros(5_000_000)),
                last_trade: None,
            }),
        };
        let none = BookOutcome { fetched_at: NOW.plus_millis(9), book: Err("the CLOB says there is none".into()) };
        assert_eq!(db.save_book(groups[0].id, &book).await.unwrap(), book);
        assert_eq!(db.save_book(groups[0].id, &none).await.unwrap(), book);
        let both = [(groups[1].id, none.clone()), (groups[0].id, none.clone()), (groups[2].id, book.clone())];
        assert_eq!(db.save_books(&both).await.unwrap(), [none.clone(), book.clone(), book.clone()]);
        assert_eq!(db.book(groups[1].id).await.unwrap(), Some(none));
        assert_eq!(db.newest_book(&asset(0)).await.unwrap(), Some(book));
    }
}
