//! The cluster's own certificate authority: it signs what nodes show to each other and to operators.
//!
//! A node's certificate names it `node-<n>.<cluster id>.muster`; peers refuse a certificate that names another
//! cluster before they read anything else. The same certificate serves the operators' API, so it also carries the
//! host under which operators reach the node.

use anyhow::{Context, Result, ensure};
use events::ids::{ClusterId, NodeId};
use nodes::config::AccessRole;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use zeroize::Zeroizing;

/// Certificates end this many years after they were made; `cluster certify` makes a node's anew.
const YEARS: i32 = 10;

/// A certificate and its key, both PEM.
pub struct Certified {
    pub certificate: String,
    pub key: Zeroizing<String>,
}

/// The authority of one cluster, able to sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    own: Certified,
    last_year: i32,
}

/// The name that a node's certificate carries and that its peers demand.
#[must_use]
pub fn node_name(cluster: ClusterId, node: NodeId) -> String {
    format!("node-{node}.{cluster}.muster")
}

impl Authority {
    /// A new authority; `this_year` is the civil year in UTC.
    pub fn generate(cluster: ClusterId, this_year: i32) -> Result<Self> {
        let last_year = this_year + YEARS;
        let mut params = params_of(cluster);
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().context("generating the cluster's certificate key")?;
        let certificate = params.self_signed(&key).context("signing the cluster's certificate")?.pem();
        let own = Certified { certificate, key: Zeroizing::new(key.serialize_pem()) };
        Ok(Authority { issuer: Issuer::new(params, key), own, last_year })
    }

    /// The authority of `cluster` whose certificate and key (both PEM) were kept.
    pub fn load(cluster: ClusterId, own: Certified, this_year: i32) -> Result<Self> {
        use rustls::pki_types::pem::PemObject as _;
        let key = KeyPair::from_pem(&own.key).context("reading the key of the cluster's authority")?;
        let certificate = rustls::pki_types::CertificateDer::from_pem_slice(own.certificate.as_bytes())
            .context("reading the certificate of the cluster's authority")?;
        let (public, name) = (key.public_key_raw(), format!("muster {cluster}"));
        ensure!(holds(&certificate, public), "the key is not that of the certificate beside it");
        ensure!(holds(&certificate, name.as_bytes()), "the certificate is not the authority's of {cluster}");
        Ok(Authority { issuer: Issuer::new(params_of(cluster), key), own, last_year: this_year + YEARS })
    }

    /// The authority's own certificate and key, to be kept.
    #[must_use]
    pub fn own(&self) -> &Certified {
        &self.own
    }

    /// A certificate for somebody who asks the API as `role`; it ends where a day begins: `(year, month, day)`.
    pub fn certify_operator(
        &self,
        cluster: ClusterId,
        role: AccessRole,
        who: &str,
        ends: (i32, u8, u8),
    ) -> Result<Certified> {
        let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            (1..=63).contains(&who.len()) && who.bytes().all(is_label),
            "`{who}` is no name for a certificate: expected 1 to 63 of a to z, 0 to 9 and `-`"
        );
        let name = format!("{role}.{who}.{cluster}.muster");
        let mut params = CertificateParams::new(vec![name.clone()]).context("naming an operator")?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (year, month, day) = ends;
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = KeyPair::generate().context("generating an operator's certificate key")?;
        let signed = params.signed_by(&key, &self.issuer).context("signing an operator's certificate")?;
        Ok(Certified { certificate: signed.pem(), key: Zeroizing::new(key.serialize_pem()) })
    }

    /// A certificate for one node, as server and as client; `host` is where operators and peers reach it.
    pub fn certify_node(&self, cluster: ClusterId, node: NodeId, host: &str) -> Result<Certified> {
        let name = node_name(cluster, node);
        let mut hosts = vec![name.clone(), "localhost".to_owned()];
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
        let mut params =
            CertificateParams::new(hosts).with_context(|| format!("`{host}` is no host name"))?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = rcgen::date_time_ymd(self.last_year, 12, 31);
        let key = KeyPair::generate().context("generating a node's certificate key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("signing a node's certificate")?.pem();
        Ok(Certified { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }
}

/// What an authority's certificate says besides its key and its end.
fn params_of(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("muster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn holds(certificate: &[u8], part: &[u8]) -> bool {
    certificate.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use std::sync::Arc;

    fn accepts(authority: &Authority, certified: &Certified, name: &str) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.own().certificate.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let leaf = CertificateDer::from_pem_slice(certified.certificate.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now =
            rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_374_203));
        use rustls::client::danger::ServerCertVerifier;
        verifier.build().unwrap().verify_server_cert(&leaf, &[], &name, &[], now).is_ok()
    }

    #[test]
    fn a_node_is_accepted_under_its_name_and_host_and_under_no_other() {
        let cluster = ClusterId::from_bytes([7; 16]);
        let authority = Authority::generate(cluster, 2026).unwrap();
        let node = authority.certify_node(cluster, 2, "127.0.0.1").unwrap();
        assert!(accepts(&authority, &node, &node_name(cluster, 2)));
        assert!(accepts(&authority, &node, "127.0.0.1"));
        assert!(!accepts(&authority, &node, &node_name(cluster, 3)));
        assert!(!accepts(&authority, &node, &node_name(ClusterId::from_bytes([8; 16]), 2)));
    }

    #[test]
    fn an_authority_that_was_kept_certifies_as_it_did_on_its_first_day() {
        let cluster = ClusterId::from_bytes([7; 16]);
        let first = Authority::generate(cluster, 2026).unwrap();
        let kept =
            || Certified { certificate: first.own().certificate.clone(), key: first.own().key.clone() };
        let node =
            Authority::load(cluster, kept(), 2030).unwrap().certify_node(cluster, 2, "b.example").unwrap();
        assert!(accepts(&first, &node, &node_name(cluster, 2)) && accepts(&first, &node, "b.example"));

        let other = ClusterId::from_bytes([8; 16]);
        assert!(Authority::load(other, kept(), 2030).is_err(), "another cluster's");
        let stranger = Authority::generate(cluster, 2026).unwrap();
        let mixed = Certified { key: stranger.own().key.clone(), ..kept() };
        assert!(Authority::load(cluster, mixed, 2030).is_err(), "another one's key");
    }

    #[test]
    fn a_node_of_another_authority_is_refused() {
        let cluster = ClusterId::from_bytes([7; 16]);
        let authority = Authority::generate(cluster, 2026).unwrap();
        let stranger = Authority::generate(cluster, 2026).unwrap();
        let node = stranger.certify_node(cluster, 2, "127.0.0.1").unwrap();
        assert!(!accepts(&authority, &node, &node_name(cluster, 2)));
    }
}
