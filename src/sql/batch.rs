//! Statements that take many rows at once, in a few fixed sizes.
//!
//! [`batches!`] names such statements. Three macros run one of them over a slice, cut into chunks that have a prepared
//! text, and differ in the answer only:
//!
//! - [`execute_batch!`] writes in a transaction and returns how many rows it changed;
//! - [`fetch_batch!`] reads rows outside of a transaction;
//! - [`fetch_batch_values!`] returns one value for each row, in a transaction.
//!
//! The closure binds one row: `|query, job| query.bind(job.id).bind(&job.key)`. All three evaluate to a `Result`.

use std::sync::OnceLock;

use super::connection::Driver;

/// The most rows of one statement.
const ROWS_MAX: usize = 64;
const SIZES: usize = 7;

/// A statement over many rows: `head (..), (..), .. tail`.
///
/// Sizes are powers of two, so that any number of rows takes few statements and each text is prepared once per
/// connection. SQLite gets a bare `?`, because it searches a list for every numbered placeholder: quadratic in their
/// number.
pub(crate) struct Batch {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    postgres: [OnceLock<String>; SIZES],
    sqlite: [OnceLock<String>; SIZES],
}

impl Batch {
    /// A statement that starts with `head`, has `columns` placeholders a row, and ends with `tail`.
    pub(crate) const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self {
            head,
            columns,
            tail,
            postgres: [const { OnceLock::new() }; SIZES],
            sqlite: [const { OnceLock::new() }; SIZES],
        }
    }

    /// Cuts `rows` into slices whose lengths have a prepared text.
    pub(crate) fn chunks<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
        let mut rest = rows;
        std::iter::from_fn(move || {
            let size = match rest.len() {
                0 => return None,
                len if len >= ROWS_MAX => ROWS_MAX,
                len => 1 << len.ilog2(),
            };
            let (chunk, after) = rest.split_at(size);
            rest = after;
            Some(chunk)
        })
    }

    /// Returns the text for `rows` rows, which must be the length of a chunk of [`Batch::chunks`].
    pub(crate) fn text(&'static self, driver: Driver, rows: usize) -> &'static str {
        assert!(rows.is_power_of_two() && rows <= ROWS_MAX, "rows come in chunks");
        let size = rows.trailing_zeros() as usize;
        match driver {
            Driver::Postgres => self.postgres[size].get_or_init(|| self.write(rows, |n| format!("${n}"))),
            Driver::Sqlite => self.sqlite[size].get_or_init(|| self.write(rows, |_| "?".to_owned())),
        }
    }

    fn write(&self, rows: usize, placeholder: impl Fn(usize) -> String) -> String {
        let row = |row: usize| {
            let values: Vec<_> = (1..=self.columns).map(|column| placeholder(row * self.columns + column)).collect();
            format!("({})", values.join(", "))
        };
        let rows: Vec<_> = (0..rows).map(row).collect();
        format!("{}{}{}", self.head, rows.join(", "), self.tail)
    }
}

/// Names batches, and lists them for the test that prepares every statement on both drivers.
macro_rules! batches {
    ($($(#[$doc:meta])* $name:ident = $head:literal, $columns:literal, $tail:literal;)*) => {
        $($(#[$doc])* static $name: $crate::sql::batch::Batch =
            $crate::sql::batch::Batch::new($head, $columns, $tail);)*
        pub(crate) static BATCHES: &[(&str, &$crate::sql::batch::Batch)] = &[$((stringify!($name), &$name)),*];
    };
}
pub(crate) use batches;

/// Runs a [`Batch`] that writes over all rows, in a transaction; returns the number of rows that it changed.
///
/// `execute_batch!(tx, INSERT, &jobs, |query, job| query.bind(job.id).bind(&job.key))?`
macro_rules! execute_batch {
    ($tx:expr, $batch:expr, $rows:expr, |$query:ident, $row:pat_param| $bound:expr) => {
        async {
            let tx: &mut $crate::sql::connection::Tx = $tx;
            let mut changed: u64 = 0;
            for chunk in $crate::sql::batch::Batch::chunks($rows) {
                let text = $batch.text(tx.driver(), chunk.len());
                changed += $crate::sql::connection::on!(tx &mut *tx, c => {
                    let mut query = sqlx::query(text);
                    for $row in chunk {
                        let $query = query;
                        query = $bound;
                    }
                    query.execute(c).await.map(|done| done.rows_affected())
                })?;
            }
            if changed > 0 {
                tx.note_changes();
            }
            Ok::<u64, $crate::sql::error::DbError>(changed)
        }
        .await
    };
}
pub(crate) use execute_batch;

/// Runs a [`Batch`] that reads over all rows, outside of a transaction; returns the rows that it found, chunk
/// by chunk.
///
/// `let rows: Vec<Row> = fetch_batch!(self, BY_ID, ids, |query, id| query.bind(id.0))?;`
macro_rules! fetch_batch {
    ($db:expr, $batch:expr, $rows:expr, |$query:ident, $row:pat_param| $bound:expr) => {
        async {
            let db: &$crate::sql::connection::Db = $db;
            let mut found = Vec::new();
            for chunk in $crate::sql::batch::Batch::chunks($rows) {
                let text = $batch.text(db.driver(), chunk.len());
                found.append(&mut $crate::sql::connection::on!(db db, c => {
                    let mut query = sqlx::query_as(text);
                    for $row in chunk {
                        let $query = query;
                        query = $bound;
                    }
                    query.fetch_all(c).await
                })?);
            }
            Ok::<_, $crate::sql::error::DbError>(found)
        }
        .await
    };
}
pub(crate) use fetch_batch;

/// Runs a [`Batch`] that returns one value a row, in a transaction; returns the values, chunk by chunk.
///
/// `let ids: Vec<i64> = fetch_batch_values!(tx, FINISH, fences, |query, fence| query.bind(fence.id))?;`
macro_rules! fetch_batch_values {
    ($tx:expr, $batch:expr, $rows:expr, |$query:ident, $row:pat_param| $bound:expr) => {
        async {
            let tx: &mut $crate::sql::connection::Tx = $tx;
            let mut values = Vec::new();
            for chunk in $crate::sql::batch::Batch::chunks($rows) {
                let text = $batch.text(tx.driver(), chunk.len());
                values.append(&mut $crate::sql::connection::on!(tx &mut *tx, c => {
                    let mut query = sqlx::query_scalar(text);
                    for $row in chunk {
                        let $query = query;
                        query = $bound;
                    }
                    query.fetch_all(c).await
                })?);
            }
            Ok::<_, $crate::sql::error::DbError>(values)
        }
        .await
    };
}
pub(crate) use fetch_batch_values;

#[cfg(test)]
mod tests {
    use super::*;

    static PAIRS: Batch = Batch::new("insert into t (a, b) values ", 2, " on conflict do nothing");

    #[test]
    fn a_batch_is_one_text_in_two_spellings() {
        assert_eq!(
            PAIRS.text(Driver::Postgres, 2),
            "insert into t (a, b) values ($1, $2), ($3, $4) on conflict do nothing"
        );
        assert_eq!(PAIRS.text(Driver::Sqlite, 1), "insert into t (a, b) values (?, ?) on conflict do nothing");
    }

    #[test]
    fn rows_are_cut_into_few_fixed_sizes_and_none_is_lost() {
        let rows: Vec<usize> = (0..205).collect();
        let sizes: Vec<usize> = Batch::chunks(&rows).map(<[_]>::len).collect();
        assert_eq!(sizes, [64, 64, 64, 8, 4, 1]);
        assert_eq!(Batch::chunks(&rows).flatten().count(), 205);
        assert_eq!(Batch::chunks(&rows[..0]).count(), 0);
    }
}
