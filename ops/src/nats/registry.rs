//! The sources that an operator let in: one folder with `sources.json` (passwords inside, mode 0600), the
//! `nats.conf` that is made from it, and each user's password in a file of its own.

use super::config::{Permissions, ServerTls, User, config_text};
use crate::cluster::random_text;
use crate::exit::{USAGE, coded};
use crate::files::{create_dir, read_text, write_secret};
use anyhow::{Context, Result, bail};
use events::ids::{DeviceId, LotId, RegionName, SourceName};
use nodes::entropy::Entropy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const SOURCES_FILE: &str = "sources.json";
const CONFIG_FILE: &str = "nats.conf";
const PASSWORD_BYTES: usize = 16;
/// The name of the nodes' own user; no source can have it.
pub const NODES: &str = "nodes";

/// Everybody who may connect in one region.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    region: RegionName,
    listen: String,
    nodes_password: String,
    /// None: whoever reads the wire reads the passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<ServerTls>,
    sources: BTreeMap<SourceName, SourceEntry>,
    #[serde(skip)]
    dir: PathBuf,
}

/// One source.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEntry {
    pub inbox: Inbox,
    password: String,
}

/// Where a source hears answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inbox {
    /// One terminal.
    Device(DeviceId),
    /// A terminal whose record does not open: it can report tampering, and nothing is said to it.
    Lot(LotId),
    /// Something that speaks for many devices, as a gateway: `*.<token>.>`.
    Token(String),
}

impl Inbox {
    fn subject(&self) -> String {
        match self {
            Inbox::Device(device) => format!("_INBOX_{device}.>"),
            Inbox::Lot(lot) => format!("_INBOX_{lot}.>"),
            Inbox::Token(token) => format!("*.{token}.>"),
        }
    }
}

impl Registry {
    /// A region without sources: only the nodes may connect. `listen` is the server's `host:port`.
    pub fn create(
        dir: &Path,
        region: RegionName,
        listen: &str,
        tls: Option<ServerTls>,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        if dir.join(SOURCES_FILE).exists() {
            bail!("{} already has sources; `muster source add` adds to them", dir.display());
        }
        check_listen(listen)?;
        create_dir(dir)?;
        let nodes_password = random_text(entropy, PASSWORD_BYTES).to_string();
        write_secret(&dir.join(format!("{NODES}.password")), nodes_password.as_bytes())?;
        let registry = Registry {
            region,
            listen: listen.to_owned(),
            nodes_password,
            tls,
            sources: BTreeMap::new(),
            dir: dir.to_owned(),
        };
        registry.save()?;
        Ok(registry)
    }

    pub fn load(dir: &Path) -> Result<Self> {
        let file = dir.join(SOURCES_FILE);
        if !file.exists() {
            bail!("{} has no {SOURCES_FILE}; `muster source init` makes one", dir.display());
        }
        let text = read_text(&file)?;
        let registry: Registry =
            serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
        Ok(Registry { dir: dir.to_owned(), ..registry })
    }

    /// Gives the server another certificate, or its first.
    pub fn certify(&mut self, tls: ServerTls) -> Result<()> {
        self.tls = Some(tls);
        self.save()
    }

    /// Lets a source in, and returns the file with its password. The same again changes nothing.
    pub fn add(&mut self, name: &SourceName, inbox: Inbox, entropy: &dyn Entropy) -> Result<PathBuf> {
        if name.as_str() == NODES {
            bail!("`{NODES}` is the nodes' own user; choose another name");
        }
        let file = self.dir.join(format!("{name}.password"));
        match self.sources.get(name) {
            Some(known) if known.inbox == inbox => return Ok(file),
            Some(known) => {
                bail!("source {name} exists and hears {:?}; remove it first", known.inbox.subject())
            }
            None => {}
        }
        let password = random_text(entropy, PASSWORD_BYTES).to_string();
        write_secret(&file, password.as_bytes())?;
        self.sources.insert(name.clone(), SourceEntry { inbox, password });
        self.save()?;
        Ok(file)
    }

    /// Shuts a source out; false if there was none. The server must reload, and live connections end by it.
    pub fn remove(&mut self, name: &SourceName) -> Result<bool> {
        let was = self.sources.remove(name).is_some();
        if was {
            self.save()?;
        }
        // Also for a source that is shut out already: an earlier removal may not have come so far. Never the nodes' own.
        let file = self.dir.join(format!("{name}.password"));
        if name.as_str() != NODES {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", file.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(was)
    }

    pub fn sources(&self) -> impl Iterator<Item = (&SourceName, &SourceEntry)> {
        self.sources.iter()
    }

    /// Whether the server takes encrypted connections only.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The file that the server is started with.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.join(CONFIG_FILE)
    }

    /// The list first, then what is made from it: after a crash between the two the next change makes both agree.
    fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing the sources")?;
        write_secret(&self.dir.join(SOURCES_FILE), text.as_bytes())?;
        let config = config_text(&self.listen, self.region.as_str(), &self.users(), self.tls.as_ref());
        write_secret(&self.config_file(), config.as_bytes())
    }

    fn users(&self) -> Vec<User> {
        let nodes =
            User { name: NODES.to_owned(), password: self.nodes_password.clone(), may: Permissions::Nodes };
        let sources = self.sources.iter().map(|(name, entry)| User {
            name: name.to_string(),
            password: entry.password.clone(),
            may: Permissions::Source { source: name.to_string(), inbox: entry.inbox.subject() },
        });
        std::iter::once(nodes).chain(sources).collect()
    }
}

/// It goes into the server's configuration as it is.
fn check_listen(listen: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let (host, port) = listen.rsplit_once(':').unwrap_or_default();
    if host.is_empty() || !host.chars().all(fits) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(coded(
            USAGE,
            format!("--listen: expected host:port such as 0.0.0.0:4222, got `{listen}`"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nodes::entropy::OsEntropy;

    fn registry(dir: &Path) -> Registry {
        Registry::create(dir, "home".parse().unwrap(), "0.0.0.0:4222", None, &OsEntropy).unwrap()
    }

    fn inbox(byte: u8) -> Inbox {
        Inbox::Device(DeviceId::from_bytes([byte; 16]))
    }

    #[test]
    fn a_source_that_was_let_in_stands_in_the_servers_configuration_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = registry(dir.path());
        let name = "shop-1".parse().unwrap();
        let file = sources.add(&name, inbox(1), &OsEntropy).unwrap();
        let config = || std::fs::read_to_string(dir.path().join("nats.conf")).unwrap();
        let password = std::fs::read_to_string(&file).unwrap();
        assert!(config().contains("muster.v1.home.up.shop-1.>") && config().contains(&password));

        let mut sources = Registry::load(dir.path()).unwrap();
        assert!(sources.remove(&name).unwrap() && !sources.remove(&name).unwrap());
        assert!(!config().contains("shop-1") && !file.exists());
        assert!(config().contains("muster.v1.*.up.>"), "the nodes stay");
    }

    #[test]
    fn a_removal_that_broke_off_is_done_by_the_next_whichever_half_of_it_was_done() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = registry(dir.path());
        let (one, other) = ("shop-1".parse().unwrap(), "shop-2".parse().unwrap());
        let file = sources.add(&one, inbox(1), &OsEntropy).unwrap();
        std::fs::remove_file(file).unwrap();
        assert!(sources.remove(&one).unwrap(), "its password was gone before");

        let file = sources.add(&other, inbox(2), &OsEntropy).unwrap();
        let kept = std::fs::read(&file).unwrap();
        sources.remove(&other).unwrap();
        std::fs::write(&file, kept).unwrap();
        assert!(!Registry::load(dir.path()).unwrap().remove(&other).unwrap());
        assert!(!file.exists(), "the password is gone, too");
        assert!(!sources.remove(&NODES.parse().unwrap()).unwrap());
        assert!(dir.path().join("nodes.password").exists(), "the nodes' own stays");
    }

    #[test]
    fn what_the_server_could_not_read_as_its_address_is_refused_and_nothing_begins() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("nats");
        let create = |listen| Registry::create(&dir, "home".parse().unwrap(), listen, None, &OsEntropy);
        for wrong in
            ["4222", "0.0.0.0:", "0.0.0.0:70000", "a\"\nauthorization {}:4222", ":4222", "h ost:4222"]
        {
            let error = create(wrong).err().expect(wrong);
            assert_eq!(crate::exit::code_of(&error), USAGE, "{error}");
            assert!(!dir.exists());
        }
        create("[::]:4222").unwrap();
    }

    #[test]
    fn the_same_source_again_keeps_its_password_and_another_device_under_its_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = registry(dir.path());
        let name = "shop-1".parse().unwrap();
        let file = sources.add(&name, inbox(1), &OsEntropy).unwrap();
        let password = std::fs::read(&file).unwrap();
        sources.add(&name, inbox(1), &OsEntropy).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), password);
        assert!(
            sources.add(&name, inbox(2), &OsEntropy).unwrap_err().to_string().contains("remove it first")
        );
        assert!(sources.add(&NODES.parse().unwrap(), inbox(2), &OsEntropy).is_err());
    }

    #[test]
    fn the_servers_certificate_stays_in_its_configuration_whoever_is_let_in_or_shut_out() {
        let dir = tempfile::tempdir().unwrap();
        let tls = ServerTls { certificate: "/etc/nats/tls.pem".into(), key: "/etc/nats/tls.key".into() };
        let region = "home".parse().unwrap();
        Registry::create(dir.path(), region, "0.0.0.0:4222", Some(tls), &OsEntropy).unwrap();
        let encrypted = || {
            let config = std::fs::read_to_string(dir.path().join("nats.conf")).unwrap();
            config.contains("cert_file: \"/etc/nats/tls.pem\"")
                && config.contains("key_file: \"/etc/nats/tls.key\"")
        };
        assert!(encrypted());
        let name = "shop-1".parse().unwrap();
        Registry::load(dir.path()).unwrap().add(&name, inbox(1), &OsEntropy).unwrap();
        assert!(encrypted());
        Registry::load(dir.path()).unwrap().remove(&name).unwrap();
        assert!(encrypted());
    }

    #[test]
    fn passwords_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mut sources = registry(dir.path());
        sources.add(&"shop-1".parse().unwrap(), inbox(1), &OsEntropy).unwrap();
        for file in ["sources.json", "nats.conf", "shop-1.password", "nodes.password"] {
            let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file}");
        }
    }
}
