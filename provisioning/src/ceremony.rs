//! The key ceremony: the factory's key and a cluster's keyring, made once, in files that are never overwritten.
//!
//! ```text
//!   factory.key          secret   certifies stations, signs lots; better kept in an HSM once production starts
//!   factory.pub                   what nodes check manifests with
//!   update.key           secret   signs update offers and nothing else; better kept offline
//!   update.pub                    what terminals pin
//!   keyring.json         secret   everything that the nodes of a cluster need
//!   cluster.public.json           what agents and stations pin
//! ```

use crate::armor::{self, ArmorError, Kind};
use crate::files::{self, FileError};
use events::identity::key::{FactoryKey, PublicKey, SigningKey};
use events::ids::ClusterId;
use events::keyring::{ClusterPublic, Keyring, KeyringError};
use events::update::UpdateKey;
use rand_core::CryptoRng;
use std::path::{Path, PathBuf};

pub const FACTORY_KEY_FILE: &str = "factory.key";
pub const FACTORY_PUBLIC_FILE: &str = "factory.pub";
pub const UPDATE_KEY_FILE: &str = "update.key";
pub const UPDATE_PUBLIC_FILE: &str = "update.pub";
pub const KEYRING_FILE: &str = "keyring.json";
pub const CLUSTER_PUBLIC_FILE: &str = "cluster.public.json";

/// Why keys were not made or read, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Armor(#[from] ArmorError),
    #[error("{path}: {why}")]
    Keyring { path: PathBuf, why: KeyringError },
    #[error("{path}: {why}: give the `{CLUSTER_PUBLIC_FILE}` that the key ceremony wrote")]
    ClusterPublic { path: PathBuf, why: String },
}

/// Makes the factory key in a folder of mode 0700.
pub fn create_factory_key(folder: &Path, rng: &mut impl CryptoRng) -> Result<FactoryKey, CeremonyError> {
    files::secret_folder(folder)?;
    let key = SigningKey::generate(rng);
    let note = "certifies stations and signs lots. Secret: keep this file mode 0600, and a copy in a safe.";
    let path = folder.join(FACTORY_KEY_FILE);
    files::create_secret(&path, armor::signing_key_text(Kind::FactoryKey, note, &key).as_bytes())?;
    let text = factory_public_text(&key.public());
    files::create_public(&folder.join(FACTORY_PUBLIC_FILE), text.as_bytes())?;
    Ok(key)
}

/// Text of `factory.pub`.
#[must_use]
pub fn factory_public_text(key: &PublicKey) -> String {
    let note = "nodes check lots, stations and manifests with this key. Public.";
    armor::public_key_text(Kind::FactoryPublicKey, note, key)
}

pub fn load_factory_key(path: &Path) -> Result<FactoryKey, CeremonyError> {
    Ok(armor::signing_key(Kind::FactoryKey, path, &files::read_secret(path)?)?)
}

pub fn load_factory_public(path: &Path) -> Result<PublicKey, CeremonyError> {
    Ok(armor::public_key(Kind::FactoryPublicKey, path, &files::read_public(path)?)?)
}

/// Makes the update key in a folder of mode 0700.
pub fn create_update_key(folder: &Path, rng: &mut impl CryptoRng) -> Result<UpdateKey, CeremonyError> {
    files::secret_folder(folder)?;
    let key = SigningKey::generate(rng);
    let note = "signs update offers. Secret: keep this file mode 0600, offline, and a copy in a safe.";
    let path = folder.join(UPDATE_KEY_FILE);
    files::create_secret(&path, armor::signing_key_text(Kind::UpdateKey, note, &key).as_bytes())?;
    let note = "terminals believe update offers under this key. Public.";
    let text = armor::public_key_text(Kind::UpdatePublicKey, note, &key.public());
    files::create_public(&folder.join(UPDATE_PUBLIC_FILE), text.as_bytes())?;
    Ok(key)
}

pub fn load_update_key(path: &Path) -> Result<UpdateKey, CeremonyError> {
    Ok(armor::signing_key(Kind::UpdateKey, path, &files::read_secret(path)?)?)
}

pub fn load_update_public(path: &Path) -> Result<PublicKey, CeremonyError> {
    Ok(armor::public_key(Kind::UpdatePublicKey, path, &files::read_public(path)?)?)
}

/// Makes the keyring of a new cluster in a folder of mode 0700. It must lie beside, never in, a data directory.
pub fn create_keyring(
    folder: &Path,
    cluster: ClusterId,
    rng: &mut impl CryptoRng,
) -> Result<Keyring, CeremonyError> {
    files::secret_folder(folder)?;
    let keyring = Keyring::generate(rng, cluster);
    files::create_secret(&folder.join(KEYRING_FILE), keyring.to_json().as_bytes())?;
    let public = cluster_public_text(&keyring.public());
    files::create_public(&folder.join(CLUSTER_PUBLIC_FILE), public.as_bytes())?;
    Ok(keyring)
}

pub fn load_keyring(path: &Path) -> Result<Keyring, CeremonyError> {
    let bytes = files::read_secret(path)?;
    let refused = |why| CeremonyError::Keyring { path: path.to_owned(), why };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused(KeyringError::Malformed("no text".into())))?;
    Keyring::from_json(text).map_err(refused)
}

/// Text of `cluster.public.json`.
#[must_use]
pub fn cluster_public_text(public: &ClusterPublic) -> String {
    #[allow(clippy::expect_used, reason = "numbers and strings only: JSON has all of them")]
    let json = serde_json::to_string_pretty(public).expect("public keys are plain data");
    json + "\n"
}

pub fn load_cluster_public(path: &Path) -> Result<ClusterPublic, CeremonyError> {
    let bytes = files::read_public(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| CeremonyError::ClusterPublic { path: path.to_owned(), why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use getrandom::SysRng;
    use rand_core::UnwrapErr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

    #[test]
    fn the_factory_key_survives_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("factory");
        let key = create_factory_key(&folder, &mut UnwrapErr(SysRng)).unwrap();
        let loaded = load_factory_key(&folder.join(FACTORY_KEY_FILE)).unwrap();
        assert_eq!(loaded.to_bytes(), key.to_bytes());
        assert_eq!(load_factory_public(&folder.join(FACTORY_PUBLIC_FILE)).unwrap(), key.public());
    }

    #[test]
    fn the_update_key_survives_its_files_and_is_no_factory_key() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("updates");
        let key = create_update_key(&folder, &mut UnwrapErr(SysRng)).unwrap();
        let file = folder.join(UPDATE_KEY_FILE);
        assert_eq!(load_update_key(&file).unwrap().to_bytes(), key.to_bytes());
        assert_eq!(load_update_public(&folder.join(UPDATE_PUBLIC_FILE)).unwrap(), key.public());
        let as_factory = load_factory_key(&file).unwrap_err().to_string();
        assert!(as_factory.contains("expected `muster factory key v1`"), "{as_factory}");
        assert!(create_update_key(&folder, &mut UnwrapErr(SysRng)).is_err(), "never overwritten");
    }

    #[test]
    fn a_second_ceremony_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        let first = create_keyring(&folder, CLUSTER, &mut UnwrapErr(SysRng)).unwrap();
        let again = create_keyring(&folder, CLUSTER, &mut UnwrapErr(SysRng));
        assert!(matches!(again, Err(CeremonyError::File(FileError::Exists { .. }))));
        assert_eq!(load_keyring(&folder.join(KEYRING_FILE)).unwrap().to_json(), first.to_json());
        assert_eq!(load_cluster_public(&folder.join(CLUSTER_PUBLIC_FILE)).unwrap(), first.public());
    }

    #[test]
    fn secrets_that_others_may_read_are_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        create_factory_key(&folder, &mut UnwrapErr(SysRng)).unwrap();
        create_keyring(&folder, CLUSTER, &mut UnwrapErr(SysRng)).unwrap();
        for name in [FACTORY_KEY_FILE, KEYRING_FILE] {
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        let factory = load_factory_key(&folder.join(FACTORY_KEY_FILE)).unwrap_err();
        let keyring = load_keyring(&folder.join(KEYRING_FILE)).unwrap_err();
        for refused in [factory, keyring] {
            assert!(matches!(refused, CeremonyError::File(FileError::ReadableByOthers { .. })), "{refused}");
        }
    }

    #[test]
    fn an_unknown_field_in_the_public_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("public.json");
        let keyring = Keyring::generate(&mut UnwrapErr(SysRng), CLUSTER);
        let text = cluster_public_text(&keyring.public()).replacen('{', "{\"colour\":1,", 1);
        fs::write(&path, text).unwrap();
        let refused = load_cluster_public(&path).unwrap_err().to_string();
        assert!(refused.contains("colour") && refused.contains("public.json"), "{refused}");
    }
}
