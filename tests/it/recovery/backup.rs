//! Backups and restores as an operator makes them, with the program itself on both databases.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::db::Db;
use polymarketspy::testkit::{TestBot, eventually};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::kill::{Crowd, n_trades};
use super::process::Process;

const ADA: &str = "ada@example.com";

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(arguments).env("DATABASE_URL", url).env("LOG_LEVEL", "warn");
    command
}

fn run(url: &str, arguments: &[&str]) -> Output {
    command(url, arguments).output().unwrap()
}

/// Checks the exit code, and that the output contains `said`.
#[track_caller]
fn ends(output: &Output, code: i32, said: &str) {
    let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{all}");
    assert!(all.contains(said), "{all}");
}

fn backup_to(folder: &Path) -> Vec<&str> {
    vec!["backup", "--json", "--folder", folder.to_str().unwrap()]
}

fn archive(output: &Output) -> PathBuf {
    ends(output, 0, "");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    PathBuf::from(made["file"].as_str().unwrap())
}

/// Destroys the database, as a broken disk would.
async fn destroy(url: &str) {
    match url.strip_prefix("sqlite:") {
        Some(file) => {
            for ending in ["", "-wal", "-shm"] {
                // The last two exist only while a process has the database open.
                let _ = std::fs::remove_file(format!("{file}{ending}"));
            }
            assert!(!Path::new(file).exists());
        }
        None => {
            let (server, name) = url.rsplit_once('/').unwrap();
            let mut admin = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
            for text in [format!("drop database {name} with (force)"), format!("create database {name}")] {
                sqlx::query(AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
            }
        }
    }
}

/// A bot is backed up under load and loses its database under load. After the restore it reads the missing fills.
async fn comes_back(bot: TestBot, role: &str) {
    let url = bot.settings().database.url.reveal().to_owned();
    let home = tempfile::tempdir().unwrap();
    let began = Clock::System.now();
    let _ = bot.db.allow_admin(&ADA.parse().unwrap(), "test", began).await.unwrap();
    let mut crowd = Crowd::gather(&bot).await;
    let process = Process::start_with(&bot, &["run", "--role", role]);
    crowd.trade(&bot);
    eventually("the first decisions", async || {
        (!bot.db.attempts_page(&Default::default(), None, 1).await.unwrap().rows.is_empty()).then_some(())
    })
    .await;
    let mut making = command(&url, &backup_to(home.path()));
    let mut making = tokio::task::spawn_blocking(move || making.output().unwrap());
    let made = loop {
        crowd.trade(&bot);
        match tokio::time::timeout(std::time::Duration::from_millis(30), &mut making).await {
            Ok(made) => break made.unwrap(),
            Err(_) => continue,
        }
    };
    let archive = archive(&made);
    for _ in 0..5 {
        crowd.trade(&bot);
    }
    eventually("some fills that the backup lacks", async || (n_trades(&bot.db).await > crowd.n_rows / 2).then_some(()))
        .await;
    assert_eq!(bot.db.audits(Some("backup"), None, 1).await.unwrap().len(), 1, "the backup is in the audit log");
    process.kill();
    bot.db.close().await;
    destroy(&url).await;

    ends(&run(&url, &["restore", archive.to_str().unwrap()]), 0, "Restored: ");
    let db = Db::connect(&url).await.unwrap();
    let kept = n_trades(&db).await;
    assert!(0 < kept && kept < crowd.n_rows, "{kept} of {}: something was missed", crowd.n_rows);
    assert!(db.session_standing("any", ADA, began).await.unwrap().is_over, "a restore ends every session");
    let process = Process::start_with(&bot, &["run", "--role", role]);
    crowd.settled(&db).await;
    assert_eq!(process.terminate().1, Some(0));
    assert_eq!(n_trades(&db).await, crowd.n_rows, "every fill is stored once");
    let report = audit(&db).await.unwrap();
    assert!(report.problems.is_empty() && report.entries > 0, "{report:?}");
    db.close().await;
}

#[actix::test]
async fn an_sqlite_database_is_backed_up_under_load_lost_and_restored() {
    comes_back(TestBot::new().await, "both").await;
}

#[actix::test]
async fn a_damaged_archive_and_an_existing_target_are_refused() {
    let bot = TestBot::new().await;
    let url = bot.settings().database.url.reveal().to_owned();
    let home = tempfile::tempdir().unwrap();
    let archive = archive(&run(&url, &backup_to(home.path())));
    let name = archive.to_str().unwrap();
    let checksum = PathBuf::from(format!("{name}.sha256"));
    let sums = Command::new("sha256sum").current_dir(home.path()).arg("-c").arg(&checksum).output().unwrap();
    assert!(sums.status.success(), "{sums:?}");

    ends(&run(&url, &["restore", name]), 2, "there is already a database at");
    let elsewhere = format!("sqlite:{}/new/spy.db", home.path().display());
    let nothing = |what: &str| assert!(!home.path().join("new/spy.db").exists(), "{what}");
    ends(&run("postgres://me@127.0.0.1/spy", &["restore", name]), 2, "is not an archive of a PostgreSQL database");

    ends(&run(&elsewhere, &backup_to(home.path())), 2, "unable to open database file");
    nothing("a backup of nothing");

    let whole = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &whole[..whole.len() - 100]).unwrap();
    ends(&run(&elsewhere, &["restore", name]), 2, "was changed: its SHA-256 is");
    nothing("changed");
    std::fs::remove_file(&checksum).unwrap();
    ends(&run(&elsewhere, &["restore", name]), 2, "has no checksum beside it");
    ends(&run(&elsewhere, &["restore", "--unchecked", name]), 2, "cannot be unpacked");
    nothing("cut off");
    std::fs::write(&archive, "no archive").unwrap();
    ends(&run(&elsewhere, &["restore", "--unchecked", name]), 2, "cannot be unpacked");
    nothing("something else");
    std::fs::write(&archive, &whole).unwrap();
    ends(&run(&elsewhere, &["restore", "--unchecked", name]), 0, "Restored: 0 ledger entries");
    let third = format!("sqlite:{}/third.db", home.path().display());
    ends(&run(&third, &["restore", "--unchecked", "away.sqlite.gz"]), 2, "`away.sqlite.gz` cannot be read");

    // A bot whose file is deleted would go on without an error, so a restore beside it is refused.
    let _held = bot.db.own().await.unwrap();
    destroy(&url).await;
    ends(&run(&url, &["restore", "--unchecked", name]), 2, "another polymarketspy runs on this database");
}

/// Compresses `parts` as `gzip` does with several files: one after another.
fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, part).unwrap();
        all.extend(packed.finish().unwrap());
    }
    all
}

#[actix::test]
async fn a_file_that_backup_did_not_make_is_refused_and_a_missing_one_is_called_missing() {
    let bot = TestBot::new().await;
    let home = tempfile::tempdir().unwrap();
    let place = format!("sqlite:{}/spy.db", home.path().display());
    ends(&run(&place, &["restore", "/nope"]), 2, "`/nope` cannot be read: No such file or directory");

    let other = home.path().join("other.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other).create_if_missing(true);
    let mut foreign = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("create table _sqlx_migrations (version integer); create table ledger_entry (id integer)")
        .execute(&mut foreign)
        .await
        .unwrap();
    foreign.close().await.unwrap();
    let made = archive(&run(bot.settings().database.url.reveal(), &backup_to(home.path())));
    let mut whole = Vec::new();
    let mut packed = flate2::read::GzDecoder::new(std::fs::File::open(made).unwrap());
    std::io::Read::read_to_end(&mut packed, &mut whole).unwrap();

    let file = home.path().join("given.sqlite.gz");
    for (content, said) in [
        (gzip(&[b"a letter and no database"]), "it does not hold a SQLite database"),
        (gzip(&[&std::fs::read(&other).unwrap()]), "the database in it was not made by polymarketspy"),
        (gzip(&[&whole, b"a second file"]), "more data follows the database in it"),
        ([gzip(&[&whole]), b"padding".to_vec()].concat(), "more data follows the database in it"),
    ] {
        std::fs::write(&file, content).unwrap();
        ends(&run(&place, &["restore", "--unchecked", file.to_str().unwrap()]), 2, said);
        assert!(!home.path().join("spy.db").exists(), "{said}");
    }
    std::fs::write(&file, gzip(&[&whole])).unwrap();
    ends(&run(&place, &["restore", "--unchecked", file.to_str().unwrap()]), 0, "Restored: ");
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn a_postgres_database_is_backed_up_under_load_lost_and_restored() {
        comes_back(TestBot::shared().await, "worker").await;
    }

    #[actix::test]
    async fn a_postgres_that_is_not_empty_is_left_alone_and_its_password_is_not_shown() {
        let bot = TestBot::shared().await;
        let url = bot.settings().database.url.reveal().to_owned();
        let home = tempfile::tempdir().unwrap();
        let archive = archive(&run(&url, &backup_to(home.path())));
        ends(
            &run(&url, &["restore", archive.to_str().unwrap()]),
            2,
            "there is already a database at PostgreSQL's `it_",
        );
        let other = home.path().join("other.pgdump");
        std::fs::write(&other, "no dump").unwrap();
        let foreign = run(&url, &["restore", "--unchecked", other.to_str().unwrap()]);
        ends(&foreign, 2, "it is not a dump of `pg_dump --format=custom`");
        // A dump of a database that is not ours: the one that the tests make their databases from.
        let server = polymarketspy::testkit::db::postgres_server();
        let dumped = Command::new("pg_dump").args(["-Fc", "--dbname", &server, "--file"]).arg(&other).status().unwrap();
        assert!(dumped.success());
        let foreign = run(&url, &["restore", "--unchecked", other.to_str().unwrap()]);
        ends(&foreign, 2, "the database in it was not made by polymarketspy");
        let mut bare = command(&url, &backup_to(home.path()));
        ends(&bare.env("PATH", "/nowhere").output().unwrap(), 2, "cannot start `pg_dump`; it comes with");
        let nobody = run("postgres://me:hunter2@127.0.0.1:1/spy", &backup_to(home.path()));
        ends(&nobody, 2, "pg_dump failed: ");
        assert!(!format!("{nobody:?}").contains("hunter2"));
    }
}

#[actix::test]
async fn the_newest_archives_are_kept_and_each_is_handed_to_the_upload_command() {
    let bot = TestBot::new().await;
    let url = bot.settings().database.url.reveal().to_owned();
    let home = tempfile::tempdir().unwrap();
    let (folder, away) = (home.path().join("backups"), home.path().join("away"));
    std::fs::create_dir(&away).unwrap();
    let upload = format!("cp \"$BACKUP_FILE\" \"$BACKUP_CHECKSUM\" {}", away.display());
    let mut arguments = backup_to(&folder);
    arguments.extend(["--keep", "2", "--upload", &upload]);
    let archives: Vec<PathBuf> = (0..3).map(|_| archive(&run(&url, &arguments))).collect();
    assert_eq!(archives.iter().map(|file| file.exists()).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(std::fs::read_dir(&away).unwrap().count(), 6, "three archives, each with its checksum");

    let mut failing = backup_to(&folder);
    failing.extend(["--upload", "exit 3"]);
    ends(&run(&url, &failing), 1, "the upload command ended with exit status: 3; the archive is kept in the folder");
    let told = bot.db.audits(Some("backup"), None, 10).await.unwrap();
    let uploaded: Vec<_> = told.iter().map(|row| row.audit.after_json.clone().unwrap_or_default()).collect();
    assert!(uploaded[0].contains(r#""uploaded":false"#) && uploaded[1].contains(r#""uploaded":true"#), "{uploaded:?}");
    ends(&run(&url, &["backup", "--folder", "/proc/no"]), 2, "`/proc/no` cannot be made");
}

#[actix::test]
async fn a_nightly_backup_makes_up_for_a_missed_night_and_then_waits() {
    let bot = TestBot::new().await;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().to_str().unwrap();
    let arguments = ["backup", "--folder", folder, "--daily-at", "03:15"];
    let nightly = Process::start_with(&bot, &arguments);
    let told = async || (!bot.db.audits(Some("backup"), None, 9).await.unwrap().is_empty()).then_some(());
    eventually("a first backup", told).await;
    nightly.kill();
    let _nightly = Process::start_with(&bot, &arguments);
    // Long enough for a second backup, if one were made.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(bot.db.audits(Some("backup"), None, 9).await.unwrap().len(), 1);
}
