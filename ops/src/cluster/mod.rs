//! Laying out a new cluster: identity, keys, certificates, one configuration file a node.
//!
//! ```text
//!   DIR/
//!     context.json        for operators' commands            cluster.public.json   for stations and agents: pinned keys
//!     keyring.json        0600, for every node               ca.pem, ca.key  (key 0600)
//!     operator.token      0600, the bearer token of the API
//!     nats.password, nats-ca.pem   how the nodes log in to NATS, and whose certificates they believe there
//!     nodes/<n>/node.toml, node.pem, node.key, data/birth.json (lets the node begin, once)
//! ```
//!
//! Nothing here talks to a running node: the files go to their machines, and `muster node --config` reads them.

pub mod certificates;
mod certify;
mod init;
mod node_config;

pub use certify::{certify_again, enrol};
pub(crate) use init::random_text;
pub use init::{ClusterFiles, ClusterPlan, NatsAccess, NodePlan, init};
