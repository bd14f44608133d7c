//! Apache Parquet: every column optional, row groups of bounded size, Snappy.

use super::sheet::{Cell, Column, ColumnKind, Sheet};
use anyhow::{Context as _, Result};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use std::io::Write;
use std::sync::Arc;

/// Rows kept in memory until they are written together.
const ROWS_PER_GROUP: usize = 64 * 1024;

pub(super) struct Columns {
    columns: &'static [Column],
    writer: SerializedFileWriter<Box<dyn Write + Send>>,
    gathered: Vec<Gathered>,
    rows: usize,
}

/// One column of the row group that is being filled.
enum Gathered {
    Numbers(Vec<i64>, Vec<i16>),
    Texts(Vec<ByteArray>, Vec<i16>),
}

impl Columns {
    pub(super) fn new(columns: &'static [Column], out: Box<dyn Write + Send>) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("muster ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(out, schema(columns)?, Arc::new(properties))
            .context("beginning a Parquet file")?;
        Ok(Columns { columns, writer, gathered: gathered(columns), rows: 0 })
    }

    fn write_group(&mut self) -> Result<()> {
        let full = std::mem::replace(&mut self.gathered, gathered(self.columns));
        self.rows = 0;
        let mut group = self.writer.next_row_group()?;
        for column in full {
            let mut writer = group.next_column()?.context("as many columns as the schema has")?;
            match column {
                Gathered::Numbers(values, present) => {
                    writer.typed::<Int64Type>().write_batch(&values, Some(&present), None)?;
                }
                Gathered::Texts(values, present) => {
                    writer.typed::<ByteArrayType>().write_batch(&values, Some(&present), None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }
}

impl Sheet for Columns {
    fn row(&mut self, cells: Vec<Cell>) -> Result<()> {
        for (column, cell) in self.gathered.iter_mut().zip(cells) {
            column.put(cell);
        }
        self.rows += 1;
        if self.rows == ROWS_PER_GROUP { self.write_group().context("writing rows") } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.rows > 0 {
            self.write_group().context("writing the last rows")?;
        }
        let mut out = self.writer.into_inner().context("ending the Parquet file")?;
        out.flush().context("ending the Parquet file")
    }
}

impl Gathered {
    fn put(&mut self, cell: Cell) {
        let present = i16::from(!matches!(cell, Cell::Null));
        match self {
            Gathered::Numbers(values, presence) => {
                presence.push(present);
                match cell {
                    // Parquet keeps an unsigned number as the signed one of the same bits.
                    Cell::Number(number) => values.push(number.cast_signed()),
                    Cell::Time(time) => values.push(time.as_millis().cast_signed()),
                    Cell::Null | Cell::Text(_) | Cell::Json(_) => {}
                }
            }
            Gathered::Texts(values, presence) => {
                presence.push(present);
                values.extend(cell.into_text().map(|text| ByteArray::from(text.into_bytes())));
            }
        }
    }
}

fn gathered(columns: &[Column]) -> Vec<Gathered> {
    let empty = |column: &Column| match column.kind {
        ColumnKind::Number | ColumnKind::Time => Gathered::Numbers(Vec::new(), Vec::new()),
        ColumnKind::Text | ColumnKind::Json => Gathered::Texts(Vec::new(), Vec::new()),
    };
    columns.iter().map(empty).collect()
}

fn schema(columns: &[Column]) -> Result<TypePtr> {
    let field = |column: &Column| -> Result<TypePtr> {
        let (physical, logical) = match column.kind {
            ColumnKind::Number => (Physical::INT64, LogicalType::integer(64, false)),
            ColumnKind::Time => (Physical::INT64, LogicalType::timestamp(true, TimeUnit::MILLIS)),
            ColumnKind::Text => (Physical::BYTE_ARRAY, LogicalType::String),
            ColumnKind::Json => (Physical::BYTE_ARRAY, LogicalType::Json),
        };
        let field = Type::primitive_type_builder(column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(Some(logical))
            .build()?;
        Ok(Arc::new(field))
    };
    let fields = columns.iter().map(field).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Type::group_type_builder("muster").with_fields(fields).build()?))
}
