//! Descriptions of our own spellings, for the OpenAPI document.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

/// A text of one pattern.
#[must_use]
pub fn text(pattern: String) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).pattern(Some(pattern)).into()
}

/// One of these words.
#[must_use]
pub fn one_of(words: &[&'static str]) -> RefOr<Schema> {
    let words = words.iter().copied();
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).enum_values(Some(words)).into()
}
