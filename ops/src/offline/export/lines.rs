//! JSON Lines: one object a row, keys in the order of the columns.

use super::sheet::{Cell, Column, Sheet};
use anyhow::{Context as _, Result};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::io::Write;

pub(super) struct Lines {
    columns: &'static [Column],
    out: Box<dyn Write + Send>,
}

impl Lines {
    pub(super) fn new(columns: &'static [Column], out: Box<dyn Write + Send>) -> Self {
        Lines { columns, out }
    }
}

impl Sheet for Lines {
    fn row(&mut self, cells: Vec<Cell>) -> Result<()> {
        let row = Row { columns: self.columns, cells: &cells };
        serde_json::to_writer(&mut self.out, &row).context("writing a line")?;
        self.out.write_all(b"\n").context("writing a line")
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.out.flush().context("writing the last line")
    }
}

struct Row<'a> {
    columns: &'static [Column],
    cells: &'a [Cell],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, cell) in self.columns.iter().zip(self.cells) {
            match cell {
                Cell::Null => map.serialize_entry(column.name, &())?,
                Cell::Number(number) => map.serialize_entry(column.name, number)?,
                Cell::Text(text) => map.serialize_entry(column.name, text)?,
                Cell::Time(time) => map.serialize_entry(column.name, &time.to_string())?,
                Cell::Json(value) => map.serialize_entry(column.name, value)?,
            }
        }
        map.end()
    }
}
