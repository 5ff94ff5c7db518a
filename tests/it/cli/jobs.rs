//! `jobs list`, `retry` and `drop`.

use std::time::{Duration, Instant};

use polymarketspy::actors::reconciler::ReconcileJob;
use polymarketspy::clock::Clock;
use polymarketspy::db::{DeadRow, PollWrite};
use polymarketspy::domain::money::ids::FollowedUserId;
use polymarketspy::queue::{self, Failed, JobScope, NewJob, Queue};
use polymarketspy::testkit::{TestBot, eventually};

use super::{answer, complaint, run, run_beside, told};

const HOSTILE: &str = "no luck \u{1b}]0;mine\u{7}\u{9b}31m";

/// Fails a job until it becomes a dead letter; returns the number of the dead letter.
async fn given_up(bot: &TestBot, job: NewJob) -> String {
    let (queue, mut now) = (job.queue, Clock::System.now());
    queue::enqueue(&bot.db, &[NewJob { due: now, ..job }], now).await.unwrap();
    loop {
        let job = queue::claim(&bot.db, queue, &JobScope::All, now, 1_000, 1).await.unwrap().remove(0);
        match queue::fail(&bot.db, &job, HOSTILE, now, &mut polymarketspy::chance::Chance).await.unwrap() {
            Failed::Retry(due) => now = due,
            Failed::Dead => return bot.db.dead_letters(None, 1).await.unwrap()[0].id.to_string(),
            Failed::FenceLost => panic!("no other worker is running"),
        }
    }
}

fn job(queue: Queue, key: &str) -> NewJob {
    let payload = "trade:00000000-0000-0000-0000-000000000000".to_owned();
    NewJob { queue, key: key.to_owned(), followed_user: None, payload, due: Clock::System.now() }
}

async fn unreadable_row(bot: &TestBot, user: FollowedUserId) -> String {
    let poll = PollWrite {
        user,
        fence: None,
        trades: vec![],
        activities: vec![],
        dead: vec![DeadRow { text: "{\u{1b}".to_owned(), reason: "it is cut".to_owned() }],
        new_wallets: vec![],
        checkpoints: vec![],
        now: Clock::System.now(),
    };
    bot.db.record_poll(poll).await.unwrap();
    bot.db.dead_letters(None, 1).await.unwrap()[0].id.to_string()
}

#[actix::test]
async fn queues_jobs_and_dead_letters_are_listed_and_only_dead_letters_are_bad_news() {
    let bot = TestBot::new().await;
    queue::enqueue(&bot.db, &[job(Queue::Prices, "one"), job(Queue::Reconcile, "two")], Clock::System.now())
        .await
        .unwrap();
    let well = run(&bot, &["jobs", "list", "--json"]);
    assert_eq!(well.status.code(), Some(0), "{}", complaint(&well));
    let listing = answer(&well);
    assert_eq!(listing["queues"].as_array().unwrap().len(), Queue::ALL.len());
    assert_eq!(listing["jobs"]["data"].as_array().unwrap().len(), 2);
    assert_eq!((&listing["jobs"]["data"][0]["key"], &listing["jobs"]["more"]), (&"one".into(), &false.into()));
    let one = answer(&run(&bot, &["jobs", "list", "--json", "--limit", "1"]));
    assert_eq!((one["jobs"]["data"].as_array().unwrap().len(), &one["jobs"]["more"]), (1, &true.into()));
    let of_queue = answer(&run(&bot, &["jobs", "list", "--json", "--queue", "q_reconcile"]));
    assert_eq!((of_queue["queues"].as_array().unwrap().len(), &of_queue["jobs"]["data"][0]["key"]), (1, &"two".into()));

    let letter = given_up(&bot, job(Queue::PortfolioApply, "three")).await;
    let ill = run(&bot, &["jobs", "list", "--dead", "--json"]);
    assert_eq!(ill.status.code(), Some(1));
    let listing = answer(&ill);
    assert_eq!(listing["dead_letters"]["data"][0]["id"].to_string(), letter);
    assert_eq!(listing["dead_letters"]["data"][0]["error"], HOSTILE);
    assert!(listing.get("jobs").is_none());
    assert_eq!(
        run(&bot, &["jobs", "list", "--queue", "q_prices"]).status.code(),
        Some(0),
        "the queue has no dead letter"
    );

    let text = run(&bot, &["jobs", "list"]);
    assert!(told(&text).contains("no luck") && told(&text).contains("q_prices"), "{}", told(&text));
    for output in [text, ill] {
        assert!(!told(&output).chars().any(|c| c.is_control() && c != '\n'), "{}", told(&output));
    }
    let unknown = run(&bot, &["jobs", "list", "--queue", "q_nothing"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        complaint(&unknown).contains("--queue") && complaint(&unknown).contains("q_prices"),
        "{}",
        complaint(&unknown)
    );
}

#[actix::test]
async fn a_running_bot_takes_a_requeued_dead_letter() {
    let bot = TestBot::new().await;
    let (user, _) = bot.follow("leader").await;
    let now = Clock::System.now();
    let window = ReconcileJob::Window { start: now.plus_millis(-60_000), end: now };
    let letter = given_up(&bot, window.for_user(user, now)).await;
    let app = bot.start().await;
    let retried = run_beside(&bot, &["jobs", "retry", &letter]).await;
    let begun = Instant::now();
    assert_eq!(retried.status.code(), Some(0), "{}", complaint(&retried));
    assert_eq!(told(&retried), "1 dead letter requeued.\n");
    eventually("the window to be read", async || {
        queue::peek_open(&bot.db, Queue::Reconcile).await.unwrap().is_empty().then_some(())
    })
    .await;
    // Two seconds, and the slowness of a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(bot.db.count_dead_letters().await.unwrap(), 0, "the retried job succeeded");
    app.stop().await;

    let again = run(&bot, &["jobs", "retry", &letter]);
    assert_eq!(again.status.code(), Some(2));
    assert!(complaint(&again).contains(&format!("there is no dead letter {letter};")), "{}", complaint(&again));
    assert_eq!(bot.db.audits(Some("replay_dead_letter"), None, 9).await.unwrap().len(), 1);
}

#[actix::test]
async fn an_unreadable_row_is_explained_and_can_only_be_dropped() {
    let bot = TestBot::new().await;
    let (user, _) = bot.follow("leader").await;
    let row = unreadable_row(&bot, user).await;
    let letter = given_up(&bot, job(Queue::Reconcile, "one")).await;
    let refused = run(&bot, &["jobs", "retry", &row]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(complaint(&refused).contains("an unreadable row: it has no job"), "{}", complaint(&refused));

    let all = run(&bot, &["jobs", "retry", "--all"]);
    assert_eq!(all.status.code(), Some(0), "{}", complaint(&all));
    let text = told(&all);
    assert!(text.contains("rows that could not be read (1)") && text.contains("1 dead letter requeued"), "{text}");
    assert!(text.contains("No bot is running now"), "{text}");
    assert!(bot.db.dead_letter(letter.parse().unwrap()).await.unwrap().is_none());

    assert_eq!(run(&bot, &["jobs", "drop", "--all", "--queue", "row"]).status.code(), Some(0));
    assert_eq!(bot.db.count_dead_letters().await.unwrap(), 0);
    let audit = bot.db.audits(Some("drop_dead_letter"), None, 9).await.unwrap().remove(0).audit;
    assert_eq!((audit.who.as_str(), audit.subject), ("command line", format!("dead_letter:{row}")));
    assert!(audit.before_json.unwrap().contains("it is cut"));
    assert_eq!(unreadable_row_again(&bot, user).await, 0, "the same row does not come back with the next poll");
}

async fn unreadable_row_again(bot: &TestBot, user: FollowedUserId) -> i64 {
    let dead = vec![DeadRow { text: "{\u{1b}".to_owned(), reason: "it is cut".to_owned() }];
    let (trades, activities, new_wallets, checkpoints) = (vec![], vec![], vec![], vec![]);
    let poll =
        PollWrite { user, fence: None, trades, activities, dead, new_wallets, checkpoints, now: Clock::System.now() };
    bot.db.record_poll(poll).await.unwrap();
    bot.db.count_dead_letters().await.unwrap()
}

#[actix::test]
async fn jobs_that_the_ledger_needs_are_dropped_only_with_force() {
    let bot = TestBot::new().await;
    let owed = given_up(&bot, job(Queue::IngestEvents, "one")).await;
    let harmless = given_up(&bot, job(Queue::PortfolioApply, "two")).await;
    let some = run(&bot, &["jobs", "drop", "--all"]);
    assert_eq!(some.status.code(), Some(2));
    assert!(complaint(&some).contains("shadow ledger") && complaint(&some).contains("--force"), "{}", complaint(&some));
    assert!(told(&some).contains("1 dead letter dropped"), "{}", told(&some));
    assert!(bot.db.dead_letter(harmless.parse().unwrap()).await.unwrap().is_none());
    assert!(bot.db.dead_letter(owed.parse().unwrap()).await.unwrap().is_some());
    assert_eq!(run(&bot, &["jobs", "drop", &owed, "--force"]).status.code(), Some(0));
    assert_eq!(run(&bot, &["jobs", "list"]).status.code(), Some(0));

    let now = Clock::System.now();
    queue::enqueue(&bot.db, &[job(Queue::GroupEvents, "a"), job(Queue::Prices, "b"), job(Queue::Prices, "c")], now)
        .await
        .unwrap();
    let open = queue::open_jobs(&bot.db, None, 9).await.unwrap();
    let [grouping, leased, free] = [0, 1, 2].map(|place: usize| open[place].job.id.to_string());
    queue::claim(&bot.db, Queue::Prices, &JobScope::All, Clock::System.now(), 600_000, 1).await.unwrap();
    let refused = run(&bot, &["jobs", "drop", "--job", &grouping, "--job", &leased, "--job", &free]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        complaint(&refused).contains("never be copied") && complaint(&refused).contains("a worker is working on"),
        "{}",
        complaint(&refused)
    );
    assert!(told(&refused).contains("1 open job dropped"), "{}", told(&refused));
    let forced = run(&bot, &["jobs", "drop", "--force", "--job", &grouping, "--job", &leased]);
    assert_eq!(forced.status.code(), Some(0), "{}", complaint(&forced));
    assert!(queue::open_jobs(&bot.db, None, 9).await.unwrap().is_empty());
    assert_eq!(bot.db.audits(Some("drop_job"), None, 9).await.unwrap().len(), 3);
    assert_eq!(run(&bot, &["jobs", "drop", "--job", &free]).status.code(), Some(2));
    assert_eq!(run(&bot, &["jobs", "drop"]).status.code(), Some(2), "`drop` needs a job or a dead letter");
}
