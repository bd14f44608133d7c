//! Events and projections as tables, for other programs.
//!
//! ```text
//!   fold ──▶ rows.rs (which rows a table has) ──▶ sheet.rs ──┬─ lines.rs     JSON Lines
//!                                                            ├─ commas.rs    CSV
//!                                                            └─ columns.rs   Parquet
//! ```
//!
//! A file appears whole under its name or not at all: it is written beside it and renamed at the end.

mod columns;
mod commas;
mod lines;
mod rows;
mod sheet;
mod whole_file;

pub use rows::{Filter, Table};
pub use sheet::FileFormat;

use super::fold::Fold;
use super::moment::Moment;
use anyhow::Result;
use sheet::Sheet;
use std::io::Write;
use std::path::Path;
use whole_file::WholeFile;

/// What to export.
pub struct Export<'a> {
    pub table: Table,
    pub format: FileFormat,
    pub filter: Filter,
    pub until: Moment,
    /// Asked before each entry; an error ends the export and leaves nothing.
    pub go_on: &'a mut dyn FnMut(&Fold) -> Result<()>,
}

impl Export<'_> {
    /// Writes to a file, which appears whole or not at all. Returns the number of rows.
    pub fn to_file(self, fold: &mut Fold, path: &Path) -> Result<u64> {
        let file = WholeFile::beside(path)?;
        let rows = self.to_writer(fold, Box::new(file.writer()?))?;
        file.appear()?;
        Ok(rows)
    }

    /// Writes to whatever takes bytes. Returns the number of rows.
    pub fn to_writer(self, fold: &mut Fold, out: Box<dyn Write + Send>) -> Result<u64> {
        let Export { table, format, filter, until, go_on } = self;
        let mut sheet: Box<dyn Sheet> = match format {
            FileFormat::Jsonl => Box::new(lines::Lines::new(table.columns(), out)),
            FileFormat::Csv => Box::new(commas::Commas::new(table.columns(), out)?),
            FileFormat::Parquet => Box::new(columns::Columns::new(table.columns(), out)?),
        };
        let mut count = 0;
        let mut put = |row| {
            count += 1;
            sheet.row(row)
        };
        rows::write(table, fold, &filter, until, go_on, &mut put)?;
        fold.check_reached(until)?;
        sheet.finish()?;
        Ok(count)
    }
}
