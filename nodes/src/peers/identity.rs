//! Who a peer is: what its certificate is named for, and what its lines must say.

use events::ids::{ClusterId, NodeId};
use rustls::pki_types::{CertificateDer, ServerName};
use tonic::codegen::http;
use tonic::metadata::MetadataMap;

/// Heads of every line.
pub(super) const CLUSTER_HEAD: &str = "muster-cluster";
pub(super) const FROM_HEAD: &str = "muster-from";
pub(super) const TO_HEAD: &str = "muster-to";

/// The name in a member's certificate: `node-<id>.<cluster>.muster`.
#[must_use]
pub fn certificate_name(cluster: ClusterId, node: NodeId) -> String {
    format!("node-{node}.{cluster}.muster")
}

/// A connection whose certificate proved which member speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenPeer {
    pub node: NodeId,
}

/// Why a peer was refused before anything of it was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("the peer showed no certificate")]
    NoCertificate,
    #[error("the peer's certificate names no member of cluster {cluster}")]
    NotAMember { cluster: ClusterId },
    #[error("the line's head `{head}` says `{got}`, expected `{expected}`")]
    Head { head: &'static str, got: String, expected: String },
}

/// Finds the member that a verified certificate is named for.
pub(super) fn prove(
    cluster: ClusterId,
    members: &[NodeId],
    certificates: Option<&[CertificateDer<'_>]>,
) -> Result<ProvenPeer, IdentityError> {
    let leaf = certificates.and_then(<[_]>::first).ok_or(IdentityError::NoCertificate)?;
    let not_a_member = IdentityError::NotAMember { cluster };
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| not_a_member.clone())?;
    let named_for = |node: &&NodeId| {
        let name = certificate_name(cluster, **node);
        ServerName::try_from(name).is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    };
    members.iter().find(named_for).map(|&node| ProvenPeer { node }).ok_or(not_a_member)
}

/// What a line says of itself, before its first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineHead {
    pub(super) cluster: ClusterId,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

impl LineHead {
    pub(super) fn write(self, metadata: &mut MetadataMap) {
        let heads = [
            (CLUSTER_HEAD, self.cluster.to_string()),
            (FROM_HEAD, self.from.to_string()),
            (TO_HEAD, self.to.to_string()),
        ];
        for (head, value) in heads {
            if let Ok(value) = value.parse() {
                metadata.insert(head, value);
            }
        }
    }

    /// Checks the heads of a line against what they must be.
    pub(super) fn check(self, heads: &http::HeaderMap) -> Result<(), IdentityError> {
        let expected = [
            (CLUSTER_HEAD, self.cluster.to_string()),
            (FROM_HEAD, self.from.to_string()),
            (TO_HEAD, self.to.to_string()),
        ];
        for (head, expected) in expected {
            let got = heads.get(head).and_then(|v| v.to_str().ok()).unwrap_or("");
            if got != expected {
                return Err(IdentityError::Head { head, got: got.chars().take(64).collect(), expected });
            }
        }
        Ok(())
    }
}
