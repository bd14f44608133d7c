//! `muster node`: one member of the control plane, in the foreground.

use crate::exit::{USAGE, coded};
use anyhow::Result;
use clap::Args;
use nodes::config::NodeConfig;
use std::path::PathBuf;

/// Run one node of a cluster in the foreground, until SIGTERM or Ctrl-C.
///
/// The configuration comes from `muster cluster init`. A clean stop hands over the leadership, answers what it took
/// in, and ends; whatever was acknowledged is on the disks of a majority anyhow.
#[derive(Args)]
pub(crate) struct NodeArguments {
    /// The node's configuration (TOML)
    #[arg(long, value_name = "FILE", env = "MUSTER_NODE_CONFIG")]
    config: PathBuf,
    /// Read and check the configuration and the files it names, and end
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(arguments: NodeArguments) -> Result<()> {
    crate::tls::install_provider();
    let config = NodeConfig::load(&arguments.config).map_err(|error| coded(USAGE, error.to_string()))?;
    if arguments.check {
        return crate::output::line(&format!("{} is a good configuration", arguments.config.display()));
    }
    nodes::node::run(config).await.map_err(anyhow::Error::from)
}
