//! An outage as a terminal meets it: the NATS server is gone, the agent is stopped meanwhile, the server comes back.

use crate::agent::Terminal;
use crate::bus::Bus;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_of_an_outage_survive_a_stop_and_reach_the_cluster_when_the_server_is_back() {
    let mut bus = Bus::start(11).await;
    let terminal = Terminal::new(&bus, 11);
    terminal.configure("[spool]\nbodies = 40\ninterval_min_ms = 50\n");
    terminal.activate(&bus).await;
    let mut running = terminal.run();
    running.until("acknowledged").await;

    bus.stop_server();
    running.until("spool-full").await;
    running.terminate().await;
    let status = terminal.status().await;
    assert_eq!(status["state"]["spooled"], 40);

    bus.start_server();
    // The cluster's own connection may take longer to come back: this boot makes none meanwhile.
    let config = std::fs::read_to_string(terminal.path("agent.toml")).unwrap();
    terminal.write("agent.toml", &config.replace("interval_min_ms = 50", "interval_min_ms = 600000"));
    let mut running = terminal.run();
    while running.until("spool-acknowledged").await["left"] != 0 {}
    running.terminate().await;
    assert_eq!(terminal.status().await["state"]["spooled"], 0);

    let cluster = bus.cluster.lock().unwrap();
    let device = cluster.device(terminal.device);
    assert!(device.fork.is_none() && !device.cloned);
    let brought: BTreeSet<_> = device.spooled.iter().map(|body| (body.boot_count, body.number)).collect();
    assert!(brought.len() >= 40, "{brought:?}");
    assert!(brought.iter().all(|(boot, _)| *boot == 2), "made by the boot before: {brought:?}");
}
