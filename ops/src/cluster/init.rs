//! `muster cluster init`: plan in, files out.

use super::certificates::Authority;
use super::node_config::node_config_text;
use crate::context::Context;
use crate::exit::{USAGE, coded};
use crate::files::{create_dir, write_public, write_secret};
use anyhow::{Result, bail};
use events::ids::{ClusterId, Generation, NodeId, RegionName};
use nodes::config::{HEARTBEAT_MS, TokenDigest, nats_server};
use nodes::entropy::{Entropy, EntropyRng};
use nodes::storage::birth::Birth;
use nodes::storage::disk::OsDisk;
use provisioning::ceremony::{CLUSTER_PUBLIC_FILE, KEYRING_FILE, create_keyring};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A node's data directory, beside its configuration.
pub(crate) const DATA_FOLDER: &str = "data";
/// A new cluster's generation; a restored one has a higher one.
const FIRST_GENERATION: Generation = 1;

/// A cluster as its operator wants it.
pub struct ClusterPlan {
    pub nodes: Vec<NodePlan>,
    pub nats: NatsAccess,
    /// NATS URLs that terminals use, where they differ from the nodes'.
    pub terminal_nats: Vec<String>,
    /// The interval granted to devices, in milliseconds.
    pub heartbeat_millis: u32,
}

/// One node of the plan.
pub struct NodePlan {
    pub id: NodeId,
    pub region: RegionName,
    /// Where peers and operators reach the node.
    pub host: String,
    pub peers_port: u16,
    pub api_port: u16,
}

/// How the nodes reach NATS.
pub struct NatsAccess {
    pub urls: Vec<String>,
    /// User and password; none is for a NATS that asks for none.
    pub login: Option<(String, Zeroizing<String>)>,
    /// Who signs the servers' certificates (PEM); none is for the system's authorities, or for no encryption.
    pub authority: Option<String>,
}

impl ClusterPlan {
    /// What the nodes would refuse is refused before keys and births are laid down, which are made once.
    fn check(&self) -> Result<()> {
        for url in self.nats.urls.iter().chain(&self.terminal_nats) {
            nats_server(url).map_err(|why| coded(USAGE, format!("a NATS server's URL: {why}")))?;
        }
        if !HEARTBEAT_MS.contains(&self.heartbeat_millis) {
            let (shortest, longest) = (HEARTBEAT_MS.start(), HEARTBEAT_MS.end());
            let got = self.heartbeat_millis;
            return Err(coded(USAGE, format!("devices beat every {shortest} to {longest} ms, got {got}")));
        }
        if self.nats.login.as_ref().is_some_and(|(user, password)| user.is_empty() || password.is_empty()) {
            return Err(coded(USAGE, "the nodes' NATS user or password is empty"));
        }
        self.nodes.iter().try_for_each(NodePlan::check)
    }
}

impl NodePlan {
    fn check(&self) -> Result<()> {
        let url = reqwest::Url::parse(&self.api_url()).ok();
        match url.is_some_and(|url| url.host_str() == Some(&self.host.to_ascii_lowercase())) {
            true => Ok(()),
            false => Err(coded(USAGE, format!("`{}` is neither a host name nor an IPv4 address", self.host))),
        }
    }

    fn api_url(&self) -> String {
        format!("https://{}:{}", self.host, self.api_port)
    }
}

/// What `init` wrote.
pub struct ClusterFiles {
    pub cluster: ClusterId,
    pub context: PathBuf,
    pub keyring: PathBuf,
    pub public: PathBuf,
    /// Configuration files, in the order of the plan.
    pub node_configs: Vec<PathBuf>,
}

/// Writes a new cluster into `dir` (mode 0700), which must hold none yet. `this_year` is the civil year, for certificates.
pub fn init(dir: &Path, plan: &ClusterPlan, entropy: &dyn Entropy, this_year: i32) -> Result<ClusterFiles> {
    refuse_if_taken(dir)?;
    plan.check()?;
    let mut id = [0; 16];
    entropy.fill(&mut id);
    let cluster = ClusterId::from_bytes(id);

    create_keyring(dir, cluster, &mut EntropyRng(entropy))?;
    let authority = Authority::generate(cluster, this_year)?;
    write_public(&dir.join("ca.pem"), authority.own().certificate.as_bytes())?;
    write_secret(&dir.join("ca.key"), authority.own().key.as_bytes())?;
    let token = operator_token(entropy);
    write_secret(&dir.join("operator.token"), token.as_bytes())?;
    let digest = TokenDigest::of(&token);
    if let Some((_, password)) = &plan.nats.login {
        write_secret(&dir.join("nats.password"), password.as_bytes())?;
    }

    if let Some(authority) = &plan.nats.authority {
        write_public(&dir.join("nats-ca.pem"), authority.as_bytes())?;
    }

    let mut node_configs = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        let own = dir.join("nodes").join(node.id.to_string());
        create_dir(&own)?;
        let certified = authority.certify_node(cluster, node.id, &node.host)?;
        write_public(&own.join("node.pem"), certified.certificate.as_bytes())?;
        write_secret(&own.join("node.key"), certified.key.as_bytes())?;
        let config = own.join("node.toml");
        write_public(&config, node_config_text(cluster, plan, node, &digest).as_bytes())?;
        let birth = Birth::fresh(cluster, node.id, FIRST_GENERATION, entropy);
        birth.lay_down(&OsDisk, &own.join(DATA_FOLDER))?;
        node_configs.push(config);
    }

    // Written last: a directory with a context is a whole cluster.
    let context = dir.join("context.json");
    context_of(cluster, plan).save(&context)?;
    Ok(ClusterFiles {
        cluster,
        context,
        keyring: dir.join(KEYRING_FILE),
        public: dir.join(CLUSTER_PUBLIC_FILE),
        node_configs,
    })
}

fn refuse_if_taken(dir: &Path) -> Result<()> {
    for name in ["context.json", KEYRING_FILE] {
        if dir.join(name).exists() {
            bail!(
                "{} already holds a cluster ({name}); its keys cannot be made again, so nothing was written. Choose \
                 another --dir",
                dir.display()
            );
        }
    }
    Ok(())
}

fn context_of(cluster: ClusterId, plan: &ClusterPlan) -> Context {
    Context {
        cluster,
        apis: plan.nodes.iter().map(NodePlan::api_url).collect(),
        ca: "ca.pem".into(),
        token: Some("operator.token".into()),
        client: None,
        public: CLUSTER_PUBLIC_FILE.into(),
        keyring: Some(KEYRING_FILE.into()),
        factory: None,
        nats: plan.terminal_nats.clone(),
    }
}

/// 32 random bytes as hexadecimal digits.
fn operator_token(entropy: &dyn Entropy) -> Zeroizing<String> {
    random_text(entropy, 32)
}

/// So many random bytes as hexadecimal digits: passwords and tokens.
pub(crate) fn random_text(entropy: &dyn Entropy, bytes: usize) -> Zeroizing<String> {
    use std::fmt::Write as _;
    let mut raw = Zeroizing::new(vec![0; bytes]);
    entropy.fill(&mut raw);
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes));
    for byte in raw.iter() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nodes::entropy::OsEntropy;

    fn plan() -> ClusterPlan {
        let node = |id: NodeId| NodePlan {
            id,
            region: "home".parse().unwrap(),
            host: "127.0.0.1".into(),
            peers_port: 7000 + u16::try_from(id).unwrap(),
            api_port: 8000 + u16::try_from(id).unwrap(),
        };
        let login = Some(("nodes".to_owned(), Zeroizing::new("a \"quoted\" password".to_owned())));
        ClusterPlan {
            nodes: vec![node(1), node(2), node(3)],
            nats: NatsAccess { urls: vec!["nats://127.0.0.1:4222".into()], login, authority: None },
            terminal_nats: vec![],
            heartbeat_millis: 1000,
        }
    }

    #[test]
    fn every_node_accepts_the_configuration_that_was_written_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = init(&dir.path().join("cluster"), &plan(), &OsEntropy, 2026).unwrap();
        assert_eq!(files.node_configs.len(), 3);
        for (config, id) in files.node_configs.iter().zip(1..) {
            let config = nodes::config::NodeConfig::load(config).unwrap();
            assert_eq!((config.node, config.cluster, config.members.len()), (id, files.cluster, 3));
            assert_eq!(config.limits.heartbeat_ms, 1000);
            assert!(config.peers.certificate.exists() && config.api.key.exists() && config.keyring.exists());
            assert!(config.data_directory.join("birth.json").exists(), "node {id} may begin, once");
        }
    }

    #[test]
    fn what_the_nodes_would_refuse_lays_out_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("cluster");
        let refused = |change: fn(&mut ClusterPlan)| {
            let mut plan = plan();
            change(&mut plan);
            let error = init(&dir, &plan, &OsEntropy, 2026).err().unwrap();
            assert_eq!(crate::exit::code_of(&error), USAGE);
            assert!(!dir.exists(), "{error}");
            error.to_string()
        };
        assert!(refused(|plan| plan.heartbeat_millis = 5).contains("100 to 86400000"));
        assert!(refused(|plan| plan.nats.urls[0] = "http://x".to_owned()).contains("expected nats://"));
        assert!(refused(|plan| plan.nodes[2].host = "a b".to_owned()).contains("a b"));
        assert!(refused(|plan| plan.nodes[2].host = "x/y".to_owned()).contains("x/y"));
        assert!(
            refused(|plan| plan.nats.login = Some(("nodes".into(), Zeroizing::default()))).contains("empty")
        );
    }

    #[test]
    fn a_second_init_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("cluster");
        init(&dir, &plan(), &OsEntropy, 2026).unwrap();
        let keyring = std::fs::read(dir.join(KEYRING_FILE)).unwrap();
        let error = init(&dir, &plan(), &OsEntropy, 2026).err().unwrap().to_string();
        assert!(error.contains("already holds a cluster"), "{error}");
        assert_eq!(std::fs::read(dir.join(KEYRING_FILE)).unwrap(), keyring);
    }
}
