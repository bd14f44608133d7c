//! The service manager is told that the agent is ready, alive and stopping.

use crate::agent::Terminal;
use crate::bus::Bus;
use tokio::net::UnixDatagram;

async fn heard(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let read = socket.recv(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_hears_ready_signs_of_life_and_stopping() {
    let bus = Bus::start(24).await;
    let terminal = Terminal::new(&bus, 24);
    let name = terminal.path("notify.sock");
    let socket = UnixDatagram::bind(&name).unwrap();
    let running =
        terminal.run_with(&[("NOTIFY_SOCKET", name.to_str().unwrap()), ("WATCHDOG_USEC", "200000")]);
    assert_eq!(heard(&socket).await, "READY=1");
    for _ in 0..3 {
        assert_eq!(heard(&socket).await, "WATCHDOG=1");
    }
    running.terminate().await;
    while heard(&socket).await != "STOPPING=1" {}
}
