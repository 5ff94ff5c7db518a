//! Formats the rows of a download: CSV by RFC 4180 with a header of column names, or one JSON array.

use std::borrow::Cow;

use bytes::Bytes;
use csv::{Terminator, Writer, WriterBuilder};
use serde_json::{Value, value::RawValue};

use crate::db::{Cell, Column};
use crate::web::server::error::WebError;
use crate::web::server::json::SAFE_MAX;

/// The file format of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
}

impl Format {
    /// Returns the format of a file name's ending.
    pub fn of(ending: &str) -> Option<Self> {
        [Self::Csv, Self::Json].into_iter().find(|format| format.as_str() == ending)
    }

    /// Returns the ending of the file name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// Returns the `Content-Type` of the answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
        }
    }
}

/// Why a row could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    #[error("cannot write a row as CSV")]
    Csv(#[from] csv::Error),
    #[error("cannot write a row as JSON")]
    Json(#[from] serde_json::Error),
}

/// The rows are ours, so a row that cannot be written is our failure.
impl From<SheetError> for WebError {
    fn from(error: SheetError) -> Self {
        Self::ours(error)
    }
}

/// Writes one download, part by part.
#[derive(Debug)]
pub struct Sheet {
    format: Format,
    columns: &'static [Column],
    /// A row was written already, so the next JSON row needs a comma before it.
    has_rows: bool,
    ended: bool,
}

impl Sheet {
    /// Creates an empty sheet.
    pub const fn new(format: Format, columns: &'static [Column]) -> Self {
        Self { format, columns, has_rows: false, ended: false }
    }

    /// Writes the beginning of the file and the first rows.
    ///
    /// # Errors
    /// [`SheetError`] when a row cannot be written.
    pub fn begin(&mut self, rows: &[Vec<Cell>]) -> Result<Bytes, SheetError> {
        match self.format {
            Format::Csv => {
                let mut writer = csv_writer();
                writer.write_record(self.columns.iter().map(|(name, _)| name))?;
                write_csv(writer, rows)
            }
            Format::Json => {
                let mut text = b"[".to_vec();
                self.write_json(rows, &mut text)?;
                Ok(text.into())
            }
        }
    }

    /// Writes the next rows.
    ///
    /// # Errors
    /// [`SheetError`] when a row cannot be written.
    pub fn rows(&mut self, rows: &[Vec<Cell>]) -> Result<Bytes, SheetError> {
        match self.format {
            Format::Csv => write_csv(csv_writer(), rows),
            Format::Json => {
                let mut text = Vec::new();
                self.write_json(rows, &mut text)?;
                Ok(text.into())
            }
        }
    }

    /// Returns the end of the file: once, and only for a format that has one.
    pub fn end(&mut self) -> Option<Bytes> {
        let ends = !std::mem::replace(&mut self.ended, true);
        (ends && self.format == Format::Json).then(|| Bytes::from_static(b"\n]\n"))
    }

    fn write_json(&mut self, rows: &[Vec<Cell>], text: &mut Vec<u8>) -> Result<(), SheetError> {
        for row in rows {
            text.extend_from_slice(if self.has_rows { b",\n" } else { b"\n" });
            self.has_rows = true;
            for (n, ((name, _), cell)) in self.columns.iter().zip(row).enumerate() {
                text.push(if n == 0 { b'{' } else { b',' });
                serde_json::to_writer(&mut *text, name)?;
                text.push(b':');
                write_json_cell(cell, text)?;
            }
            text.push(b'}');
        }
        Ok(())
    }
}

fn csv_writer() -> Writer<Vec<u8>> {
    WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new())
}

fn write_csv(mut writer: Writer<Vec<u8>>, rows: &[Vec<Cell>]) -> Result<Bytes, SheetError> {
    for row in rows {
        for cell in row {
            writer.write_field(csv_cell(cell).as_bytes())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    let text = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(text.into())
}

fn csv_cell(cell: &Cell) -> Cow<'_, str> {
    match cell {
        Cell::Null => Cow::Borrowed(""),
        Cell::Integer(number) => Cow::Owned(number.to_string()),
        Cell::Flag(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Cell::Uuid(id) => Cow::Owned(id.to_string()),
        Cell::Time(time) => Cow::Owned(time.iso()),
        Cell::Text(text) => escape_formula(text),
        Cell::Json(text) | Cell::Words(text) => Cow::Borrowed(text),
    }
}

/// Escapes text that a spreadsheet would run as a formula: an apostrophe in front marks it as text.
fn escape_formula(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => Cow::Owned(format!("'{text}")),
        false => Cow::Borrowed(text),
    }
}

fn write_json_cell(cell: &Cell, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match cell {
        Cell::Null => serde_json::to_writer(text, &Value::Null),
        Cell::Integer(number) if number.unsigned_abs() > SAFE_MAX.unsigned_abs() => {
            serde_json::to_writer(text, &number.to_string())
        }
        Cell::Integer(number) => serde_json::to_writer(text, number),
        Cell::Flag(flag) => serde_json::to_writer(text, flag),
        Cell::Uuid(id) => serde_json::to_writer(text, id),
        Cell::Time(time) => serde_json::to_writer(text, time),
        Cell::Text(words) => serde_json::to_writer(text, words),
        Cell::Json(json) => serde_json::to_writer(text, serde_json::from_str::<&RawValue>(json)?),
        Cell::Words(words) => {
            let words: Vec<&str> = words.split(',').filter(|word| !word.is_empty()).collect();
            serde_json::to_writer(text, &words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Kind;

    const COLUMNS: &[Column] = &[("n", Kind::Integer), ("name", Kind::Text), ("codes", Kind::Words)];

    fn row(n: i64, name: &str, codes: &str) -> Vec<Cell> {
        vec![Cell::Integer(n), Cell::Text(name.to_owned()), Cell::Words(codes.to_owned())]
    }

    fn written(format: Format, parts: &[Vec<Vec<Cell>>]) -> String {
        let mut sheet = Sheet::new(format, COLUMNS);
        let mut text = sheet.begin(&parts[0]).unwrap().to_vec();
        for part in &parts[1..] {
            text.extend_from_slice(&sheet.rows(part).unwrap());
        }
        while let Some(end) = sheet.end() {
            text.extend_from_slice(&end);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn cells_are_quoted_where_needed_and_formulas_are_escaped() {
        let check = |name: &str, cell: &str| {
            assert_eq!(written(Format::Csv, &[vec![row(-1, name, "")]]), format!("n,name,codes\r\n-1,{cell},\r\n"));
        };
        check("plain", "plain");
        check("a,b", "\"a,b\"");
        check("say \"so\"", "\"say \"\"so\"\"\"");
        check("two\r\nlines", "\"two\r\nlines\"");
        check("=1+1", "'=1+1");
        check("+1", "'+1");
        check("-1", "'-1");
        check("@SUM(A1)", "'@SUM(A1)");
        check("\t=1", "'\t=1");
        check("\r=1", "\"'\r=1\"");
        check("=HYPERLINK(\"a\",\"b\")", "\"'=HYPERLINK(\"\"a\"\",\"\"b\"\")\"");
        check("1=1", "1=1");
    }

    #[test]
    fn an_array_is_valid_json_however_it_is_cut_into_parts() {
        let parts = [vec![], vec![row(1, "=a", "A,B")], vec![], vec![row(2, "b\"", ""), row(3, "", "C")]];
        let text = written(Format::Json, &parts);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read[0], serde_json::json!({"n": 1, "name": "=a", "codes": ["A", "B"]}));
        assert_eq!((read[1]["name"].as_str(), read.as_array().unwrap().len()), (Some("b\""), 3));
        assert_eq!(written(Format::Json, &[vec![]]), "[\n]\n");
        assert_eq!(written(Format::Csv, &[vec![]]), "n,name,codes\r\n");
    }
}
