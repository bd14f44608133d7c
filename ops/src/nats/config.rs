//! The server's configuration file.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::PathBuf;

/// A subject that nobody hears: an allow-list must not be empty, or it would allow everything.
const NOWHERE: &str = "muster.nowhere";

/// The server keeps what matched the last thousand subjects. Here every device has subjects of its own, so that it would only
/// fill and empty that memory.
const NO_MEMORY_OF_SUBJECTS: &str = "disable_sublist_cache: true";

/// A handshake takes a terminal on a slow link so long; the server's own default is 2.
const TLS_SECONDS: u32 = 5;

/// What one connection may cost the server: a muster message has 2 KiB and its headers, an agent listens to one subject and
/// a node to six. Whoever wants more is cut off. How many connections a source has the server cannot bound by user.
const PAYLOAD_BYTES_MAX: u32 = 8_192;
const SUBSCRIPTIONS_MAX: u32 = 64;
const CONTROL_LINE_BYTES_MAX: u32 = 1_024;
/// A node that is slow for a moment loses nothing below this.
const PENDING_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Handshakes of TLS a second: where a region comes back all terminals knock at once (their back-off has full jitter), and
/// the server must still serve those who are in.
const TLS_HANDSHAKES_PER_SECOND: u32 = 1_000;

/// A static user of the server.
pub struct User {
    pub name: String,
    pub password: String,
    pub may: Permissions,
}

/// What a user may do.
pub enum Permissions {
    /// Every node: listens to all that comes up in any region, speaks in the inboxes of this server's sources, and elsewhere
    /// answers what it received.
    Nodes,
    /// One connection of one source: publishes as that source, listens below `inbox` only.
    Source { source: String, inbox: String },
    /// An attacker who reads the wire: hears everything that comes up, says nothing.
    Tap,
}

/// The server's certificate and its key, PEM, as the server finds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The server's configuration: nothing is allowed that is not listed. `listen` is `host:port`. With `tls` the
/// server takes encrypted connections only.
#[must_use]
pub fn config_text(listen: &str, region: &str, users: &[User], tls: Option<&ServerTls>) -> String {
    let mut text = format!(
        "listen: \"{listen}\"\nserver_name: \"muster-{region}\"\nmax_payload: {PAYLOAD_BYTES_MAX}\n\
         max_subscriptions: {SUBSCRIPTIONS_MAX}\nmax_control_line: {CONTROL_LINE_BYTES_MAX}\n\
         max_pending: {PENDING_BYTES_MAX}\nping_interval: \"20s\"\nping_max: 2\n{NO_MEMORY_OF_SUBJECTS}\n"
    );
    if let Some(ServerTls { certificate, key }) = tls {
        let (certificate, key) = (certificate.display(), key.display());
        let _ = writeln!(
            text,
            "tls {{\n  cert_file: \"{certificate}\"\n  key_file: \"{key}\"\n  timeout: {TLS_SECONDS}\n  \
             connection_rate_limit: {TLS_HANDSHAKES_PER_SECOND}\n}}"
        );
    }
    text.push_str("authorization {\n  timeout: 5\n  users = [\n");
    for user in users {
        let permissions = match &user.may {
            Permissions::Nodes => format!(
                "publish: {{ allow: [{}] }}, subscribe: {{ allow: [\"muster.v1.*.up.>\"] }}, \
                 allow_responses: {{ max: 1, expires: \"30s\" }}",
                inboxes(users)
            ),
            Permissions::Source { source, inbox } => format!(
                "publish: {{ allow: [\"muster.v1.{region}.up.{source}.>\"] }}, subscribe: {{ allow: [\"{inbox}\"] }}"
            ),
            Permissions::Tap => format!(
                "publish: {{ allow: [\"{NOWHERE}\"] }}, subscribe: {{ allow: [\"muster.v1.{region}.up.>\"] }}"
            ),
        };
        let _ = writeln!(
            text,
            "    {{ user: \"{}\", password: \"{}\", allowed_connection_types: [\"STANDARD\"], permissions: {{ \
             {permissions} }} }}",
            user.name, user.password
        );
    }
    text.push_str("  ]\n}\n");
    text
}

/// Where the nodes may speak unasked, as a list. `allow_responses` alone would do, and stays for those who ask through
/// another region's server; but it makes the server remember every message until it is answered, and go through all of them
/// again and again while somebody sends what is never answered.
fn inboxes(users: &[User]) -> String {
    let inbox = |user: &User| match &user.may {
        Permissions::Source { inbox, .. } => Some(format!("\"{inbox}\"")),
        Permissions::Nodes | Permissions::Tap => None,
    };
    let inboxes: Vec<String> = users.iter().filter_map(inbox).collect();
    if inboxes.is_empty() { format!("\"{NOWHERE}\"") } else { inboxes.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_publish_as_itself_only() {
        let users = [User {
            name: "shop-1".into(),
            password: "p".into(),
            may: Permissions::Source { source: "shop-1".into(), inbox: "_INBOX_dev_x.>".into() },
        }];
        let text = config_text("127.0.0.1:4222", "home", &users, None);
        assert!(text.contains(r#"publish: { allow: ["muster.v1.home.up.shop-1.>"] }"#), "{text}");
        assert!(text.contains(r#"subscribe: { allow: ["_INBOX_dev_x.>"] }"#), "{text}");
    }

    #[test]
    fn the_nodes_speak_unasked_in_the_inboxes_of_sources_only() {
        let nodes = || User { name: "nodes".into(), password: "p".into(), may: Permissions::Nodes };
        let source = |inbox: &str| User {
            name: "s".into(),
            password: "p".into(),
            may: Permissions::Source { source: "s".into(), inbox: inbox.into() },
        };
        let text = |users: &[User]| config_text("127.0.0.1:4222", "home", users, None);
        assert!(text(&[nodes()]).contains(r#"publish: { allow: ["muster.nowhere"] }"#));
        let two = text(&[nodes(), source("_INBOX_dev_x.>"), source("*.shop.>")]);
        assert!(two.contains(r#"publish: { allow: ["_INBOX_dev_x.>", "*.shop.>"] }"#), "{two}");
    }
}
