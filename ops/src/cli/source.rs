//! `muster source`: who may connect to NATS, and as what.

use super::Global;
use crate::exit::{USAGE, coded};
use crate::nats::{Inbox, NODES, Registry, ServerTls};
use crate::output::Table;
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use events::ids::{DeviceId, LotId, RegionName, SourceName};
use nodes::entropy::OsEntropy;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum SourceCommand {
    /// Begin a region's list: the nodes' user, and a nats.conf for the server
    Init(InitArguments),
    /// Give the server another certificate, or its first: from then on it takes encrypted connections only
    Certify(CertifyArguments),
    /// Let a source in
    Add(AddArguments),
    /// Shut a source out
    Remove {
        /// The source
        source: SourceName,
        #[command(flatten)]
        place: Place,
    },
    /// Who is let in
    List(Place),
}

#[derive(Args)]
pub(crate) struct Place {
    /// Folder of sources.json, nats.conf and the password files
    #[arg(long, value_name = "DIR", default_value = "nats", env = "MUSTER_SOURCES")]
    dir: PathBuf,
}

/// Begin a region's list of sources. Start the server with `nats-server --config DIR/nats.conf`; the nodes log in as
/// `nodes` with the password in DIR/nodes.password (`muster cluster init --nats-user nodes --nats-password-file …`).
#[derive(Args)]
pub(crate) struct InitArguments {
    #[command(flatten)]
    place: Place,
    /// Region that the server serves
    #[arg(long, value_name = "NAME", default_value = "home")]
    region: RegionName,
    /// Where the server listens
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:4222")]
    listen: String,
    #[command(flatten)]
    tls: Tls,
}

/// Without a certificate of the server every password goes over the wire as it is, and a password is all that a source
/// is known by.
#[derive(Args)]
struct Tls {
    /// The server's certificate (PEM), with the names under which nodes and terminals reach it; the server then takes
    /// encrypted connections only. A file of this machine, or an absolute path on the server's
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// Give the server another certificate, or its first. The server takes it after a reload. Before the first one, give nodes
/// (`nats.ca_file`) and agents (`[nats] ca_file`) the authority that signed it.
#[derive(Args)]
pub(crate) struct CertifyArguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    tls: Tls,
}

/// Let a source in. NATS confines its connection to what this source may say and hear: whoever has the password speaks
/// as this source and as no other, so give each terminal one of its own. The server takes it after a reload
/// (`nats-server --signal reload`, or SIGHUP).
#[derive(Args)]
pub(crate) struct AddArguments {
    /// Name of the source
    source: SourceName,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    who: Who,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// The one terminal that it speaks for
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
    /// A terminal of this lot whose record does not open: it may report tampering
    #[arg(long, value_name = "LOT")]
    lot: Option<LotId>,
    /// Something that speaks for many terminals, as a gateway or `muster fleet --token`
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

#[derive(Serialize)]
struct Said {
    source: String,
    password_file: PathBuf,
    config: PathBuf,
    /// Whether passwords are sent encrypted.
    encrypted: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    source: &'a SourceName,
    hears: &'a Inbox,
}

pub(crate) fn run(global: &Global, command: SourceCommand) -> Result<()> {
    match command {
        SourceCommand::Init(arguments) => init(global, arguments),
        SourceCommand::Certify(arguments) => certify(global, &arguments),
        SourceCommand::Add(arguments) => add(global, arguments),
        SourceCommand::Remove { source, place } => remove(global, &source, &place.dir),
        SourceCommand::List(place) => list(global, &place.dir),
    }
}

fn init(global: &Global, arguments: InitArguments) -> Result<()> {
    let dir = &arguments.place.dir;
    let tls = server_tls(&arguments.tls)?;
    let registry = Registry::create(dir, arguments.region, &arguments.listen, tls, &OsEntropy)?;
    let said = said(NODES.to_owned(), dir.join(format!("{NODES}.password")), &registry);
    global.format().print(&said, |said| {
        let clear = match said.encrypted {
            true => "",
            false => "\nNothing is encrypted: whoever reads the wire reads every password. Give --tls-cert and --tls-key",
        };
        format!(
            "Start the server:\n  nats-server --config {}\nThe nodes are user `{NODES}`, with the password in {}{clear}",
            said.config.display(),
            said.password_file.display()
        )
    })
}

fn said(source: String, password_file: PathBuf, registry: &Registry) -> Said {
    Said { source, password_file, config: registry.config_file(), encrypted: registry.is_encrypted() }
}

fn server_tls(given: &Tls) -> Result<Option<ServerTls>> {
    let (Some(certificate), Some(key)) = (&given.tls_cert, &given.tls_key) else { return Ok(None) };
    let tls =
        ServerTls { certificate: for_server("--tls-cert", certificate)?, key: for_server("--tls-key", key)? };
    if tls.certificate.exists() && tls.key.exists() {
        check_pair(&tls).map_err(|error| coded(USAGE, format!("{error:#}")))?;
    }
    Ok(Some(tls))
}

/// The path as the server is to open it, whatever folder it is started in.
fn for_server(flag: &str, path: &Path) -> Result<PathBuf> {
    // A link stays one: whoever renews the certificate may change what it leads to.
    let absolute = if path.exists() { std::path::absolute(path)? } else { path.to_owned() };
    let text =
        absolute.to_str().filter(|text| !text.contains(['"', '\\']) && !text.contains(char::is_control));
    match text {
        None => {
            Err(coded(USAGE, format!("{flag}: expected a path without quotes, `\\` and control characters")))
        }
        Some(_) if !absolute.is_absolute() => {
            let why = "is not there; expected a file of this machine, or an absolute path on the server's";
            Err(coded(USAGE, format!("{flag}: {} {why}", path.display())))
        }
        Some(_) => Ok(absolute),
    }
}

/// A server would not start with a key of another certificate.
fn check_pair(tls: &ServerTls) -> Result<()> {
    let chain = nodes::peers::tls::certificates(&tls.certificate)?;
    let key = nodes::peers::tls::private_key(&tls.key)?;
    let builder = rustls::ServerConfig::builder_with_provider(nodes::peers::tls::provider());
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    builder
        .with_single_cert(chain, key)
        .map(drop)
        .with_context(|| format!("{} is not the key of {}", tls.key.display(), tls.certificate.display()))
}

fn certify(global: &Global, arguments: &CertifyArguments) -> Result<()> {
    let tls = server_tls(&arguments.tls)?;
    let tls = tls.ok_or_else(|| coded(USAGE, "give the certificate: --tls-cert and --tls-key"))?;
    let mut registry = Registry::load(&arguments.place.dir)?;
    registry.certify(tls)?;
    let said = serde_json::json!({ "config": registry.config_file(), "encrypted": true });
    global
        .format()
        .print(&said, |_| "Reload the server: it takes encrypted connections only from then on".to_owned())
}

fn add(global: &Global, arguments: AddArguments) -> Result<()> {
    let inbox = match arguments.who {
        Who { device: Some(device), .. } => Inbox::Device(device),
        Who { lot: Some(lot), .. } => Inbox::Lot(lot),
        Who { token: Some(token), .. } => Inbox::Token(checked(token)?),
        _ => return Err(coded(USAGE, "say whom the source speaks for: --device, --lot or --token")),
    };
    let mut registry = Registry::load(&arguments.place.dir)?;
    let password_file = registry.add(&arguments.source, inbox, &OsEntropy)?;
    let said = said(arguments.source.to_string(), password_file, &registry);
    global.format().print(&said, |said| {
        let ca =
            if said.encrypted { "\n  ca_file = \"…\"  # who signed the server's certificate" } else { "" };
        format!(
            "Reload the server, then the agent connects with\n  source = \"{source}\"\n  [nats]\n  user = \
             \"{source}\"\n  password_file = \"{}\"{ca}",
            said.password_file.display(),
            source = said.source,
        )
    })
}

/// A token is one word of a NATS subject: a wildcard in it would hear what is said to others.
fn checked(token: String) -> Result<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    // It is the second word of its inboxes: `v1` is that of everything that goes up, and would hear it.
    if (3..=32).contains(&token.len()) && token.chars().all(good) {
        Ok(token)
    } else {
        Err(coded(USAGE, "--token: expected 3 to 32 letters, digits, `-` or `_`"))
    }
}

fn remove(global: &Global, source: &SourceName, dir: &Path) -> Result<()> {
    let removed = Registry::load(dir)?.remove(source)?;
    global.format().print(&serde_json::json!({ "source": source, "removed": removed }), |_| {
        if removed {
            format!("{source} is removed. Reload the server: its connections end then")
        } else {
            format!("there is no source {source}; nothing changed")
        }
    })
}

fn list(global: &Global, dir: &Path) -> Result<()> {
    let registry = Registry::load(dir)?;
    let listed: Vec<_> =
        registry.sources().map(|(source, entry)| Listed { source, hears: &entry.inbox }).collect();
    global.format().print(&listed, |listed| {
        let mut table = Table::with_head(&["source", "speaks for"]);
        for source in listed {
            let hears = match source.hears {
                Inbox::Device(device) => device.to_string(),
                Inbox::Lot(lot) => format!("{lot} (tamper reports only)"),
                Inbox::Token(token) => format!("many, by token {token}"),
            };
            table.row([source.source.to_string(), hears]);
        }
        table.to_string()
    })
}
