//! Certificates as `muster cluster init` makes them, and as somebody else would.

use events::ids::{ClusterId, NodeId};
use nodes::config::PeersConfig;
use nodes::peers::certificate_name;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::Path;

pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Certificate and key for these names, both PEM.
    pub fn issue(&self, names: Vec<String>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// The peers' files of a member, as its configuration names them; `trusts` is whose members it believes.
    pub fn member_files(
        &self,
        dir: &Path,
        (cluster, node): (ClusterId, NodeId),
        trusts: &Authority,
    ) -> PeersConfig {
        let (certificate, key) = self.issue(vec![certificate_name(cluster, node), "localhost".to_owned()]);
        let path = |name: &str| dir.join(name);
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(path("ca.pem"), trusts.certificate()).unwrap();
        std::fs::write(path("node.pem"), certificate).unwrap();
        std::fs::write(path("node.key"), key).unwrap();
        PeersConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            authority: path("ca.pem"),
            certificate: path("node.pem"),
            key: path("node.key"),
        }
    }
}
