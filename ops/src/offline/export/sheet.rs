//! A table as it is written: columns of a type each, rows of cells.

use anyhow::Result;
use events::time::Timestamp;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// One JSON object a line
    Jsonl,
    /// Commas, with a head
    Csv,
    /// Apache Parquet, in columns, compressed with Snappy
    Parquet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: ColumnKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// Unsigned, 64 bits.
    Number,
    Text,
    /// Milliseconds since 1970, UTC; RFC 3339 where text is written.
    Time,
    Json,
}

#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    Number(u64),
    Text(String),
    Time(Timestamp),
    Json(serde_json::Value),
}

/// Takes rows, as many cells each as there are columns, of the columns' kinds.
pub(super) trait Sheet {
    fn row(&mut self, cells: Vec<Cell>) -> Result<()>;

    /// Writes what is left. A sheet that was not finished is no whole table.
    fn finish(self: Box<Self>) -> Result<()>;
}

pub(super) const fn number(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Number }
}

pub(super) const fn text(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Text }
}

pub(super) const fn time(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Time }
}

pub(super) const fn json(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Json }
}

impl Cell {
    pub(super) fn text(value: impl ToString) -> Cell {
        Cell::Text(value.to_string())
    }

    pub(super) fn maybe(value: Option<impl ToString>) -> Cell {
        value.map_or(Cell::Null, Cell::text)
    }

    /// A time; zero is none.
    pub(super) fn time(value: Timestamp) -> Cell {
        if value == Timestamp::ZERO { Cell::Null } else { Cell::Time(value) }
    }

    /// As text, for formats that know nothing else; none if there is nothing.
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Cell::Null => None,
            Cell::Number(number) => Some(number.to_string()),
            Cell::Text(text) => Some(text),
            Cell::Time(time) => Some(time.to_string()),
            Cell::Json(value) => Some(value.to_string()),
        }
    }
}
