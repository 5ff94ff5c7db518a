//! A generated history could have been written by the bot and has the requested size, on both databases.

use std::process::{Command, Output};

use polymarketspy::audit::audit;
use polymarketspy::db::{AttemptFilter, Db};
use polymarketspy::queue;
use polymarketspy::testkit::TestDb;

use crate::storage::harness::number;

const ENTRIES: u64 = 2_400;
const ATTEMPTS: u64 = 1_200;

fn generate(test_db: &TestDb) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args([
        "generate",
        "--snapshot-days",
        "1",
        "--leaders",
        "4",
        "--held-assets",
        "20",
        "--seed",
        "3",
        "--json",
    ]);
    command.args(["--entries", &ENTRIES.to_string(), "--attempts", &ATTEMPTS.to_string()]);
    command.env("DATABASE_URL", &test_db.url).env("LOG_LEVEL", "warn").env_remove("REDIS_URL");
    command.output().unwrap()
}

async fn check(test_db: TestDb) {
    let first = generate(&test_db);
    let complaint = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(0), "{complaint}");
    let told: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    let written = |what: &str| told[what].as_u64().unwrap();
    assert!((ENTRIES..ENTRIES * 2).contains(&written("entries")), "{told}");
    assert!((ATTEMPTS..ATTEMPTS * 2).contains(&written("attempts")), "{told}");
    assert!(written("held_assets") >= 20, "{told}");

    let TestDb { db, .. } = &test_db;
    let count = async |table: &str| u64::try_from(number!(db, format!("select count(*) from {table}"))).unwrap();
    assert_eq!(count("ledger_entry").await, written("entries"));
    assert_eq!(count("copy_attempt").await, written("attempts"));
    // Nine portfolios, one point a minute each.
    assert_eq!(count("portfolio_snapshot").await, 9 * 24 * 60);
    // As the running bot holds prices of the last seven days: every 30 s, with the sides of the book.
    let (halves, all) =
        (count("market_price_snapshot where bucket_time % 60000 = 30000"), count("market_price_snapshot"));
    let (halves, all) = (halves.await, all.await);
    assert!(all > 20 * 600 && halves.abs_diff(all / 2) < all / 100, "{halves} of {all}");
    assert_eq!(count("market_price_snapshot where bid_price_micros is null and ask_price_micros is null").await, 0);
    assert_eq!(count("dead_letter where queue = 'row'").await, 12);
    assert_eq!(count("dead_letter where queue = 'q_reconcile'").await, 8);
    assert!(count("market where blacklisted").await > 0);
    assert!(count("market where resolved_at is not null").await > 10);
    assert!(count("market where question like '<script>%'").await > 0);
    assert!(count("audit_log").await > 8);
    the_books_agree(db).await;

    let again = generate(&test_db);
    let complaint = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("is not empty"), "{complaint}");
    test_db.close().await;
}

async fn the_books_agree(db: &Db) {
    let books = audit(db).await.unwrap();
    assert_eq!(books.problems, Vec::<String>::new());
    assert!(books.portfolios.iter().all(|proof| proof.compared), "{books:?}");
    assert!(queue::depths(db).await.unwrap().iter().all(|depth| depth.open == 0));
    let page = db.attempts_page(&AttemptFilter::default(), None, 50).await.unwrap();
    assert_eq!(page.rows.len(), 50);
    assert!(page.rows.iter().all(|listed| !listed.attempt.explanation.checks.is_empty()));
}

#[actix::test]
async fn a_generated_past_is_whole_on_sqlite() {
    check(TestDb::sqlite().await).await;
}

#[actix::test]
async fn a_generated_past_is_whole_on_postgres() {
    check(TestDb::postgres().await).await;
}
