//! How key-encryption keys change without anything that was sealed being rewritten.
//!
//! ```text
//!   stage    a new key at the end of its list: every node that has the file can open with it, nobody seals with it
//!   promote  it comes first: from now on it seals, the others open
//!   retire   an old one is taken out and destroyed with its last copy
//! ```
//!
//! Between two steps every node gets the file and starts again; else one would seal what another cannot open yet.

use super::{Keyring, NumberedKey, WrappingKey};
use rand_core::CryptoRng;

/// The lists of key-encryption keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyList {
    /// Wraps devices' pre-shared keys and lots' tamper keys in events.
    Device,
    /// Wraps resumption secrets in events.
    Session,
    /// Derives the keys of segments and snapshots at rest.
    Segment,
}

/// Why a list stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    #[error("key {0} is staged already: promote it first")]
    Staged(u32),
    #[error("no key is staged")]
    NothingStaged,
    #[error("the list has no key {0}")]
    Unknown(u32),
    #[error("key {0} seals what is new; stage and promote another one first")]
    InUse(u32),
    #[error("what was sealed under key {0} is history, and could not be read any more")]
    History(u32),
    #[error("the list has no free number left")]
    Exhausted,
}

impl KeyList {
    pub const ALL: [KeyList; 3] = [KeyList::Device, KeyList::Session, KeyList::Segment];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyList::Device => "device",
            KeyList::Session => "session",
            KeyList::Segment => "segment",
        }
    }
}

impl Keyring {
    /// The numbers of a list's keys, the one that seals first; and the one that is staged, if there is one.
    #[must_use]
    pub fn key_numbers(&self, list: KeyList) -> (Vec<u32>, Option<u32>) {
        let keys = self.list(list);
        (keys.iter().map(|key| key.id).collect(), staged(keys))
    }

    /// Adds a key that opens and does not seal yet; its number.
    pub fn stage(&mut self, list: KeyList, rng: &mut impl CryptoRng) -> Result<u32, RotationError> {
        let keys = self.list_mut(list);
        if let Some(id) = staged(keys) {
            return Err(RotationError::Staged(id));
        }
        let highest = keys.iter().map(|key| key.id).max().unwrap_or(0);
        let id = highest.checked_add(1).ok_or(RotationError::Exhausted)?;
        keys.push(NumberedKey { id, key: WrappingKey::generate(rng) });
        Ok(id)
    }

    /// Lets the staged key seal; its number.
    pub fn promote(&mut self, list: KeyList) -> Result<u32, RotationError> {
        let keys = self.list_mut(list);
        let id = staged(keys).ok_or(RotationError::NothingStaged)?;
        keys.rotate_right(1);
        Ok(id)
    }

    /// Takes a key out.
    pub fn retire(&mut self, list: KeyList, id: u32) -> Result<(), RotationError> {
        let keys = self.list_mut(list);
        let at = keys.iter().position(|key| key.id == id).ok_or(RotationError::Unknown(id))?;
        if at == 0 {
            return Err(RotationError::InUse(id));
        }
        if list == KeyList::Segment && staged(keys) != Some(id) {
            return Err(RotationError::History(id));
        }
        keys.remove(at);
        Ok(())
    }

    fn list(&self, list: KeyList) -> &Vec<NumberedKey> {
        match list {
            KeyList::Device => &self.device_keys,
            KeyList::Session => &self.session_keys,
            KeyList::Segment => &self.segment_keys,
        }
    }

    fn list_mut(&mut self, list: KeyList) -> &mut Vec<NumberedKey> {
        match list {
            KeyList::Device => &mut self.device_keys,
            KeyList::Session => &mut self.session_keys,
            KeyList::Segment => &mut self.segment_keys,
        }
    }
}

/// A staged key stands last and is newer than the one that seals.
fn staged(keys: &[NumberedKey]) -> Option<u32> {
    let (seals, last) = (keys.first()?, keys.last()?);
    (last.id > seals.id).then_some(last.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use crate::keyring::Purpose;
    use getrandom::SysRng;
    use rand_core::UnwrapErr;

    fn keyring() -> Keyring {
        Keyring::generate(&mut UnwrapErr(SysRng), ClusterId::from_bytes([1; 16]))
    }

    #[test]
    fn a_staged_key_opens_and_a_promoted_one_seals_and_the_file_keeps_both_in_order() {
        let mut before = keyring();
        let wrap = |keyring: &Keyring| {
            keyring.wrap(&mut UnwrapErr(SysRng), Purpose::Resumption, b"device", 3, b"secret")
        };
        let old = wrap(&before);
        for expected in 2..5 {
            assert_eq!(before.stage(KeyList::Session, &mut UnwrapErr(SysRng)), Ok(expected));
            let staged = RotationError::Staged(expected);
            assert_eq!(before.stage(KeyList::Session, &mut UnwrapErr(SysRng)), Err(staged));
            let mut after = Keyring::from_json(&before.to_json()).unwrap();
            assert_eq!(after.key_numbers(KeyList::Session).1, Some(expected));
            assert_eq!(wrap(&after).key, expected - 1, "staged, it does not seal");
            assert_eq!(after.promote(KeyList::Session), Ok(expected));
            let new = wrap(&after);
            assert_eq!(new.key, expected);
            for keyring in [&before, &after] {
                for wrapped in [&old, &new] {
                    assert!(keyring.unwrap(Purpose::Resumption, b"device", 3, wrapped).is_ok());
                }
            }
            assert_eq!(after.promote(KeyList::Session), Err(RotationError::NothingStaged));
            before = after;
        }
        assert_eq!(before.key_numbers(KeyList::Session), (vec![4, 3, 2, 1], None));
        assert_eq!(before.key_numbers(KeyList::Segment), (vec![1], None), "the other lists stay");
    }

    #[test]
    fn a_retired_key_opens_nothing_any_more_and_what_seals_or_is_history_is_not_retired() {
        let mut keyring = keyring();
        let old = keyring.wrap(&mut UnwrapErr(SysRng), Purpose::Resumption, b"device", 3, b"secret");
        for list in KeyList::ALL {
            assert_eq!(keyring.retire(list, 1), Err(RotationError::InUse(1)));
            keyring.stage(list, &mut UnwrapErr(SysRng)).unwrap();
            keyring.promote(list).unwrap();
        }
        assert_eq!(keyring.retire(KeyList::Session, 7), Err(RotationError::Unknown(7)));
        assert_eq!(keyring.retire(KeyList::Segment, 1), Err(RotationError::History(1)));
        assert_eq!(keyring.retire(KeyList::Session, 1), Ok(()));
        let opened = keyring.unwrap(Purpose::Resumption, b"device", 3, &old);
        assert_eq!(opened, Err(crate::keyring::UnwrapError::UnknownKey(1)));
        assert_eq!(keyring.stage(KeyList::Session, &mut UnwrapErr(SysRng)), Ok(3), "numbers are not reused");
    }

    #[test]
    fn a_staged_segment_key_under_which_nothing_was_sealed_can_be_taken_back() {
        let mut keyring = keyring();
        keyring.stage(KeyList::Segment, &mut UnwrapErr(SysRng)).unwrap();
        assert_eq!(keyring.retire(KeyList::Segment, 2), Ok(()));
        assert_eq!(keyring.key_numbers(KeyList::Segment), (vec![1], None));
    }
}
