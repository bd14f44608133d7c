//! Why a configuration was refused: file, line, field, and what was expected.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {why}", file.display())]
    Unreadable { file: PathBuf, why: String },
    #[error("{}:{line}: field `{field}`: {why}", file.display())]
    Field { file: PathBuf, line: usize, field: String, why: String },
}

impl ConfigError {
    /// What serde found wrong, with the line and the field where it found it.
    pub(super) fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text[..floor_char_boundary(text, offset)].matches('\n').count() + 1;
        let field = field_at(text, line).unwrap_or_else(|| "(top level)".to_owned());
        ConfigError::Field { file: file.to_owned(), line, field, why: error.message().to_owned() }
    }

    /// `field` is the dotted path of a field, such as `raft.heartbeat_ms`.
    pub(super) fn at(file: &Path, text: &str, field: &str, why: impl Into<String>) -> Self {
        let line = line_of(text, field);
        ConfigError::Field { file: file.to_owned(), line, field: field.to_owned(), why: why.into() }
    }
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    (0..=offset).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The table that a line opens, if it opens one.
fn table_of(line: &str) -> Option<&str> {
    let line = line.trim();
    let inner = line.strip_prefix("[[").and_then(|l| l.split("]]").next());
    inner.or_else(|| line.strip_prefix('[').and_then(|l| l.split(']').next())).map(str::trim)
}

fn key_of(line: &str) -> Option<&str> {
    let key = line.split_once('=')?.0.trim();
    (!key.is_empty() && !key.starts_with('#')).then_some(key)
}

fn dotted(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// The dotted path of the field on a line, counted from 1.
fn field_at(text: &str, wanted: usize) -> Option<String> {
    let mut table = "";
    for (number, line) in text.lines().enumerate() {
        table = table_of(line).unwrap_or(table);
        if number + 1 == wanted {
            let path = key_of(line).map(|key| dotted(table, key));
            return path.or_else(|| table_of(line).map(str::to_owned));
        }
    }
    None
}

/// The line of a field, of its table if the field is not written, or 1.
fn line_of(text: &str, field: &str) -> usize {
    let mut table = "";
    let mut table_line = 1;
    for (number, line) in text.lines().enumerate() {
        if let Some(opened) = table_of(line) {
            table = opened;
            if field.starts_with(table) {
                table_line = number + 1;
            }
        }
        if key_of(line).is_some_and(|key| dotted(table, key) == field) {
            return number + 1;
        }
    }
    table_line
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "node = 1\n\n[raft]\n# heartbeat_ms = 9\nheartbeat_ms = 5\n[[members]]\nid = 1\n";

    #[test]
    fn a_field_is_found_by_its_path_and_back() {
        assert_eq!(line_of(TEXT, "node"), 1);
        assert_eq!(line_of(TEXT, "raft.heartbeat_ms"), 5);
        assert_eq!(line_of(TEXT, "raft.election_ms_min"), 3, "a field that is not written is its table's");
        assert_eq!(field_at(TEXT, 5).as_deref(), Some("raft.heartbeat_ms"));
        assert_eq!(field_at(TEXT, 7).as_deref(), Some("members.id"));
    }
}
