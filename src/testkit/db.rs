//! A fresh database for one test, on SQLite or on PostgreSQL.

use crate::db::Db;

/// A database that no other test uses.
///
/// The SQLite file is removed when the value is dropped; a PostgreSQL database is dropped by [`TestDb::close`].
pub struct TestDb {
    pub db: Db,
    pub url: String,
    storage: Storage,
}

enum Storage {
    Sqlite { _folder: tempfile::TempDir },
    Postgres { admin: sqlx::PgPool, name: String },
}

/// Returns the URL of the PostgreSQL server that tests make their databases on.
///
/// Panics when there is none. A test never skips itself: a skipped test would look like one that passed.
pub fn postgres_server() -> String {
    std::env::var("DATABASE_TEST_URL").unwrap_or_else(|_| {
        panic!(
            "`DATABASE_TEST_URL` is not set: this test needs a PostgreSQL server; run `scripts/test`, which starts one. \
             In `scripts/test-fast` the path of such a test must contain `on_postgres`"
        )
    })
}

impl TestDb {
    /// A migrated SQLite database.
    pub async fn sqlite() -> Self {
        let test_db = Self::sqlite_of(&[]).await;
        test_db.db.migrate().await.unwrap();
        test_db
    }

    /// An SQLite database whose file has these bytes; not migrated.
    pub async fn sqlite_of(file: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.db"), file).unwrap();
        let url = format!("sqlite:{}/test.db", folder.path().display());
        let db = Db::connect(&url).await.unwrap();
        Self { db, url, storage: Storage::Sqlite { _folder: folder } }
    }

    /// A migrated PostgreSQL database.
    pub async fn postgres() -> Self {
        let test_db = Self::empty_postgres().await;
        test_db.db.migrate().await.unwrap();
        test_db
    }

    /// A PostgreSQL database without tables.
    pub async fn empty_postgres() -> Self {
        let admin_url = postgres_server();
        let admin = sqlx::PgPool::connect(&admin_url).await.unwrap();
        let name = format!("it_{}", uuid::Uuid::new_v4().simple());
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&admin).await.unwrap();
        let (server, _) = admin_url.rsplit_once('/').expect("`DATABASE_TEST_URL` ends in a database name");
        let url = format!("{server}/{name}");
        let db = Db::connect(&url).await.unwrap();
        Self { db, url, storage: Storage::Postgres { admin, name } }
    }

    /// Closes the connections and removes the database.
    pub async fn close(self) {
        self.db.close().await;
        if let Storage::Postgres { admin, name } = self.storage {
            let drop = sqlx::AssertSqlSafe(format!("drop database {name} with (force)"));
            sqlx::query(drop).execute(&admin).await.unwrap();
            admin.close().await;
        }
    }
}
