//! The configuration file that a node is given; `nodes::config` is the authority on its words.

use super::certificates::node_name;
use super::init::{ClusterPlan, NodePlan};
use events::ids::ClusterId;
use nodes::config::TokenDigest;
use std::fmt::Write as _;

/// The text of `node.toml`; paths are relative to its folder, `DIR/nodes/<n>`.
pub(super) fn node_config_text(
    cluster: ClusterId,
    plan: &ClusterPlan,
    node: &NodePlan,
    token: &TokenDigest,
) -> String {
    let mut text = format!(
        "# Written by `muster cluster init`. Paths are relative to this file's folder.\n\
         cluster = \"{cluster}\"\n\
         node = {id}\n\
         name = \"node-{id}\"\n\
         region = \"{region}\"\n\
         data_directory = \"data\"\n\
         # Beside, never in, the data directory: who copies the data must not get the keys.\n\
         keyring = \"../../keyring.json\"\n\n\
         # {name}\n\
         [peers]\n\
         listen = \"{bind}:{peers_port}\"\n\
         authority = \"../../ca.pem\"\n\
         certificate = \"node.pem\"\n\
         key = \"node.key\"\n\n\
         [api]\n\
         listen = \"{bind}:{api_port}\"\n\
         certificate = \"node.pem\"\n\
         key = \"node.key\"\n\
\n\
         # Who may ask with a token: the digest of operator.token, which stays with the operator.\n\
         [[api.tokens]]\n\
         name = \"operator\"\n\
         role = \"admin\"\n\
         sha256 = \"{token}\"\n\n\
         [nats]\n\
         urls = [{urls}]\n",
        id = node.id,
        region = node.region,
        name = node_name(cluster, node.id),
        bind = bind_address(&node.host),
        peers_port = node.peers_port,
        api_port = node.api_port,
        urls = plan.nats.urls.iter().map(|url| quoted(url)).collect::<Vec<_>>().join(", "),
    );
    if let Some((user, _)) = &plan.nats.login {
        let _ = writeln!(text, "user = {}\npassword_file = \"../../nats.password\"", quoted(user));
    }
    if plan.nats.authority.is_some() {
        text.push_str("ca_file = \"../../nats-ca.pem\"\n");
    }
    let _ = writeln!(
        text,
        "\n[limits]\n# Read once, when the cluster is created; from then on the log says it.\nheartbeat_ms = {}",
        plan.heartbeat_millis
    );
    for member in &plan.nodes {
        let _ = write!(
            text,
            "\n[[members]]\nid = {id}\nname = \"node-{id}\"\nregion = \"{}\"\naddress = {}\n",
            member.region,
            quoted(&format!("{}:{}", member.host, member.peers_port)),
            id = member.id,
        );
    }
    text
}

/// A loopback node listens on loopback only; any other on all of its addresses.
fn bind_address(host: &str) -> &'static str {
    if host == "127.0.0.1" || host == "localhost" { "127.0.0.1" } else { "0.0.0.0" }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
