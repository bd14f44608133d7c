//! What a command says: one JSON document with `--json`, else a text for people.

use anyhow::{Context, Result};
use serde::Serialize;
use std::io::Write as _;

/// How the caller wants answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Human,
    Json,
}

impl Format {
    /// Prints `value` as one line of JSON, or what `human` makes of it.
    pub fn print<T: Serialize>(self, value: &T, human: impl FnOnce(&T) -> String) -> Result<()> {
        let text = match self {
            Format::Json => serde_json::to_string(value).context("encoding the answer")?,
            Format::Human => human(value),
        };
        line(text.trim_end())
    }
}

/// The name of a code as documents and JSON have it, such as `NO_ROOM`.
#[must_use]
pub fn name_of(code: &impl Serialize) -> String {
    let name = serde_json::to_value(code).ok();
    name.and_then(|name| name.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

/// One line on stdout; a closed pipe ends the command quietly, as `| head` expects.
pub fn line(text: &str) -> Result<()> {
    part(&format!("{text}\n"))
}

/// As [`line`], without an end of line.
pub fn part(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.context("writing to stdout"),
    }
}

/// Left-aligned columns, wide enough for their widest cell.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    #[must_use]
    pub fn with_head(head: &[&str]) -> Self {
        Table { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Table {
    /// The width of each column, and no less than what stood before.
    #[must_use]
    pub fn widths(&self, before: &[usize]) -> Vec<usize> {
        let mut widths = before.to_vec();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    /// Lines whose columns have these widths.
    #[must_use]
    pub fn text(&self, widths: &[usize]) -> String {
        let line = |row: &Vec<String>| {
            let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text(&self.widths(&[])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let mut table = Table::with_head(&["device", "state"]);
        table.row(["dev_1".to_owned(), "legitimate".to_owned()]);
        assert_eq!(table.to_string(), "device  state\ndev_1   legitimate\n");
    }
}
