//! Artifacts over HTTPS: the server must show a certificate of the configured roots for its own name, before it learns what
//! is wanted of it.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]

use edge_agent::update::{HttpClient, HttpError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Server {
    address: SocketAddr,
    /// Requests that came through TLS.
    asked: Arc<AtomicUsize>,
}

/// Serves `artifact` from the byte that is asked for on, under a certificate of `authority` for `name`.
fn serve(authority: &Authority, name: &str, artifact: Vec<u8>) -> Server {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let (config, asked) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = asked.clone();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let tls = ServerConnection::new(config.clone()).unwrap();
            // A client that does not believe the certificate ends here.
            let _gone = answer(StreamOwned::new(tls, tcp.unwrap()), &artifact, &requests);
        }
    });
    Server { address, asked }
}

fn answer(
    mut stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    artifact: &[u8],
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    let mut from = 0;
    for line in BufReader::new(&mut stream).lines() {
        let line = line?.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let (rest, whole) = (&artifact[from..], artifact.len());
    let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
    let range = format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1);
    let range = if from == 0 { "" } else { &range };
    write!(stream, "HTTP/1.1 {status}\r\n{range}Content-Length: {}\r\n\r\n", rest.len())?;
    stream.write_all(rest)?;
    stream.conn.send_close_notify();
    stream.flush()
}

struct Terminal {
    _dir: TempDir,
    roots: PathBuf,
}

fn believing(authority: &Authority) -> Terminal {
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    Terminal { _dir: dir, roots }
}

impl Terminal {
    async fn fetch(&self, host: &str, server: &Server, from: u64) -> Result<Vec<u8>, HttpError> {
        let url = format!("https://{host}:{}/artifact", server.address.port());
        let mut response = HttpClient::new(Some(&self.roots)).get(&url, from).await?;
        assert_eq!(response.from, from);
        let mut bytes = Vec::new();
        while let Some(piece) = response.piece().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

fn artifact() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn an_artifact_comes_whole_over_https_and_so_does_its_rest() {
    let authority = authority();
    let server = serve(&authority, "localhost", artifact());
    let terminal = believing(&authority);
    assert_eq!(terminal.fetch("localhost", &server, 0).await.unwrap(), artifact());
    assert_eq!(terminal.fetch("localhost", &server, 123_456).await.unwrap(), artifact()[123_456..]);
}

#[tokio::test]
async fn a_server_of_another_authority_or_of_another_name_is_not_asked_for_anything() {
    let (ours, theirs) = (authority(), authority());
    let strange = serve(&theirs, "localhost", artifact());
    let misnamed = serve(&ours, "updates.example", artifact());
    let terminal = believing(&ours);
    for server in [&strange, &misnamed] {
        let refused = terminal.fetch("localhost", server, 0).await.unwrap_err();
        assert!(matches!(refused, HttpError::Connect(_)), "{refused}");
        assert_eq!(server.asked.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_named() {
    let authority = authority();
    let server = serve(&authority, "localhost", artifact());
    let terminal = believing(&authority);
    std::fs::remove_file(&terminal.roots).unwrap();
    let refused = terminal.fetch("localhost", &server, 0).await.unwrap_err();
    assert!(
        matches!(&refused, HttpError::Certificates { file, .. } if file.ends_with("roots.pem")),
        "{refused}"
    );
}
