//! The passwords of nodes and sources go over an encrypted wire, from the first command of the guide on.

use crate::support::{muster, muster_json};
use edge_agent::machine::Settings;
use events::identity::fingerprint::ComponentPolicy;
use events::identity::key::FactoryKey;
use events::identity::lot::{LotFirmware, LotSecret};
use events::ids::{ClusterId, LotId};
use events::keyring::Keyring;
use events::vocabulary::shared::ComponentKind;
use nodes::bus::{Bus, BusHealth, NatsBus, NatsOptions};
use nodes::config::NodeConfig;
use nodes::entropy::{EntropyRng, OsEntropy};
use ops::cluster::certificates::Authority;
use ops::dev::ports;
use ops::fleet::{FleetConnection, FleetOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(15);

/// A folder with an authority, and what it signed for a server on this host.
fn certified() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let cluster = ClusterId::from_bytes([7; 16]);
    let authority = Authority::generate(cluster, 2026).unwrap();
    let server = authority.certify_node(cluster, 1, "127.0.0.1").unwrap();
    std::fs::write(dir.path().join("ca.pem"), &authority.own().certificate).unwrap();
    std::fs::write(dir.path().join("tls.pem"), server.certificate).unwrap();
    std::fs::write(dir.path().join("tls.key"), server.key.as_bytes()).unwrap();
    dir
}

/// A nats-server with the configuration that `muster source` made; killed with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn server(dir: &Path, address: SocketAddr) -> Server {
    let mut command = Command::new(tests::nats_server());
    command.arg("--config").arg(dir.join("nats/nats.conf")).current_dir("/");
    let server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let ready = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("the server must start");
    server
}

/// How a node's bus stands once it tried.
async fn health_under(config: &Path) -> BusHealth {
    let config = NodeConfig::load(config).unwrap().nats;
    let bus = NatsBus::connect(&NatsOptions { config, name: "muster-test".into() }).await.unwrap();
    bus.health().borrow().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_believes_a_server_whose_authority_it_was_given_and_says_nothing_to_another() {
    let dir = certified();
    let address = ports::free(1).unwrap()[0];
    let (listen, url) = (address.to_string(), format!("nats://{address}"));
    let tls = ["--tls-cert", "tls.pem", "--tls-key", "tls.key"];
    let init = [&["source", "init", "--dir", "nats", "--listen", &listen][..], &tls].concat();
    assert_eq!(muster_json(dir.path(), &init)["encrypted"], true);
    // The list is written anew; the certificate stays.
    muster_json(dir.path(), &["source", "add", "shop-1", "--dir", "nats", "--token", "shop"]);
    let login = ["--nats-user", "nodes", "--nats-password-file", "nats/nodes.password"];
    let cluster = ["cluster", "init", "--dir", "c", "--nats", &url, "--nats-ca", "ca.pem"];
    muster_json(dir.path(), &[&cluster[..], &login].concat());
    let _server = server(dir.path(), address).await;

    let config = dir.path().join("c/nodes/1/node.toml");
    assert_eq!(health_under(&config).await, BusHealth::Connected);
    let text = std::fs::read_to_string(&config).unwrap();
    let stranger = certified();
    std::fs::copy(stranger.path().join("ca.pem"), dir.path().join("c/stranger.pem")).unwrap();
    for other in ["", "ca_file = \"../../stranger.pem\"\n"] {
        let changed = text.replacen("ca_file = \"../../nats-ca.pem\"\n", other, 1);
        assert_ne!(changed, text);
        std::fs::write(&config, changed).unwrap();
        assert_eq!(health_under(&config).await, BusHealth::Disconnected, "{other}");
    }
    let in_the_clear = async_nats::ConnectOptions::with_user_and_password(
        "shop-1".into(),
        std::fs::read_to_string(dir.path().join("nats/shop-1.password")).unwrap(),
    );
    assert!(in_the_clear.connect(url).await.is_err(), "the server takes encrypted connections only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_authority_tells_its_password_to_nobody_who_says_that_no_encryption_is_wanted() {
    let dir = certified();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    std::fs::write(dir.path().join("password"), "hunter2").unwrap();
    let login = ["--nats-user", "nodes", "--nats-password-file", "password"];
    let cluster = ["cluster", "init", "--dir", "c", "--nats", &url, "--nats-ca", "ca.pem"];
    muster_json(dir.path(), &[&cluster[..], &login].concat());
    let between = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"INFO {\"version\":\"2.15.1\",\"max_payload\":65536}\r\n").await.unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).await.unwrap();
        first[0]
    });
    let config = dir.path().join("c/nodes/1/node.toml");
    assert_eq!(health_under(&config).await, BusHealth::Disconnected);
    const TLS_HANDSHAKE: u8 = 22;
    assert_eq!(between.await.unwrap(), TLS_HANDSHAKE, "and no CONNECT in the clear");
}

/// A fleet without terminals: it connects, and ends.
fn fleet(url: &str, password: &str, authority: Option<PathBuf>) -> FleetOptions {
    let rng = &mut EntropyRng(&OsEntropy);
    let policy =
        ComponentPolicy::new(vec![ComponentKind::SocSerial], vec![ComponentKind::MacAddress], 1).unwrap();
    let (factory, lot) = (FactoryKey::generate(rng), LotId::from_bytes([1; 4]));
    let firmware = LotFirmware::create(&factory, lot, "box", policy, LotSecret::generate(rng)).unwrap();
    FleetOptions {
        connection: FleetConnection {
            url: url.to_owned(),
            user: "shop-1".to_owned(),
            password: password.trim().to_owned().into(),
            authority,
            region: "home".parse().unwrap(),
            source: "shop-1".parse().unwrap(),
            token: "shop".to_owned(),
            traces_file: None,
        },
        cluster: Arc::new(Keyring::generate(rng, ClusterId::from_bytes([7; 16])).public()),
        firmware: Arc::new(firmware),
        settings: Settings::default(),
        ramp: Duration::ZERO,
        state_dir: None,
        drain: Duration::ZERO,
        progress_every: PATIENCE,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_reaches_an_encrypted_server_with_its_authority_and_not_without() {
    let dir = certified();
    let address = ports::free(1).unwrap()[0];
    let (listen, url) = (address.to_string(), format!("nats://{address}"));
    let tls = ["--tls-cert", "tls.pem", "--tls-key", "tls.key"];
    muster_json(dir.path(), &[&["source", "init", "--dir", "nats", "--listen", &listen][..], &tls].concat());
    muster_json(dir.path(), &["source", "add", "shop-1", "--dir", "nats", "--token", "shop"]);
    let _server = server(dir.path(), address).await;
    let password = std::fs::read_to_string(dir.path().join("nats/shop-1.password")).unwrap();
    let run = |authority| {
        ops::fleet::run(fleet(&url, &password, authority), vec![], std::future::ready(()), |_| ())
    };
    run(Some(dir.path().join("ca.pem"))).await.unwrap();
    assert!(run(None).await.is_err(), "nobody it believes signed that server's certificate");
}

#[test]
fn a_list_that_was_begun_in_the_clear_says_so_and_is_given_a_certificate_later() {
    let dir = certified();
    let ran = muster(dir.path(), &["source", "init", "--dir", "nats"]);
    assert!(ran.code == 0 && ran.stdout.contains("Nothing is encrypted"), "{}{}", ran.stdout, ran.stderr);
    let config = || std::fs::read_to_string(dir.path().join("nats/nats.conf")).unwrap();
    assert!(!config().contains("tls"));
    let certify = ["source", "certify", "--dir", "nats", "--tls-cert", "tls.pem", "--tls-key", "tls.key"];
    muster_json(dir.path(), &certify);
    assert!(config().contains(&format!("cert_file: \"{}\"", dir.path().join("tls.pem").display())));
}

#[test]
fn a_certificate_that_cannot_serve_is_refused_when_the_list_begins() {
    let dir = certified();
    let stranger = certified();
    std::fs::copy(stranger.path().join("tls.key"), dir.path().join("other.key")).unwrap();
    for (certificate, key, says) in [
        ("tls.pem", "other.key", "is not the key of"),
        ("tls.key", "tls.key", "expected a certificate"),
        ("not-there.pem", "tls.key", "is not there"),
        ("/etc/nats/a\"b.pem", "tls.key", "quotes"),
    ] {
        let tls = ["--tls-cert", certificate, "--tls-key", key];
        let ran = muster(dir.path(), &[&["source", "init", "--dir", "nats"][..], &tls].concat());
        assert_eq!(ran.code, 2, "{certificate}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{certificate}: {}", ran.stderr);
        assert!(!dir.path().join("nats").exists());
    }
    // What lies on the server only is taken at its word.
    let tls = ["--tls-cert", "/etc/nats/tls.pem", "--tls-key", "/etc/nats/tls.key"];
    muster_json(dir.path(), &[&["source", "init", "--dir", "nats"][..], &tls].concat());
    let config = std::fs::read_to_string(dir.path().join("nats/nats.conf")).unwrap();
    assert!(config.contains("cert_file: \"/etc/nats/tls.pem\""), "{config}");
}
