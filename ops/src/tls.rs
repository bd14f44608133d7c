//! One cryptographic provider for all TLS of this program.

/// Installs rustls' ring provider for the whole process; a second call changes nothing.
pub fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
