//! What happened to few devices: re-keys without a code, suspicion, orders, updates. Who had none of it keeps a pointer.

use super::update::Tried;
use events::ids::Generation;
use events::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incidents {
    /// When the last re-key was granted, and in which generation; zero if there was none.
    pub rekeyed_at: Timestamp,
    pub rekeyed_in: Generation,
    /// Until then a re-key still counts as demanded by a directive that was obeyed.
    pub rekey_demanded_until: Timestamp,
    /// Index of the operation that restricted or revoked the device, while it is.
    pub bound_by: Option<u32>,
    /// When suspicion ends if nothing else is heard; zero if there is none.
    pub suspect_until: Timestamp,
    /// Until then automation leaves the device alone: a person reinstated it.
    pub hands_off_until: Timestamp,
    /// The last rollout of software update that the device was told of.
    pub tried: Option<Tried>,
}

static NONE: Incidents = Incidents {
    rekeyed_at: Timestamp::ZERO,
    rekeyed_in: 0,
    rekey_demanded_until: Timestamp::ZERO,
    bound_by: None,
    suspect_until: Timestamp::ZERO,
    hands_off_until: Timestamp::ZERO,
    tried: None,
};

/// Read as if they were always there, and stored so; made room for when one is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct IfAny(Option<Box<Incidents>>);

impl Deref for IfAny {
    type Target = Incidents;
    fn deref(&self) -> &Incidents {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for IfAny {
    fn deref_mut(&mut self) -> &mut Incidents {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for IfAny {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for IfAny {}

impl Serialize for IfAny {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for IfAny {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let incidents = Incidents::deserialize(deserializer)?;
        Ok(IfAny((incidents != NONE).then(|| Box::new(incidents))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_what_was_never_written_and_is_stored_as_the_same() {
        assert_eq!(NONE, Incidents::default());
        let mut written = IfAny(Some(Box::default()));
        assert!(written.0.is_some() && written == IfAny::default());
        let stored = postcard::to_stdvec(&written).unwrap();
        assert_eq!(stored, postcard::to_stdvec(&NONE).unwrap());
        assert!(postcard::from_bytes::<IfAny>(&stored).unwrap().0.is_none());
        written.bound_by = Some(7);
        let stored = postcard::to_stdvec(&written).unwrap();
        assert_eq!(postcard::from_bytes::<IfAny>(&stored).unwrap(), written);
    }
}
