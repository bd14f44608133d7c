//! Hardware that is later than the agent.

use crate::agent::Terminal;
use crate::bus::Bus;
use tokio::net::UnixDatagram;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_appears_while_the_boot_check_waits_leaves_no_trace() {
    let bus = Bus::start(61).await;
    let terminal = Terminal::new(&bus, 61);
    terminal.activate(&bus).await;
    std::fs::remove_file(terminal.path("soc-serial")).unwrap();
    let name = terminal.path("notify.sock");
    let socket = UnixDatagram::bind(&name).unwrap();
    let mut running = terminal.run_with(&[("NOTIFY_SOCKET", name.to_str().unwrap())]);
    let mut bytes = [0; 256];
    let read = socket.recv(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..read], b"EXTEND_TIMEOUT_USEC=120000000", "the service manager must wait too");
    terminal.write("soc-serial", "soc-1\n");
    assert_eq!(running.until("started").await["standing"], "full");
    assert_eq!(running.until("granted").await["origin"], "resume");
    running.terminate().await;
    assert!(bus.cluster.lock().unwrap().tamper_reports.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_appears_long_after_the_start_ends_the_restriction_without_an_accusation() {
    let bus = Bus::start(62).await;
    let terminal = Terminal::new(&bus, 62);
    terminal.activate(&bus).await;
    let config = std::fs::read_to_string(terminal.path("agent.toml")).unwrap();
    terminal.write("agent.toml", &config.replace("[timing]", "[timing]\nhardware_patience_ms = 200"));
    let record = std::fs::read(terminal.path("otp.bin")).unwrap();
    std::fs::remove_file(terminal.path("otp.bin")).unwrap();
    let mut running = terminal.run();
    assert_eq!(running.until("started").await["standing"], "restricted");
    let check = terminal.command(&["boot-check"]).await;
    assert_eq!(check.status.code(), Some(5), "{check:?}");
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(report["unread"], serde_json::json!(["otp-record"]));
    std::fs::write(terminal.path("otp.bin"), record).unwrap();
    assert_eq!(running.until("started").await["standing"], "full");
    assert_eq!(running.until("granted").await["origin"], "resume");
    running.until("acknowledged").await;
    running.terminate().await;
    let cluster = bus.cluster.lock().unwrap();
    assert!(cluster.tamper_reports.is_empty() && !cluster.device(terminal.device).cloned);
}

/// The `seed` profile with its secret somewhere in the fuses, as the station's `--offset` puts it.
#[test]
fn a_fuse_secret_is_read_at_its_offset_and_nowhere_else() {
    use edge_agent::shell::config::Config;
    use edge_agent::shell::hardware::read_fuse_secret;
    let folder = tempfile::tempdir().unwrap();
    let fuses: Vec<u8> = (0..128).collect();
    std::fs::write(folder.path().join("fuses"), fuses).unwrap();
    let toml = |offset: u32| {
        format!(
            "region = \"eu\"\nsource = \"s\"\nfirmware = 1\nstate_dir = \"state\"\ncluster_file = \"c\"\n\
             lot_firmware_file = \"l\"\n[nats]\nurl = \"nats://127.0.0.1\"\n[otp]\nrecord = \"r\"\n\
             profile = \"seed\"\nfuse_secret = \"fuses\"\nfuse_offset = {offset}\n[components]\nsoc-serial = \"s\"\n"
        )
    };
    let read = |offset| {
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, toml(offset)).unwrap();
        read_fuse_secret(&Config::load(&file).unwrap()).map(|secret| secret.unwrap().as_bytes()[0])
    };
    assert_eq!((read(0).unwrap(), read(64).unwrap(), read(96).unwrap()), (0, 64, 96));
    assert!(read(100).unwrap_err().to_string().contains("28 bytes"));
}
