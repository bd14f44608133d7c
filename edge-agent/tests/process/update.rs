//! `muster-agent update` and `run`, with offers as people and servers hand them out.

use crate::agent::Terminal;
use crate::bus::Bus;
use data_encoding::BASE64;
use events::identity::key::SigningKey;
use events::ids::{LotId, RolloutId};
use events::time::Timestamp;
use events::update::{Offer, UpdateScope};
use sha2::{Digest, Sha384};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;

const ARTIFACT: &[u8] = b"a new version";
const YEAR_2050: Timestamp = Timestamp::from_millis(2_524_608_000_000);
const YEAR_2100: Timestamp = Timestamp::from_millis(4_102_444_800_000);

/// Gives this to everybody.
fn serve(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let _head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
        }
    });
    url
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 48]).unwrap()
}

fn signed(rollout: u8, firmware: u32) -> Vec<u8> {
    let offer = Offer {
        rollout: RolloutId::from_bytes([rollout; 16]),
        scope: UpdateScope::Lots(vec![LotId::from_bytes([1, 2, 3, 4])]),
        firmware,
        floor: 8,
        not_after: YEAR_2050,
        size: ARTIFACT.len() as u64,
        digest: Sha384::digest(ARTIFACT).into(),
        kind: "raw".into(),
        urls: vec![serve(ARTIFACT.to_vec())],
    };
    offer.sign(&key()).unwrap().encode()
}

/// As `muster update sign` writes it.
fn text(offer: &[u8]) -> String {
    let base64 = BASE64.encode(offer);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!(
        "muster update offer v1\nfirmware 8. Public.\n-----BEGIN MUSTER UPDATE OFFER-----\n{}\n-----END MUSTER UPDATE OFFER-----\n",
        lines.join("\n")
    )
}

/// A terminal that takes offers under our key and whose hook does `script`.
fn terminal(bus: &Bus, seed: u64, script: &str, more: &str) -> Terminal {
    let terminal = Terminal::new(bus, seed);
    terminal.write("hook.sh", &format!("#!/bin/sh\n{script}\n"));
    let hook = terminal.path("hook.sh");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let key: String = key().public().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    terminal.configure(&format!(
        "[update]\nkeys = [\"{key}\"]\nretry_first_ms = 1\n{more}\n[update.install]\nraw = [\"{}\"]\n",
        hook.display()
    ));
    terminal
}

async fn hand_in(terminal: &Terminal, offer: impl AsRef<[u8]>) -> Output {
    let file = terminal.path("offer");
    std::fs::write(&file, offer).unwrap();
    let arguments = ["update", "--offer", file.to_str().unwrap()];
    let output = tokio::time::timeout(Duration::from_secs(60), terminal.command(&arguments)).await;
    output.expect("it waits for ever")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_is_installed_from_the_text_that_people_hold_and_from_bytes_and_never_twice() {
    let bus = Bus::start(51).await;
    let terminal = terminal(&bus, 51, "exit 0", "");
    let installed = hand_in(&terminal, text(&signed(1, 8))).await;
    assert_eq!(installed.status.code(), Some(0), "{}", said(&installed));
    let again = hand_in(&terminal, text(&signed(1, 8))).await;
    assert_eq!(again.status.code(), Some(4), "{}", said(&again));
    assert!(said(&again).contains("ALREADY_TAKEN"), "{}", said(&again));
    let newer = hand_in(&terminal, signed(2, 9)).await;
    assert_eq!(newer.status.code(), Some(0), "{}", said(&newer));
    let damaged = hand_in(&terminal, text(&signed(3, 10)).replace("-----END", "-----")).await;
    assert_eq!(damaged.status.code(), Some(2), "{}", said(&damaged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_failed_on_this_terminal_is_refused_by_name_and_not_waited_for() {
    let bus = Bus::start(52).await;
    let terminal = terminal(&bus, 52, "exit 3", "");
    let failed = hand_in(&terminal, text(&signed(1, 8))).await;
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
    assert!(said(&failed).contains("HOOK_FAILED"), "{}", said(&failed));
    let again = hand_in(&terminal, text(&signed(1, 8))).await;
    assert_eq!(again.status.code(), Some(4), "{}", said(&again));
    assert!(said(&again).contains("ALREADY_FAILED"), "{}", said(&again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_floor_on_flash_judges_an_offer_from_a_url_before_anybody_is_heard() {
    let mut bus = Bus::start(53).await;
    bus.cluster.lock().unwrap().stamp = YEAR_2100;
    let url = serve(text(&signed(1, 8)).into_bytes());
    let terminal = terminal(&bus, 53, "exit 0", &format!("offer_url = \"{url}\"\nask_interval_ms = 500"));
    terminal.activate(&bus).await;
    bus.stop_server();
    let mut running = terminal.run();
    // The wall clock of this machine is long before the offer's end, what a sealed answer said is after it.
    let told = running.until("update").await;
    assert_eq!((&told["step"], &told["reason"]), (&"refused".into(), &"EXPIRED".into()), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_lies_at_a_url_as_text_is_taken_while_nobody_else_is_reached() {
    let mut bus = Bus::start(54).await;
    let url = serve(text(&signed(1, 8)).into_bytes());
    let terminal = terminal(&bus, 54, "exit 0", &format!("offer_url = \"{url}\"\nask_interval_ms = 500"));
    bus.stop_server();
    let mut running = terminal.run();
    for step in ["taken", "verified", "installed"] {
        assert_eq!(running.until("update").await["step"], step);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_misses_the_certificates_that_https_needs() {
    let bus = Bus::start(55).await;
    let terminal = terminal(&bus, 55, "exit 0", "");
    terminal.write("none.pem", "");
    let (none, folder) = (terminal.path("none.pem"), terminal.path("none"));
    std::fs::create_dir(&folder).unwrap();
    let environment = [("SSL_CERT_FILE", none.to_str().unwrap()), ("SSL_CERT_DIR", folder.to_str().unwrap())];
    let output = terminal.command_with(&["doctor"], &environment).await;
    assert!(said(&output).contains("UPDATE_CERTIFICATES"), "{}", said(&output));
}
