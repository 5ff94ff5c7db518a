#!/usr/bin/env bash
# After SQLite rolled a transaction back by itself, sqlx goes on counting it as open, and the pool hands the connection on.
#
# When a file is full (SQLITE_FULL), SQLite may end the transaction by itself; a "rollback" that follows fails with
# "no transaction is active". sqlx keeps its own count of open transactions and lowers it only after a rollback that
# succeeded. The connection returns to the pool with a count of one: begin_with is refused on it for ever
# ("non-zero transaction depth"), and plain begin sends SAVEPOINT in place of BEGIN. This script fills a small file by
# max_page_count, raises the limit again, and asks the same pool for a new transaction.
#
# Why it matters here: a bot with one write connection stops writing after a disk that was full for a moment, although
# there is room again. A connection on which a transaction failed has to be closed and replaced.
set -euo pipefail
SQLX=0.9.0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cargo init --quiet --name full --vcs none .
cat >>Cargo.toml <<TOML
sqlx = { version = "=$SQLX", default-features = false, features = ["runtime-tokio", "sqlite-bundled"] }
tokio = { version = "1", features = ["rt", "macros"] }
TOML
cat >src/main.rs <<'RS'
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = SqliteConnectOptions::new().filename("full.db").create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    sqlx::query("create table t (x blob)").execute(&pool).await.unwrap();
    sqlx::query("pragma max_page_count = 20").execute(&pool).await.unwrap();

    let mut transaction = pool.begin_with("begin immediate").await.unwrap();
    let mut full = None;
    for _ in 0..100 {
        if let Err(error) = sqlx::query("insert into t values (zeroblob(4000))").execute(&mut *transaction).await {
            full = Some(error);
            break;
        }
    }
    println!("insert: {}", full.unwrap().as_database_error().unwrap().message());
    match transaction.rollback().await {
        Ok(()) => println!("rollback: ok"),
        Err(error) => println!("rollback: {}", error.as_database_error().unwrap().message()),
    }

    sqlx::query("pragma max_page_count = 1000000").execute(&pool).await.unwrap();
    println!("insert without a transaction: {}", sqlx::query("insert into t values (1)").execute(&pool).await.is_ok());
    for round in 1..=2 {
        match pool.begin_with("begin immediate").await {
            Ok(_) => println!("new transaction {round}: ok"),
            Err(error) => println!("new transaction {round}: {error}"),
        }
    }
}
RS
cargo run --quiet >seen.txt
echo "sqlx $SQLX:"
cat seen.txt

# Seen on 2026-11-30.
cat >expected.txt <<'TXT'
insert: database or disk is full
rollback: cannot rollback - no transaction is active
insert without a transaction: true
new transaction 1: attempted to call begin_with at non-zero transaction depth
new transaction 2: attempted to call begin_with at non-zero transaction depth
TXT
if ! cmp -s seen.txt expected.txt; then
    echo "this changed"
    exit 1
fi
