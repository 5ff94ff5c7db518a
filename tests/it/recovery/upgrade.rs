//! Databases of older versions are migrated and go on; databases of newer versions are left alone.
//! `tests/fixtures/upgrade/README.md` says how each was made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::db::{Db, DbError};
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::{AttemptId, EventId};
use polymarketspy::simulator::{Fill, NewMarket, SimulatorSettings};
use polymarketspy::testkit::{TestBot, TestDb, eventually, test_client};
use sqlx::AssertSqlSafe;

use super::content::{figures, moved_texts, rows, tables, texts, without_moved};
use crate::storage::harness::{number, sql};
use crate::storage::schema::shape_of;

const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the number of the newest migration.
fn newest() -> i64 {
    let files = std::fs::read_dir(format!("{MANIFEST}/migrations/sqlite")).unwrap();
    files.map(|file| file.unwrap().file_name().to_str().unwrap()[..4].parse().unwrap()).max().unwrap()
}

/// Returns the number of migrations.
fn migrations() -> usize {
    std::fs::read_dir(format!("{MANIFEST}/migrations/sqlite")).unwrap().count()
}

/// Columns of old schemas whose content has moved to another column, or that nothing named.
const DROPPED: &[(&str, &str)] = &[("followed_user", "enabled"), ("portfolio_snapshot", "id")];

/// Removes the columns that no longer exist.
fn without_dropped(tables: &mut BTreeMap<String, Vec<String>>) {
    for (table, dropped) in DROPPED {
        if let Some(columns) = tables.get_mut(*table) {
            columns.retain(|column| column != dropped);
        }
    }
}

pub fn unpacked(name: &str) -> Vec<u8> {
    let path: PathBuf = [MANIFEST, "tests/fixtures/upgrade", name].iter().collect();
    let unpacked = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    assert!(unpacked.status.success(), "{name}: {}", String::from_utf8_lossy(&unpacked.stderr));
    unpacked.stdout
}

/// Returns the stored SQLite database of this name.
pub async fn old_sqlite(name: &str) -> TestDb {
    TestDb::sqlite_of(&unpacked(&format!("{name}.sqlite.gz"))).await
}

/// Returns the stored PostgreSQL database of this name, loaded from the output of `pg_dump`.
pub async fn old_postgres(name: &str) -> TestDb {
    let test_db = TestDb::empty_postgres().await;
    let Db::Postgres(pool, _) = &test_db.db else { unreachable!() };
    let mut connection = pool.acquire().await.unwrap();
    let dump = String::from_utf8(unpacked(&format!("{name}.sql.gz"))).unwrap();
    let mut statements = String::new();
    let mut lines = dump.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("COPY ") {
            let before = AssertSqlSafe(std::mem::take(&mut statements));
            sqlx::raw_sql(before).execute(&mut *connection).await.unwrap();
            let mut rows = connection.copy_in_raw(line).await.unwrap();
            let text: String = lines.by_ref().take_while(|row| *row != r"\.").flat_map(|row| [row, "\n"]).collect();
            rows.send(text.as_bytes()).await.unwrap();
            rows.finish().await.unwrap();
        } else if !line.starts_with('\\') {
            // A line that begins with a backslash is a command of psql.
            statements.push_str(line);
            statements.push('\n');
        }
    }
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).await.unwrap();
    // The dump has emptied the search path of this connection.
    connection.close().await.unwrap();
    test_db
}

fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    let nobody = "http://127.0.0.1:9";
    let settings = [
        ("DATABASE_URL", url),
        ("POLYMARKET_DATA_API_BASE_URL", nobody),
        ("POLYMARKET_CLOB_BASE_URL", nobody),
        ("POLYMARKET_GAMMA_BASE_URL", nobody),
        ("BIND", "127.0.0.1:0"),
        ("HEALTH_BIND", "127.0.0.1:0"),
        ("LOG_LEVEL", "warn"),
    ];
    command.args(arguments).envs(settings).output().unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that no ledger is empty, and that there is a row of each kind that an upgrade could lose.
async fn is_worth_upgrading(db: &Db, schema: i64) {
    let check = async |what: &str, least: i64, text: &str| {
        let found = number!(db, text);
        assert!(found >= least, "{found} of {what}");
    };
    assert_eq!(number!(db, "select max(version) from _sqlx_migrations"), schema);
    check("events", 150, "select count(*) from trade_event").await;
    check("sights on the chain", 20, "select count(*) from trade_event where not is_canonical").await;
    check("other activity", 1, "select count(*) from activity_event").await;
    check("copies", 40, "select count(*) from copy_attempt where decision = 'EXECUTE'").await;
    check("reasons", 4, "select count(distinct reason_codes) from copy_attempt where decision = 'SKIP'").await;
    for scope in ["SHADOW_USER", "EXEC_USER", "EXEC_GLOBAL"] {
        let text = format!("select count(*) from ledger_entry where portfolio_scope = '{scope}'");
        check(scope, 40, &text).await;
    }
    check("snapshots", 5, "select count(*) from portfolio_snapshot").await;
    check("changes of the configuration", 3, "select count(*) from audit_log where action like '%config%'").await;
    check("configurations of one user", 1, "select count(*) from guardrail_config where scope = 'USER'").await;
    check("dead letters", 1, "select count(*) from dead_letter where dropped_at is null").await;
    check("dead letters put away", 1, "select count(*) from dead_letter where dropped_at is not null").await;
    check("unfinished work", 1, "select count(*) from job").await;
    check("blacklisted markets", 1, "select count(*) from market where blacklisted").await;
    check("renamed users", 1, "select count(*) from followed_user where label = 'lantern'").await;
    check("users left", 1, "select count(*) from followed_user where not enabled").await;
}

/// Migrates the database, checks that no row is lost, and runs a bot on it.
async fn goes_on(test_db: TestDb, schema: i64) {
    let db = &test_db.db;
    is_worth_upgrading(db, schema).await;
    let mut known = without_moved(tables(db).await);
    without_dropped(&mut known);
    let disabled = "select label from followed_user where not enabled order by label";
    let stopped_before = texts(db, disabled.to_owned()).await;
    let (rows_before, figures_before) = (rows(db, &known).await, figures(db).await);
    let moved_before = moved_texts(db, false).await;

    let migrated = run(&test_db.url, &["migrate"]);
    assert!(migrated.status.success(), "{}", complaint(&migrated));
    assert_eq!(figures(db).await, figures_before);
    assert_eq!(moved_texts(db, true).await, moved_before);
    ids_are_those_of_before(db).await;
    let mut rows_after = rows(db, &known).await;
    // The list of applied migrations has grown; its beginning is unchanged.
    let mut applied_before = rows_before.clone();
    let (before, after) = (applied_before.remove("_sqlx_migrations").unwrap(), rows_after.remove("_sqlx_migrations"));
    let after = after.unwrap();
    assert!(before.iter().all(|row| after.contains(row)));
    assert_eq!(after.len(), migrations());
    for (table, rows) in applied_before {
        assert_eq!(rows_after[&table], rows, "{table}");
    }
    let stopped = "select label from followed_user where state = 'STOPPED' order by label";
    assert_eq!(texts(db, stopped.to_owned()).await, stopped_before, "who was disabled is stopped");
    let fresh = match db {
        Db::Postgres(..) => TestDb::postgres().await,
        Db::Sqlite { .. } => TestDb::sqlite().await,
    };
    assert_eq!(shape_of(db).await, shape_of(&fresh.db).await, "the schema equals that of a new database");
    fresh.close().await;

    known = tables(db).await;
    let rows_once = rows(db, &known).await;
    assert!(run(&test_db.url, &["migrate"]).status.success());
    db.migrate().await.unwrap();
    assert_eq!(rows(db, &known).await, rows_once, "a second migration changes nothing");
    let audited = run(&test_db.url, &["audit"]);
    let said = String::from_utf8_lossy(&audited.stdout).into_owned();
    assert!(audited.status.success(), "{said}{}", complaint(&audited));
    // Stored states have more fields now. They are computed again from the ledger, so their old content is not needed.
    assert_eq!(said.contains("NOTE "), schema < 10, "{said}");

    lives_on(test_db, moved_before).await;
}

/// Checks that each canonical event has the id that the program of before would make, and that a program of now makes
/// the same: a row that is read again is known.
async fn ids_are_those_of_before(db: &Db) {
    let id = if matches!(db, Db::Postgres(..)) { "id::text" } else { "lower(hex(id))" };
    let mut n = 0;
    for table in ["trade_event", "activity_event"] {
        let canonical = format!("select {id} || ' ' || source_id from {table} where is_canonical");
        for row in texts(db, canonical).await {
            let (id, source_id) = row.split_once(' ').unwrap();
            let id = id.replace('-', "");
            assert_eq!(EventId::of("DATA_API", source_id).0.simple().to_string(), id, "{source_id}");
            assert_eq!(EventId::of_canonical(source_id).0.simple().to_string(), id, "{source_id}");
            n += 1;
        }
    }
    assert!(n > 100, "{n}");
}

/// Starts the bot on the database: it finishes the open jobs and copies new fills.
async fn lives_on(test_db: TestDb, moved_before: Vec<String>) {
    let bot = TestBot::at(test_db, None, SimulatorSettings::default()).await;
    let attempts_before = number!(&bot.db, "select count(*) from copy_attempt");
    let open_copies = number!(&bot.db, "select count(*) from job where queue like 'q_copy_attempt%'");
    let users = bot.db.followed_users().await.unwrap();
    let leader = users.iter().find(|user| user.enabled()).unwrap();
    let wallet = &leader.profile_wallet;
    let market = bot.exchange.with(|exchange| {
        exchange.add_profile(wallet, &leader.label);
        exchange.add_market(NewMarket::binary("after"))
    });
    let app = bot.start().await;
    let health = format!("http://{}/api/health", app.address().unwrap());
    assert_eq!(test_client().get(health).send().await.unwrap().status(), 200);
    let fill = Fill::taker(wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
    bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
    let copied = format!(
        "select count(*) from copy_attempt a join event_group g on g.id = a.group_id where g.group_key like '%{}%'",
        market.asset(0).unwrap()
    );
    eventually("the new fill's copies", async || (number!(&bot.db, copied.as_str()) == 2).then_some(())).await;
    eventually("the open copy jobs to be done", async || {
        let open = number!(&bot.db, "select count(*) from job where queue like 'q_copy_attempt%'");
        (open == 0).then_some(())
    })
    .await;
    assert!(number!(&bot.db, "select count(*) from copy_attempt") >= attempts_before + 2 + open_copies);
    app.stop().await;
    let again = Db::connect(bot.settings().database.url.reveal()).await.unwrap();
    let report = audit(&again).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.notes.is_empty() && report.portfolios.iter().all(|proof| proof.compared), "{report:?}");
    // Packed by the bot, or by this, each explanation is still the same to the byte.
    again.tidy(Clock::System.now()).await.unwrap();
    let mut n = 0;
    for row in moved_before {
        let (id, text) = row.split_once(' ').unwrap();
        if text.starts_with('{') {
            let id = AttemptId(id.parse().unwrap());
            let explanation = again.attempt(id).await.unwrap().unwrap().listed.attempt.explanation;
            assert_eq!(serde_json::to_string(&explanation).unwrap(), text);
            n += 1;
        }
    }
    assert!(n > 40, "{n}");
    again.close().await;
}

#[actix::test]
async fn what_schema_9_left_on_sqlite_goes_on() {
    goes_on(old_sqlite("schema-9").await, 9).await;
}

#[actix::test]
async fn what_schema_9_left_on_postgres_goes_on() {
    goes_on(old_postgres("schema-9").await, 9).await;
}

#[actix::test]
async fn what_schema_15_left_on_sqlite_goes_on() {
    goes_on(old_sqlite("schema-15").await, 15).await;
}

#[actix::test]
async fn what_schema_15_left_on_postgres_goes_on() {
    goes_on(old_postgres("schema-15").await, 15).await;
}

#[actix::test]
async fn what_a4901a1_left_on_sqlite_goes_on() {
    goes_on(old_sqlite("schema-15-a4901a1").await, 15).await;
}

#[actix::test]
async fn what_a4901a1_left_on_postgres_goes_on() {
    goes_on(old_postgres("schema-15-a4901a1").await, 15).await;
}

/// A stored state is derived data. It is a problem only when a readable version cannot be read or contradicts the
/// ledger.
#[actix::test]
async fn a_stored_state_of_another_version_is_no_problem_and_a_damaged_one_is() {
    let test_db = TestDb::sqlite().await;
    for (text, n_problems) in [(r#"{"position": 1, "later": true}"#, 0), (r#"{"position": 1, "#, 1)] {
        sql!(&test_db.db, "delete from system_checkpoint").unwrap();
        let kept = format!(
            "insert into system_checkpoint (key, value_json, updated_at) values ('portfolio:EXEC_GLOBAL', '{text}', 1)"
        );
        sql!(&test_db.db, kept).unwrap();
        let report = audit(&test_db.db).await.unwrap();
        assert_eq!((report.problems.len(), report.notes.len()), (n_problems, 1 - n_problems), "{report:?}");
    }
    test_db.close().await;
}

/// Checks that every command refuses a database that this program must not change.
async fn is_left_alone(test_db: TestDb, parts: &[&str]) {
    let known = tables(&test_db.db).await;
    let before = rows(&test_db.db, &known).await;
    let file = test_db.url.strip_prefix("sqlite:").map(PathBuf::from);
    if file.is_some() {
        // The last connection to close writes the whole database into the one file.
        test_db.db.close().await;
    }
    let bytes_before = file.as_ref().map(|file| std::fs::read(file).unwrap());
    let commands: [&[&str]; 11] = [
        &["migrate"],
        &["run"],
        &["users"],
        &["unfollow", "1"],
        &["audit", "--json"],
        &["config", "get"],
        &["config", "set", "system.copyEngineEnabled=false"],
        &["jobs", "drop", "--all"],
        &["token", "new", "script"],
        &["admin", "add", "ada@example.org"],
        &["backfill", "--hours", "1"],
    ];
    for command in commands {
        let refused = run(&test_db.url, command);
        let said = complaint(&refused);
        assert_eq!(refused.status.code(), Some(2), "{command:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{command:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{command:?}: {said}");
        assert!(refused.stdout.is_empty(), "{command:?}");
    }
    let doctor = run(&test_db.url, &["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1));
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");

    match file {
        Some(file) => assert!(std::fs::read(file).unwrap() == bytes_before.unwrap(), "the file is unchanged"),
        None => assert_eq!(rows(&test_db.db, &known).await, before),
    }
    test_db.close().await;
}

async fn newer_is_refused(test_db: TestDb) {
    let later = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        select 9999, 'later', success, checksum, execution_time from _sqlx_migrations where version = 1";
    sql!(&test_db.db, later).unwrap();
    let known = format!("knows up to {};", newest());
    let parts = [
        "newer version of polymarketspy",
        "has schema 9999",
        &known,
        "run that version",
        "backup made before the upgrade",
    ];
    is_left_alone(test_db, &parts).await;
}

async fn another_build_is_refused(test_db: TestDb) {
    let changed = "update _sqlx_migrations set checksum = (select checksum from _sqlx_migrations where version = 1)
        where version = 3";
    sql!(&test_db.db, changed).unwrap();
    let parts = ["another build of polymarketspy", "migration 3 is not the one", "run that build", "backup"];
    is_left_alone(test_db, &parts).await;
}

#[actix::test]
async fn what_a_newer_program_made_on_sqlite_is_left_alone() {
    newer_is_refused(TestDb::sqlite().await).await;
}

#[actix::test]
async fn what_a_newer_program_made_on_postgres_is_left_alone() {
    newer_is_refused(TestDb::postgres().await).await;
}

#[actix::test]
async fn what_another_build_made_on_sqlite_is_left_alone() {
    another_build_is_refused(TestDb::sqlite().await).await;
}

#[actix::test]
async fn what_another_build_made_on_postgres_is_left_alone() {
    another_build_is_refused(TestDb::postgres().await).await;
}

/// The lock of a failed start must not block the next start.
async fn a_failure_keeps_no_lock(test_db: TestDb) {
    // The migration is applied again and fails, because its tables exist: 17 made `position_check`.
    sql!(&test_db.db, "delete from _sqlx_migrations where version = 17").unwrap();
    assert!(matches!(test_db.db.migrate().await, Err(DbError::Migrate(_))));
    let other = Db::connect(&test_db.url).await.unwrap();
    let tried = tokio::time::timeout(Duration::from_secs(60), other.migrate()).await;
    assert!(matches!(tried.expect("the failed start released its lock"), Err(DbError::Migrate(_))));
    other.close().await;
    test_db.close().await;
}

#[actix::test]
async fn a_migration_that_fails_keeps_no_lock_on_sqlite() {
    a_failure_keeps_no_lock(TestDb::sqlite().await).await;
}

#[actix::test]
async fn a_migration_that_fails_keeps_no_lock_on_postgres() {
    a_failure_keeps_no_lock(TestDb::postgres().await).await;
}
