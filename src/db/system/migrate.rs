//! Migrates a database to the newest schema.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::sql::connection::{Db, Driver, Tx, on, statements};
use crate::sql::error::DbError;

macro_rules! migrations {
    ($($version:literal $name:literal),+ $(,)?) => {
        /// (version, name, text for PostgreSQL, text for SQLite). Embedded, so that the binary needs no files.
        const MIGRATIONS: &[(i64, &str, &str, &str)] = &[$((
            $version,
            $name,
            include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
            include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
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
    16 "0016_record_and_size",
    17 "0017_positions",
    18 "0018_market_facts",
    20 "0020_prices_that_age",
    21 "0021_controls",
    26 "0026_ledger_key",
    27 "0027_event_title",
    28 "0028_small_series",
    31 "0031_long_rows",
}

statements! {
    LIST_APPLIED = "select version, checksum from _sqlx_migrations order by version";
}

impl Db {
    /// Applies the missing migrations under a lock, so that two processes that start together do not both apply them.
    /// If none is missing, no lock is taken and nothing is written.
    ///
    /// # Errors
    /// `NewerSchema` and `OtherMigration` when another version or build made the database; nothing is written then.
    /// `Migrate` when a migration fails.
    pub async fn migrate(&self) -> Result<(), DbError> {
        if self.has_newest_schema().await? {
            return Ok(());
        }
        match self.apply_missing().await {
            // A newer version of the program may have been faster; its error says so.
            Err(failed) => self.has_newest_schema().await.and(Err(failed)),
            Ok(()) => Ok(()),
        }
    }

    async fn apply_missing(&self) -> Result<(), DbError> {
        match self {
            Self::Postgres(pool, _) => {
                let mut connection = pool.acquire().await?;
                // The migrator takes an advisory lock.
                let applied = migrator(Driver::Postgres).run(&mut *connection).await;
                if applied.is_err() {
                    // The lock belongs to this connection, and the migrator does not release it after a failure.
                    connection.close().await?;
                }
                applied?;
            }
            Self::Sqlite { .. } => {
                let mut tx = self.begin().await?;
                if let Tx::Sqlite(transaction, ..) = &mut tx {
                    migrator(Driver::Sqlite).run(&mut **transaction).await?;
                }
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Returns whether no migration is missing.
    async fn has_newest_schema(&self) -> Result<bool, DbError> {
        let begun: bool = match self {
            Self::Postgres(pool, _) => {
                sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(pool).await?
            }
            Self::Sqlite { .. } => {
                let text = "select exists (select 1 from sqlite_master where name = '_sqlx_migrations')";
                on!(db self, c => sqlx::query_scalar(text).fetch_one(c).await)?
            }
        };
        if !begun {
            return Ok(false);
        }
        let applied: Vec<(i64, Vec<u8>)> = on!(db self, c => sqlx::query_as(LIST_APPLIED).fetch_all(c).await)?;
        all_applied(&applied, &migrator(self.driver()))
    }
}

/// Returns whether `applied`, version and checksum in ascending order, has all of our migrations.
///
/// # Errors
/// `NewerSchema` or `OtherMigration` when it has a migration that we do not have, or have with another text.
fn all_applied(applied: &[(i64, Vec<u8>)], ours: &Migrator) -> Result<bool, DbError> {
    let known = ours.iter().map(|migration| migration.version).max().unwrap_or_default();
    if let Some(&(found, _)) = applied.last()
        && found > known
    {
        return Err(DbError::NewerSchema { found, known });
    }
    let is_ours = |version: i64, checksum: &[u8]| {
        ours.iter().any(|migration| migration.version == version && *migration.checksum == *checksum)
    };
    match applied.iter().find(|(version, checksum)| !is_ours(*version, checksum)) {
        Some(&(version, _)) => Err(DbError::OtherMigration { version }),
        None => Ok(applied.len() == ours.iter().count()),
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

    #[test]
    fn migrations_of_another_program_are_told_from_missing_ones() {
        let ours = migrator(Driver::Sqlite);
        let all: Vec<(i64, Vec<u8>)> = ours.iter().map(|ours| (ours.version, ours.checksum.to_vec())).collect();
        let known = all.last().unwrap().0;
        assert!(all_applied(&all, &ours).unwrap());
        assert!(!all_applied(&[], &ours).unwrap());
        assert!(!all_applied(&all[..all.len() - 1], &ours).unwrap());

        let refused = |applied: &[(i64, Vec<u8>)]| all_applied(applied, &ours).unwrap_err();
        let newer = [all.as_slice(), &[(known + 1, vec![1]), (known + 7, vec![1])]].concat();
        assert!(
            matches!(refused(&newer), DbError::NewerSchema { found, known: ours } if found == known + 7 && ours == known)
        );
        let mut changed = newer.clone();
        changed[2].1 = vec![1];
        assert!(matches!(refused(&changed), DbError::NewerSchema { .. }), "the newer version decides the error");
        assert!(matches!(refused(&changed[..5]), DbError::OtherMigration { version: 3 }));
        assert!(matches!(refused(&[(0, vec![1])]), DbError::OtherMigration { version: 0 }));
    }
}
