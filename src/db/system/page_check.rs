//! Reads the pages of a SQLite database, to find damage before a bot decides by it.
//!
//! A page that a disk or a copy damaged shows only when a statement reads it, which may be weeks later. The check reads
//! table by table, the ledger first, and stops when its time is up, so a start never waits long for a large database.
//! PostgreSQL has checksums of its own.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite};
use tokio::time::Instant;

use crate::sql::connection::Db;
use crate::sql::error::DbError;

/// All tables, those that money is counted by first.
const TABLES: &str = "select name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\'
    order by case name when 'ledger_entry' then 0 when 'copy_attempt' then 1 when 'executable_fill' then 2
        when 'trade_event' then 3 when 'activity_event' then 4 when 'event_group' then 5 when 'followed_user' then 6
        when 'system_config' then 7 when 'job' then 8 else 9 end, name";
const CHECK: &str = "select quick_check from pragma_quick_check($1)";
/// Virtual instructions between two looks at the time.
const LOOK_EVERY: i32 = 1_000;
const INTERRUPTED: &str = "9";

/// What a check read and found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagesRead {
    /// Tables whose every page was read, those of their indexes included.
    pub tables: usize,
    pub of: usize,
    /// The first table that was not read to its end before the time was up.
    pub unread: Option<String>,
}

impl Db {
    /// Reads the pages of the database for at most about `within`; `None` for PostgreSQL.
    ///
    /// # Errors
    /// `DamagedTable` or `Damaged` when a page is damaged; other [`DbError`]s when the database cannot be read.
    pub async fn check_pages(&self, within: Duration) -> Result<Option<PagesRead>, DbError> {
        #[cfg(any(test, feature = "testkit"))]
        if matches!(self, Self::Sqlite { driven: Some(_), .. }) {
            // The connection of the check works on a thread of its own, which no simulation can repeat.
            return Ok(None);
        }
        let Self::Sqlite { read, .. } = self else { return Ok(None) };
        // A connection of its own, because the time limit belongs to a connection.
        let mut connection = SqliteConnection::connect_with(&read.connect_options()).await?;
        let read = check_tables(&mut connection, Instant::now() + within).await;
        // Nothing was written, so an error of the close says nothing.
        let _ = connection.close().await;
        read.map(Some)
    }
}

async fn check_tables(connection: &mut SqliteConnection, deadline: Instant) -> Result<PagesRead, DbError> {
    let names: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut *connection).await?;
    connection.lock_handle().await?.set_progress_handler(LOOK_EVERY, move || Instant::now() < deadline);
    let of = names.len();
    for (tables, table) in names.into_iter().enumerate() {
        let found = sqlx::query_scalar::<Sqlite, String>(CHECK).bind(&table).fetch_all(&mut *connection).await;
        let problem = match found {
            Ok(lines) if lines == ["ok"] => continue,
            Ok(lines) => lines.first().map_or_else(String::new, |line| line.replace('\n', " ")),
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == INTERRUPTED) => {
                return Ok(PagesRead { tables, of, unread: Some(table) });
            }
            Err(error) => match DbError::from(error) {
                DbError::Damaged(cause) => cause.to_string(),
                other => return Err(other),
            },
        };
        return Err(DbError::DamagedTable { table, problem });
    }
    Ok(PagesRead { tables: of, of, unread: None })
}

impl std::fmt::Display for PagesRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.unread {
            None => write!(f, "every page of its {} tables was read and is whole", self.of),
            Some(unread) => write!(
                f,
                "{} of {} tables were read and are whole; the time was up in `{unread}`, the others were not read",
                self.tables, self.of
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::domain::money::units::Timestamp;
    use crate::testkit::TestDb;

    /// Overwrites the pages of a table in the file, as a failing disk or a wrong copy does.
    async fn damage(db: &Db, table: &str) {
        let Db::Sqlite { read, write, file, .. } = db else { unreachable!() };
        sqlx::query("pragma wal_checkpoint(truncate)").execute(write).await.unwrap();
        let root: i64 = sqlx::query_scalar("select rootpage from sqlite_master where name = $1")
            .bind(table)
            .fetch_one(read)
            .await
            .unwrap();
        let size: i64 = sqlx::query_scalar("pragma page_size").fetch_one(read).await.unwrap();
        // The descriptor is closed while connections are open, which is harmless with one process.
        let mut pages = std::fs::File::options().write(true).open(file.path()).unwrap();
        pages.seek(SeekFrom::Start(u64::try_from((root - 1) * size).unwrap())).unwrap();
        pages.write_all(&[0xa5; 512]).unwrap();
    }

    #[actix_web::test]
    async fn a_whole_database_is_read_to_its_end() {
        let test_db = TestDb::sqlite().await;
        let read = test_db.db.check_pages(Duration::from_secs(60)).await.unwrap().unwrap();
        assert!(read.tables > 30 && read.tables == read.of && read.unread.is_none(), "{read:?}");
    }

    #[actix_web::test]
    async fn a_damaged_page_is_found_and_its_table_is_named() {
        for table in ["ledger_entry", "trade_event", "system_checkpoint"] {
            let test_db = TestDb::sqlite().await;
            damage(&test_db.db, table).await;
            let error = test_db.db.check_pages(Duration::from_secs(60)).await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(&error, DbError::DamagedTable { table: found, .. } if found == table), "{text}");
            assert!(text.contains(table) && text.contains("restore a backup"), "{text}");
            assert!(!error.is_transient());
        }
    }

    #[actix_web::test]
    async fn a_check_whose_time_is_up_says_what_it_did_not_read() {
        let test_db = TestDb::sqlite().await;
        let now = Timestamp::from_millis(1_790_000_000_000);
        // Large enough that SQLite looks at the time while it reads.
        for n in 0..200 {
            test_db.db.put_checkpoint(&format!("filler:{n}"), &"x".repeat(40_000), now).await.unwrap();
        }
        let read = test_db.db.check_pages(Duration::ZERO).await.unwrap().unwrap();
        assert!(read.tables < read.of && read.unread.is_some(), "{read:?}");
        assert!(read.to_string().contains("the time was up"), "{read}");
    }
}
