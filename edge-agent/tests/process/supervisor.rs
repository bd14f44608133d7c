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

/// What a health check of an image asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_hangs_is_told_from_one_that_runs_and_from_none() {
    let bus = Bus::start(25).await;
    let terminal = Terminal::new(&bus, 25);
    assert_eq!(terminal.command(&["status", "--running"]).await.status.code(), Some(3));
    let mut running = terminal.run();
    running.until("code-needed").await;
    let alive = terminal.command(&["status", "--running"]).await;
    assert_eq!(alive.status.code(), Some(0), "{alive:?}");
    running.signal("STOP").await;
    assert_eq!(terminal.command(&["status", "--running"]).await.status.code(), Some(3));
    assert_eq!(
        terminal.command(&["status"]).await.status.code(),
        Some(0),
        "what lies on flash is shown all the same"
    );
    running.signal("CONT").await;
    running.terminate().await;
}
