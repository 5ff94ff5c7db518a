//! Output to a terminal: the one place that makes text from outside harmless, and lays out columns.
//!
//! Labels, titles, errors and rows are hostile text. An escape sequence in one of them could recolour, overwrite or retitle
//! the terminal, and a right-to-left mark could swap the order in which text is read.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;

/// Returns one line of harmless text: controls and direction marks become `\u{fffd}`, line breaks and tabs spaces.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let shown = |c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Does the same as [`clean`], but keeps the lines.
pub fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// Returns the first `most` characters of a text, made harmless.
pub fn shortened(text: &str, most: usize) -> String {
    let text = clean(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.into_owned(),
    }
}

/// Returns a value as JSON, indented for people or on one line. Characters that could control a terminal are written as
/// `\uXXXX`, which parses to the same value.
pub fn json<T: Serialize>(value: &T, pretty: bool) -> anyhow::Result<String> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.context("cannot write the answer as JSON")?;
    let escaped = |c: char| match c {
        // Line breaks of the indentation; inside strings they are escaped already.
        '\n' => c.to_string(),
        c if is_unsafe(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    Ok(if text.contains(|c| c != '\n' && is_unsafe(c)) { text.chars().map(escaped).collect() } else { text })
}

/// Writes lines to standard output. Returns false when the reader has closed it, as with `| head`.
pub fn say(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Writes a value to standard output as indented JSON.
pub fn say_json<T: Serialize>(value: &T) -> anyhow::Result<bool> {
    say(&json(value, true)?)
}

/// Returns whether standard output is a terminal and colours are wanted.
pub fn has_colours() -> bool {
    io::stdout().is_terminal() && crate::config::colours_wanted()
}

/// A table of text; every cell is made harmless when it is added.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A column's head, and whether its cells are aligned left or right.
#[derive(Clone, Copy)]
pub enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Table {
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row, with one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| clean(cell.as_ref()).into_owned()).collect();
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Returns heads and rows as text, each column as wide as its widest cell.
    pub fn text(&self) -> String {
        let heads: Vec<String> = self.columns.iter().map(|column| column.head().to_owned()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&heads).chain(&self.rows).collect();
        let width = |place: usize| lines.iter().map(|cells| cells[place].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let padded = cells.iter().zip(&self.columns).zip(&widths).map(|((cell, column), width)| match column {
                Column::Left(_) => format!("{cell:<width$}"),
                Column::Right(_) => format!("{cell:>width$}"),
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Column {
    const fn head(&self) -> &'static str {
        match self {
            Self::Left(head) | Self::Right(head) => head,
        }
    }
}

/// Formats a duration in one unit: `5 s`, `12 min`, `3 h`, `2 d`.
pub fn span(millis: i64) -> String {
    let seconds = millis.max(0) / 1_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Matches control characters (escape among them) and the marks that change the direction of text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;mine\u{7}\u{9b}31m\u{202e}evil\r\nnext\tcell\u{7f}";

    #[test]
    fn no_character_that_controls_a_terminal_gets_through() {
        let steers = |text: &str| text.chars().any(is_unsafe);
        assert_eq!(clean(HOSTILE), "a\u{fffd}]0;mine\u{fffd}\u{fffd}31m\u{fffd}evil  next cell\u{fffd}");
        assert!(matches!(clean("Zoë — 50 % 🎲"), Cow::Borrowed("Zoë — 50 % 🎲")));
        assert_eq!(clean_lines("one\n\u{1b}two"), "one\n\u{fffd}two");
        let mut table = Table::new([Column::Left("A"), Column::Right("B")]);
        table.row([HOSTILE, HOSTILE]);
        assert!(table.text().lines().all(|line| !steers(line)));
        assert_eq!(table.text().lines().count(), 2, "a cell is one line");
        assert!(!steers(&shortened(HOSTILE, 5)));
    }

    #[test]
    fn json_is_harmless_too_and_reads_back_the_same() {
        for pretty in [true, false] {
            let text = json(&[HOSTILE], pretty).unwrap();
            assert!(text.lines().all(|line| !line.chars().any(is_unsafe)), "{text:?}");
            assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [HOSTILE]);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([Column::Left("NAME"), Column::Right("N"), Column::Left("END")]);
        table.row(["Zoë", "1200", ""]);
        table.row(["Quiet Harbour", "7", "x"]);
        assert_eq!(table.text(), "NAME              N  END\nZoë            1200\nQuiet Harbour     7  x");
        assert_eq!(shortened("abcdef", 3), "abc…");
        assert_eq!(shortened("abc", 3), "abc");
    }

    #[test]
    fn spans_are_shown_in_the_unit_that_fits() {
        let shown: Vec<_> = [-5, 999, 119_000, 120_000, 7_200_000, 172_800_000].map(span).into();
        assert_eq!(shown, ["0 s", "0 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
