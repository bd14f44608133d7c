//! `muster manifest`: what stations tell the cluster about the units that they burned.

use super::{Global, factory_dir};
use crate::api::Api;
use crate::exit::{REFUSED, answered};
use anyhow::Result;
use clap::Subcommand;
use events::identity::key::PublicKey;
use events::identity::manifest::Manifest;
use nodes::api::shapes::{Base64, ImportManifest, ImportReport};
use provisioning::ceremony::{FACTORY_PUBLIC_FILE, load_factory_public};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum ManifestCommand {
    /// Import a station's manifest: lot, station and units; importing one twice changes nothing
    Import {
        /// What `muster station export` wrote
        #[arg(value_name = "FILE")]
        manifest: PathBuf,
        /// The factory's public key, `factory.pub`, which you vouch for [default: the context's factory's]
        #[arg(long, value_name = "FILE")]
        factory_key: Option<PathBuf>,
    },
}

pub(crate) async fn run(global: &Global, command: ManifestCommand) -> Result<()> {
    let ManifestCommand::Import { manifest, factory_key } = command;
    let manifest = provisioning::manifest::load(&manifest)?;
    let factory_key = match factory_key {
        Some(path) => path,
        None => factory_dir(global, None)?.join(FACTORY_PUBLIC_FILE),
    };
    let report = import(&global.api()?, &manifest, &load_factory_public(&factory_key)?).await?;
    global.format().print(&report, human)?;
    match report.refused.len() {
        0 => Ok(()),
        refused => Err(answered(REFUSED, format!("{refused} units were refused; the others are imported"))),
    }
}

/// Hands a manifest to the cluster, which opens and checks it.
pub(crate) async fn import(api: &Api, manifest: &Manifest, factory: &PublicKey) -> Result<ImportReport> {
    let request = ImportManifest {
        manifest: Base64(manifest.encode()),
        factory_key: Base64(factory.as_bytes().to_vec()),
    };
    api.post("/v1/manifests", &request).await
}

fn human(report: &ImportReport) -> String {
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|unit| format!("  unit {} ({}): {}", unit.unit, unit.device, unit.why))
        .collect();
    format!(
        "{} units of {} burned at {} imported, {} known already, {} refused\n{}",
        report.imported,
        report.lot,
        report.station,
        report.duplicate,
        report.refused.len(),
        refused.join("\n")
    )
}
