//! The keyring as JSON: hexadecimal keys, lists newest first, unknown fields refused.

use super::{CodeKey, HpkeSecretKey, Keyring, NumberedKey, TicketKey, WrappingKey};
use crate::identity::key::SigningKey;
use crate::ids::ClusterId;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Why a file is no keyring. Never says anything of the keys themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("the keyring is malformed: {0}; expected the file that `muster cluster init` wrote")]
    Malformed(String),
    #[error("the keyring's format is {0}, this version reads format 1")]
    Format(u32),
    #[error("the keyring's `{0}` is no key of the expected length in hexadecimal")]
    Key(&'static str),
    #[error("the keyring's `{0}` is empty; at least one key is needed")]
    Empty(&'static str),
    #[error("the keyring's `{name}` holds key {id} twice")]
    Twice { name: &'static str, id: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyringFile {
    format: u32,
    cluster: ClusterId,
    cluster_keys: Vec<KeyFile>,
    import_keys: Vec<KeyFile>,
    license_key: Hex,
    checkpoint_key: Hex,
    device_keys: Vec<KeyFile>,
    session_keys: Vec<KeyFile>,
    segment_keys: Vec<KeyFile>,
    ticket_key: Hex,
    code_key: Hex,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    id: u32,
    key: Hex,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct Hex(String);

impl Hex {
    fn of(bytes: &[u8]) -> Self {
        Hex(data_encoding::HEXLOWER.encode(bytes))
    }

    fn bytes<const N: usize>(&self, name: &'static str) -> Result<Zeroizing<[u8; N]>, KeyringError> {
        let decoded = HEXLOWER_PERMISSIVE.decode(self.0.as_bytes()).map_err(|_| KeyringError::Key(name))?;
        let decoded = Zeroizing::new(decoded);
        <[u8; N]>::try_from(&decoded[..]).map(Zeroizing::new).map_err(|_| KeyringError::Key(name))
    }
}

impl Keyring {
    /// The whole keyring, secrets included: for a file of mode 0600 outside the data directory.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let hpke = |keys: &[HpkeSecretKey]| -> Vec<KeyFile> {
            keys.iter().map(|key| KeyFile { id: key.id(), key: Hex::of(&key.to_bytes()[..]) }).collect()
        };
        let numbered = |keys: &[NumberedKey]| -> Vec<KeyFile> {
            keys.iter().map(|key| KeyFile { id: key.id, key: Hex::of(key.key.as_bytes()) }).collect()
        };
        let file = KeyringFile {
            format: 1,
            cluster: self.cluster,
            cluster_keys: hpke(&self.cluster_keys),
            import_keys: hpke(&self.import_keys),
            license_key: Hex::of(&self.license_key.to_bytes()[..]),
            checkpoint_key: Hex::of(&self.checkpoint_key.to_bytes()[..]),
            device_keys: numbered(&self.device_keys),
            session_keys: numbered(&self.session_keys),
            segment_keys: numbered(&self.segment_keys),
            ticket_key: Hex::of(self.ticket_key.as_bytes()),
            code_key: Hex::of(self.code_key.as_bytes()),
        };
        let mut text = Vec::with_capacity(self.json_bytes_max());
        #[allow(clippy::expect_used, reason = "strings and numbers always become JSON, which is UTF-8")]
        serde_json::to_writer_pretty(&mut text, &file).expect("plain JSON");
        #[allow(clippy::expect_used, reason = "strings and numbers always become JSON, which is UTF-8")]
        Zeroizing::new(String::from_utf8(text).expect("JSON is UTF-8"))
    }

    /// No keyring's text is longer: one that grows while it is written would leave unwiped copies behind.
    fn json_bytes_max(&self) -> usize {
        let pairs = self.cluster_keys.len() + self.import_keys.len();
        let numbered = self.device_keys.len() + self.session_keys.len() + self.segment_keys.len();
        1024 + 256 * (pairs + numbered)
    }

    pub fn from_json(text: &str) -> Result<Self, KeyringError> {
        let file: KeyringFile =
            serde_json::from_str(text).map_err(|error| KeyringError::Malformed(without_values(&error)))?;
        if file.format != 1 {
            return Err(KeyringError::Format(file.format));
        }
        let signing =
            |hex: &Hex, name| SigningKey::from_bytes(&*hex.bytes(name)?).map_err(|_| KeyringError::Key(name));
        Ok(Keyring {
            cluster: file.cluster,
            cluster_keys: hpke_keys(&file.cluster_keys, "cluster_keys")?,
            import_keys: hpke_keys(&file.import_keys, "import_keys")?,
            license_key: signing(&file.license_key, "license_key")?,
            checkpoint_key: signing(&file.checkpoint_key, "checkpoint_key")?,
            device_keys: numbered_keys(&file.device_keys, "device_keys")?,
            session_keys: numbered_keys(&file.session_keys, "session_keys")?,
            segment_keys: numbered_keys(&file.segment_keys, "segment_keys")?,
            ticket_key: TicketKey::from_bytes(*file.ticket_key.bytes("ticket_key")?),
            code_key: CodeKey::from_bytes(*file.code_key.bytes("code_key")?),
        })
    }
}

/// What is wrong and where, without the text that was found: a key may stand where a number should.
fn without_values(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.split_once('"').zip(message.rsplit_once('"')) {
        Some(((before, _), (_, after))) => format!("{before}…{after}"),
        None => message,
    }
}

fn hpke_keys(files: &[KeyFile], name: &'static str) -> Result<Vec<HpkeSecretKey>, KeyringError> {
    each_once(files, name)?;
    let key = |file: &KeyFile| {
        HpkeSecretKey::from_bytes(file.id, &*file.key.bytes(name)?).map_err(|_| KeyringError::Key(name))
    };
    files.iter().map(key).collect()
}

fn numbered_keys(files: &[KeyFile], name: &'static str) -> Result<Vec<NumberedKey>, KeyringError> {
    each_once(files, name)?;
    let key = |file: &KeyFile| {
        Ok(NumberedKey { id: file.id, key: WrappingKey::from_bytes(*file.key.bytes(name)?) })
    };
    files.iter().map(key).collect()
}

fn each_once(files: &[KeyFile], name: &'static str) -> Result<(), KeyringError> {
    if files.is_empty() {
        return Err(KeyringError::Empty(name));
    }
    let mut ids: Vec<u32> = files.iter().map(|file| file.id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(KeyringError::Twice { name, id: pair[0] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use getrandom::{SysRng, rand_core::UnwrapErr};

    fn keyring() -> Keyring {
        Keyring::generate(&mut UnwrapErr(SysRng), ClusterId::from_bytes([1; 16]))
    }

    #[test]
    fn a_refused_keyring_says_where_and_never_what_its_keys_are() {
        let text = keyring().to_json();
        let secret = data_encoding::HEXLOWER.encode(keyring().ticket_key.as_bytes());
        let misplaced = text.replacen("\"format\": 1", &format!("\"format\": \"{secret}\""), 1);
        assert_ne!(*text, misplaced);
        let said = Keyring::from_json(&misplaced).unwrap_err().to_string();
        assert!(said.contains("line 2") && said.contains("expected u32"), "{said}");
        assert!(!said.contains(&secret[..8]), "{said}");
    }

    #[test]
    fn a_keyring_full_of_retired_keys_is_written_without_growing() {
        let mut keyring = keyring();
        for id in (u32::MAX - 200)..u32::MAX {
            keyring.cluster_keys.push(HpkeSecretKey::from_bytes(id, &[1; 48]).unwrap());
            keyring.segment_keys.push(NumberedKey { id, key: WrappingKey::from_bytes([1; 32]) });
        }
        let (text, max) = (keyring.to_json(), keyring.json_bytes_max());
        assert!(text.len() <= max, "{} bytes, {max} were reserved", text.len());
    }
}
