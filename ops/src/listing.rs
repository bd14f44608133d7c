//! A list that is said page by page, as it comes: however long it is, one page of it is held.

use crate::output::{Format, Table, line, part};
use anyhow::{Context, Result};
use serde::Serialize;

/// One column of a table: its head, and what stands in it.
pub struct Column<T> {
    pub head: &'static str,
    pub cell: fn(&T) -> String,
}

/// A list under way. With JSON it is one array on one line, for people a table. One that breaks off is no document; its line
/// ends, so that what says why has a line of its own.
pub struct Listing<T: 'static> {
    format: Format,
    columns: &'static [Column<T>],
    /// Of the pages so far, so that columns line up.
    widths: Vec<usize>,
    said: usize,
    /// The head stands already.
    begun: bool,
    /// A line of JSON waits for its end.
    open: bool,
}

impl<T: Serialize> Listing<T> {
    #[must_use]
    pub fn new(format: Format, columns: &'static [Column<T>]) -> Self {
        Listing { format, columns, widths: Vec::new(), said: 0, begun: false, open: false }
    }

    /// How many items were said.
    #[must_use]
    pub fn said(&self) -> usize {
        self.said
    }

    /// Says what a page holds; nothing was said before the first.
    pub fn page(&mut self, items: &[T]) -> Result<()> {
        let text = match self.format {
            Format::Json => self.array(items)?,
            Format::Human => self.table(items),
        };
        self.said += items.len();
        self.open = self.format == Format::Json && self.said > 0;
        part(&text)
    }

    /// The end of the list; `noun` is what its items are.
    pub fn end(mut self, noun: &str) -> Result<()> {
        self.open = false;
        match self.format {
            Format::Json => line(if self.said == 0 { "[]" } else { "]" }),
            Format::Human => {
                if !self.begun {
                    self.page(&[])?;
                }
                line(&format!("{} {noun}(s)", self.said))
            }
        }
    }

    fn array(&self, items: &[T]) -> Result<String> {
        let mut text = String::new();
        for (n, item) in items.iter().enumerate() {
            text.push(if self.said == 0 && n == 0 { '[' } else { ',' });
            text.push_str(&serde_json::to_string(item).context("encoding the answer")?);
        }
        Ok(text)
    }

    fn table(&mut self, items: &[T]) -> String {
        let mut table = match self.begun {
            false => Table::with_head(&self.columns.iter().map(|column| column.head).collect::<Vec<_>>()),
            true => Table::default(),
        };
        self.begun = true;
        for item in items {
            table.row(self.columns.iter().map(|column| (column.cell)(item)));
        }
        self.widths = table.widths(&self.widths);
        table.text(&self.widths)
    }
}

impl<T: 'static> Drop for Listing<T> {
    fn drop(&mut self) {
        if self.open {
            // What broke it off is told by whoever drops it.
            let _ = line("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column<u32>] = &[
        Column { head: "number", cell: |n| n.to_string() },
        Column { head: "twice", cell: |n| (2 * n).to_string() },
    ];

    fn texts(format: Format, pages: &[&[u32]]) -> Vec<String> {
        let mut listing = Listing::new(format, COLUMNS);
        let text = |listing: &mut Listing<u32>, page: &[u32]| {
            let text = match format {
                Format::Json => listing.array(page).unwrap(),
                Format::Human => listing.table(page),
            };
            listing.said += page.len();
            text
        };
        pages.iter().map(|page| text(&mut listing, page)).collect()
    }

    #[test]
    fn pages_are_one_array_for_programs() {
        assert_eq!(texts(Format::Json, &[&[1, 2], &[], &[3]]).concat() + "]", "[1,2,3]");
    }

    #[test]
    fn pages_are_one_table_with_one_head_for_people() {
        let pages = texts(Format::Human, &[&[1], &[1_000_000_000]]);
        assert_eq!(pages[0], "number  twice\n1       2\n");
        assert_eq!(pages[1], "1000000000  2000000000\n");
    }
}
