//! Brings a database to the newest schema.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::DbError;
use super::connection::{Db, Driver, Tx};

macro_rules! migrations {
    ($($version:literal $name:literal),+ $(,)?) => {
        /// (version, name, text for PostgreSQL, text for SQLite). Embedded, so that a binary is all it takes.
        const MIGRATIONS: &[(i64, &str, &str, &str)] = &[$((
            $version,
            $name,
            include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
            include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
        )),+];
    };
}
migrations! {
    1 "0001_users_and_config",
    2 "0002_markets",
    3 "0003_events",
    4 "0004_groups_and_attempts",
    5 "0005_ledger",
    6 "0006_jobs",
    7 "0007_append_only",
    8 "0008_dropped_letters",
    9 "0009_leases",
    10 "0010_attempt_tally",
    11 "0011_groups_by_time",
    12 "0012_lists",
    13 "0013_attempts_of_market",
    14 "0014_curves",
    15 "0015_sign_in",
}

impl Db {
    /// Applies what is missing, under a lock: two processes that start together do not both try.
    pub async fn migrate(&self) -> Result<(), DbError> {
        match self {
            // The migrator takes an advisory lock of its own.
            Self::Postgres(pool) => migrator(Driver::Postgres).run(pool).await?,
            Self::Sqlite { .. } => {
                let mut tx = self.begin().await?;
                if let Tx::Sqlite(transaction, _) = &mut tx {
                    migrator(Driver::Sqlite).run(&mut **transaction).await?;
                }
                tx.commit().await?;
            }
        }
        Ok(())
    }
}

fn migrator(driver: Driver) -> Migrator {
    let migrations = MIGRATIONS.iter().map(|&(version, name, postgres, sqlite)| {
        let text = if driver == Driver::Postgres { postgres } else { sqlite };
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_both_folders_is_applied() {
        for folder in ["postgres", "sqlite"] {
            let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<String> = files.collect();
            files.sort();
            let applied: Vec<String> = MIGRATIONS.iter().map(|(_, name, ..)| format!("{name}.sql")).collect();
            assert_eq!(files, applied, "{folder}");
        }
    }
}
