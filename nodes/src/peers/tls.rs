//! Mutual TLS 1.3 with the cluster's own authority; no other authority is trusted.

use crate::config::PeersConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: expected {expected} in PEM: {why}", file.display())]
    File { file: PathBuf, expected: &'static str, why: String },
    #[error("certificate {} and its key do not fit: {why}", file.display())]
    Unfit { file: PathBuf, why: String },
    #[error("this host believes no authority (an image FROM scratch has none); set `{field}`")]
    NobodyBelieved { field: &'static str },
}

/// Both ends of the peers' TLS.
#[derive(Clone)]
pub struct PeerTls {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
}

const ALPN_H2: &[u8] = b"h2";

/// The one provider of cryptography for TLS; named explicitly, so that no process-wide default decides.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl PeerTls {
    pub fn load(config: &PeersConfig) -> Result<Self, TlsError> {
        let roots = Arc::new(roots(&config.authority)?);
        let chain = certificates(&config.certificate)?;
        let key = || private_key(&config.key);
        let unfit = |e: &dyn std::fmt::Display| TlsError::Unfit {
            file: config.certificate.clone(),
            why: e.to_string(),
        };

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|e| unfit(&e))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| unfit(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key()?)
            .map_err(|e| unfit(&e))?;
        server.alpn_protocols = vec![ALPN_H2.to_vec()];

        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| unfit(&e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .map_err(|e| unfit(&e))?;
        client.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok(PeerTls { server: Arc::new(server), client: Arc::new(client) })
    }
}

fn file_error(file: &Path, expected: &'static str, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { file: file.to_owned(), expected, why: why.to_string() }
}

/// All certificates of a PEM file, at least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let expected = "a certificate";
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|e| file_error(file, expected, &e))?.collect();
    let found = found.map_err(|e| file_error(file, expected, &e))?;
    if found.is_empty() { Err(file_error(file, expected, &"there is none")) } else { Ok(found) }
}

/// The authorities of a PEM file, at least one.
pub fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|e| file_error(file, "an authority", &e))?;
    }
    Ok(roots)
}

/// The authorities that this host believes, at least one; `field` would name another in the configuration.
pub fn roots_of_this_host(field: &'static str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NobodyBelieved { field }) } else { Ok(roots) }
}

/// The private key of a PEM file.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| file_error(file, "a private key", &e))
}
