//! The first start without a database: several processes at once, the new database, and the leaders of the setting
//! `FOLLOW`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use polymarketspy::app::{App, AppSettings};
use polymarketspy::clock::Clock;
use polymarketspy::config::{FollowSettings, NamedWallet};
use polymarketspy::db::Db;
use polymarketspy::db::Inserted;
use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::simulator::wallet_of;
use polymarketspy::testkit::bot::environment;
use polymarketspy::testkit::{TestBot, TestDb, TestExchange, TestRedis, eventually};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::storage::harness::number;

type Environment = Vec<(&'static str, String)>;

/// A process whose output a test can wait for. It is killed when it is dropped.
struct Started {
    arguments: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Started {
    fn new(environment: &Environment, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
        command.args(arguments).env("LOG_LEVEL", "warn").envs(environment.iter().cloned());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { arguments: arguments.join(" "), child, stdout }
    }

    /// Waits until the process reports that it runs.
    fn is_up(&mut self) {
        let mut lines = self.stdout.by_ref().lines().map_while(Result::ok);
        if !lines.any(|line| line.starts_with("polymarketspy is ")) {
            let said = self.complaint();
            panic!("{}: {said}", self.arguments);
        }
    }

    /// Waits until the process has ended with success.
    fn is_done(&mut self) {
        let status = self.child.wait().unwrap();
        assert_eq!((status.code(), self.complaint().as_str()), (Some(0), ""), "{}", self.arguments);
    }

    /// Returns the whole output after the process has ended.
    fn complaint(&mut self) -> String {
        std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The process may have ended already; then both calls fail, which does no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks the database after a first start. It is the same whichever of several processes was first.
async fn is_as_new(db: &Db) {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap().count();
    assert_eq!(number!(db, "select count(*) from _sqlx_migrations where success"), i64::try_from(files).unwrap());
    // The rows of the global configuration exist and set nothing: every value is at its default.
    for (table, n) in [("guardrail_config", 1), ("copy_sizing_config", 1), ("system_config", 1)] {
        assert_eq!(number!(db, format!("select count(*) from {table} where config_json = '{{}}'")), n, "{table}");
        assert_eq!(number!(db, format!("select count(*) from {table}")), n, "{table}");
    }
    let admins: Vec<String> = db.admins().await.unwrap().into_iter().map(|admin| admin.email).collect();
    assert_eq!(admins, ["ada@example.org"]);
    assert_eq!(db.followed_users().await.unwrap(), []);
    let actions: Vec<String> =
        db.audits(None, None, 10).await.unwrap().into_iter().map(|row| row.audit.action).collect();
    assert_eq!(actions.len(), 1, "that ADMIN_EMAIL was let in: {actions:?}");
}

/// `config get` shows each field at its default.
fn shows_defaults(environment: &Environment) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    let got = command.args(["config", "get", "--json"]).envs(environment.iter().cloned()).output().unwrap();
    let fields: Vec<serde_json::Value> = serde_json::from_slice(&got.stdout).unwrap();
    assert!(fields.len() > 20, "{}", fields.len());
    assert!(fields.iter().all(|field| field["source"] == "default" && field["value"] == field["default"]));
}

#[actix::test]
async fn several_processes_at_once_make_one_new_database_on_sqlite() {
    let exchange = TestExchange::start();
    for round in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        // Neither the file nor its folder exists.
        let url = format!("sqlite:{}/new/test.db", folder.path().display());
        let mut environment = environment(&url, None, &exchange);
        environment.push(("ADMIN_EMAIL", "ada@example.org".to_owned()));
        let mut beside: Vec<Started> =
            [&["migrate"][..], &["users"], &["config", "get"]].map(|words| Started::new(&environment, words)).into();
        let mut bot = Started::new(&environment, &["run"]);
        beside.push(Started::new(&environment, &["migrate"]));
        beside.iter_mut().for_each(Started::is_done);
        bot.is_up();
        let db = Db::connect(&url).await.unwrap();
        is_as_new(&db).await;
        db.close().await;
        if round == 0 {
            shows_defaults(&environment);
        }
    }
}

/// The instant that the test above meets only now and then: another process is about to create the same file.
#[actix::test]
async fn a_new_file_that_another_process_is_writing_to_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.db");
    let mut other = SqliteConnectOptions::new().filename(&file).create_if_missing(true).connect().await.unwrap();
    sqlx::raw_sql("create table theirs (x integer); begin immediate").execute(&mut other).await.unwrap();
    let url = format!("sqlite:{}", file.display());
    let letting_go = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    };
    let (db, ()) = tokio::join!(Db::connect(&url), letting_go);
    let db = db.unwrap();
    db.migrate().await.unwrap();
    db.close().await;
}

#[actix::test]
async fn several_processes_at_once_make_one_new_database_on_postgres() {
    let exchange = TestExchange::start();
    let redis = TestRedis::start();
    for round in 0..3 {
        let test_db = TestDb::empty_postgres().await;
        let mut environment = environment(&test_db.url, Some(&redis), &exchange);
        environment.push(("ADMIN_EMAIL", "ada@example.org".to_owned()));
        let start = |role| Started::new(&environment, &["run", "--role", role]);
        let mut bots = ["worker", "web", "worker", "web"].map(start);
        let mut beside = Started::new(&environment, &["migrate"]);
        bots.iter_mut().for_each(Started::is_up);
        beside.is_done();
        is_as_new(&test_db.db).await;
        eventually("both workers", async || {
            (number!(&test_db.db, "select count(*) from worker where beat > 0") == 2).then_some(())
        })
        .await;
        if round == 0 {
            shows_defaults(&environment);
        }
        drop(bots);
        test_db.close().await;
    }
}

fn named(label: &str, wallet: &Wallet) -> NamedWallet {
    NamedWallet { label: label.to_owned(), wallet: wallet.clone() }
}

/// Starts the bot with these traders in `FOLLOW`, and stops it again.
async fn start_following(bot: &TestBot, traders: &[NamedWallet]) {
    let follow = FollowSettings { traders: traders.to_vec() };
    let settings = AppSettings { follow, ..AppSettings::new(bot.settings()) };
    App::build(&settings, Clock::System).await.unwrap().stop().await;
}

/// Returns every leader, followed now or earlier: label, wallet, and whether the leader is still followed.
async fn followed(db: &Db) -> Vec<(String, Wallet, bool)> {
    let users = db.followed_users().await.unwrap();
    users.into_iter().map(|user| (user.label, user.profile_wallet, user.state.is_enabled())).collect()
}

async fn n_followed_by_settings(db: &Db) -> usize {
    db.audits(Some("follow"), None, 100).await.unwrap().iter().filter(|row| row.audit.who == "settings").count()
}

#[actix::test]
async fn traders_in_the_settings_are_followed_once_and_later_changes_are_kept() {
    let bot = TestBot::new().await;
    let url = bot.settings().database.url.reveal().to_owned();
    // Each bot closes the database handle that it received.
    let db = Db::connect(&url).await.unwrap();
    let [ada, grace, edsger, barbara] = ["ada", "grace", "edsger", "barbara"].map(wallet_of);
    start_following(&bot, &[named("ada", &ada), named("grace", &grace)]).await;
    let first = [("ada".to_owned(), ada.clone(), true), ("grace".to_owned(), grace.clone(), true)];
    assert_eq!(followed(&db).await, first);
    assert_eq!(n_followed_by_settings(&db).await, 2);

    let users = db.followed_users().await.unwrap();
    let now = Clock::System.now();
    assert!(db.set_enabled(users[0].id, false, "somebody", now).await.unwrap());
    assert!(db.rename(users[1].id, "the admiral", "somebody", now).await.unwrap());
    assert!(matches!(db.follow("edsger", &edsger, "somebody", now).await.unwrap(), Inserted::New(_)));
    let all = [("ada", &ada), ("grace", &grace), ("another name", &edsger), ("barbara", &barbara)];
    start_following(&bot, &all.map(|(label, wallet)| named(label, wallet))).await;
    let left = [
        ("ada".to_owned(), ada.clone(), false),
        ("the admiral".to_owned(), grace.clone(), true),
        ("edsger".to_owned(), edsger.clone(), true),
        ("barbara".to_owned(), barbara.clone(), true),
    ];
    assert_eq!(followed(&db).await, left);
    assert_eq!(n_followed_by_settings(&db).await, 3);

    let changes = db.audits(None, None, 100).await.unwrap().len();
    start_following(&bot, &all.map(|(label, wallet)| named(label, wallet))).await;
    assert_eq!(db.audits(None, None, 100).await.unwrap().len(), changes, "a third start changes nothing");
    db.close().await;
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn two_workers_follow_each_trader_once_and_a_web_process_follows_none() {
        let exchange = TestExchange::start();
        let (redis, test_db) = (TestRedis::start(), TestDb::empty_postgres().await);
        let mut environment = environment(&test_db.url, Some(&redis), &exchange);
        let wallets: BTreeSet<Wallet> = (0..12).map(|n| wallet_of(&format!("leader {n}"))).collect();
        environment.push(("FOLLOW", wallets.iter().map(Wallet::as_str).collect::<Vec<_>>().join(",")));
        let mut web = Started::new(&environment, &["run", "--role", "web"]);
        web.is_up();
        assert_eq!(followed(&test_db.db).await, []);
        let mut workers = ["worker", "worker"].map(|role| Started::new(&environment, &["run", "--role", role]));
        workers.iter_mut().for_each(Started::is_up);
        let found = followed(&test_db.db).await;
        assert_eq!(found.len(), 12);
        assert_eq!(found.iter().map(|(_, wallet, _)| wallet.clone()).collect::<BTreeSet<_>>(), wallets);
        assert!(found.iter().all(|(label, wallet, enabled)| *enabled && *label == wallet.as_str()[..10]), "{found:?}");
        assert_eq!(n_followed_by_settings(&test_db.db).await, 12);
        drop((web, workers));
        test_db.close().await;
    }
}

#[test]
fn a_start_with_an_entry_that_cannot_be_followed_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("test.db");
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(["run", "--follow", "ada=0x1111111111111111111111111111111111111111, grace=0x12"]);
    let refused = command.env("DATABASE_URL", format!("sqlite:{}", database.display())).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("entry `grace=0x12` of setting `FOLLOW` should be"), "{said}");
    assert!(!database.exists());
}
