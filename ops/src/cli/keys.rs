//! `muster keys`: the factory's key, and the rotation of a cluster's. Its keyring is made by `cluster init`.

mod rotation;

use super::Global;
use super::now;
use crate::offline::read_keyring;
use anyhow::{Context as _, Result};
use clap::Subcommand;
use nodes::entropy::{EntropyRng, OsEntropy};
use provisioning::ceremony::{
    CLUSTER_PUBLIC_FILE, FACTORY_KEY_FILE, FACTORY_PUBLIC_FILE, UPDATE_KEY_FILE, UPDATE_PUBLIC_FILE,
    cluster_public_text, create_factory_key, create_update_key, load_factory_public,
};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make the factory's key: it signs lots and certifies stations
    Create {
        /// The factory's directory (mode 0700); a key in it is never overwritten
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Make the update key: it signs update offers (`muster update sign`) and nothing else
    ///
    /// Make it on a machine that is on no network, and keep it there. Terminals pin the public key in their
    /// configuration (`[update] keys`); the cluster never gets the private one.
    Update {
        /// The directory for it (mode 0700); a key in it is never overwritten
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Show the factory's public key
    Show {
        /// The factory's directory
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Begin to rotate: add a key that every node can open with before anybody seals with it
    Stage(rotation::RotateArguments),
    /// Go on: let the staged key seal what is new
    Promote(rotation::RotateArguments),
    /// End: take an old key out of the keyring
    Retire(rotation::RetireArguments),
    /// Show which keys the keyring holds, and how many secrets the cluster still keeps under each
    Status(rotation::StatusArguments),
    /// Write a cluster's public keys, which stations and agents pin, from its keyring
    Public {
        /// The cluster's keyring
        #[arg(long, value_name = "FILE")]
        keyring: PathBuf,
        /// Where to write them
        #[arg(long, value_name = "FILE", default_value = CLUSTER_PUBLIC_FILE)]
        out: PathBuf,
    },
}

#[derive(Serialize)]
struct FactoryKeys {
    public_key: String,
    public_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_file: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, command: KeysCommand) -> Result<()> {
    match command {
        KeysCommand::Create { dir } => {
            let key = create_factory_key(&dir, &mut EntropyRng(&OsEntropy))?;
            let said = FactoryKeys {
                public_key: hex(key.public().as_bytes()),
                public_file: dir.join(FACTORY_PUBLIC_FILE),
                secret_file: Some(dir.join(FACTORY_KEY_FILE)),
            };
            global.format().print(&said, |said| {
                format!(
                    "The factory's key is in {}: keep it there, and a copy in a safe; whoever has it can certify \
                     stations.\nNext: muster lot create --factory {} --sku …",
                    dir.join(FACTORY_KEY_FILE).display(),
                    said.public_file.parent().unwrap_or(&dir).display()
                )
            })
        }
        KeysCommand::Update { dir } => {
            let key = create_update_key(&dir, &mut EntropyRng(&OsEntropy))?;
            let said = FactoryKeys {
                public_key: hex(key.public().as_bytes()),
                public_file: dir.join(UPDATE_PUBLIC_FILE),
                secret_file: Some(dir.join(UPDATE_KEY_FILE)),
            };
            global.format().print(&said, |said| {
                format!(
                    "The update key is in {}: keep it offline, and a copy in a safe; whoever has it can install \
                     anything on every terminal that pins it.\nPin it in the terminals' agent.toml:\n\n[update]\n\
                     keys = [\"{}\"]",
                    dir.join(UPDATE_KEY_FILE).display(),
                    said.public_key
                )
            })
        }
        KeysCommand::Show { dir } => {
            let public_file = dir.join(FACTORY_PUBLIC_FILE);
            let public_key = hex(load_factory_public(&public_file)?.as_bytes());
            global.format().print(&FactoryKeys { public_key, public_file, secret_file: None }, |said| {
                format!("factory {} ({})", said.public_key, said.public_file.display())
            })
        }
        KeysCommand::Stage(arguments) => rotation::stage(global, &arguments),
        KeysCommand::Promote(arguments) => rotation::promote(global, &arguments),
        KeysCommand::Retire(arguments) => rotation::retire(global, &arguments).await,
        KeysCommand::Status(arguments) => rotation::status(global, &arguments).await,
        KeysCommand::Public { keyring, out } => {
            let public = read_keyring(&keyring)?.public();
            crate::files::write_public(&out, cluster_public_text(&public).as_bytes())
                .with_context(|| format!("writing {}", out.display()))?;
            global.format().print(&public, |public| {
                format!("public keys of {} written to {} at {}", public.cluster, out.display(), now())
            })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
