//! HTTP(S) as updates need it: one GET, perhaps of a rest, whose body comes piece by piece. No redirects, no cookies, no
//! compression; what comes is checked against a signed offer, so a server is not trusted, and TLS only hides what is
//! fetched.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HOST, RANGE};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// To connect, to get an answer, and between two pieces of a body.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("`{0}` is no URL that can be fetched")]
    Url(String),
    #[error("cannot use the certificates of `{file}`: {why}")]
    Certificates { file: String, why: String },
    #[error(
        "this system holds no certificates to check HTTPS servers against, and [update] ca_file names none"
    )]
    NoRoots,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("the transfer broke: {0}")]
    Transfer(String),
    #[error("no answer for {} s", PATIENCE.as_secs())]
    Silence,
    #[error("the server answered {0}")]
    Status(u16),
    #[error("the server sends another part than was asked for")]
    OtherRange,
}

/// Roots are read once, on the first HTTPS request: most terminals make none.
#[derive(Clone)]
pub struct HttpClient {
    ca_file: Option<std::path::PathBuf>,
    tls: Option<TlsConnector>,
}

/// A body that is on its way.
pub struct Response {
    /// Where its first byte belongs.
    pub from: u64,
    /// Of the whole, if the server says.
    pub total: Option<u64>,
    body: Incoming,
    _connection: Connection,
}

/// Ends with the response.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HttpClient {
    #[must_use]
    pub fn new(ca_file: Option<&Path>) -> Self {
        HttpClient { ca_file: ca_file.map(Path::to_owned), tls: None }
    }

    /// Asks for everything from byte `from` on. The answer may begin at 0 all the same.
    pub async fn get(&mut self, url: &str, from: u64) -> Result<Response, HttpError> {
        let Place { uri, host, port, tls } = place_of(url).ok_or_else(|| HttpError::Url(url.to_owned()))?;
        let stream = within(TcpStream::connect((host.as_str(), port))).await?.map_err(HttpError::Connect)?;
        let Some(name) = tls else { return self.exchange(stream, &uri, from).await };
        let connector = self.connector()?;
        let stream = within(connector.connect(name, stream)).await?.map_err(HttpError::Connect)?;
        self.exchange(stream, &uri, from).await
    }

    async fn exchange<S>(&self, stream: S, uri: &Uri, from: u64) -> Result<Response, HttpError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) =
            within(http1::handshake(TokioIo::new(stream))).await?.map_err(broke)?;
        let connection = Connection(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP connection ended");
            }
        }));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::get(path).header(HOST, host);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| HttpError::Url(e.to_string()))?;
        let response = within(sender.send_request(request)).await?.map_err(broke)?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (starts, total) = match response.status() {
            StatusCode::OK => (0, header(CONTENT_LENGTH).and_then(|length| length.parse().ok())),
            StatusCode::PARTIAL_CONTENT => {
                let range = header(CONTENT_RANGE).and_then(content_range).ok_or(HttpError::OtherRange)?;
                if range.0 != from {
                    return Err(HttpError::OtherRange);
                }
                range
            }
            other => return Err(HttpError::Status(other.as_u16())),
        };
        Ok(Response { from: starts, total, body: response.into_body(), _connection: connection })
    }

    fn connector(&mut self) -> Result<TlsConnector, HttpError> {
        if let Some(tls) = &self.tls {
            return Ok(tls.clone());
        }
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            // The system's store may hold what this version cannot use; the others still count.
            let _unusable = roots.add(certificate);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Transfer(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.tls.insert(TlsConnector::from(Arc::new(config))).clone())
    }

    /// Whether the roots can be read, without asking anybody for anything.
    pub fn read_roots(&self) -> Result<(), HttpError> {
        if self.certificates()?.is_empty() { Err(HttpError::NoRoots) } else { Ok(()) }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, HttpError> {
        let Some(file) = &self.ca_file else { return Ok(rustls_native_certs::load_native_certs().certs) };
        let refused = |why: String| HttpError::Certificates { file: file.display().to_string(), why };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|e| refused(e.to_string()))?;
        certificates.map(|certificate| certificate.map_err(|e| refused(e.to_string()))).collect()
    }
}

impl Response {
    /// The next piece; none at the end of the body.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            match within(self.body.frame()).await? {
                None => return Ok(None),
                Some(Err(error)) => return Err(broke(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Where a URL points.
struct Place {
    uri: Uri,
    host: String,
    port: u16,
    /// Whose certificate is expected; none is for no encryption.
    tls: Option<ServerName<'static>>,
}

fn place_of(url: &str) -> Option<Place> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    if host.is_empty() {
        return None;
    }
    let (usual_port, tls) = match uri.scheme_str() {
        Some("https") => (443, Some(ServerName::try_from(host.clone()).ok()?)),
        Some("http") => (80, None),
        _ => return None,
    };
    let port = uri.port_u16().unwrap_or(usual_port);
    Some(Place { uri, host, port, tls })
}

/// Whether a URL is one that [`HttpClient::get`] can ask.
pub(super) fn can_fetch(url: &str) -> bool {
    place_of(url).is_some()
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, HttpError> {
    timeout(PATIENCE, work).await.map_err(|_| HttpError::Silence)
}

fn broke(error: hyper::Error) -> HttpError {
    HttpError::Transfer(error.to_string())
}

/// `bytes 5-9/10` → begins at 5, of 10.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _last) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_names_its_first_byte_and_the_whole() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["bytes */10", "5-9/10", "bytes 5/10", "bytes -9/10"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
