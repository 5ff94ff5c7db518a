//! `db vacuum` gives room back and keeps every row; while a bot runs it is refused (RUNBOOKS.md, "Make the database
//! smaller"). `doctor` says how long the disk lasts.

use std::process::{Command, Output};

use polymarketspy::clock::Clock;
use polymarketspy::domain::money::ids::AssetId;
use polymarketspy::domain::money::units::PriceMicros;
use polymarketspy::simulator::SimulatorSettings;
use polymarketspy::testkit::{TestBot, TestDb, eventually};

use super::content::{rows, tables};
use crate::storage::harness::number;

const DAY: i64 = 24 * 3_600_000;

fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    let nobody = "http://127.0.0.1:9";
    let settings = [
        ("DATABASE_URL", url),
        ("POLYMARKET_DATA_API_BASE_URL", nobody),
        ("POLYMARKET_CLOB_BASE_URL", nobody),
        ("POLYMARKET_GAMMA_BASE_URL", nobody),
        ("LOG_LEVEL", "warn"),
    ];
    command.args(arguments).envs(settings).env_remove("REDIS_URL");
    command.output().unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes the prices of 40 assets for 500 half minutes of eight days ago, when five minutes are kept.
async fn price_a_morning(test_db: &TestDb) {
    let assets: Vec<AssetId> = (1..=40).map(|n| AssetId::parse(&format!("{n}{}", "7".repeat(70))).unwrap()).collect();
    let start = Clock::System.now().plus_millis(-8 * DAY).bucket(300_000);
    for n in 1..=500 {
        let prices: Vec<_> = assets.iter().map(|asset| (asset.clone(), PriceMicros::new(n * 100).unwrap())).collect();
        test_db.db.insert_prices(start.plus_millis(n * 30_000), &prices).await.unwrap();
    }
}

async fn vacuum_gives_room_back(test_db: TestDb) {
    price_a_morning(&test_db).await;
    // Counted here, because the bot thins old prices too when it runs long enough.
    let written = number!(&test_db.db, "select count(*) from market_price_snapshot");
    let bot = TestBot::at(test_db, None, SimulatorSettings::default()).await;
    bot.follow("harbour").await;
    let url = bot.settings().database.url.reveal().to_owned();
    let app = bot.start().await;
    // On PostgreSQL a worker is known by its beats. The first one comes a moment after the start; the command runs on
    // another thread, because the bot beats on this one.
    let is_known = async || (!bot.db.is_shared() || bot.db.is_worked_on().await.unwrap()).then_some(());
    eventually("the first beat of the worker", is_known).await;
    let refused = tokio::task::spawn_blocking({
        let url = url.clone();
        move || run(&url, &["db", "vacuum"])
    });
    let refused = refused.await.unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", complaint(&refused));
    let said = complaint(&refused);
    assert!(said.contains("stop the bot first") || said.contains("stop every worker first"), "{said}");
    app.stop().await;

    let db = polymarketspy::db::Db::connect(&url).await.unwrap();
    let known: std::collections::BTreeMap<_, _> =
        tables(&db).await.into_iter().filter(|(name, _)| !name.contains("price")).collect();
    let before = rows(&db, &known).await;
    db.close().await;
    let done = run(&url, &["db", "vacuum", "--json"]);
    assert_eq!(done.status.code(), Some(0), "{}", complaint(&done));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let bytes = |what: &str| told[what].as_i64().unwrap();
    assert!(bytes("bytes_after") < bytes("bytes_before"), "{told}");

    let db = polymarketspy::db::Db::connect(&url).await.unwrap();
    let mut after = rows(&db, &known).await;
    let mut expected = before;
    // Thinning and packing note how far they came.
    for content in [&mut after, &mut expected] {
        let notes = content.get_mut("system_checkpoint").unwrap();
        notes.retain(|note| !note.contains("retention:") && !note.contains("packing:"));
    }
    assert_eq!(after, expected);
    let kept = number!(&db, "select count(*) from market_price_snapshot");
    assert!(written >= 20_000 && kept == 40 * 50, "{written} prices, {kept} of them kept");
    db.close().await;
    let audited = run(&url, &["audit"]);
    assert!(audited.status.success(), "{}", complaint(&audited));
    let again = bot.start().await;
    again.stop().await;
    bot.close().await;
}

#[actix::test]
async fn vacuum_gives_room_back_and_is_refused_while_a_bot_runs_on_sqlite() {
    vacuum_gives_room_back(TestDb::sqlite().await).await;
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn vacuum_gives_room_back_and_is_refused_while_a_bot_runs() {
        vacuum_gives_room_back(TestDb::postgres().await).await;
    }

    #[tokio::test]
    async fn doctor_says_that_the_disk_of_a_server_is_not_seen() {
        let test_db = TestDb::postgres().await;
        let finding = disk(&test_db.url);
        assert_eq!(finding["state"], "fine");
        assert!(finding["detail"].as_str().unwrap().contains("the disk of its server cannot be seen from here"));
        test_db.close().await;
    }
}

/// Returns what `doctor` finds about the disk.
fn disk(url: &str) -> serde_json::Value {
    let checked = run(url, &["doctor", "--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&checked.stdout).unwrap();
    findings.into_iter().find(|finding| finding["check"] == "disk").unwrap()
}

#[tokio::test]
async fn doctor_says_how_long_the_disk_lasts() {
    let test_db = TestDb::sqlite().await;
    let finding = disk(&test_db.url);
    assert_eq!(finding["state"], "fine", "{finding}");
    assert!(finding["detail"].as_str().unwrap().contains("its growth is known after six hours of `run`"), "{finding}");

    let now = Clock::System.now();
    for (bytes, state, words) in [
        // No disk lasts for a petabyte a day, and a growth by one byte a day fills none.
        (1_000_000_000_000_001_i64, "warning", "free are enough for 0 days"),
        (2, "fine", "days"),
    ] {
        let points = serde_json::json!([
            {"at": now.plus_millis(-DAY), "bytes": 1}, {"at": now, "bytes": bytes}
        ]);
        test_db.db.put_checkpoint("storage:sizes", &points.to_string(), now).await.unwrap();
        let finding = disk(&test_db.url);
        assert_eq!(finding["state"], state, "{finding}");
        assert!(finding["detail"].as_str().unwrap().contains(words), "{finding}");
        let advised = finding["advice"].as_str().unwrap().contains("polymarketspy db vacuum");
        assert_eq!(advised, state == "warning", "{finding}");
    }
    test_db.close().await;
}
