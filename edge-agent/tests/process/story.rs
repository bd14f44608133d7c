//! The life of a terminal: checked, activated, killed, resumed, asked, stopped.

use crate::agent::Terminal;
use crate::bus::Bus;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_checks_itself_activates_beats_survives_kills_and_tells_its_status() {
    let bus = Bus::start(1).await;
    let terminal = Terminal::new(&bus, 1);

    let check = terminal.command(&["boot-check"]).await;
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    let status = terminal.status().await;
    assert_eq!(status["running"], false);
    assert!(status["state"].is_null(), "a boot check writes no state");

    let code = bus.cluster.lock().unwrap().issue_code();
    terminal.write("code.txt", &format!("{code}\n"));
    let code_file = terminal.path("code.txt");
    let activated = terminal.command(&["activate", "--code-file", code_file.to_str().unwrap()]).await;
    assert_eq!(activated.status.code(), Some(0), "{activated:?}");
    assert_eq!(bus.cluster.lock().unwrap().owner_of(&code), Some(terminal.device));

    let mut running = terminal.run();
    let first = running.until("acknowledged").await;
    assert_eq!(first["sequence"], 1);
    for _ in 0..3 {
        running.child.kill().await.unwrap();
        running = terminal.run();
        let next = running.until("acknowledged").await;
        assert!(next["epoch"].as_u64() > first["epoch"].as_u64(), "every start takes a new epoch");
    }

    let status = terminal.status().await;
    let summary = &status["state"];
    assert_eq!(summary["device"], terminal.device.to_string());
    assert_eq!(summary["boot_count"], 5);
    assert_eq!(summary["licensed"], true);
    assert_eq!(status["running"], true);
    running.terminate().await;

    let cluster = bus.cluster.lock().unwrap();
    let device = cluster.device(terminal.device);
    assert!(device.fork.is_none() && !device.cloned);
    assert!(device.bodies.iter().all(|body| body.firmware == 7 && body.condition == 0));
    let prefix = format!("_INBOX_{}.", terminal.device);
    assert!(bus.replies.lock().unwrap().iter().all(|reply| reply.starts_with(&prefix)), "rule 13");
    assert!(!bus.traceparents.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_handed_to_the_agent_that_runs_and_a_second_one_is_locked_out() {
    let bus = Bus::start(2).await;
    let terminal = Terminal::new(&bus, 2);
    let mut running = terminal.run();
    running.until("code-needed").await;

    let second = terminal.command(&["run"]).await;
    assert_eq!(second.status.code(), Some(6), "{second:?}");

    let guess = terminal.command(&["activate", "--code", "AAAAA-AAAAA-AAAAA-AAAAA-A"]).await;
    assert_eq!(guess.status.code(), Some(2), "a typing error is found before anything is asked: {guess:?}");

    let code = bus.cluster.lock().unwrap().issue_code();
    let activated = terminal.command(&["activate", "--code", &code.to_string().to_lowercase()]).await;
    assert_eq!(activated.status.code(), Some(0), "{activated:?}");
    running.until("acknowledged").await;

    let other = events::license::ActivationCode::generate(&mut edge_agent::shell::entropy::Entropy);
    let refused = terminal.command(&["activate", "--code", &other.to_string()]).await;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stdout).contains("CODE_REFUSED"), "{refused:?}");
    // The session that it had goes on.
    running.until("acknowledged").await;
    running.terminate().await;
}
