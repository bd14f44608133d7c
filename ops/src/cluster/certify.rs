//! `muster cluster certify`: one member's certificate and key, made anew by the authority that `cluster init` made.

use super::certificates::{Authority, Certified};
use crate::context::Context;
use crate::exit::{USAGE, coded};
use crate::files::{create_dir, read_text, write_public, write_secret};
use anyhow::{Context as _, Result};
use events::ids::NodeId;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Writes `node.pem` and `node.key` into `out`, and returns where; what lies there is kept as `.old`.
pub fn certify_again(
    dir: &Path,
    node: NodeId,
    host: &str,
    out: &Path,
    this_year: i32,
) -> Result<(PathBuf, PathBuf)> {
    let cluster = Context::load(Some(&dir.join("context.json")))?.cluster;
    let wrong = |error: anyhow::Error| coded(USAGE, format!("{error:#}"));
    let own = Certified {
        certificate: read_text(&dir.join("ca.pem")).map_err(wrong)?,
        key: Zeroizing::new(read_text(&dir.join("ca.key")).map_err(wrong)?),
    };
    let authority = Authority::load(cluster, own, this_year)
        .with_context(|| format!("the authority in {}", dir.display()))
        .map_err(wrong)?;
    let certified = authority.certify_node(cluster, node, host).map_err(wrong)?;
    create_dir(out)?;
    let (certificate, key) = (out.join("node.pem"), out.join("node.key"));
    for file in [&certificate, &key] {
        keep(file)?;
    }
    write_public(&certificate, certified.certificate.as_bytes())?;
    write_secret(&key, certified.key.as_bytes())?;
    Ok((certificate, key))
}

fn keep(file: &Path) -> Result<()> {
    match std::fs::rename(file, file.with_added_extension("old")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.with_context(|| format!("keeping {}", file.display())),
    }
}
