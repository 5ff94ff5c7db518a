//! Statements over many rows, in few fixed sizes.

use std::sync::OnceLock;

use super::connection::Driver;

/// Rows of one statement at most.
const ROWS_MAX: usize = 64;
const SIZES: usize = 7;

/// A statement over many rows: `head (..), (..), .. tail`.
///
/// Sizes are powers of two: any number of rows takes few statements, and each text is prepared once. SQLite gets bare
/// `?`, because it looks every named placeholder up in a list, which is quadratic in their number.
pub(crate) struct Batch {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    postgres: [OnceLock<String>; SIZES],
    sqlite: [OnceLock<String>; SIZES],
}

impl Batch {
    pub(crate) const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self {
            head,
            columns,
            tail,
            postgres: [const { OnceLock::new() }; SIZES],
            sqlite: [const { OnceLock::new() }; SIZES],
        }
    }

    /// `rows` in slices whose lengths have a prepared text.
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

    /// The text for `rows` rows, which must be the length of a chunk.
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
