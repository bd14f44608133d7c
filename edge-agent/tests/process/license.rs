//! Apps on the terminal ask for the license token over the socket.

use crate::agent::Terminal;
use crate::bus::Bus;
use edge_agent::license::client::{ClientError, ask};
use edge_agent::license::wire::Nonce;
use events::license::{LicenseRefusal, token};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// A terminal that lists this test's user for `player` and somebody else's for `radio`.
fn terminal_with_apps(bus: &Bus, seed: u64) -> (Terminal, PathBuf) {
    let terminal = Terminal::new(bus, seed);
    let uid = rustix::process::getuid().as_raw();
    terminal.configure(&format!(
        "[license]\nsocket = \"license.sock\"\n\n[license.apps]\nplayer = [{uid}]\nradio = [{}]\n",
        uid + 1
    ));
    let socket = terminal.path("license.sock");
    (terminal, socket)
}

fn raw(socket: &PathBuf, bytes: &[u8]) -> serde_json::Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    // Who says too much is hung up on while he still writes.
    let _hung_up = stream.write_all(bytes);
    let _done = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _reset_after_the_line = stream.read_to_end(&mut answer);
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_gets_its_token_with_a_proof_survives_a_restart_offline_and_others_are_refused() {
    let mut bus = Bus::start(21).await;
    let (terminal, socket) = terminal_with_apps(&bus, 21);
    let mut running = terminal.run();
    running.until("code-needed").await;
    let player = "player".parse().unwrap();
    let early = ask(&socket, &player, Nonce([1; 32])).unwrap_err();
    assert!(matches!(early, ClientError::Refused { refused: LicenseRefusal::NoLicense, .. }), "{early}");
    terminal.activate(&bus).await;
    running.until("license-renewed").await;

    let command = ["license", "--app", "player", "--socket", socket.to_str().unwrap()];
    let shown = terminal.command(&command).await;
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let answer: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let key = bus.cluster.lock().unwrap().keyring.license_key.public();
    let now = bus.cluster.lock().unwrap().stamp;
    let claims = token::verify(&key, answer["token"].as_str().unwrap(), now).unwrap();
    assert_eq!(claims.device, terminal.device);

    let other = ask(&socket, &"radio".parse().unwrap(), Nonce([2; 32])).unwrap_err();
    assert!(matches!(other, ClientError::Refused { refused: LicenseRefusal::NotAllowed, .. }), "{other}");
    running.terminate().await;

    // No cluster far and wide: the token is on flash.
    bus.stop_server();
    let mut running = terminal.run();
    running.until("started").await;
    let offline = terminal.command(&command).await;
    assert_eq!(offline.status.code(), Some(0), "{offline:?}");
    running.terminate().await;
    assert!(!socket.exists(), "the socket is gone with its agent");
    let nobody = terminal.command(&command).await;
    assert_eq!(nobody.status.code(), Some(3), "no answer is not a refusal: {nobody:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_oversized_and_hasty_questions_are_refused_by_name_and_the_agent_beats_on() {
    let bus = Bus::start(22).await;
    let (terminal, socket) = terminal_with_apps(&bus, 22);
    terminal.activate(&bus).await;
    let mut running = terminal.run();
    running.until("acknowledged").await;
    let nonce = "00".repeat(32);
    for garbage in [
        "\n".to_owned(),
        "{}\n".into(),
        "\0\u{1}\n".into(),
        "x".repeat(100_000),
        format!("{{\"app\":\"player\",\"nonce\":\"{nonce}\"}}"),
    ] {
        assert_eq!(raw(&socket, garbage.as_bytes())["refused"], "MALFORMED", "{:.40}", garbage);
    }
    let player = "player".parse().unwrap();
    let outcomes: Vec<_> = (0..20).map(|at| ask(&socket, &player, Nonce([at; 32]))).collect();
    let granted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((4..15).contains(&granted), "{granted} of 20 hasty questions were answered");
    let hasty = |error: &ClientError| {
        matches!(error, ClientError::Refused { refused: LicenseRefusal::RateExceeded, .. })
    };
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(hasty));
    running.until("acknowledged").await;
    running.terminate().await;
}
