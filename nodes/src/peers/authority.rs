//! The cluster's own certificate authority: made once with the cluster, kept with the operator, never on a node.

use super::certificate_name;
use events::ids::{ClusterId, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384,
};
use zeroize::Zeroizing;

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct AuthorityError(#[from] rcgen::Error);

/// A certificate and its private key, both PEM.
pub struct IssuedCertificate {
    pub certificate: String,
    pub key: Zeroizing<String>,
}

/// Signs the certificates of one cluster's members and of their APIs.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority for a cluster (ECDSA P-384).
    pub fn generate(cluster: ClusterId) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(&format!("muster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Authority { certificate, issuer: Issuer::new(params, key) })
    }

    /// An authority from its files.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Authority { certificate: certificate.to_owned(), issuer })
    }

    /// What every member trusts.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What only the operator keeps.
    #[must_use]
    pub fn key(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// The certificate of one member, named for cluster and node.
    pub fn issue_node(&self, cluster: ClusterId, node: NodeId) -> Result<IssuedCertificate, AuthorityError> {
        self.issue(vec![certificate_name(cluster, node)])
    }

    /// The certificate of an API, for the host names and addresses under which operators reach it.
    pub fn issue_api(&self, hosts: Vec<String>) -> Result<IssuedCertificate, AuthorityError> {
        self.issue(hosts)
    }

    fn issue(&self, names: Vec<String>) -> Result<IssuedCertificate, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(&common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(IssuedCertificate { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
