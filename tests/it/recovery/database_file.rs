//! Faults of the database file under a running bot: a full disk, a file that is gone, a second bot, damage, a lock that
//! another program holds.

use std::io::{Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::db::{Db, TokenScope};
use polymarketspy::testkit::{TestBot, eventually, test_client};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};

use super::kill::{Crowd, n_trades};
use super::process::Process;

fn file_of(bot: &TestBot) -> PathBuf {
    bot.db.file().unwrap().path().to_owned()
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", file.display()))
}

/// Returns exit code and output of a command that ends.
fn run(bot: &TestBot, url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    let output = command.args(arguments).envs(bot.environment()).env("DATABASE_URL", url).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Returns status and JSON of a path; `None` when nothing listens.
async fn get(address: &str, path: &str, token: Option<&str>) -> Option<(u16, serde_json::Value)> {
    let request = test_client().get(format!("http://{address}{path}"));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let mut answer = request.send().await.ok()?;
    let body = answer.body().limit(1 << 22).await.ok()?;
    Some((answer.status().as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Returns a token that reads everything.
async fn token(bot: &TestBot) -> String {
    let text = polymarketspy::token::random_text().unwrap();
    let hash = polymarketspy::token::hex(&polymarketspy::token::hash(&text));
    let _ = bot.db.insert_token("reader", &hash, TokenScope::Read, "test", Clock::System.now()).await.unwrap();
    text
}

mod slow {
    use super::*;

    #[actix::test]
    async fn a_file_that_may_not_grow_costs_only_the_time_that_it_lasts() {
        let bot = TestBot::new().await;
        let mut crowd = Crowd::gather(&bot).await;
        let (pages, health) = (free_address(), free_address());
        let settings = [("BIND", pages.as_str()), ("HEALTH_BIND", health.as_str())];
        let (mut process, log) = Process::logging(&bot, &["run"], &settings);
        let reader = token(&bot).await;
        crowd.trade(&bot);
        crowd.settled(&bot.db).await;

        // No write gets through from here on: each would go beyond this size.
        process.limit_files(Some(1));
        let before = n_trades(&bot.db).await;
        let begun = Instant::now();
        let report = eventually("the health to be down", async || {
            if begun.elapsed() < Duration::from_secs(20) {
                crowd.trade(&bot);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            get(&health, "/health", None).await.filter(|(code, _)| *code == 503)
        })
        .await
        .1;
        assert!(begun.elapsed() >= Duration::from_secs(30), "{:?}", begun.elapsed());
        assert_eq!(report["status"], "down");
        let cause = report["failingWrites"]["cause"].as_str().unwrap().to_owned();
        assert!(cause.contains("disk I/O error") || cause.contains("database or disk is full"), "{report}");
        assert_eq!(n_trades(&bot.db).await, before, "nothing can be written");
        // Pages are served and say it.
        let (code, status) = get(&pages, "/api/status", Some(&reader)).await.unwrap();
        assert_eq!((code, &status["health"]["status"]), (200, &"down".into()));
        assert!(status["summary"].as_str().unwrap().contains(&cause), "{}", status["summary"]);

        process.limit_files(None);
        crowd.trade(&bot);
        crowd.settled(&bot.db).await;
        eventually("the health to be well", async || {
            get(&health, "/health", None).await.filter(|(_, report)| report["failingWrites"].is_null())
        })
        .await;
        assert!(process.is_running(), "the same process went on");
        assert_eq!(process.terminate().1, Some(0));
        let said = log.text();
        for line in ["the database cannot be written", &cause, "no write succeeds", "SIGXFSZ"] {
            assert!(said.contains(line), "{line} is not in the log:\n{said}");
        }
        assert!(!said.contains("begin_with"), "{said}");
        assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());
        assert_eq!(bot.db.count_dead_letters().await.unwrap(), 0);
    }
}

#[actix::test]
async fn a_database_that_is_removed_under_the_bot_ends_it_is_kept_and_comes_back() {
    let bot = TestBot::new().await;
    let mut crowd = Crowd::gather(&bot).await;
    let file = file_of(&bot);
    let url = bot.settings().database.url.reveal().to_owned();
    let (mut process, log) = Process::logging(&bot, &["run"], &[]);
    crowd.trade(&bot);
    crowd.settled(&bot.db).await;
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(&file, ending));
    }
    let begun = Instant::now();
    assert_eq!(process.ended(Duration::from_secs(30)), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let said = log.text();
    let line = said.lines().last().unwrap().to_owned();
    assert!(line.contains("was removed while the bot ran") && line.contains("start the bot again"), "{said}");
    assert!(!file.exists(), "it is not made again");

    // A start makes no empty database in its place, and neither does another command.
    for arguments in [&["run"][..], &["users"]] {
        let (code, said) = run(&bot, &url, arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("is gone") && said.contains("restore a backup"), "{said}");
        assert!(!file.exists());
    }

    let saved = line.split('`').find(|word| word.contains(".saved-")).unwrap();
    std::fs::rename(saved, &file).unwrap();
    let process = Process::start(&bot);
    let back = Db::connect(&url).await.unwrap();
    crowd.trade(&bot);
    crowd.settled(&back).await;
    assert_eq!(process.terminate().1, Some(0));
    assert_eq!(audit(&back).await.unwrap().problems, Vec::<String>::new());
    back.close().await;
}

#[actix::test]
async fn a_second_bot_by_another_path_or_without_the_lock_file_is_refused() {
    let bot = TestBot::new().await;
    let app = bot.start().await;
    let file = file_of(&bot);
    let (symbolic, hard) = (file.with_extension("symbolic.db"), file.with_extension("hard.db"));
    std::os::unix::fs::symlink(&file, &symbolic).unwrap();
    std::fs::hard_link(&file, &hard).unwrap();
    let refused = |path: &Path| {
        let (code, said) = run(&bot, &format!("sqlite:{}", path.display()), &["run"]);
        assert_eq!(code, Some(2), "{}: {said}", path.display());
        assert!(said.contains("another polymarketspy runs on this database"), "{}: {said}", path.display());
    };
    refused(&file);
    refused(&symbolic);
    refused(&hard);
    std::fs::remove_file(beside(&std::fs::canonicalize(&file).unwrap(), ".lock")).unwrap();
    refused(&file);
    app.stop().await;
    bot.start().await.stop().await;
}

#[actix::test]
async fn a_damaged_page_of_the_ledger_is_found_at_the_start_and_by_the_doctor() {
    let bot = TestBot::new().await;
    let mut crowd = Crowd::gather(&bot).await;
    let process = Process::start(&bot);
    crowd.trade(&bot);
    crowd.settled(&bot.db).await;
    assert_eq!(process.terminate().1, Some(0));
    let (file, url) = (file_of(&bot), bot.settings().database.url.reveal().to_owned());
    let (root, size) = {
        let Db::Sqlite { read, write, .. } = &bot.db else { unreachable!() };
        write.execute("pragma wal_checkpoint(truncate)").await.unwrap();
        let find = "select rootpage, page_size from sqlite_master, pragma_page_size() where name = 'ledger_entry'";
        sqlx::query_as::<_, (i64, i64)>(find).fetch_one(read).await.unwrap()
    };
    bot.db.close().await;
    let mut pages = std::fs::File::options().write(true).open(&file).unwrap();
    pages.seek(SeekFrom::Start(u64::try_from((root - 1) * size).unwrap())).unwrap();
    pages.write_all(&[0xa5; 256]).unwrap();
    drop(pages);

    let (code, said) = run(&bot, &url, &["run"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("table `ledger_entry`") && said.contains("restore a backup"), "{said}");
    let (code, said) = run(&bot, &url, &["doctor"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WRONG    pages") && said.contains("table `ledger_entry`"), "{said}");
}

#[actix::test]
async fn a_lock_that_another_program_holds_delays_no_page_and_loses_nothing() {
    let bot = TestBot::new().await;
    let mut crowd = Crowd::gather(&bot).await;
    let app = bot.start().await;
    let (address, reader) = (app.address().unwrap().to_string(), token(&bot).await);
    crowd.trade(&bot);
    crowd.settled(&bot.db).await;

    let options = SqliteConnectOptions::new().filename(file_of(&bot));
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    other.execute("begin immediate").await.unwrap();
    crowd.trade(&bot);
    let wrong = polymarketspy::token::random_text().unwrap();
    let paths =
        ["/api/overview", "/api/trades", "/api/status", "/api/health", "/api/copy-attempts", "/trades", "/status"];
    for (path, token, expected) in
        paths.iter().map(|path| (*path, &reader, 200)).chain([("/api/overview", &wrong, 401)])
    {
        let begun = Instant::now();
        let (code, _) = get(&address, path, Some(token)).await.unwrap();
        assert_eq!(code, expected, "{path}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{path} took {:?}", begun.elapsed());
    }
    // The bot waits ten seconds for the lock before it says so.
    eventually("the cause in the health", async || {
        let (_, health) = get(&address, "/api/health", Some(&reader)).await?;
        health["parts"][0]["detail"].as_str().is_some_and(|text| text.contains("database is locked")).then_some(())
    })
    .await;

    other.execute("rollback").await.unwrap();
    other.close().await.unwrap();
    crowd.settled(&bot.db).await;
    get(&address, "/api/overview", Some(&reader)).await.unwrap();
    eventually("the last use of the token", async || bot.db.tokens().await.unwrap()[0].last_used_at.map(drop)).await;
    app.stop().await;
    assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());
    assert_eq!(bot.db.count_dead_letters().await.unwrap(), 0);
}

#[actix::test]
async fn a_hangup_stops_the_bot_with_a_line() {
    let bot = TestBot::new().await;
    let health = free_address();
    let (mut process, log) = Process::logging(&bot, &["run"], &[("HEALTH_BIND", &health)]);
    eventually("the bot to run", async || get(&health, "/health", None).await).await;
    process.hang_up();
    assert_eq!(process.ended(Duration::from_secs(20)), Some(0));
    let said = log.text();
    assert!(said.contains("SIGHUP: the bot stops"), "{said}");
}
