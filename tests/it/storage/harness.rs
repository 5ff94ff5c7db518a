//! A fresh database of either kind for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use polymarketspy::db::Db;

/// A database for one test, deleted at its end; migrated unless the constructor says otherwise.
pub struct Home {
    pub db: Db,
    pub url: String,
    kind: Kind,
}

enum Kind {
    Sqlite { _folder: tempfile::TempDir },
    Postgres { admin: sqlx::PgPool, name: String },
}

impl Home {
    pub async fn sqlite() -> Self {
        let home = Self::sqlite_of(&[]).await;
        home.db.migrate().await.unwrap();
        home
    }

    /// Uses this database file; not migrated.
    pub async fn sqlite_of(file: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.db"), file).unwrap();
        let url = format!("sqlite:{}/test.db", folder.path().display());
        let db = Db::connect(&url).await.unwrap();
        Self { db, url, kind: Kind::Sqlite { _folder: folder } }
    }

    pub async fn postgres() -> Self {
        let home = Self::empty_postgres().await;
        home.db.migrate().await.unwrap();
        home
    }

    /// Creates a database without tables.
    pub async fn empty_postgres() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let admin_url = std::env::var("DATABASE_TEST_URL").unwrap_or_else(|_| {
            panic!(
                "DATABASE_TEST_URL is not set: the tests need a PostgreSQL server; run `scripts/test`, which starts one"
            )
        });
        let admin = sqlx::PgPool::connect(&admin_url).await.unwrap();
        let name = format!("it_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&admin).await.unwrap();
        let (server, _) = admin_url.rsplit_once('/').expect("DATABASE_TEST_URL ends in a database name");
        let url = format!("{server}/{name}");
        let db = Db::connect(&url).await.unwrap();
        Self { db, url, kind: Kind::Postgres { admin, name } }
    }

    pub async fn close(self) {
        self.db.close().await;
        if let Kind::Postgres { admin, name } = self.kind {
            let drop = sqlx::AssertSqlSafe(format!("drop database {name} with (force)"));
            sqlx::query(drop).execute(&admin).await.unwrap();
            admin.close().await;
        }
    }
}

/// Makes two tests of each function, one per database.
macro_rules! on_both {
    ($(async fn $name:ident($db:ident: &Db) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn check($db: &polymarketspy::db::Db) $body

            #[tokio::test]
            async fn on_sqlite() {
                let home = $crate::storage::harness::Home::sqlite().await;
                check(&home.db).await;
                home.close().await;
            }

            #[tokio::test]
            async fn on_postgres() {
                let home = $crate::storage::harness::Home::postgres().await;
                check(&home.db).await;
                home.close().await;
            }
        }
    )*};
}
pub(crate) use on_both;

/// Runs one of the test's own statements on either kind of database.
macro_rules! sql {
    ($db:expr, $text:expr) => {{
        let text = sqlx::AssertSqlSafe(String::from($text));
        match $db {
            polymarketspy::db::Db::Postgres(pool) => {
                sqlx::query(text).execute(pool).await.map(|done| done.rows_affected())
            }
            polymarketspy::db::Db::Sqlite { write, .. } => {
                sqlx::query(text).execute(write).await.map(|done| done.rows_affected())
            }
        }
    }};
}
pub(crate) use sql;

/// Returns the number that a test's statement selects.
macro_rules! number {
    ($db:expr, $text:expr) => {{
        let text = sqlx::AssertSqlSafe(String::from($text));
        let number: i64 = match $db {
            polymarketspy::db::Db::Postgres(pool) => sqlx::query_scalar(text).fetch_one(pool).await.unwrap(),
            polymarketspy::db::Db::Sqlite { read, .. } => sqlx::query_scalar(text).fetch_one(read).await.unwrap(),
        };
        number
    }};
}
pub(crate) use number;
