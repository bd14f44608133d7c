//! What is asked while nobody can be reached.

use crate::agent::Terminal;
use crate::bus::Bus;
use edge_agent::shell::bus::{Address, Bus as AgentBus};
use edge_agent::shell::config::Config;
use events::ids::LotId;
use std::time::Duration;
use tokio::time::timeout;

/// More than the client's own queue holds.
const ASKED_IN_THE_OUTAGE: u64 = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn update_requests_of_an_outage_neither_hold_up_the_agent_nor_leave_once_it_is_over() {
    let mut bus = Bus::start(41).await;
    let terminal = Terminal::new(&bus, 41);
    let config = Config::load(&terminal.path("agent.toml")).unwrap();
    bus.stop_server();
    let address = Address { device: Some(terminal.device), lot: LotId::from_bytes([1; 4]) };
    let agent = AgentBus::open(&config, address).await.unwrap();
    let asking = async {
        for request in 0..ASKED_IN_THE_OUTAGE {
            agent.ask_update(request, vec![0; 64]).await;
        }
    };
    timeout(Duration::from_secs(20), asking).await.expect("the agent's loop stands still");
    bus.start_server();
    let mut fresh = ASKED_IN_THE_OUTAGE;
    // Its connection comes back at a moment of its own choosing.
    while bus.updates_asked.lock().unwrap().is_empty() {
        assert!(fresh < ASKED_IN_THE_OUTAGE + 1_000, "no request arrives after the outage");
        agent.ask_update(fresh, vec![0; 64]).await;
        fresh += 1;
        let _not_yet = timeout(Duration::from_millis(100), bus.update_asked.notified()).await;
    }
    let asked = bus.updates_asked.lock().unwrap().clone();
    let request = |reply: &String| reply.rsplit('.').next().unwrap().parse::<u64>().unwrap();
    assert!(
        asked.iter().all(|reply| request(reply) >= ASKED_IN_THE_OUTAGE),
        "stale requests left: {}",
        asked.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_knows_several_servers_goes_to_the_next_when_the_first_is_gone() {
    let bus = Bus::start(45).await;
    let terminal = Terminal::new(&bus, 45);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    terminal.with_nats(&format!("url = [\"nats://{gone}\", \"{}\"]", bus.url));
    terminal.activate(&bus).await;
    let mut running = terminal.run();
    running.until("acknowledged").await;
    running.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_inside_a_url_is_refused_with_file_line_and_field_and_shown_to_nobody() {
    let bus = Bus::start(46).await;
    let terminal = Terminal::new(&bus, 46);
    terminal.with_nats("url = \"nats://shop:hunter2@nats.example.net\"");
    for command in [&["run"][..], &["activate", "--code", "X"], &["doctor"]] {
        let refused = terminal.command(command).await;
        let said = [refused.stdout, refused.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            said.contains("agent.toml") && said.contains("line 10") && said.contains("[nats] url"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
        if command == ["run"] {
            assert_eq!(refused.status.code(), Some(2));
        }
    }
}
