//! `muster node`: one member of the control plane, in the foreground; and what can be asked of it on its own machine.

use super::Global;
use crate::exit::{DISK_FAILED, NOT_HELD, UNREACHABLE, USAGE, answered, coded};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use nodes::api::shapes::Ready;
use nodes::config::{NodeConfig, TokenDigest};
use nodes::entropy::{Entropy, OsEntropy};
use nodes::node::NodeError;
use nodes::storage::error::StorageError;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A node that does not say so in this time is not healthy; what runs this command waits longer.
pub const HEALTH_WITHIN: Duration = Duration::from_secs(5);

/// Run one node of a cluster in the foreground, until SIGTERM or Ctrl-C.
///
/// The configuration comes from `muster cluster init`. A clean stop hands over the leadership, answers what it took
/// in, and ends; whatever was acknowledged is on the disks of a majority anyhow.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct NodeArguments {
    #[command(flatten)]
    run: Option<RunArguments>,
    #[command(subcommand)]
    ask: Option<NodeCommand>,
}

#[derive(Args)]
pub(crate) struct RunArguments {
    /// The node's configuration (TOML)
    #[arg(long, value_name = "FILE", env = "MUSTER_NODE_CONFIG")]
    config: PathBuf,
    /// Read and check the configuration and the files it names, and end
    #[arg(long)]
    check: bool,
}

#[derive(Subcommand)]
pub(crate) enum NodeCommand {
    /// Ask the node on this machine whether it is ready for terminals and operators: exit code 0, 5 if it is not, 3 if it
    /// does not answer
    Health {
        /// The node's configuration (TOML)
        #[arg(long, value_name = "FILE", env = "MUSTER_NODE_CONFIG")]
        config: PathBuf,
        /// Ask only whether the process lives, whatever its cluster does: for what would start it again. Whether it is ready is
        /// for what sends work to it
        #[arg(long, conflicts_with = "api")]
        live: bool,
        /// Ask only whether operators can be served here, also while NATS is away: for what sends operators to it
        #[arg(long)]
        api: bool,
    },
    /// Print the OpenAPI 3.1 document of the operators' API
    Openapi,
    /// Make a bearer token, and the digest of it that a node's configuration takes
    Token,
}

pub(crate) async fn run(global: &Global, arguments: NodeArguments) -> Result<()> {
    match (arguments.ask, arguments.run) {
        (Some(NodeCommand::Health { config, live, api }), _) => {
            let asked = match (live, api) {
                (true, _) => Asked::Live,
                (false, true) => Asked::Api,
                (false, false) => Asked::Ready,
            };
            health(global, &load(&config)?, asked).await
        }
        (Some(NodeCommand::Openapi), _) => {
            let document = serde_json::to_string_pretty(&nodes::api::openapi::openapi());
            crate::output::line(&document.context("encoding the document")?)
        }
        (Some(NodeCommand::Token), _) => token(global),
        (None, Some(RunArguments { config: path, check })) => {
            crate::tls::install_provider();
            let config = load(&path)?;
            if check {
                nodes::node::check(&config).map_err(|error| coded(USAGE, error.to_string()))?;
                return crate::output::line(&format!(
                    "{} is a good configuration, and so are the files it names",
                    path.display()
                ));
            }
            nodes::node::run(config).await.map_err(with_code)
        }
        (None, None) => Err(coded(USAGE, "give --config FILE, or a verb: health, openapi, token")),
    }
}

/// A disk that failed has an exit code of its own: whoever starts nodes must not start this one in a loop.
fn with_code(error: NodeError) -> anyhow::Error {
    match &error {
        NodeError::DiskFailed(_)
        | NodeError::Storage(StorageError::Io { .. } | StorageError::Write { .. }) => {
            coded(DISK_FAILED, error.to_string())
        }
        _ => anyhow::Error::new(error),
    }
}

fn load(path: &std::path::Path) -> Result<NodeConfig> {
    NodeConfig::load(path).map_err(|error| coded(USAGE, error.to_string()))
}

#[derive(Serialize)]
struct Health {
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<Ready>,
}

/// What a node is asked about its health.
#[derive(Clone, Copy)]
enum Asked {
    Live,
    Api,
    Ready,
}

/// Asks over the node's own TLS, with its own certificate as what to believe.
async fn health(global: &Global, config: &NodeConfig, asked: Asked) -> Result<()> {
    let (path, is) = match asked {
        Asked::Live => ("live", "alive"),
        Asked::Api => ("api", "ready for operators"),
        Asked::Ready => ("ready", "ready"),
    };
    let tells_why = !matches!(asked, Asked::Live);
    let asked = ask(config, path).await;
    let (healthy, body) = asked.map_err(|error| {
        coded(UNREACHABLE, format!("the node at {} does not answer: {error:#}", config.api.listen))
    })?;
    let ready: Option<Ready> = if tells_why { serde_json::from_slice(&body).ok() } else { None };
    global.format().print(&Health { healthy, ready }, |said| {
        let why: Vec<String> = said.ready.iter().flat_map(|ready| &ready.why_not).map(why_not).collect();
        match said.healthy {
            true => format!("the node is {is}"),
            false => format!("the node is not {is}\n{}", why.join("\n")),
        }
    })?;
    if healthy { Ok(()) } else { Err(answered(NOT_HELD, format!("the node is not {is}"))) }
}

fn why_not(why: &nodes::api::shapes::WhyNot) -> String {
    // By the name that the guides know it by.
    let code = serde_json::to_value(why.code).unwrap_or_default();
    format!("  {}: {}; {}", code.as_str().unwrap_or_default(), why.message, why.what_to_do)
}

async fn ask(config: &NodeConfig, path: &str) -> Result<(bool, Vec<u8>)> {
    crate::tls::install_provider();
    let name = nodes::api::server_name(&config.api.certificate)?;
    let mut authorities = Vec::new();
    for file in [&config.api.certificate, &config.peers.authority] {
        let pem = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        authorities.extend(reqwest::Certificate::from_pem_bundle(&pem)?);
    }
    let http = reqwest::Client::builder()
        .tls_backend_rustls()
        .tls_certs_only(authorities)
        .no_proxy()
        .timeout(HEALTH_WITHIN)
        .resolve(&name, reachable(config.api.listen))
        .build()?;
    let port = config.api.listen.port();
    let response = http.get(format!("https://{name}:{port}/health/{path}")).send().await?;
    Ok((response.status().is_success(), response.bytes().await?.to_vec()))
}

/// A node that listens everywhere is reached on its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listen.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), listen.port()),
        _ => listen,
    }
}

#[derive(Serialize)]
struct Token {
    token: String,
    sha256: String,
}

fn token(global: &Global) -> Result<()> {
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    OsEntropy.fill(&mut bytes[..]);
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let said = Token { sha256: TokenDigest::of(&token).to_string(), token };
    global.format().print(&said, |said| {
        format!(
            "token   {}\nGive it to who asks; a node is told its digest only:\n\n[[api.tokens]]\nname = \"…\"\nrole = \"viewer\"\nsha256 = \"{}\"",
            said.token, said.sha256
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nodes::api::shapes::{WhyNot, WhyNotCode};

    #[test]
    fn what_is_in_the_way_is_told_by_the_name_that_the_guide_has() {
        let why = WhyNot { code: WhyNotCode::NotJoined, message: "m".into(), what_to_do: "w".into() };
        assert_eq!(why_not(&why), "  NOT_JOINED: m; w");
        assert!(include_str!("../../../nodes/OPERATING.md").contains("`NOT_JOINED`"));
    }
}
