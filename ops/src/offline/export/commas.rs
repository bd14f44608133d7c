//! CSV (RFC 4180) with a head; what there is not is an empty field.

use super::sheet::{Cell, Column, Sheet};
use anyhow::{Context as _, Result};
use std::io::Write;

pub(super) struct Commas(csv::Writer<Box<dyn Write + Send>>);

impl Commas {
    pub(super) fn new(columns: &'static [Column], out: Box<dyn Write + Send>) -> Result<Self> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(columns.iter().map(|column| column.name)).context("writing the head")?;
        Ok(Commas(writer))
    }
}

impl Sheet for Commas {
    fn row(&mut self, cells: Vec<Cell>) -> Result<()> {
        let fields = cells.into_iter().map(|cell| cell.into_text().unwrap_or_default());
        self.0.write_record(fields).context("writing a row")
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.0.flush().context("writing the last row")
    }
}
