//! Between the client library and the NATS servers: one listener on this host's loopback, whose connections go on to a
//! server, with everything that the server delivers made readable on the way ([`super::sanitize`]).
//!
//! ```text
//!   client library ◀── 127.0.0.1 ──▶ relay ◀── TCP or TLS ──▶ nats-server
//!                        ◀── deliveries, sanitised ──┘
//! ```
//!
//! Whoever reaches the listener reaches what the server shows to everybody: the login is the client's own business.

use super::sanitize::Sanitizer;
use super::trust::Trust;
use async_nats::ServerAddr;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// What the server still has to say once the client has left.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 64 * 1024;
/// What comes after a read waits so long for more, so that under load a wake-up of this node brings many messages and not
/// one; the first after a silence does not wait.
const GATHERS_FOR: Duration = Duration::from_millis(1);
/// Servers that servers named.
const DISCOVERED_MAX: usize = 64;
/// The client library has one, and one more while it finds the first one dead. Anybody on this host can knock here, and each
/// connection costs two of the node's files, of which its log needs some.
const CONNECTIONS_MAX: usize = 32;

/// A listener that relays. Dropping it takes no more connections; those that are there end by themselves.
pub struct Relay {
    address: SocketAddr,
    accepting: AbortHandle,
}

/// Where the servers are, the next to try first.
struct Servers {
    known: Mutex<Vec<ServerAddr>>,
    configured: usize,
    trust: Trust,
}

/// What a connection to a server is, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Relay {
    pub async fn listen(servers: Vec<ServerAddr>, trust: Trust) -> io::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let configured = servers.len();
        let servers = Arc::new(Servers { known: Mutex::new(servers), configured, trust });
        let accepting = tokio::spawn(accept(listener, servers)).abort_handle();
        Ok(Relay { address, accepting })
    }

    /// Where the client library connects to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, servers: Arc<Servers>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        match listener.accept().await {
            Ok((client, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => drop(tokio::spawn(relay(client, Arc::clone(&servers), place))),
                Err(_) => {
                    tracing::warn!("too many connections to the relay to NATS: who else is on this host?")
                }
            },
            Err(error) => {
                tracing::warn!(%error, "the relay to NATS cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn relay(client: TcpStream, servers: Arc<Servers>, _place: OwnedSemaphorePermit) {
    for _ in 0..servers.count() {
        let Some(server) = servers.next() else { return };
        match timeout(DIAL_WITHIN, dial(&server, &servers.trust)).await {
            Ok(Ok((stream, greeting))) => {
                if let Err(error) = carry(client, stream, greeting, &servers).await {
                    tracing::debug!(%error, server = server.host(), "a connection to NATS ended");
                }
                return;
            }
            Ok(Err(error)) => tracing::warn!(%error, server = server.host(), "cannot use a NATS server"),
            Err(_) => tracing::debug!(server = server.host(), "a NATS server does not answer"),
        }
        servers.rotate();
    }
}

/// A connection, and what the server said first. It says in the clear whether it wants encryption.
async fn dial(server: &ServerAddr, trust: &Trust) -> io::Result<(Box<dyn Stream>, BytesMut)> {
    let mut stream = TcpStream::connect((server.host(), server.port())).await?;
    stream.set_nodelay(true)?;
    let mut greeting = BytesMut::with_capacity(READ_BYTES);
    while !greeting.ends_with(b"\r\n") {
        if greeting.len() > READ_BYTES || stream.read_buf(&mut greeting).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not greet as NATS does"));
        }
    }
    if !trust.demands_tls() && !server.tls_required() && !wants_tls(&greeting) {
        return Ok((Box::new(stream), greeting));
    }
    let name = ServerName::try_from(server.host().to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(trust.client()?).connect(name, stream).await.map_err(with_remedy)?;
    Ok((Box::new(stream), greeting))
}

fn wants_tls(greeting: &[u8]) -> bool {
    let info: Option<serde_json::Value> =
        greeting.strip_prefix(b"INFO ").and_then(|info| serde_json::from_slice(info).ok());
    info.is_some_and(|info| info.get("tls_required").and_then(|wanted| wanted.as_bool()).unwrap_or(false))
}

/// A handshake that failed, with what to do about the likeliest reasons.
fn with_remedy(error: io::Error) -> io::Error {
    let why = format!(
        "no TLS: {error}; look whether `nats.ca_file` is who signed its certificate, and its URL a name in it"
    );
    io::Error::new(error.kind(), why)
}

/// Until either side ends.
async fn carry(
    mut client: TcpStream,
    server: Box<dyn Stream>,
    greeting: BytesMut,
    servers: &Servers,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = split(server);
    let mut deliveries = std::pin::pin!(deliver(greeting, &mut from_server, &mut to_client, servers));
    let said = async {
        copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    tokio::select! {
        ended = &mut deliveries => ended,
        said = said => {
            // A connection that is closed with bytes unread loses what was written last.
            let _ = timeout(FAREWELL_WITHIN, deliveries).await;
            said
        }
    }
}

async fn deliver(
    mut read: BytesMut,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    servers: &Servers,
) -> io::Result<()> {
    let (mut sanitizer, mut clean) = (Sanitizer::default(), BytesMut::new());
    let (mut last_read, mut last_bytes) = (Instant::now(), 0);
    loop {
        sanitizer.sanitize(&mut read, &mut clean)?;
        servers.learn(sanitizer.take_discovered());
        to.write_all(&clean).await?;
        clean.clear();
        read.reserve(READ_BYTES);
        if last_bytes < READ_BYTES / 2 {
            sleep_until(last_read + GATHERS_FOR).await;
        }
        last_bytes = from.read_buf(&mut read).await?;
        last_read = Instant::now();
        if last_bytes == 0 {
            return Ok(());
        }
    }
}

impl Servers {
    fn count(&self) -> usize {
        self.known.lock().len()
    }

    fn next(&self) -> Option<ServerAddr> {
        self.known.lock().first().cloned()
    }

    /// The first one failed.
    fn rotate(&self) {
        let mut known = self.known.lock();
        if !known.is_empty() {
            known.rotate_left(1);
        }
    }

    fn learn(&self, urls: Vec<String>) {
        let mut known = self.known.lock();
        for server in urls.iter().filter_map(|url| url.parse::<ServerAddr>().ok()) {
            if known.len() < self.configured + DISCOVERED_MAX && !known.contains(&server) {
                known.push(server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn strangers_on_this_host_use_up_a_bounded_number_of_files() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("nats://{}", server.local_addr().unwrap()).parse().unwrap();
        let relay = Relay::listen(vec![address], Trust::System).await.unwrap();
        let mut strangers = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            strangers.push(TcpStream::connect(relay.address).await.unwrap());
        }
        let mut one_more = TcpStream::connect(relay.address).await.unwrap();
        assert_eq!(one_more.read(&mut [0]).await.unwrap_or(0), 0, "closed at once");
        drop(strangers);
        drop(server);
    }
}
