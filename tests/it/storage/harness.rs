//! Each storage test twice, on SQLite and on PostgreSQL, and the few statements that tests run themselves.

/// Makes two tests of each function, one per database.
macro_rules! on_both {
    ($(async fn $name:ident($db:ident: &Db) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn check($db: &polymarketspy::db::Db) $body

            #[tokio::test]
            async fn on_sqlite() {
                let test_db = polymarketspy::testkit::TestDb::sqlite().await;
                check(&test_db.db).await;
                test_db.close().await;
            }

            #[tokio::test]
            async fn on_postgres() {
                let test_db = polymarketspy::testkit::TestDb::postgres().await;
                check(&test_db.db).await;
                test_db.close().await;
            }
        }
    )*};
}
pub(crate) use on_both;

/// Runs a statement on either kind of database; returns the number of changed rows.
macro_rules! sql {
    ($db:expr, $text:expr) => {{
        let text = sqlx::AssertSqlSafe(String::from($text));
        match $db {
            polymarketspy::db::Db::Postgres(pool, _) => {
                sqlx::query(text).execute(pool).await.map(|done| done.rows_affected())
            }
            polymarketspy::db::Db::Sqlite { write, .. } => {
                sqlx::query(text).execute(write).await.map(|done| done.rows_affected())
            }
        }
    }};
}
pub(crate) use sql;

/// Returns the single number that a query selects.
macro_rules! number {
    ($db:expr, $text:expr) => {{
        let text = sqlx::AssertSqlSafe(String::from($text));
        let number: i64 = match $db {
            polymarketspy::db::Db::Postgres(pool, _) => sqlx::query_scalar(text).fetch_one(pool).await.unwrap(),
            polymarketspy::db::Db::Sqlite { read, .. } => sqlx::query_scalar(text).fetch_one(read).await.unwrap(),
        };
        number
    }};
}
pub(crate) use number;
