//! `muster log checkpoint|prove|check`: the log as evidence, for somebody who trusts the checkpoint key alone.
//!
//! The cluster signs its log itself, and whoever holds a keyring can sign what he holds; a proof says against which head
//! it is made, and is checked with the public key.

mod check;
mod checkpoint;
mod prove;

pub(crate) use check::{CheckArguments, check};
pub(crate) use checkpoint::{CheckpointArguments, checkpoint};
pub(crate) use prove::{ProveArguments, prove};

use super::Global;
use crate::files::{read_text, write_public};
use crate::output::{Format, line};
use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER_PERMISSIVE;
use events::identity::key::PublicKey;
use events::keyring::ClusterPublic;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The checkpoint key from hexadecimal text, or from the cluster's public file.
pub(super) fn public_key(text: &str) -> Result<PublicKey> {
    if let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(text.as_bytes()) {
        return PublicKey::from_bytes(&bytes).context("--key");
    }
    let public: ClusterPublic = serde_json::from_str(&read_text(Path::new(text))?)
        .with_context(|| format!("{text} is neither a key in hexadecimal nor a cluster's public file"))?;
    Ok(public.checkpoint_key)
}

#[derive(Serialize)]
struct Written<'a> {
    /// The document; left out if it was written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// So many entries are covered.
    size: u64,
}

/// Writes a document to its file, or prints it as it is.
fn put(global: &Global, out: Option<&Path>, text: &str, size: u64) -> Result<()> {
    if let Some(path) = out {
        write_public(path, text.as_bytes())?;
        let said = Written { text: None, file: Some(path.to_owned()), size };
        return global.format().print(&said, |_| format!("{}: of {size} entries", path.display()));
    }
    match global.format() {
        Format::Human => line(text.trim_end_matches('\n')),
        Format::Json => {
            global.format().print(&Written { text: Some(text), file: None, size }, |_| String::new())
        }
    }
}
