//! Bytes that are stored in one piece: as a list of bytes is, but neither written nor read byte by byte.

use serde::{Deserialize, Deserializer, Serializer};
use std::ops::Deref;

pub(crate) fn serialize<S: Serializer>(
    bytes: &impl Deref<Target = [u8]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<&'de [u8]>>(
    deserializer: D,
) -> Result<T, D::Error> {
    <&[u8]>::deserialize(deserializer).map(T::from)
}
